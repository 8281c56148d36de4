package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"trivet/internal/flags"
	"trivet/lab/experiment"
	"trivet/lab/fleet"
	"trivet/lab/report"
	"trivet/lab/trial"
	"trivet/nginx"
)

const runManual = `trivet run carries out experiments, one after the other. Each has instances and an nginx of its own, on ports that the kernel
chooses; drives HTTP and gRPC through it at a planned rate; does to the instances what its file says; joins what client, nginx and
instances wrote of each request; and tells whether what was expected held.

  trivet run [flags] FILE|FOLDER...

  FILE             an experiment; FOLDER: all of its files *.yaml
  --nginx PROGRAM  which nginx (default: the one on PATH, else .cache/nginx/nginx, which make nginx gets)
  --json           the report as one JSON document on stdout, as of trivet report --as json; words go to stderr

All files are read and checked before anything starts.

Exit codes: 0 all expectations held; 1 one did not; 2 wrong use, or a file with faults: nothing was started; 3 a run is invalid: the load
was not as planned, or the witnesses' words do not fit together, so that nothing can be said; 4 the laboratory broke (no nginx, no
room); 130 interrupted. Of several experiments the highest counts. What cannot be written to is 4, too.

Examples:

  trivet run experiments/kill-one.yaml
  trivet run experiments                                    all of them
  trivet run --json experiments/kill-one.yaml | jq '.experiments[].expectations[] | select(.held | not)'

The run folder, which is told at the end, has all records and logs; trivet report shows the newest again. docs/laboratory.md teaches to
read a result and to write an experiment; docs/records.md says what is in the records.
`

// runCall is the command line of `trivet run`, and of `trivet check`.
type runCall struct {
	paths []string
	nginx string // "": look for it
	json  bool
}

func parseRun(name string, args []string) (runCall, error) {
	c := runCall{json: slices.Contains(args, "--json") || slices.Contains(args, "-json")} // Errors too are to be JSON then.
	set := flags.New(name)
	set.StringVar(&c.nginx, "nginx", "", "")
	set.BoolVar(&c.json, "json", c.json, "")
	words, err := flags.Parse(set, args)
	if errors.Is(err, flag.ErrHelp) {
		return c, err
	}
	// After a wrong flag the files may have been taken for its value.
	if len(words) == 0 && (err == nil || !slices.ContainsFunc(args, func(a string) bool { return !strings.HasPrefix(a, "-") })) {
		err = errors.Join(err, fmt.Errorf("which experiments? name files or folders, like %s experiments/kill-one.yaml; `trivet list` shows what there is", name))
	}
	c.paths = words
	return c, err
}

// runExperiments is `trivet run`.
func runExperiments(ctx context.Context, in invocation) int {
	call, err := parseRun("trivet run", in.args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(in.stdout, in.manual)
		return done
	}
	out := newOutcome(in, call.json)
	out.starts = true
	// Who reads along may go, as head does: the run goes on, and what could not be written is told and is an exit code. It would be a death
	// otherwise.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err != nil {
		return out.misused(err)
	}
	stop := context.AfterFunc(ctx, func() {
		if isTerminal(in.stderr) {
			fmt.Fprintln(in.stderr) // The line that changes, and ^C, stay as they are.
		}
		fmt.Fprintf(in.stderr, "trivet: stopping (%v); a second Ctrl-C ends at once\n", context.Cause(ctx))
	})
	defer stop()
	files, err := readAll(ctx, call.paths)
	if _, wrong := errors.AsType[usageError](err); err != nil && !wrong {
		return out.refused(ctx, err)
	}
	series, fault := prepare(ctx, files, call)
	if err != nil && errors.Is(fault, nginx.ErrMissing) && call.nginx == "" {
		fault = nil // There is enough to do without one.
	}
	if err := errors.Join(err, fault); err != nil {
		return out.refused(ctx, err)
	}
	return carryOut(ctx, series, out)
}

// readAll reads the experiments in files and folders, and returns those whose edits nginx can be asked about. What is wrong with files is
// joined in a usageError; any other error is one of this machine, or the end of ctx.
func readAll(ctx context.Context, paths []string) ([]*experiment.File, error) {
	var files []*experiment.File
	all, fault := filesOf(paths)
	faults := []error{fault}
	for _, path := range all {
		file, err := read(ctx, path)
		if errors.Is(err, experiment.ErrMachine) || ctx.Err() != nil {
			return nil, err
		}
		if file != nil {
			files = append(files, file)
		}
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return files, usageError{err}
	}
	return files, nil
}

// read is experiment.Read, which a pipe can keep waiting.
func read(ctx context.Context, path string) (*experiment.File, error) {
	type result struct {
		file *experiment.File
		err  error
	}
	done := make(chan result, 1)
	go func() {
		file, err := experiment.Read(path)
		done <- result{file, err}
	}()
	select {
	case r := <-done:
		return r.file, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// filesOf puts the files *.yaml of a folder in its place.
func filesOf(paths []string) ([]string, error) {
	var all []string
	var faults []error
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || !info.IsDir() {
			all = append(all, path) // What is wrong with it is told when it is read.
			continue
		}
		found := len(all)
		entries, err := os.ReadDir(path)
		for _, entry := range entries {
			if filepath.Ext(entry.Name()) == ".yaml" {
				all = append(all, filepath.Join(path, entry.Name()))
			}
		}
		if err == nil && len(all) == found {
			err = fmt.Errorf("%s: no file *.yaml is in that folder", path)
		}
		faults = append(faults, err)
	}
	return all, errors.Join(faults...)
}

// prepare finds the programs, and asks nginx whether it accepts each variant's configuration.
func prepare(ctx context.Context, files []*experiment.File, call runCall) (s trial.Series, err error) {
	p := here()
	s.Files = files
	if s.Nginx, err = p.nginx(ctx, nginx.Find, call.nginx); err != nil {
		return s, err
	}
	if s.Trivet, err = os.Executable(); err != nil {
		return s, err
	}
	if s.Whoami, err = p.whoami(); err != nil {
		return s, err
	}
	return s, accepted(ctx, files, s.Nginx)
}

// accepted asks an nginx about all files. What it refuses is a usageError.
func accepted(ctx context.Context, files []*experiment.File, binary nginx.Binary) error {
	var refused []error
	for _, file := range files {
		err := file.Test(ctx, binary)
		if fault, ok := errors.AsType[*experiment.Fault](err); ok && fault != nil {
			refused = append(refused, err)
		} else if err != nil {
			return err
		}
	}
	if err := errors.Join(refused...); err != nil {
		return usageError{err}
	}
	return nil
}

// experimentsBase is the folder of the runs of experiments. Those of `trivet up`, which `trivet logs` shows, are elsewhere.
func experimentsBase() string { return fleet.Base() + "-experiments" }

// carryOut runs the series in a run folder, and returns the exit code.
func carryOut(ctx context.Context, s trial.Series, out outcome) int {
	folder, err := fleet.NewRun(experimentsBase())
	if err != nil {
		return out.failed(ctx, err)
	}
	defer folder.Close()
	s.Dir = folder.Dir
	if s.Whoami == "" {
		out.say("building whoami, because there is none beside this trivet")
		if s.Whoami, err = here().buildWhoami(ctx, folder.Dir); err != nil {
			return out.failed(ctx, err)
		}
	}
	if err := fleet.AdoptOrphans(); err != nil {
		out.say(err.Error()) // Zombies may stay; nothing else depends on it.
	}
	view := newView(out.in.stderr, s.Files)
	s.Watch = view.watch
	var made *report.Run
	var unreadable error
	s.Done = func() {
		view.clear()
		if made == nil {
			made, unreadable = report.Begin(s.Dir)
		}
		if unreadable == nil {
			var e report.Experiment
			if e, unreadable = made.Next(); unreadable == nil {
				out.experiment(e)
			}
		}
	}
	view.begin()
	broke := s.Run(ctx)
	view.clear()
	if made == nil && unreadable == nil {
		made, unreadable = report.Begin(s.Dir)
	}
	if unreadable == nil {
		unreadable = made.Complete()
	}
	switch {
	case made == nil && broke != nil:
		return out.failed(ctx, broke) // Before there was anything to read.
	case unreadable != nil:
		return out.failed(ctx, errors.Join(broke, unreadable))
	}
	return out.complete(made, broke)
}

// careful remembers that something could not be written.
type careful struct {
	io.Writer
	fault error // the first; from then on nothing is written
}

func (c *careful) Write(p []byte) (n int, err error) {
	if c.fault == nil {
		n, c.fault = c.Writer.Write(p)
	}
	return n, c.fault
}

// outcome tells what came out, to people or to programs.
type outcome struct {
	in     invocation
	out    *careful // in.stdout
	json   bool
	starts bool // processes, if nothing is wrong
}

func newOutcome(in invocation, json bool) outcome {
	return outcome{in: in, out: &careful{Writer: in.stdout}, json: json}
}

func (o outcome) say(text string) { fmt.Fprintln(o.in.stderr, "trivet:", text) }

func (o outcome) text() report.Text { return report.Text{Writer: o.out, Colour: coloured(o.in.stdout)} }

// document writes the one JSON document of a call that leads to no report.
func (o outcome) document(r refusal) {
	out := json.NewEncoder(o.out)
	out.SetEscapeHTML(false)
	_ = out.Encode(r) // o.out remembers.
}

// refused tells why nothing begins, however much is wrong. Of what was interrupted nothing is wrong that is known.
func (o outcome) refused(ctx context.Context, err error) int {
	if _, wrong := errors.AsType[usageError](err); wrong && ctx.Err() == nil {
		return o.misused(err)
	}
	return o.failed(ctx, err)
}

// misused tells all faults of the call or of the files.
func (o outcome) misused(err error) int {
	if o.json {
		o.document(refusal{Code: misuse, Faults: faultsOf(err)})
		return misuse
	}
	complain(o.in.stderr, err)
	if o.starts {
		o.say("nothing was started")
	}
	return misuse
}

// failed tells why there is no report.
func (o outcome) failed(ctx context.Context, err error) int {
	verdict := report.Broke
	if ctx.Err() != nil {
		verdict = report.Interrupted
	}
	if o.json {
		o.document(refusal{Code: verdict.Code(), Verdict: verdict, Error: err.Error()})
	} else if verdict == report.Broke {
		complain(o.in.stderr, err)
	}
	return verdict.Code()
}

// experiment tells of one that has ended.
func (o outcome) experiment(e report.Experiment) {
	if !o.json {
		o.text().Experiment(e)
	}
}

// complete tells what all came to.
func (o outcome) complete(r *report.Run, broke error) int {
	if o.json {
		_ = report.JSON(o.out, r) // o.out remembers.
	} else {
		o.text().Sum(r)
	}
	if o.out.fault != nil {
		broke = errors.Join(broke, fmt.Errorf("the report could not be written to the end: %w; trivet report tells it again", o.out.fault))
	}
	if broke != nil && r.Verdict != report.Interrupted {
		complain(o.in.stderr, broke) // Also what could not be written into the run folder.
		return report.Broke.Code()
	}
	return r.Code
}

// refusal is the JSON document of a call that leads to no report.
type refusal struct {
	Code    int            `json:"code"`
	Verdict report.Verdict `json:"verdict,omitempty"`
	Error   string         `json:"error,omitempty"`
	Faults  []wrong        `json:"faults,omitempty"`
}

// wrong is one fault.
type wrong struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

// faultsOf takes joined errors apart, however deep.
func faultsOf(err error) []wrong {
	if usage, ok := err.(usageError); ok {
		return faultsOf(usage.error)
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []wrong
		for _, one := range joined.Unwrap() {
			all = append(all, faultsOf(one)...)
		}
		return all
	}
	switch f := err.(type) {
	case *experiment.Fault:
		return []wrong{{f.File, f.Line, f.Column, f.Message}}
	case *fs.PathError:
		return []wrong{{File: f.Path, Message: f.Err.Error()}}
	}
	return []wrong{{Message: err.Error()}}
}
