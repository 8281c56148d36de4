package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"trivet/bench/launch"
	"trivet/bench/wire"
	"trivet/nginx"
	"trivet/nginx/confedit"
)

// A setting is one of the sweep: what it changes of the shipped files.
type setting struct {
	name    string
	workers int // 0: as shipped, one for each CPU
	edits   []confedit.Edit
}

// settings are all combinations of idle connections, workers and logging.
func settings(group string) []setting {
	var all []setting
	logs := []struct {
		name string
		edit confedit.Edit
	}{
		{"log unbuffered", confedit.Edit{}},
		{"log buffered", confedit.Edit{Context: "http", Directive: "access_log logs/access.log requests buffer=64k flush=1s"}},
		{"no log", confedit.Edit{Context: "http", Directive: "access_log off"}},
	}
	for _, idle := range []int{0, 8, 32, 256, 1024} {
		for _, workers := range []int{1, 0, 4} {
			for _, log := range logs {
				s := setting{name: fmt.Sprintf("keepalive %d, %d workers, %s", idle, workers, log.name), workers: workers}
				if workers == 0 {
					s.name = fmt.Sprintf("keepalive %d, a worker a CPU, %s", idle, log.name)
				}
				keep := confedit.Edit{Context: "upstream " + group, Directive: fmt.Sprintf("keepalive %d", idle)}
				if idle == 0 {
					keep = confedit.Edit{Context: "upstream " + group, Remove: "keepalive"}
				}
				s.edits = append(s.edits, keep)
				if log.edit.Context != "" {
					s.edits = append(s.edits, log.edit)
				}
				all = append(all, s)
			}
		}
	}
	return all
}

// sweepOf tries every setting a few times, and then compares the shipped files with the best of them anew: the best of many is best also
// by luck, which a second measurement does not have.
func (b *bench) sweepOf(rpc bool) func(context.Context) error {
	return func(ctx context.Context) error {
		ours, err := b.ours(ctx)
		if err != nil {
			return err
		}
		group := "whoami_http"
		if rpc {
			group = "whoami_grpc"
		}
		all := settings(group)
		if b.smoke {
			all = all[len(all)-2:]
		}
		scores := make(map[string]float64)
		rounds := 3
		for round := range rounds {
			for n, s := range all {
				b.progress.step(fmt.Sprintf("round %d of %d, setting %d of %d", round+1, rounds, n+1, len(all)))
				score, err := b.try(ctx, ours, s, rpc)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err != nil { // Then it counts for nothing in this round, and is hardly tried in the next.
					b.progress.note(fmt.Sprintf("%s: %v", s.name, err))
					score = 0
				}
				scores[s.name] += score / float64(rounds)
			}
			// Halving: what is far behind after a round is not tried again.
			slices.SortFunc(all, func(x, y setting) int { return cmp.Compare(scores[y.name], scores[x.name]) })
			all = all[:max(1, len(all)/2)]
		}
		return b.againstBest(ctx, ours, all[0], rpc)
	}
}

// try is how many requests a second go through a setting.
func (b *bench) try(ctx context.Context, ours *shipped, s setting, rpc bool) (float64, error) {
	n, err := b.set(ctx, ours, s)
	if err != nil {
		return 0, err
	}
	defer n.Stop()
	target := through(n.HTTP, n.GRPC, rpc)
	if _, err := wire.Closed(ctx, target, b.options.slice/8); err != nil { // Connections to the instances are made here.
		return 0, err
	}
	r, err := wire.Closed(ctx, target, b.options.slice/2)
	return float64(r.Done) / (b.options.slice / 2).Seconds(), check(side{name: s.name}, r, err)
}

func (b *bench) set(ctx context.Context, ours *shipped, s setting) (*launch.Balancer, error) {
	dir, err := b.part("sweep")
	if err != nil {
		return nil, err
	}
	return launch.Nginx(ctx, b.nginxAt, dir, nginx.Site{Servers: ours.servers, Workers: s.workers}, s.edits)
}

func (b *bench) againstBest(ctx context.Context, ours *shipped, best setting, rpc bool) error {
	n, err := b.set(ctx, ours, best)
	if err != nil {
		return err
	}
	defer n.Stop()
	what := "3 sweep, REST"
	if rpc {
		what = "3 sweep, gRPC"
	}
	other := side{name: best.name + ":", target: through(n.HTTP, n.GRPC, rpc), instances: ours.instances, balancer: n.PIDs}
	// At least 0.95 of its requests are at most 1/0.95 of its CPU time a request.
	return b.compare(ctx, what, ours.side("shipped", rpc), other, question{allCPU, atMost(1.05)}, question{perSecond, atLeast(0.95)})
}
