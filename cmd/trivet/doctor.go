package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"trivet/lab/fleet"
	"trivet/lab/record"
	"trivet/nginx"
)

// finding is the result of one of doctor's checks.
type finding struct {
	Check  string `json:"check"`
	State  state  `json:"state"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

type state string

const (
	fine     state = "ok"
	optional state = "absent"  // trivet up works without it
	problem  state = "problem" // trivet up would not work
)

func doctorCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "check whether trivet up would work",
		Long: `Show what is installed, which ports are taken and by which process, and whether
trivet up would work with the same flags. Nothing is changed. --json prints one
JSON object per finding.`,
		Annotations: map[string]string{exitCodes: "0 trivet up would work; 1 it would not; 2 usage error."},
		Example: `  trivet doctor
  trivet doctor -n 300 --http 8081`,
	}
	call := addUpFlags(c)
	return c, func(ctx context.Context, in invocation) int {
		if err := call.check(in); err != nil {
			newReporter(in, call.json).fail(err, exitUsage)
			return exitUsage
		}
		findings := examine(ctx, call, here())
		if err := write(in.stdout, findings, call.json); err != nil {
			return in.done(err)
		}
		if slices.ContainsFunc(findings, func(f finding) bool { return f.State == problem }) {
			return exitFailed
		}
		return exitDone
	}
}

func examine(ctx context.Context, call *upCall, p place) []finding {
	all := []finding{checkNginx(ctx, call, p)}
	for _, service := range slices.Sorted(maps.Keys(call.programs())) {
		all = append(all, checkProgram(service, p))
	}
	all = append(all, checkPorts(ctx, call)...)
	all = append(all, checkRunDirectory(), checkOpenFiles(call))
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

func checkNginx(ctx context.Context, call *upCall, p place) finding {
	b, err := p.nginx(ctx, nginx.Find, call.nginx)
	if err != nil {
		return finding{"nginx", problem, err.Error(), "make nginx gets one, without installing it"}
	}
	return finding{"nginx", fine, b.Version.String() + ", " + b.Path, ""}
}

func checkProgram(service string, p place) finding {
	path, err := p.program(service)
	switch {
	case err != nil:
		return finding{service, problem, err.Error(), "make build"}
	case path == "":
		return finding{service, fine, "will be built from " + p.module, ""}
	}
	return finding{service, fine, path, ""}
}

func checkPorts(ctx context.Context, call *upCall) []finding {
	errs := unjoin(fleet.CheckPorts(ctx, call.Options))
	if b, err := listenBeside(ctx, call); err != nil {
		errs = append(errs, unjoin(err)...)
	} else if err := b.close(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		nginx := fmt.Sprintf("%d, %d and %d", call.HTTP, call.GRPC, call.Admin)
		if call.TLS {
			nginx = fmt.Sprintf("%d, %d, %d and %d", call.HTTP, call.GRPC, call.TLSPort, call.Admin)
		}
		return []finding{{"ports", fine, fmt.Sprintf("nginx's %s, and those of %d instances are free", nginx, call.Instances+call.Front), ""}}
	}
	var all []finding
	for _, err := range errs {
		remedy := ""
		if _, busy := errors.AsType[*fleet.BusyError](err); busy {
			remedy = "stop the process that listens on it, or choose another (--http, --grpc, --tls-port, --admin, --metrics-port, --dashboard; 0: any free one)"
		}
		all = append(all, finding{"ports", problem, err.Error(), remedy})
	}
	return all
}

func checkRunDirectory() finding {
	if err := record.CheckBase(record.Base()); err != nil {
		return finding{"run directory", problem, err.Error(), "set TMPDIR to a directory that you can write to and every user can enter, like /tmp"}
	}
	return finding{"run directory", fine, record.Base(), ""}
}

func checkOpenFiles(call *upCall) finding {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return finding{"open files", problem, err.Error(), ""}
	}
	need := fleet.FilesNeeded(call.Instances + call.Front)
	detail := fmt.Sprintf("at most %d, about %d needed", limit.Cur, need)
	if limit.Cur < need {
		return finding{"open files", problem, detail, fmt.Sprintf("ulimit -n %d, or fewer instances", need)}
	}
	return finding{"open files", fine, detail, ""}
}

// versionTimeout bounds how long a tool may take to print its version.
const versionTimeout = 5 * time.Second

func checkTool(ctx context.Context, name, argument, remedy string) finding {
	path, err := exec.LookPath(name)
	if err != nil {
		return finding{name, optional, "not on PATH", remedy}
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, argument)
	cmd.WaitDelay = time.Second
	output, err := cmd.CombinedOutput()
	version, _, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	if err != nil {
		version = fmt.Sprintf("%s %s: %v", name, argument, err)
	}
	return finding{name, fine, version + ", " + path, ""}
}

func write(w io.Writer, findings []finding, asJSON bool) error {
	out := &errWriter{Writer: w}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		if asJSON {
			_ = json.NewEncoder(out).Encode(f) // out keeps the error.
			continue
		}
		if f.Remedy != "" {
			f.Detail += " -> " + f.Remedy
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.State, f.Check, strings.ReplaceAll(f.Detail, "\n", "; "))
	}
	_ = table.Flush() // out keeps the error.
	return out.err
}
