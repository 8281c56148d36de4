package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"trivet/bench/stats"
	"trivet/lab/fleet"
	"trivet/nginx"
)

// Exit codes.
const (
	done        = 0
	missed      = 1 // a bar is not reached
	misuse      = 2
	invalid     = 3 // a row met errors, or nothing could be measured
	broken      = 4
	interrupted = 130
)

const manual = `bench measures Trivet side by side with others on this machine, in about ten minutes on two cores, and prints one table of ratios.

  bench [flags]            the table (make bench)
  bench [flags] sweep      the shipped nginx files against the best of a sweep over keepalive, workers and logging (make bench-sweep)

  --rows WORDS             only rows of which the number or the name contains one of these words, with commas: --rows 2a,sweep
  --pairs N                pairs of a row (default 9; with fewer nothing is claimed)
  --slice DURATION         length of one side's slice at a fixed rate (default 800ms)
  --json FILE              where the machine-readable copy goes (default .cache/bench/result.json)
  --traefik-whoami FILE    a traefik/whoami that is here already, where the Go module proxy has none
  --nginx PROGRAM          which nginx (default: the one on PATH, else .cache/nginx/nginx)
  --smoke                  one short pair of a row, in under a minute: tells that everything works, and judges nothing
  --list                   print the rows, and measure nothing

It runs in Trivet's source tree, on what make build, make nginx and bench/fetch have put there. docs/performance.md explains the table.

Exit codes: 0 no bar was missed; 1 one was; 2 wrong use; 3 a row met errors; 4 it could not be measured; 130 interrupted.
`

// options are the command line.
type options struct {
	sweep, smoke, list bool
	rows               []string
	pairs              int
	slice              time.Duration
	json, traefik      string
	nginx              string
}

func parse(args []string) (options, error) {
	o := options{}
	rows := ""
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(io.Discard) // It would print its errors, and run prints them too.
	set.StringVar(&rows, "rows", "", "")
	set.IntVar(&o.pairs, "pairs", stats.LeastPairs, "")
	set.DurationVar(&o.slice, "slice", 800*time.Millisecond, "")
	set.StringVar(&o.json, "json", filepath.Join(cache, "result.json"), "")
	set.StringVar(&o.traefik, "traefik-whoami", "", "")
	set.StringVar(&o.nginx, "nginx", "", "")
	set.BoolVar(&o.smoke, "smoke", false, "")
	set.BoolVar(&o.list, "list", false, "")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	switch words := set.Args(); {
	case len(words) == 1 && words[0] == "sweep":
		o.sweep = true
	case len(words) > 0:
		return o, fmt.Errorf("unexpected argument %q: did you mean sweep?", words[0])
	}
	if rows != "" {
		o.rows = strings.Split(rows, ",")
	}
	if o.smoke {
		o.pairs, o.slice = 1, 150*time.Millisecond
	}
	if o.pairs < 1 || o.pairs > 1000 {
		return o, fmt.Errorf("--pairs is %d: want 1 to 1000", o.pairs)
	}
	if o.slice < 50*time.Millisecond || o.slice > time.Minute {
		return o, fmt.Errorf("--slice is %v: want 50ms to 1m", o.slice)
	}
	return o, nil
}

// wants tells whether a row is to be measured.
func (o options) wants(row string) bool {
	return len(o.rows) == 0 || slices.ContainsFunc(o.rows, func(word string) bool { return strings.Contains(row, word) })
}

// cache is where bench/fetch puts what whoami is compared with, relative to the tree.
var cache = filepath.Join(".cache", "bench")

// run is the whole program; it returns the exit code. The table goes to stdout, words to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, manual)
		return done
	case err != nil:
		fmt.Fprintf(stderr, "bench: %v; bench --help lists the flags\n", err)
		return misuse
	}
	b := &bench{options: o, progress: newProgress(stderr)}
	jobs := b.jobs()
	if o.list {
		for _, j := range jobs {
			fmt.Fprintln(stdout, j.name)
		}
		return done
	}
	if !slices.ContainsFunc(jobs, func(j job) bool { return o.wants(j.name) }) {
		fmt.Fprintf(stderr, "bench: no row is called like %s; bench --list prints them\n", strings.Join(o.rows, " or "))
		return misuse
	}
	began := time.Now()
	err = b.measure(ctx, jobs)
	if len(b.table) > 0 {
		fmt.Fprint(stdout, text(b.table, time.Since(began)))
		err = errors.Join(err, b.save(time.Since(began)))
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(stderr, "bench: stopped by %v; what is not above was not measured\n", context.Cause(ctx))
		return interrupted
	case err != nil:
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return broken
	}
	return verdict(b.table, o.smoke)
}

// verdict is the exit code of a table.
func verdict(table []Row, smoke bool) int {
	code := done
	for _, r := range table {
		switch {
		case r.Verdict == stats.Errors:
			return invalid
		case r.Verdict == stats.NotReached && !smoke:
			code = missed
		}
	}
	return code
}

// bench is one run.
type bench struct {
	options
	progress *progress
	tree     string // absolute
	folder   string // of this run; every user may pass it
	nginxAt  nginx.Binary
	shipped  *shipped // the fleet on the shipped files, once somebody has wanted it
	table    []Row
	parts    int // names of folders
}

// job is what one group of rows takes.
type job struct {
	name    string
	measure func(context.Context) error
}

func (b *bench) jobs() []job {
	if b.sweep {
		return []job{{"sweep http", b.sweepOf(false)}, {"sweep grpc", b.sweepOf(true)}}
	}
	return slices.Concat(b.doorJobs(), b.tuningJobs(), b.singleJobs(), b.upJobs(), b.generatorJobs())
}

// measure carries out the jobs that are wanted. The first thing that breaks ends it; what merely cannot be had on this machine is a row.
func (b *bench) measure(ctx context.Context, jobs []job) (err error) {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer func() {
		if b.shipped != nil {
			err = errors.Join(err, b.shipped.stop())
		}
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w\nthe logs are in %s", err, b.folder)
			return
		}
		err = os.RemoveAll(b.folder)
	}()
	wanted := slices.DeleteFunc(slices.Clone(jobs), func(j job) bool { return !b.wants(j.name) })
	for n, j := range wanted {
		b.progress.begin(fmt.Sprintf("[%d/%d] %s", n+1, len(wanted), j.name))
		err := j.measure(ctx)
		b.progress.end()
		if ctx.Err() != nil {
			return nil
		}
		if why := (*unavailable)(nil); errors.As(err, &why) {
			b.add(Row{What: j.name, Verdict: stats.NotMeasured, Why: why.Error()})
		} else if err != nil {
			return fmt.Errorf("%s: %w", j.name, err)
		}
	}
	return nil
}

// unavailable is why rows cannot be measured on this machine.
type unavailable struct{ why string }

func (u *unavailable) Error() string { return u.why }

// prepare finds what is needed, and makes the run's folder.
func (b *bench) prepare(ctx context.Context) (err error) {
	if b.tree, err = os.Getwd(); err != nil {
		return err
	}
	for _, name := range []string{"bin/whoami", "bin/trivet", cache + "/bin/bare"} {
		if _, err := os.Stat(name); err != nil {
			return fmt.Errorf("%w; type: make bench (in Trivet's source tree)", err)
		}
	}
	if b.nginxAt, err = b.findNginx(ctx); err != nil {
		return err
	}
	// A folder of its own for everything, also for what `trivet up` keeps: other runs' folders stay out of it.
	if b.folder, err = os.MkdirTemp("", "trivet-bench-"); err != nil {
		return err
	}
	return os.Chmod(b.folder, 0o711)
}

func (b *bench) findNginx(ctx context.Context) (nginx.Binary, error) {
	if b.nginx != "" {
		return nginx.Find(ctx, b.nginx)
	}
	found, err := nginx.Find(ctx, "nginx")
	if err != nil {
		if cached, err := nginx.Find(ctx, filepath.Join(".cache", "nginx", "nginx")); err == nil {
			return cached, nil
		}
	}
	return found, err
}

// part is a new folder of the run's.
func (b *bench) part(name string) (string, error) {
	b.parts++
	dir := filepath.Join(b.folder, fmt.Sprintf("%d-%s", b.parts, name))
	if err := os.Mkdir(dir, 0o711); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711) // Mkdir's mode went through the umask.
}

func (b *bench) whoami() string { return filepath.Join(b.tree, "bin", "whoami") }
func (b *bench) trivet() string { return filepath.Join(b.tree, "bin", "trivet") }
func (b *bench) bare() string   { return filepath.Join(b.tree, cache, "bin", "bare") }

// fetched is the path of a program that bench/fetch got, or why there is none.
func (b *bench) fetched(name string) (string, error) {
	path := filepath.Join(b.tree, cache, name, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return "", b.lacks(name, "bench/fetch has not got "+name)
}

// lacks is why something that bench/fetch gets is not there, in its own words if it has some.
func (b *bench) lacks(name, otherwise string) error {
	if why, err := os.ReadFile(filepath.Join(b.tree, cache, name, "why")); err == nil {
		otherwise = strings.TrimSpace(string(why))
	}
	return &unavailable{otherwise}
}

// startFleet starts a fleet of three on the shipped files.
func (b *bench) startFleet(ctx context.Context, name string, env ...string) (*fleet.Fleet, error) {
	dir, err := b.part(name)
	if err != nil {
		return nil, err
	}
	return fleet.Start(ctx, fleet.Options{Instances: 3, Whoami: b.whoami(), Nginx: b.nginxAt, Dir: dir, Env: env})
}
