package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"trivet/internal/nearest"
	"trivet/internal/words"
	"trivet/lab/compose"
	"trivet/lab/kubernetes"
	"trivet/lab/record"
	"trivet/lab/remote"
	"trivet/lab/scenario"
	"trivet/lab/trial"
)

// A target is what --target names.
type target struct {
	kind string         // scenario.Kubernetes, Compose or URL
	name string         // as the command line has it
	of   string         // the namespace, or the project; "": the one of this directory
	at   remote.Address // of a URL
	ca   string         // of a URL with TLS: file of its authorities
}

// opens opens the stack of each kind of target. The error says why trials cannot be run there.
var opens = map[string]func(context.Context, target) (trial.Stack, error){
	scenario.Kubernetes: func(ctx context.Context, t target) (trial.Stack, error) {
		s, err := kubernetes.Open(ctx, t.name, t.of)
		if err != nil {
			return nil, err
		}
		return s, nil
	},
	scenario.Compose: func(ctx context.Context, t target) (trial.Stack, error) {
		s, err := compose.Open(ctx, t.name, t.of)
		if err != nil {
			return nil, err
		}
		return s, nil
	},
	scenario.URL: func(ctx context.Context, t target) (trial.Stack, error) {
		s, err := remote.Open(ctx, t.name, t.at, t.ca)
		if err != nil {
			return nil, err
		}
		return s, nil
	},
}

// Forms of targets, in messages.
const targetForms = "k8s:NAMESPACE, compose, compose:PROJECT, http://HOST:PORT or https://HOST:PORT"

var (
	namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	projectName   = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
)

// parseTarget reads the value of --target.
func parseTarget(text, ca string) (target, error) {
	t := target{name: text, ca: ca}
	kind, of, named := strings.Cut(text, ":")
	switch {
	case strings.Contains(text, "://"):
		t.kind = scenario.URL
		var err error
		if t.at, err = remote.Parse(text); err != nil {
			return t, fmt.Errorf("--target: %w", err)
		}
		if t.at.TLS && ca == "" {
			return t, errors.New("--target-ca: name the file of the authorities that sign the target's certificate, like --target-ca /etc/ssl/certs/ca-certificates.crt")
		}
	case kind == "k8s" && of == "":
		return t, errors.New("--target: k8s wants a namespace, like k8s:trivet-dev")
	case kind == "k8s" && !namespaceName.MatchString(of):
		return t, fmt.Errorf("--target: %q is no name of a namespace: want lower-case letters, digits and -, at most 63", of)
	case kind == "k8s":
		t.kind, t.of = scenario.Kubernetes, of
	case kind == "compose" && named && !projectName.MatchString(of):
		return t, fmt.Errorf("--target: %q is no name of a Compose project: want lower-case letters, digits, - and _", of)
	case kind == "compose":
		t.kind, t.of = scenario.Compose, of
	default:
		return t, fmt.Errorf("--target: %q%s: want %s", text, nearest.Hint(kind, []string{"k8s", "compose"}), targetForms)
	}
	if ca != "" && !t.at.TLS {
		return t, errors.New("--target-ca is for a target that is called over TLS, https://HOST:PORT")
	}
	return t, nil
}

// targetFlags are --target and what belongs to it.
type targetFlags struct{ target, ca string }

func addTargetFlags(c *cobra.Command) *targetFlags {
	f := new(targetFlags)
	c.Flags().StringVar(&f.target, "target", "", "use a `TARGET`, a stack that is there already: "+targetForms)
	c.Flags().StringVar(&f.ca, "target-ca", "", "`FILE` with the authorities that sign the certificate of a target https://HOST:PORT")
	return f
}

// open opens the target; nil if there is none. A usageError is about the command line.
func (f *targetFlags) open(ctx context.Context, c *cobra.Command) (trial.Stack, error) {
	if !c.Flags().Changed("target") {
		if f.ca != "" {
			return nil, usageError{errors.New("--target-ca: without --target there is nothing to trust")}
		}
		return nil, nil
	}
	var wrong []error
	t, err := parseTarget(f.target, f.ca)
	wrong = append(wrong, err)
	for _, name := range []string{"nginx", "tls", "mtls"} {
		if flag := c.Flags().Lookup(name); flag != nil && flag.Changed {
			wrong = append(wrong, fmt.Errorf("--%s: a target %s; remove the flag", name, ofItsOwn[name]))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return nil, usageError{err}
	}
	s, err := opens[t.kind](ctx, t)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", t.name, err)
	}
	return s, nil
}

var ofItsOwn = map[string]string{
	"nginx": "has an nginx of its own",
	"tls":   "is called over TLS if it is an https URL",
	"mtls":  "has its own certificates, or none",
}

// describeTarget says what a target is, and what it gives.
func describeTarget(w io.Writer, s trial.Stack) {
	t := s.Target()
	line := func(name, value string) { fmt.Fprintf(w, "trivet:   %-11s%s\n", name, words.Printable(value)) }
	fmt.Fprintf(w, "trivet: target %s\n", words.Printable(t.Name))
	line("instances", instancesOf(s))
	version := "version unknown"
	if s.Nginx() != "" {
		version = s.Nginx()
	}
	if t.Nginxes > 1 {
		version += fmt.Sprintf(", %d of them", t.Nginxes)
	}
	line("nginx", version)
	has, lacks := []string{"the client's"}, []string{"samples of the processes"}
	for _, source := range []struct {
		there bool
		name  string
	}{{t.AccessLog, "nginx's access log"}, {t.Calls, "the instances'"}} {
		if source.there {
			has = append(has, source.name)
		} else {
			lacks = append(lacks, source.name)
		}
	}
	line("records", strings.Join(has, ", ")+"; none: "+strings.Join(lacks, ", "))
	line("changes", changesOf(s))
}

func instancesOf(s trial.Stack) string {
	var names []string
	for _, i := range s.Instances() {
		names = append(names, i.Name)
	}
	if r, ok := s.(interface{ Responded() string }); ok && len(names) == 0 {
		if r.Responded() == "" {
			return "unknown; a response named none"
		}
		return "unknown; " + r.Responded() + " responded first"
	}
	return fmt.Sprintf("%d: %s", len(names), strings.Join(names, ", "))
}

// changesOf says what trials can do to a target.
func changesOf(s trial.Stack) string {
	var can []string
	add := func(is bool, what string) {
		if is {
			can = append(can, what)
		}
	}
	for _, kinds := range []struct {
		kinds []string
		of    string
	}{{scenario.InstanceKinds, scenario.InstanceName(1)}, {scenario.NodeKinds, scenario.InstanceName(1)}, {scenario.ServiceKinds, whoami}, {[]string{scenario.Reload}, scenario.Nginx}} {
		for _, kind := range kinds.kinds {
			add(s.Can(scenario.Operation{Kind: kind, Process: kinds.of, To: 1}), kind)
		}
	}
	add(s.Edits(), "edits of nginx")
	add(s.PreStop(), "fleet.pre_stop")
	add(s.Through(), "fleet.through")
	if len(can) == 0 {
		return "none: no action and no setting can be carried out there"
	}
	return strings.Join(can, ", ")
}

// onTarget starts trials on a stack.
func onTarget(s trial.Stack) trial.Start {
	return func(ctx context.Context, of scenario.Scenario, dir string, observe func(record.Event)) (trial.System, error) {
		return s.Start(ctx, of, dir, observe)
	}
}
