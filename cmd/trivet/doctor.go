package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/fleet"
	"trivet/nginx"
)

const doctorManual = `trivet doctor tells what is installed, which ports are taken and by whom, and whether trivet up would work. It changes nothing.

  trivet doctor [flags]

It takes the flags of trivet up, and judges by them. --json: one JSON object a line. Exit code 0 if trivet up would work, 1 if not.

Examples:

  trivet doctor
  trivet doctor -n 300 --http 8081
`

// finding is what doctor has to say about one thing.
type finding struct {
	Check  string `json:"check"`
	State  state  `json:"state"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"` // what to do
}

type state string

const (
	fine     state = "ok"
	optional state = "absent"  // it would be nice to have
	trouble  state = "problem" // trivet up would not work
)

// doctor is `trivet doctor`.
func doctor(ctx context.Context, in invocation) int {
	call, err := parseUp(in.args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(in.stdout, in.manual)
		return done
	}
	if err != nil {
		newReporter(in, call.json).fail(err, misuse)
		return misuse
	}
	findings := examine(ctx, call, here())
	write := writeText
	if call.json {
		write = writeJSON
	}
	if err := write(in, findings); err != nil {
		complain(in.stderr, err)
		return failed
	}
	for _, f := range findings {
		if f.State == trouble {
			return failed
		}
	}
	return done
}

func examine(ctx context.Context, call upCall, p place) []finding {
	all := []finding{checkNginx(ctx, call, p), checkWhoami(p)}
	all = append(all, checkPorts(ctx, call)...)
	all = append(all, checkFolder(), checkFiles(call))
	for _, tool := range []struct{ name, argument, remedy string }{
		{"go", "version", "https://go.dev/dl/; only to build Trivet"},
		{"grpcurl", "--version", "in the source tree: go tool -modfile=tools.mod grpcurl"},
		{"buf", "--version", "in the source tree: make generate"},
		{"docker", "--version", "only to run Trivet in containers"},
	} {
		all = append(all, checkTool(ctx, tool.name, tool.argument, tool.remedy))
	}
	return all
}

func checkNginx(ctx context.Context, call upCall, p place) finding {
	b, err := p.nginx(ctx, nginx.Find, call.nginx)
	if err != nil {
		return finding{"nginx", trouble, err.Error(), "make nginx gets one, without installing it"}
	}
	return finding{"nginx", fine, b.Version.String() + ", " + b.Path, ""}
}

func checkWhoami(p place) finding {
	path, err := p.whoami()
	switch {
	case err != nil:
		return finding{"whoami", trouble, err.Error(), "make build"}
	case path == "":
		return finding{"whoami", fine, "will be built from " + p.module, ""}
	}
	return finding{"whoami", fine, path, ""}
}

func checkPorts(ctx context.Context, call upCall) []finding {
	faults := unjoin(fleet.CheckPorts(ctx, call.Options))
	if len(faults) == 0 {
		return []finding{{"ports", fine, fmt.Sprintf("nginx's %d, %d and %d, and those of %d instances are free", call.HTTP, call.GRPC, call.Admin, call.Instances), ""}}
	}
	var all []finding
	for _, fault := range faults {
		remedy := ""
		if _, busy := errors.AsType[*fleet.BusyError](fault); busy {
			remedy = "stop what holds it, or choose another (--http, --grpc, --admin; 0 is any)"
		}
		all = append(all, finding{"ports", trouble, fault.Error(), remedy})
	}
	return all
}

func checkFolder() finding {
	if err := fleet.CheckBase(fleet.Base()); err != nil {
		return finding{"run folder", trouble, err.Error(), "set TMPDIR to a folder that you may write to and everybody can pass, like /tmp"}
	}
	return finding{"run folder", fine, fleet.Base(), ""}
}

func checkFiles(call upCall) finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return finding{"open files", trouble, err.Error(), ""}
	}
	need := fleet.FilesNeeded(call.Instances)
	detail := fmt.Sprintf("at most %d, about %d needed", limit.Cur, need)
	if limit.Cur < need {
		return finding{"open files", trouble, detail, fmt.Sprintf("ulimit -n %d, or fewer instances", need)}
	}
	return finding{"open files", fine, detail, ""}
}

// toolPatience bounds the question for a version.
const toolPatience = 5 * time.Second

func checkTool(ctx context.Context, name, argument, remedy string) finding {
	path, err := exec.LookPath(name)
	if err != nil {
		return finding{name, optional, "not on PATH", remedy}
	}
	ctx, cancel := context.WithTimeout(ctx, toolPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, argument)
	cmd.WaitDelay = time.Second
	said, err := cmd.CombinedOutput()
	version, _, _ := strings.Cut(strings.TrimSpace(string(said)), "\n")
	if err != nil {
		version = fmt.Sprintf("%s %s: %v", name, argument, err)
	}
	return finding{name, fine, version + ", " + path, ""}
}

func writeText(in invocation, findings []finding) error {
	table := tabwriter.NewWriter(in.stdout, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		detail := strings.ReplaceAll(f.Detail, "\n", "; ")
		if f.Remedy != "" {
			detail += " -> " + f.Remedy
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.State, f.Check, detail)
	}
	return table.Flush()
}

func writeJSON(in invocation, findings []finding) error {
	out := json.NewEncoder(in.stdout)
	for _, f := range findings {
		if err := out.Encode(f); err != nil {
			return err
		}
	}
	return nil
}
