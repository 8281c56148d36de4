package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"trivet/internal/buildinfo"
	"trivet/internal/nearest"
	"trivet/lab/report"
)

// Exit codes. Being stopped by Ctrl-C or SIGTERM is a success.
const (
	done   = 0
	failed = 1
	misuse = 2
)

// command is one of the things that trivet does.
type command struct {
	name, summary, manual string
	run                   func(context.Context, invocation) int
}

// invocation is what a command is called with.
type invocation struct {
	args           []string
	manual         string
	stdout, stderr io.Writer
}

func commands() []command {
	return []command{
		{"run", "carry out experiments, and tell whether what they expect held", runManual, runExperiments},
		{"report", "tell again what a run came to: text, JSON, JUnit", reportManual, tellAgain},
		{"list", "show what experiments there are", listManual, list},
		{"check", "tell what is wrong with experiments' files", checkManual, check},
		{"schema", "print the JSON Schema of an experiment's file", schemaManual, schema},
		{"up", "start instances and nginx, and follow them until Ctrl-C", upManual, up},
		{"doctor", "tell what is installed, and whether `trivet up` would work", doctorManual, doctor},
		{"logs", "show the log of a process of the newest run", logsManual, logs},
	}
}

// run is the whole program; it returns the exit code. Data goes to stdout, words to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		help(stderr)
		return misuse
	}
	name, rest := args[0], args[1:]
	switch name {
	case "--version", "-version", "version":
		fmt.Fprintln(stdout, "trivet", buildinfo.String())
		return done
	case "--help", "-help", "-h", "help":
		return helpFor(rest, stdout, stderr)
	}
	c, err := find(name)
	if name == "load" { // Hidden: it is for trivet run.
		c, err = command{run: generate}, nil
	}
	if err != nil {
		fmt.Fprintf(stderr, "trivet: %v\n", err)
		return misuse
	}
	return c.run(ctx, invocation{args: rest, manual: c.manual, stdout: stdout, stderr: stderr})
}

func find(name string) (command, error) {
	names := []string{"help"}
	for _, c := range commands() {
		if c.name == name {
			return c, nil
		}
		names = append(names, c.name)
	}
	if strings.HasPrefix(name, "-") {
		return command{}, fmt.Errorf("flag %s stands before any command: did you mean trivet up %s? `trivet help` lists the commands", name, name)
	}
	return command{}, fmt.Errorf("unknown command %q: did you mean %s? `trivet help` lists them", name, nearest.Name(name, names))
}

func helpFor(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		help(stdout)
		return done
	}
	c, err := find(args[0])
	if err != nil {
		fmt.Fprintf(stderr, "trivet: %v\n", err)
		return misuse
	}
	fmt.Fprint(stdout, c.manual)
	return done
}

func help(w io.Writer) {
	fmt.Fprint(w, `trivet is a laboratory for load balancing: instances of whoami behind a real nginx, on this machine.

`)
	for _, c := range commands() {
		fmt.Fprintf(w, "  trivet %-8s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, `
In one terminal, and then in another:

  trivet up                 three instances, nginx on 8080 (HTTP) and 9090 (gRPC)
  curl localhost:8080/      ask again and again: whoami-1, whoami-2, whoami-3 answer in turn

Or ask what happens when one of them is killed:

  trivet run experiments/kill-one.yaml

`+"`trivet COMMAND --help` tells a command's flags, with examples. `trivet --version` tells version and revision."+`

Exit codes: 0 done, or stopped by Ctrl-C or SIGTERM; 1 failed (a busy port, no nginx); 2 wrong use. trivet run has more of them.
`)
}

// unwanted is a fault for each word beyond those that a command takes.
func unwanted(words []string, takes int) error {
	var faults []error
	for _, word := range words[min(takes, len(words)):] {
		faults = append(faults, fmt.Errorf("unexpected argument %q", word))
	}
	return errors.Join(faults...)
}

// complain prints each of several joined errors on a line of its own.
func complain(w io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(w, "trivet:", report.Printable(strings.TrimSuffix(line, "\n")))
	}
}
