package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"trivet/lab/experiment"
	"trivet/lab/fleet"
	"trivet/lab/record"
	"trivet/lab/report"
	"trivet/lab/scenario"
	"trivet/lab/trial"
	"trivet/nginx"
)

func runCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "run [flags] FILE|DIR...",
		Short: "run experiments and judge their expectations",
		Long: `Run experiments, one after the other. Each starts instances and an nginx of its
own, on ports that the kernel chooses, sends HTTP and gRPC at a planned rate,
does to instances and nginx what its file says, reconciles what client, nginx
and instances recorded of each request, and judges the expectations.

  FILE  an experiment; DIR: all of its files *.yaml

With --target an experiment runs on a stack that is there already: a namespace
of Kubernetes (k8s:NAMESPACE), a project of Compose (compose, compose:PROJECT),
or whatever responds at a URL. http://HOST:8080 serves gRPC at port 9090, unless
",grpc://HOST:PORT" follows; https://HOST:8443 serves both. What the target
cannot give is an error before anything starts.

All files are checked before anything starts. The run directory, printed at the
end, has all records and logs; trivet report prints the newest report again. The
directories of the newest five finished runs stay, and those with --keep; a new
run removes the others and says which. docs/experiments.md explains reports and
how to write an experiment, docs/records.md the records.`,
		ValidArgsFunction: completeExperiments,
		Annotations: map[string]string{exitCodes: `0 all expectations passed; 1 an expectation failed; 2 usage error, or
errors in a file: nothing was started; 3 a run is invalid, and says nothing
about nginx: the load was not as planned, the machine was too busy, the records
contradict each other, or an expectation is inconclusive; 4 lab error (no nginx,
no room, stdout not writable); 130 interrupted. Of several experiments the
highest counts.`},
		Example: `  trivet run experiments/kill-one.yaml
  trivet run experiments                     all of them
  trivet run --watch experiments/kill-one.yaml    and watch it in a browser
  trivet run --json experiments/kill-one.yaml |
    jq '.experiments[].expectations[] | select(.passed | not)'`,
	}
	call := addFileFlags(c, "print the report as one JSON document, as trivet report --format json does; messages go to stderr")
	var over overTLS
	c.Flags().BoolVar(&over.tls, "tls", false, "send the load over TLS, in every variant, with certificates of the trial's own authority")
	c.Flags().BoolVar(&over.mtls, "mtls", false, "let nginx and the instances use mutual TLS, in every variant")
	at := addTargetFlags(c)
	page := addWatchFlags(c)
	keep := c.Flags().Bool("keep", false, "never remove the run directory; to undo that, remove the file keep in it")
	return c, func(ctx context.Context, in invocation) int {
		out := newOutcome(in, call.json)
		out.starts = true
		// A reader like head may close the pipe: the run goes on, and the exit code says that the report was not written. SIGPIPE would end it.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
		shown := newProgress(in.stderr)
		stop := context.AfterFunc(ctx, func() {
			if shown.stop(); isTerminal(in.stderr) {
				fmt.Fprintln(in.stderr) // ^C stays as it is.
			}
			fmt.Fprintf(in.stderr, "trivet: stopping (%v); a second Ctrl-C ends at once\n", context.Cause(ctx))
		})
		defer stop()
		in.flagErr = errors.Join(in.flagErr, page.check())
		s, err := call.ready(ctx, in, func() (trial.Stack, error) { return at.open(ctx, c) }, over)
		if err != nil {
			return out.refused(ctx, err)
		}
		w, err := page.open(ctx, in)
		if err != nil {
			return out.failed(ctx, err)
		}
		defer w.close(ctx)
		return runSeries(ctx, s, out, shown, *keep, w)
	}
}

// ready checks all that can be checked before anything starts. A usageError joins what is wrong with the command line or the files.
func (c *fileCall) ready(ctx context.Context, in invocation, open func() (trial.Stack, error), over overTLS) (setup, error) {
	stack, err := open()
	if err != nil {
		return setup{}, errors.Join(in.flagErr, err)
	}
	files, err := c.read(ctx, in, stack)
	if _, usage := errors.AsType[usageError](err); err != nil && !usage || in.flagErr != nil {
		return setup{}, err
	}
	if stack == nil {
		over.apply(files)
		err = errors.Join(err, local(files))
	}
	s, otherErr := prepare(ctx, files, c, stack)
	if err != nil && errors.Is(otherErr, nginx.ErrMissing) && c.nginx == "" {
		otherErr = nil // What is wrong with the files goes first.
	}
	return s, errors.Join(err, otherErr)
}

// overTLS is what trivet run turns on in every variant.
type overTLS struct{ tls, mtls bool }

func (o overTLS) apply(files []*experiment.File) {
	for _, file := range files {
		for i := range file.Scenarios {
			s := &file.Scenarios[i]
			s.TLS, s.MTLS = s.TLS || o.tls, s.MTLS || o.mtls
		}
	}
}

// fileCall is the command line of trivet run and trivet check.
type fileCall struct {
	nginx string // "": look for it
	json  bool
}

func addFileFlags(c *cobra.Command, jsonUsage string) *fileCall {
	call := new(fileCall)
	addNginxFlag(c, &call.nginx)
	c.Flags().BoolVar(&call.json, "json", false, jsonUsage)
	return call
}

// read is readAll of the arguments. Its usageError joins also what is wrong with the flags.
func (c *fileCall) read(ctx context.Context, in invocation, on trial.Stack) ([]*experiment.File, error) {
	// A file may have been taken for the value of a wrong flag.
	if len(in.args) == 0 && in.flagErr == nil {
		return nil, usageError{errors.New("which experiments? Name files or directories, like experiments/kill-one.yaml; `trivet list` shows what there is")}
	}
	files, err := readAll(ctx, in.args, on)
	if _, usage := errors.AsType[usageError](err); in.flagErr != nil && (err == nil || usage) {
		err = usageError{errors.Join(in.flagErr, err)}
	}
	return files, err
}

// readAll reads the experiments in files and directories for a stack, which may be nil, and returns those whose edits nginx can check. A usageError joins what is wrong
// with files; any other error is one of this machine, or the end of ctx.
func readAll(ctx context.Context, paths []string, on trial.Stack) ([]*experiment.File, error) {
	var files []*experiment.File
	all, err := filesOf(paths)
	errs := []error{err}
	for _, path := range all {
		file, err := read(ctx, path, on)
		if errors.Is(err, experiment.ErrMachine) || ctx.Err() != nil {
			return nil, err
		}
		if file != nil {
			files = append(files, file)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return files, usageError{err}
	}
	return files, nil
}

// read is experiment.ReadFor, which can wait for a pipe, until ctx ends.
func read(ctx context.Context, path string, on trial.Stack) (*experiment.File, error) {
	type result struct {
		file *experiment.File
		err  error
	}
	done := make(chan result, 1)
	go func() {
		file, err := readFor(path, on)
		done <- result{file, err}
	}()
	select {
	case r := <-done:
		return r.file, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// readFor is experiment.ReadFor of a stack that may be nil.
func readFor(path string, on trial.Stack) (*experiment.File, error) {
	if on == nil {
		return experiment.Read(path)
	}
	return experiment.ReadFor(path, on)
}

// local returns a usageError if some of the experiments can be run on a target only.
func local(files []*experiment.File) error {
	var errs []error
	for _, file := range files {
		errs = append(errs, file.Local())
	}
	if err := errors.Join(errs...); err != nil {
		return usageError{err}
	}
	return nil
}

// filesOf replaces directories by their files *.yaml.
func filesOf(paths []string) ([]string, error) {
	var all []string
	var errs []error
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || !info.IsDir() {
			all = append(all, path) // Reading it reports what is wrong with it.
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
			err = fmt.Errorf("%s: no *.yaml file in this directory", path)
		}
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

// A setup is what a run needs.
type setup struct {
	files []*experiment.File
	stack trial.Stack // nil: each trial starts a fleet
	fleet.Local
	trivet string
}

// programs are those of the services that the experiments have instances of.
func (s *setup) programs() servicePrograms {
	if s.stack != nil {
		return servicePrograms{}
	}
	all := servicePrograms{whoami: &s.Whoami}
	for _, file := range s.files {
		for _, variant := range file.Scenarios {
			if variant.Front > 0 {
				all[front] = &s.Front
			}
		}
	}
	return all
}

// prepare finds the programs, and lets nginx check each variant's configuration. A run on a stack needs no program but this one.
func prepare(ctx context.Context, files []*experiment.File, call *fileCall, stack trial.Stack) (s setup, err error) {
	p := here()
	s.files, s.trivet, s.stack = files, "/proc/self/exe", stack
	if stack != nil {
		return s, nil
	}
	if s.Nginx, err = p.nginx(ctx, nginx.Find, call.nginx); err != nil {
		return s, err
	}
	if err := s.programs().find(p); err != nil {
		return s, err
	}
	return s, checkEdits(ctx, files, s.Nginx)
}

// system is what a trial runs on. Tests, which run at the same time as others, replace it by one that is not sampled: a verdict would depend on the
// others.
var system = func(f *fleet.Fleet) trial.System { return f }

// series is the run in a run directory.
func (s setup) series(dir string) trial.Series {
	all := trial.Series{
		Dir: dir, Nginx: s.Nginx.Version.String(), Trivet: s.trivet,
		Start: func(ctx context.Context, of scenario.Scenario, dir string, observe func(record.Event)) (trial.System, error) {
			f, err := s.Start(ctx, of, dir, observe)
			if err != nil {
				return nil, err
			}
			return system(f), nil
		},
	}
	if s.stack != nil {
		all.Nginx, all.Start = s.stack.Nginx(), onTarget(s.stack)
	}
	for _, file := range s.files {
		all.Experiments = append(all.Experiments, file.Experiment)
		all.Sources = append(all.Sources, file.Source)
	}
	return all
}

// checkEdits lets nginx check the edits of all files. A usageError joins what it refuses.
func checkEdits(ctx context.Context, files []*experiment.File, binary nginx.Binary) error {
	var refused []error
	for _, file := range files {
		err := file.Test(ctx, binary)
		if _, ok := errors.AsType[*experiment.Diagnostic](err); ok {
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

// experimentsBase is where trivet run makes run directories. Those of trivet up, which trivet logs shows, are elsewhere.
func experimentsBase() string { return record.Base() + "-experiments" }

// removed says which run directories are gone because of a new run; "" if none.
func removed(run *record.Run) string {
	if len(run.Removed) == 0 {
		return ""
	}
	return fmt.Sprintf("removed what was older than the newest %d finished runs: %s", record.KeptRuns, strings.Join(run.Removed, ", "))
}

// runSeries runs the experiments in a run directory, and returns the exit code.
func runSeries(ctx context.Context, s setup, out outcome, shown *progress, keep bool, w *watchedRun) int {
	run, err := record.NewRun(experimentsBase())
	if err != nil {
		return out.failed(ctx, err)
	}
	defer run.Close()
	if text := removed(run); text != "" {
		out.say(text)
	}
	if keep {
		if err := run.Keep(); err != nil {
			return out.failed(ctx, err)
		}
	}
	if err := s.programs().build(ctx, here(), run.Dir, out.say); err != nil {
		return out.failed(ctx, err)
	}
	bin := filepath.Join(run.Dir, "bin")
	defer os.RemoveAll(bin)
	pinned := s.programs()
	pinned["trivet"] = &s.trivet
	for name, program := range pinned {
		f, err := pin(bin, name, program)
		if err != nil {
			return out.failed(ctx, err)
		}
		defer f.Close()
	}
	if err := fleet.AdoptOrphans(); err != nil {
		out.say(err.Error()) // Zombies may stay; nothing else depends on it.
	}
	series := s.series(run.Dir)
	if s.stack != nil {
		describeTarget(out.in.stderr, s.stack)
	}
	series.Watch = w.watching(run.Dir, len(series.Experiments), shown.watch)
	var r *report.Run
	var readErr error
	series.Done = func() {
		shown.clear()
		if r == nil {
			r, readErr = report.Begin(run.Dir)
		}
		if readErr == nil {
			var e report.Experiment
			if e, readErr = r.Next(); readErr == nil {
				out.experiment(e)
				w.reports <- e
			}
		}
	}
	shown.begin(series.Experiments)
	defer shown.clear()
	runErr := series.Run(ctx)
	close(w.reports)
	shown.clear()
	if r == nil && readErr == nil {
		r, readErr = report.Begin(run.Dir)
	}
	if readErr == nil {
		readErr = r.Complete()
	}
	switch {
	case r == nil && runErr != nil:
		return out.failed(ctx, runErr) // Before there was anything to read.
	case readErr != nil:
		return out.failed(ctx, errors.Join(runErr, readErr))
	}
	return out.complete(r, runErr)
}
