// Command bench compares Trivet with other programs side by side and prints one table of ratios.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"trivet/bench/stats"
)

// Exit codes.
const (
	exitOK          = 0
	exitMissed      = 1 // a bar was not reached
	exitUsage       = 2
	exitErrors      = 3 // a row met errors
	exitFailed      = 4 // nothing could be measured
	exitInterrupted = 130
)

const manual = `Usage: bench [flags] [sweep]

Compare Trivet with other programs on this machine and print a table of ratios.
Run it in Trivet's source tree through make: make bench, make bench-sweep, make
bench-smoke. They build it and run bench/fetch, which downloads the programs to
compare with into .cache/bench and prints each; nothing is installed.

  sweep                  compare the shipped nginx files with the best of 45
                         variants of keepalive, workers and logging
  --rows WORDS           measure rows whose title contains one of these words,
                         separated by commas; --list prints the titles
  --blocks N             blocks per row (default 9; fewer allow no claim). Both
                         sides are restarted for each block
  --slice DURATION       length of a slice at a fixed rate (default 500ms)
  --seed N               seed of the random order of sides (default: random; the
                         table shows it)
  --traefik-whoami FILE  also compare with this traefik/whoami, a program that
                         the Go module proxy cannot serve
  --nginx PROGRAM        nginx to use (default: the one on PATH, else
                         .cache/nginx/nginx, which make nginx downloads)
  --json FILE            where the machine-readable copy goes
                         (default .cache/bench/result.json)
  --smoke                one short block per row, about a minute: shows that
                         everything works and judges nothing
  --list                 print the titles of the rows and measure nothing

Exit codes: 0 no bar was missed; 1 a bar was missed; 2 usage error; 3 a row met
errors; 4 nothing could be measured; 130 interrupted.

Examples:
  make bench ARGS="--rows A/A"
  make bench ARGS="--rows '2a gRPC through' --blocks 15"

docs/performance.md explains the table.
`

type options struct {
	sweep, smoke, list bool
	rows               []string
	blocks             int
	slice              time.Duration
	seed               uint64
	json, traefik      string
	nginx              string
}

func main() {
	first := make(chan os.Signal, 1)
	signal.Notify(first, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		s := <-first
		signal.Stop(first) // A second signal ends bench at once, and the kernel then ends what it has started.
		cancel(errors.New(s.String()))
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func parse(args []string) (options, error) {
	o := options{}
	rows := ""
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(io.Discard) // run prints the error.
	set.StringVar(&rows, "rows", "", "")
	set.IntVar(&o.blocks, "blocks", stats.MinBlocks, "")
	set.DurationVar(&o.slice, "slice", 500*time.Millisecond, "")
	set.Uint64Var(&o.seed, "seed", rand.Uint64N(1_000_000), "")
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
		o.blocks, o.slice = 1, 100*time.Millisecond
	}
	if o.blocks < 1 || o.blocks > 1000 {
		return o, fmt.Errorf("--blocks is %d: want 1 to 1000", o.blocks)
	}
	if o.slice < 50*time.Millisecond || o.slice > time.Minute {
		return o, fmt.Errorf("--slice is %v: want 50ms to 1m", o.slice)
	}
	if o.traefik != "" {
		path, err := filepath.Abs(o.traefik)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return o, fmt.Errorf("--traefik-whoami: %w", err)
		}
		o.traefik = path
	}
	return o, nil
}

// wants reports whether a row was selected.
func (o options) wants(title string) bool {
	return len(o.rows) == 0 || slices.ContainsFunc(o.rows, func(word string) bool { return strings.Contains(title, word) })
}

// run returns the exit code. The table goes to stdout, progress and errors to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, manual)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "bench: %v; bench --help lists the flags\n", err)
		return exitUsage
	}
	b := &bench{options: o, progress: newProgress(stderr), rng: rand.New(rand.NewPCG(o.seed, 0))}
	jobs := slices.DeleteFunc(b.jobs(), func(j *job) bool { return !o.wants(j.title()) })
	if o.list {
		for _, j := range jobs {
			fmt.Fprintln(stdout, j.title())
		}
		return exitOK
	}
	if len(jobs) == 0 {
		fmt.Fprintf(stderr, "bench: --rows: no title contains %s; bench --list prints them\n", strings.Join(o.rows, " or "))
		return exitUsage
	}
	began := time.Now()
	err = b.run(ctx, jobs)
	if len(b.table) > 0 {
		fmt.Fprint(stdout, b.text(time.Since(began)))
		err = errors.Join(err, b.save(time.Since(began)))
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(stderr, "bench: stopped by %v; rows that are missing above were not measured\n", context.Cause(ctx))
		return exitInterrupted
	case err != nil:
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return exitFailed
	}
	return exitCode(b.table, o.smoke)
}

func exitCode(table []Row, smoke bool) int {
	code := exitOK
	for _, r := range table {
		switch {
		case r.Verdict == stats.Errors:
			return exitErrors
		case r.Verdict == stats.NotReached && !smoke:
			code = exitMissed
		}
	}
	return code
}
