package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"trivet/bench/stats"
	"trivet/nginx/confedit"
)

// generatorRate is what CPU per request is compared at: far below what any of them can hold, and what the experiments ask for. A smoke,
// which judges nothing, asks for what a machine holds that is busy with something else.
func (b *bench) generatorRate() int {
	if b.smoke {
		return 200
	}
	return 2000
}

// mostLate is the lateness p99 with which a generator still holds its rate.
const mostLate = time.Millisecond

// generatorJobs are what is measured of what makes and judges the load.
func (b *bench) generatorJobs() []job {
	return []job{
		{"6 load over HTTP, against vegeta", func(ctx context.Context) error { return b.againstGenerator(ctx, "vegeta", 1.5) }},
		{"6 load over gRPC, against ghz", func(ctx context.Context) error { return b.againstGenerator(ctx, "ghz", 1) }},
		{"6 the ledger", b.ledgerCost},
	}
}

// spent is what one run of a generator came to.
type spent struct {
	cpu  time.Duration
	late time.Duration // p99
}

// A generator sends requests evenly for some time, at so many a second. An error means that it did not: answers failed, or requests are missing.
type generator struct {
	name string
	run  func(ctx context.Context, rate int, d time.Duration) (spent, error)
	idle time.Duration // CPU time of a run of one request: starting and ending
}

// againstGenerator compares load with another generator, on something that takes more requests than either can send: nginx that answers
// by itself, a bare grpc-go server.
func (b *bench) againstGenerator(ctx context.Context, name string, bar float64) error {
	path, err := b.fetched(name)
	if err != nil {
		return err
	}
	ours, err := b.ours(ctx)
	if err != nil {
		return err
	}
	dir, err := b.part(name)
	if err != nil {
		return err
	}
	a, z := &generator{name: "load"}, &generator{name: name}
	if name == "ghz" {
		t, err := b.start(ctx, "bare", 1, b.bareProgram(ours, nil))
		if err != nil {
			return err
		}
		defer t.group.Stop()
		a.run, z.run = b.load(dir, "", t.servers[0].GRPC), b.ghz(path, dir, t.servers[0].GRPC)
	} else {
		n, err := b.balanced(ctx, &backends{servers: ours.servers}, returning(ours.body),
			confedit.Edit{Context: "main", Directive: "worker_processes 1"})
		if err != nil {
			return err
		}
		defer n.Stop()
		a.run, z.run = b.load(dir, n.HTTP, ""), vegeta(path, dir, n.HTTP)
	}
	if err := b.compareCost(ctx, a, z, bar); err != nil {
		return err
	}
	return b.compareHighest(ctx, a, z)
}

// compareCost compares the CPU time of a request, without what a generator spends on starting and ending.
func (b *bench) compareCost(ctx context.Context, a, z *generator, bar float64) error {
	rate, d := b.generatorRate(), max(2*b.options.slice, 500*time.Millisecond) // In less, starting would be most of it.
	row := Row{What: "6 load generator", Figure: "its own µs/request", A: a.name, B: z.name, Bar: atMost(bar), Rate: float64(rate)}
	requests := float64(rate) * d.Seconds()
	for _, g := range []*generator{a, z} {
		var idle []float64
		for range 3 {
			s, err := g.run(ctx, 10, 100*time.Millisecond)
			if err != nil {
				return fmt.Errorf("%s: %w", g.name, err)
			}
			idle = append(idle, float64(s.cpu))
		}
		g.idle = time.Duration(stats.Median(idle))
	}
	var last error
	for faults := 0; len(row.Pairs) < b.pairs && faults <= b.faulty(); {
		b.progress.step(fmt.Sprintf("pair %d of %d", len(row.Pairs)+1, b.pairs))
		var pair [2]float64
		err := error(nil)
		for i, g := range []*generator{a, z} {
			s, fault := g.run(ctx, rate, d)
			if err = errors.Join(err, fault); err == nil {
				pair[i] = float64((s.cpu - g.idle).Nanoseconds()) / 1e3 / requests
			}
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			faults, last = faults+1, err
			row.Why = fmt.Sprintf("%d pairs met errors and count for nothing, like %v", faults, last)
		default:
			row.Pairs = append(row.Pairs, pair)
		}
	}
	if row.Verdict = stats.Errors; len(row.Pairs) > 0 {
		row.judge()
	}
	if len(row.Pairs) < b.pairs {
		row.Verdict = stats.Errors
	}
	b.add(row)
	return nil
}

// compareHighest finds the highest rate that each holds, three times in turn.
func (b *bench) compareHighest(ctx context.Context, a, z *generator) error {
	row := Row{What: "6 load generator", Figure: "highest rate, lateness p99 < 1 ms", A: a.name, B: z.name, Verdict: stats.NoBar}
	rounds := 3
	if b.smoke {
		rounds = 1
	}
	for range rounds {
		var pair [2]float64
		for i, g := range []*generator{a, z} {
			b.progress.step("the highest rate of " + g.name)
			highest, err := b.highest(ctx, g)
			if err != nil {
				return err
			}
			pair[i] = highest
		}
		if pair[0] > 0 && pair[1] > 0 {
			row.Pairs = append(row.Pairs, pair)
		} else {
			row.Why = fmt.Sprintf("not even %d requests/s started in time: the machine was too busy for this figure", leastRate)
		}
	}
	if row.Verdict = stats.NotMeasured; len(row.Pairs) > 0 {
		row.judge()
	}
	b.add(row)
	return nil
}

// The rates that are tried grow by half, and in the end by the root of that.
const (
	firstRate = 4000
	leastRate = 1000
	rateStep  = 1.5
)

// highest is the highest rate that a generator holds: from the first it climbs until one is not held, or descends until one is, and then
// tries once between the two. 0: not even the least is held.
func (b *bench) highest(ctx context.Context, g *generator) (float64, error) {
	holds := func(rate float64) bool {
		s, err := g.run(ctx, int(rate), b.options.slice*3/4)
		return err == nil && s.late < mostLate
	}
	rate := float64(firstRate)
	if holds(rate) {
		for !b.smoke && ctx.Err() == nil && holds(rate*rateStep) {
			rate *= rateStep
		}
	} else {
		for rate /= rateStep; !holds(rate); rate /= rateStep {
			if rate < leastRate || ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
		}
	}
	if between := rate * math.Sqrt(rateStep); !b.smoke && holds(between) {
		rate = between
	}
	return rate, context.Cause(ctx)
}

// timed runs a command, and returns the CPU time that it used. One that does not end long after it should is killed.
func timed(ctx context.Context, cmd *exec.Cmd) (time.Duration, error) {
	runtime.LockOSThread() // The kernel kills it at this thread's death.
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	said, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, said[max(0, len(said)-300):])
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), ctx.Err()
}

// lateness is the p99 of how late requests started, when nobody has written down when the first was planned: the plan is put as late as
// it can be without any request being early. That is in favour of who did the sending.
func lateness(starts []time.Time, rate int) time.Duration {
	slices.SortFunc(starts, time.Time.Compare)
	var late []float64
	least := time.Duration(0)
	for n, t := range starts {
		l := t.Sub(starts[0]) - time.Duration(n)*time.Second/time.Duration(rate)
		least = min(least, l)
		late = append(late, float64(l))
	}
	return time.Duration(stats.Quantile(late, 0.99)) - least
}

var ledgerLine = regexp.MustCompile(`([0-9.]+) ns/request`)

// ledgerCost is what joining one request's records takes, by the ledger's own benchmark.
func (b *bench) ledgerCost(ctx context.Context) error {
	if _, err := exec.LookPath("go"); err != nil {
		return &unavailable{"the ledger's benchmark wants the go command"}
	}
	count, times := "5", "1x"
	if b.smoke {
		count = "1"
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkLedger$", "-benchtime", times, "-count", count, "./lab/ledger")
	cmd.Dir = b.tree
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("the ledger's benchmark: %w: %s", err, said)
	}
	var values []float64
	for _, m := range ledgerLine.FindAllSubmatch(said, -1) {
		ns, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return err
		}
		values = append(values, ns/1000)
	}
	if len(values) == 0 {
		return fmt.Errorf("the ledger's benchmark tells no ns/request: %s", said)
	}
	row := Row{What: "6 ledger", Figure: "µs/request, four records each", Values: values}
	row.judge()
	b.add(row)
	return nil
}
