// Command page measures what the page of trivet up costs at a fixed load: CPU time of trivet with and without an open page and, in a real
// Chromium, CPU time and memory of the browser.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Exit codes, as those of bench.
const (
	exitOK          = 0
	exitMissed      = 1 // a limit was missed
	exitUsage       = 2
	exitErrors      = 3 // the load was not what was asked for
	exitFailed      = 4 // nothing could be measured
	exitInterrupted = 130
)

const manual = `Usage: page [flags]

Measure what the page of trivet up costs, and print a table. Run it in Trivet's
source tree through make bench-page, on an idle machine.

  --rate N         requests per second, half of them HTTP and half gRPC (default 2000)
  --slice DURATION how long each measurement lasts (default 20s)
  --blocks N       how often trivet is measured with and without a page (default 3)
  --browser        also open the page in a real Chromium: ten minutes more
  --chromium FILE  the browser (default: what e2e/browser/fetch --which prints)
  --early, --late DURATION
                   when the browser's heap is measured (default 2m and 10m)
  --smoke          one short measurement of each: shows that everything works and
                   judges nothing

Exit codes: 0 no limit was missed; 1 one was; 2 usage error; 3 the load was not
sent as planned; 4 nothing could be measured; 130 interrupted.

docs/performance.md explains the table.
`

type options struct {
	rate        float64
	slice       time.Duration
	blocks      int
	browser     bool
	chromium    string
	early, late time.Duration
	smoke       bool
}

func parse(args []string) (options, error) {
	var o options
	set := flag.NewFlagSet("page", flag.ContinueOnError)
	set.SetOutput(io.Discard) // run prints the error.
	set.Float64Var(&o.rate, "rate", 2000, "")
	set.DurationVar(&o.slice, "slice", 20*time.Second, "")
	set.IntVar(&o.blocks, "blocks", 3, "")
	set.BoolVar(&o.browser, "browser", false, "")
	set.StringVar(&o.chromium, "chromium", "", "")
	set.DurationVar(&o.early, "early", 2*time.Minute, "")
	set.DurationVar(&o.late, "late", 10*time.Minute, "")
	set.BoolVar(&o.smoke, "smoke", false, "")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if set.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if o.smoke {
		o.rate, o.slice, o.blocks, o.early, o.late = 100, time.Second, 1, time.Second, 2*time.Second
	}
	switch {
	case o.rate < 2 || o.rate > 10_000:
		return o, fmt.Errorf("--rate is %v: want 2 to 10000", o.rate)
	case o.slice < time.Second || o.slice > time.Minute:
		return o, fmt.Errorf("--slice is %v: want 1s to 1m", o.slice)
	case o.blocks < 1 || o.blocks > 100:
		return o, fmt.Errorf("--blocks is %d: want 1 to 100", o.blocks)
	case o.early < time.Second || o.late <= o.early:
		return o, fmt.Errorf("--early is %v and --late %v: want 1s or more, and the second after the first", o.early, o.late)
	}
	return o, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, manual)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "page: %v; page --help lists the flags\n", err)
		return exitUsage
	}
	rows, err := measure(ctx, o, func(text string) { fmt.Fprintln(stderr, "page:", text) })
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "page: interrupted")
		return exitInterrupted
	case err != nil:
		fmt.Fprintln(stderr, "page:", err)
		return exitFailed
	}
	print(stdout, o, rows)
	return exitCode(rows, o.smoke)
}
