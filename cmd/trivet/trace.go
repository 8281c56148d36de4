package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"trivet/internal/cli"
	"trivet/internal/words"
	"trivet/lab/record"
	"trivet/lab/trace"
	"trivet/lab/waterfall"
)

func traceCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "trace [flags] [REQUEST_ID]",
		Short: "draw what happened to a request: client, nginx, attempts, instances, hops",
		Long: `Draw the trace of a request from the records of client, nginx and instances:
each attempt of nginx, also one that was refused or is in doubt, what instances
executed, and the calls that they made for it. Without REQUEST_ID, list requests
worth a look: failed, retried, slowest.

  REQUEST_ID  the X-Request-Id of a response, or id in an access log; in a run
              of experiments SEED.PROTOCOL.LOAD.N, which each trial has`,
		ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: map[string]string{exitCodes: `0 done; 1 no run yet, or reading or writing failed; 2 usage error, no
such run or request.`},
		Example: `  trivet trace
  trivet trace 5.http.0.618
  trivet trace --svg trace.svg "$(curl -so /dev/null \
    -w '%header{x-request-id}' localhost:8080)"`,
	}
	call := traceCall{}
	addRunFlag(c, &call.run)
	c.Flags().StringVar(&call.svg, "svg", "", "write the drawing to `FILE` as SVG; -: to standard output")
	c.Flags().BoolVar(&call.json, "json", false, "print one JSON object per trace, or per listed request")
	return c, func(_ context.Context, in invocation) int {
		var err error
		switch id := strings.Join(in.args, ""); {
		case call.svg != "" && call.json:
			err = errors.New("--svg and --json: name one")
		case call.svg != "" && id == "":
			err = errors.New("--svg needs a REQUEST_ID; trivet trace lists some")
		}
		if in.isWrong(err, cli.Unexpected(in.args, 1)) {
			return exitUsage
		}
		sources, code := call.open(in)
		if code != exitDone {
			return code
		}
		out := &errWriter{Writer: in.stdout}
		in.stdout = out
		if len(in.args) == 0 {
			code = call.list(in, sources)
		} else {
			code = call.draw(in, sources, in.args[0])
		}
		if out.err != nil {
			return in.done(fmt.Errorf("write trace: %w", out.err))
		}
		return code
	}
}

// traceCall is the command line of trivet trace and trivet traces.
type traceCall struct {
	run  string // "": the newest
	svg  string // "": draw on standard output
	json bool
}

func addRunFlag(c *cobra.Command, run *string) {
	c.Flags().StringVar(run, "run", "", "`DIR`: the run directory of trivet run or trivet up, or a trial directory in it (default: the newest run)")
	_ = c.MarkFlagDirname("run") // It fails only where there is no such flag.
}

// traced is a trial, or a trivet up.
type traced struct {
	*trace.Source
	name string // EXPERIMENT/VARIANT, or "trivet up"
}

// open finds what has traces: each trial that has begun. It sets call.run.
func (c *traceCall) open(in invocation) ([]traced, int) {
	if c.run == "" {
		newest, err := newestOfAll()
		if err != nil {
			return nil, in.done(err)
		}
		c.run = newest
	}
	index, err := record.ReadIndex(c.run)
	if errors.Is(err, fs.ErrNotExist) {
		source, openErr := trace.Open(c.run)
		if errors.Is(openErr, fs.ErrNotExist) {
			openErr = fmt.Errorf("%s has no run.json, manifest.json or fleet.json: want the directory of a trivet run or trivet up, or of a trial", c.run)
		}
		if in.isWrong(openErr) {
			return nil, exitUsage
		}
		name := "trivet up"
		if source.Trial() != nil {
			name = filepath.Base(filepath.Dir(c.run)) + "/" + filepath.Base(c.run)
		}
		return []traced{{source, name}}, exitDone
	}
	if in.isWrong(err) {
		return nil, exitUsage
	}
	all, err := trialsOf(index, c.run)
	return all, in.done(err)
}

// trialsOf opens the trials of a run that have begun.
func trialsOf(index record.Index, run string) (all []traced, err error) {
	for _, entry := range index.Experiments {
		for trial := 1; trial <= max(1, entry.Experiment.Trials); trial++ {
			for _, variant := range entry.Experiment.Scenarios {
				dir := entry.Trial(run, variant.Variant, trial)
				source, openErr := trace.Open(dir)
				if openErr == nil {
					all = append(all, traced{source, entry.Experiment.Name + "/" + filepath.Base(dir)})
				} else if !errors.Is(openErr, fs.ErrNotExist) {
					err = errors.Join(err, openErr)
				}
			}
		}
	}
	return all, err
}

// newestOfAll is the newest run directory, of trivet run or trivet up. Their names begin with the time.
func newestOfAll() (string, error) {
	up, upErr := newestRun(record.Base(), "trivet up")
	run, runErr := newestRun(experimentsBase(), "trivet run experiments/kill-one.yaml")
	switch {
	case upErr != nil && runErr != nil:
		return "", errors.Join(runErr, upErr)
	case runErr != nil || upErr == nil && filepath.Base(up) > filepath.Base(run):
		return up, nil
	}
	return run, nil
}

// draw draws a request in each trial that has it.
func (c *traceCall) draw(in invocation, sources []traced, id string) int {
	type found struct {
		traced
		trace *trace.Trace
	}
	var all []found
	for _, s := range sources {
		t, err := s.Request(id)
		if err != nil {
			return in.done(err)
		}
		if t != nil {
			all = append(all, found{s, t})
		}
	}
	if len(all) == 0 {
		printErrors(in.stderr, c.unknown(sources, id))
		return exitUsage
	}
	if c.svg != "" && len(all) > 1 {
		printErrors(in.stderr, fmt.Errorf("%s is in %s: name one by --run, like --run %s", id, words.Count(len(all), "trial"), all[0].Dir()))
		return exitUsage
	}
	if c.svg != "" {
		return in.done(c.writeSVG(in, all[0].trace))
	}
	for i, f := range all {
		if c.json {
			_ = json.NewEncoder(in.stdout).Encode(struct {
				Trial string `json:"trial"`
				*trace.Trace
			}{f.name, f.trace}) // The writer keeps the error.
			continue
		}
		if i > 0 {
			fmt.Fprintln(in.stdout)
		}
		if len(sources) > 1 {
			fmt.Fprintf(in.stdout, "%s:\n", f.name)
		}
		waterfall.Text{Writer: in.stdout, Width: in.width(), Color: in.color()}.Draw(f.trace)
		if !f.HasInstances() {
			fmt.Fprintln(in.stdout, "The instances wrote no records (RECORDS): their executions are not shown.")
		}
	}
	return exitDone
}

// width and color are those of standard output, which may be wrapped.
func (in invocation) width() int {
	if w, ok := in.stdout.(*errWriter); ok {
		return width(w.Writer)
	}
	return width(in.stdout)
}

func (in invocation) color() bool {
	if w, ok := in.stdout.(*errWriter); ok {
		return useColor(w.Writer)
	}
	return useColor(in.stdout)
}

func (c *traceCall) writeSVG(in invocation, t *trace.Trace) error {
	if c.svg == "-" {
		return waterfall.SVG(in.stdout, t)
	}
	f, err := os.Create(c.svg)
	if err != nil {
		return err
	}
	return errors.Join(waterfall.SVG(f, t), f.Close())
}

// unknown says where the request was looked for, and how to find others.
func (c *traceCall) unknown(sources []traced, id string) error {
	where := words.Count(len(sources), "trial")
	if len(sources) == 1 {
		where = sources[0].name
	}
	return fmt.Errorf("no record of request %q in %s (%s); `trivet trace` lists requests, --run names another run, and every response has its ID in the header x-request-id", id, c.run, where)
}

// A listed request is one that is worth a look.
type listed struct {
	Trial string `json:"trial"`
	Why   string `json:"why"` // failed, retried or slowest
	trace.Summary
}

// perReason is how many requests are listed for each reason.
const perReason = 5

// list prints the requests that are most worth a look.
func (c *traceCall) list(in invocation, sources []traced) int {
	var all []listed
	for _, s := range sources {
		found, err := s.Survey()
		if err != nil {
			return in.done(err)
		}
		for _, f := range found {
			all = append(all, listed{Trial: s.name, Summary: f})
		}
	}
	bySlowness := func(x, y listed) int { return cmp.Compare(y.Took, x.Took) }
	slices.SortStableFunc(all, bySlowness)
	var failed, retried, others []listed
	for _, l := range all {
		switch {
		case l.Failed:
			failed = append(failed, l)
		case l.Retried():
			retried = append(retried, l)
		default:
			others = append(others, l)
		}
	}
	slices.SortStableFunc(retried, func(x, y listed) int { return cmp.Compare(y.Attempts+y.Sends, x.Attempts+x.Sends) })
	groups := []struct {
		why string
		all []listed
	}{{"failed", failed}, {"retried", retried}, {"slowest of the others", others}}
	if c.json {
		for _, g := range groups {
			for _, l := range g.all[:min(len(g.all), perReason)] {
				l.Why, _, _ = strings.Cut(g.why, " ")
				_ = json.NewEncoder(in.stdout).Encode(l) // The writer keeps the error.
			}
		}
		return exitDone
	}
	fmt.Fprintf(in.stdout, "%s: %s, %d failed, %d of the others retried\n", c.run, words.Count(len(all), "request"), len(failed), len(retried))
	table := tabwriter.NewWriter(in.stdout, 0, 0, 2, ' ', 0)
	for _, g := range groups {
		if len(g.all) == 0 {
			continue
		}
		fmt.Fprintf(table, "\n%s\n", strings.ToUpper(g.why[:1])+g.why[1:])
		for _, l := range g.all[:min(len(g.all), perReason)] {
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\tsent %s, %s of nginx\t%s\n", l.Request, words.Printable(l.Method), waterfall.Brief(l.Took, false), words.Printable(l.Note),
				times(l.Sends), words.Count(l.Attempts, "attempt"), l.Trial)
		}
	}
	_ = table.Flush() // The writer keeps the error.
	if len(all) > 0 {
		fmt.Fprintf(in.stdout, "\nDraw one: trivet trace %s\n", slices.Concat(failed, retried, all)[0].Request)
	}
	return exitDone
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
