package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"trivet/bench/proc"
	"trivet/bench/stats"
	"trivet/bench/wire"
	whoamiv1 "trivet/gen/whoami/v1"
)

// Metrics of comparisons.
const (
	instanceCPU metric = "instance µs/request"
	nginxCPU    metric = "nginx µs/request"
	allCPU      metric = "nginx + instance µs/request"
	p50         metric = "p50, ms"
	p99         metric = "p99, ms"
	perSecond   metric = "requests/s"

	instanceMessage metric = "instance µs/message"
	nginxMessage    metric = "nginx µs/message"

	fixedRate metric = "" // requests/s of the slices at a fixed rate; no row's
)

// A comparison is two sides under the same load.
type comparison struct {
	what  string
	grpc  bool
	a, b  side
	load  loadKind
	goals []goal
}

type loadKind int

const (
	unary       loadKind = iota // 32 connections, one request at a time on each: what instances see of any client behind nginx
	fresh                       // a new connection for each request, at most 32 at once
	multiplexed                 // unary at the fixed rate; in the closed loop 8 connections with 8 calls each, like a client's channels
	watch                       // 32 streams with a message every 10 ms; a request is a message
)

const (
	connections   = 32
	watchInterval = 10 * time.Millisecond
	pairs         = 2 // slices of each side in a block
)

// compare makes a job of a comparison.
func (b *bench) compare(c comparison) *job {
	rate := 0.0 // The same in all blocks: half of what the slower side can take in the first.
	return &job{what: c.what, a: c.a.name, b: c.b.name, goals: c.goals, block: func(ctx context.Context, dir string) (block, error) {
		sides := [2]side{c.a, c.b}
		var up [2]*running
		for _, i := range b.rng.Perm(2) {
			var err error
			if up[i], err = b.start(ctx, sides[i], filepath.Join(dir, fmt.Sprint(i))); err != nil {
				return nil, fmt.Errorf("%s: %w", sides[i].name, err)
			}
			defer up[i].group.Stop()
		}
		limit := 0.0
		for _, i := range b.rng.Perm(2) { // Also warms both up.
			most, err := b.closed(ctx, c, sides[i], up[i], max(b.options.slice/2, 200*time.Millisecond))
			if err != nil {
				return nil, err
			}
			if limit == 0 || most < limit {
				limit = most
			}
		}
		if rate == 0 {
			rate = max(limit/2, 20)
		}
		return b.slices(ctx, c, sides, up, rate)
	}}
}

// slices measures two sides that run, in turn and in random order, and returns the means.
func (b *bench) slices(ctx context.Context, c comparison, sides [2]side, up [2]*running, rate float64) (block, error) {
	means := block{fixedRate: {rate, rate}}
	n := pairs
	if b.smoke {
		n = 1
	}
	for range n {
		for _, i := range b.rng.Perm(2) {
			got, err := b.slice(ctx, c, sides[i], up[i], rate)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", sides[i].name, err)
			}
			for m, v := range got {
				means.add(m, i, v/float64(n))
			}
		}
	}
	return means, nil
}

// spec is what the load requests of a side.
func (c comparison) spec(s side, r *running) wire.Spec {
	spec := wire.Spec{Address: r.http, Path: s.backend.get, Connections: connections, Fresh: c.load == fresh}
	if c.grpc {
		spec.Address, spec.Path, spec.GRPC = r.grpc, s.backend.call, true
	}
	if c.load == watch && c.grpc {
		message, err := proto.Marshal(&whoamiv1.WatchWhoAmIRequest{Interval: durationpb.New(watchInterval)})
		if err != nil {
			panic(err) // A duration can be encoded.
		}
		spec.Path, spec.Message = whoamiv1.WhoAmIService_WatchWhoAmI_FullMethodName, message
	} else if c.load == watch {
		spec.Path = "/watch?interval=" + watchInterval.String()
	}
	return spec
}

// slice measures one side once: at the fixed rate, and then, if a goal needs it, in a closed loop.
func (b *bench) slice(ctx context.Context, c comparison, s side, up *running, rate float64) (map[metric]float64, error) {
	before, err := up.cpu()
	if err != nil {
		return nil, err
	}
	var r wire.Result
	if c.load == watch {
		r, err = b.watch(ctx, c.spec(s, up))
	} else {
		r, err = b.open(ctx, c.spec(s, up), rate)
	}
	if err != nil {
		return nil, err
	}
	after, err := up.cpu()
	if err != nil {
		return nil, err
	}
	each := func(i int) float64 { return float64((after[i] - before[i]).Nanoseconds()) / 1e3 / float64(r.Done) }
	if c.load == watch {
		return map[metric]float64{instanceMessage: each(0), nginxMessage: each(1)}, nil
	}
	got := map[metric]float64{instanceCPU: each(0), nginxCPU: each(1), allCPU: each(0) + each(1)}
	if len(r.Latencies) > 0 {
		var ms []float64
		for _, l := range r.Latencies {
			ms = append(ms, l.Seconds()*1000)
		}
		got[p50], got[p99] = stats.Quantile(ms, 0.5), stats.Quantile(ms, 0.99)
	}
	if slices.ContainsFunc(c.goals, func(g goal) bool { return g.metric == perSecond }) {
		got[perSecond], err = b.closed(ctx, c, s, up, b.options.slice/2)
	}
	return got, err
}

// open sends requests at the rate, and returns an error if not all are answered, or not in time.
func (b *bench) open(ctx context.Context, spec wire.Spec, rate float64) (wire.Result, error) {
	d := b.options.slice
	r, err := wire.Open(ctx, spec, max(1, int(rate*d.Seconds())), d)
	if most := d + d/4; err == nil && r.Took > most && !b.smoke {
		err = fmt.Errorf("requests planned for %v took %v", d, r.Took.Round(time.Millisecond))
	}
	return r, check(r, err)
}

// watch holds streams, and returns an error if messages are missing.
func (b *bench) watch(ctx context.Context, spec wire.Spec) (wire.Result, error) {
	d := b.options.slice
	r, err := wire.Watch(ctx, spec, d)
	planned := int(d/watchInterval) * connections
	if err == nil && r.Done < planned*3/4 && !b.smoke {
		err = fmt.Errorf("%d of %d messages arrived within %v", r.Done, planned, d)
	}
	return r, check(r, err)
}

// closed returns the requests per second of a closed loop.
func (b *bench) closed(ctx context.Context, c comparison, s side, up *running, d time.Duration) (float64, error) {
	spec := c.spec(s, up)
	var r wire.Result
	var err error
	switch c.load {
	case watch:
		r, err = b.watch(ctx, spec)
	case multiplexed:
		spec.Connections, spec.Streams = 8, 8
		fallthrough
	default:
		r, err = wire.Closed(ctx, spec, d)
	}
	if err := check(r, err); err != nil {
		return 0, fmt.Errorf("%s: %w", s.name, err)
	}
	return float64(r.Done) / d.Seconds(), nil
}

// cpu returns the CPU time of the programs and of nginx.
func (r *running) cpu() (used [2]time.Duration, err error) {
	for i, pids := range [][]int{r.programs, r.nginx} {
		if used[i], err = proc.CPU(pids); err != nil {
			return used, err
		}
	}
	return used, nil
}

// check returns an error for any response that was not good.
func check(r wire.Result, err error) error {
	switch {
	case err != nil:
		return err
	case r.Failed > 0:
		return fmt.Errorf("%d of %d requests failed", r.Failed, r.Failed+r.Done)
	case r.Done == 0:
		return fmt.Errorf("no request was answered")
	}
	return nil
}
