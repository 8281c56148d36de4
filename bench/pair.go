package main

import (
	"context"
	"fmt"
	"time"

	"trivet/bench/proc"
	"trivet/bench/stats"
	"trivet/bench/wire"
)

// A side is one of two that are compared: what is asked, and whose CPU time is counted.
type side struct {
	name      string
	target    wire.Spec
	instances []int
	balancer  []int
	// multiplexed is what is asked in the closed loop instead, where a client that has many calls on a connection is meant.
	multiplexed *wire.Spec
}

// A figure is what is compared.
type figure string

const (
	instanceCPU figure = "instance µs/request"
	balancerCPU figure = "nginx µs/request"
	allCPU      figure = "nginx + instance µs/request"
	perSecond   figure = "requests/s"
)

// A question is one figure of two sides, and what it is to reach.
type question struct {
	figure figure
	bar    *stats.Bar
}

func atMost(value float64) *stats.Bar  { return &stats.Bar{AtMost: true, Value: value} }
func atLeast(value float64) *stats.Bar { return &stats.Bar{Value: value} }

// cost is what one slice came to.
type cost struct{ instance, balancer, perSecond float64 }

func (c cost) of(f figure) float64 {
	switch f {
	case instanceCPU:
		return c.instance
	case balancerCPU:
		return c.balancer
	case allCPU:
		return c.instance + c.balancer
	default:
		return c.perSecond
	}
}

// compare measures two sides in turn, A B A B, and adds a row for each question. A pair of which a slice met errors counts for nothing; a
// few more are then tried.
func (b *bench) compare(ctx context.Context, what string, a, z side, questions ...question) error {
	closed := false
	for _, q := range questions {
		closed = closed || q.figure == perSecond
	}
	rate, err := b.calibrate(ctx, a, z)
	if err != nil {
		return b.failed(ctx, what, a, z, questions, err)
	}
	var pairs [][2]cost
	faults := 0
	var last error
	for len(pairs) < b.pairs && faults <= b.faulty() {
		b.progress.step(fmt.Sprintf("pair %d of %d, %.0f requests/s", len(pairs)+1, b.pairs, rate))
		pair := [2]cost{}
		err := error(nil)
		for i, s := range []side{a, z} {
			if err == nil {
				pair[i], err = b.slice(ctx, s, rate, closed)
			}
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			faults, last = faults+1, err
		default:
			pairs = append(pairs, pair)
		}
	}
	if len(pairs) == 0 {
		return b.failed(ctx, what, a, z, questions, last)
	}
	for _, q := range questions {
		row := Row{What: what, Figure: string(q.figure), A: a.name, B: z.name, Bar: q.bar, Rate: rate}
		for _, p := range pairs {
			row.Pairs = append(row.Pairs, [2]float64{p[0].of(q.figure), p[1].of(q.figure)})
		}
		row.judge()
		if faults > 0 {
			row.Why = fmt.Sprintf("%d pairs met errors and count for nothing, like %v", faults, last)
			if len(pairs) < b.pairs {
				row.Verdict = stats.Errors
			}
		}
		b.add(row)
	}
	return nil
}

// faulty is how many pairs may meet errors, and others be tried in their place, before a row counts for nothing.
func (b *bench) faulty() int { return max(2, b.pairs/3) }

// failed makes a row of a comparison that met nothing but errors.
func (b *bench) failed(ctx context.Context, what string, a, z side, questions []question, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, q := range questions {
		b.add(Row{What: what, Figure: string(q.figure), A: a.name, B: z.name, Bar: q.bar, Verdict: stats.Errors, Why: err.Error()})
	}
	return nil
}

// calibrate finds half the rate that the slower side can take. It warms both up.
func (b *bench) calibrate(ctx context.Context, a, z side) (float64, error) {
	limit := 0.0
	for _, s := range []side{a, z} {
		r, err := wire.Closed(ctx, s.target, b.options.slice/2)
		if err = check(s, r, err); err != nil {
			return 0, err
		}
		if one := float64(r.Done) / (b.options.slice / 2).Seconds(); limit == 0 || one < limit {
			limit = one
		}
	}
	return max(limit/2, 20), nil
}

// slice measures one side once: at the fixed rate, and then as fast as it goes.
func (b *bench) slice(ctx context.Context, s side, rate float64, closed bool) (cost, error) {
	d := b.options.slice
	count := max(1, int(rate*d.Seconds()))
	before, err := s.used()
	if err != nil {
		return cost{}, err
	}
	r, err := wire.Open(ctx, s.target, count, d)
	if err = check(s, r, err); err != nil {
		return cost{}, err
	}
	if most := d + d/4; r.Took > most && !b.smoke {
		return cost{}, fmt.Errorf("%s: what was planned for %v took %v", s.name, d, r.Took.Round(time.Millisecond))
	}
	after, err := s.used()
	if err != nil {
		return cost{}, err
	}
	c := cost{
		instance: float64((after[0] - before[0]).Nanoseconds()) / 1e3 / float64(count),
		balancer: float64((after[1] - before[1]).Nanoseconds()) / 1e3 / float64(count),
	}
	if !closed {
		return c, nil
	}
	target := s.target
	if s.multiplexed != nil {
		target = *s.multiplexed
	}
	d = d * 3 / 4
	r, err = wire.Closed(ctx, target, d)
	c.perSecond = float64(r.Done) / d.Seconds()
	return c, check(s, r, err)
}

// used is the CPU time of the instances and of nginx.
func (s side) used() (used [2]time.Duration, err error) {
	for i, pids := range [][]int{s.instances, s.balancer} {
		if used[i], err = proc.CPUs(pids); err != nil {
			return used, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return used, nil
}

// check makes an error of any answer that was not good.
func check(s side, r wire.Result, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", s.name, err)
	case r.Failed > 0:
		return fmt.Errorf("%s: %d of %d requests failed", s.name, r.Failed, r.Failed+r.Done)
	case r.Done == 0:
		return fmt.Errorf("%s: nothing was answered", s.name)
	}
	return nil
}
