package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"trivet/bench/stats"
	"trivet/nginx/confedit"
)

// variants are all combinations of idle connections, workers and logging, as changes to the shipped files.
func variants(upstream string) []side {
	logs := []struct {
		name  string
		edits []confedit.Edit
	}{
		{"log unbuffered", nil},
		{"log buffered", []confedit.Edit{{Context: "http", Directive: "access_log logs/access.log requests buffer=64k flush=1s"}}},
		{"no log", []confedit.Edit{{Context: "http", Directive: "access_log off"}}},
	}
	var all []side
	for _, idle := range []int{0, 8, 32, 256, 1024} {
		keep := confedit.Edit{Context: "upstream " + upstream, Directive: fmt.Sprintf("keepalive %d", idle)}
		if idle == 0 {
			keep = confedit.Edit{Context: "upstream " + upstream, Remove: "keepalive"}
		}
		for _, workers := range []int{1, 0, 4} {
			number := fmt.Sprint(workers)
			if workers == 0 {
				number = "auto"
			}
			for _, log := range logs {
				name := fmt.Sprintf("keepalive %d, workers %s, %s", idle, number, log.name)
				all = append(all, behind(name, whoami, front{workers: workers, edits: append([]confedit.Edit{keep}, log.edits...)}))
			}
		}
	}
	return all
}

// sweepJob first finds the variant with the most requests/s, and then compares the shipped files with it anew: the best of many is best
// also by chance, which a second measurement is not.
func (b *bench) sweepJob(grpc bool) *job {
	// At least 0.95 of its requests/s is at most 1/0.95 of its CPU time per request.
	c := comparison{what: "3 sweep REST", grpc: grpc, a: ours("shipped"), goals: []goal{{allCPU, atMost(1.05)}, {perSecond, atLeast(0.95)}}}
	upstream := "whoami_http"
	if grpc {
		c.what, upstream = "3 sweep gRPC", "whoami_grpc"
	}
	var j, found *job
	j = &job{what: c.what, a: "shipped", b: "best variant", goals: c.goals, block: func(ctx context.Context, dir string) (block, error) {
		if found == nil {
			best, err := b.best(ctx, c, variants(upstream), dir)
			if err != nil {
				return nil, err
			}
			c.b, j.b = best, best.name+":"
			found = b.compare(c)
		}
		return found.block(ctx, dir)
	}}
	return j
}

// best tries all variants in three rounds and drops the worse half after each. One that fails scores 0 requests/s in that round.
func (b *bench) best(ctx context.Context, c comparison, all []side, dir string) (side, error) {
	if b.smoke {
		all = all[len(all)-2:]
	}
	scores := make(map[string][]float64)
	for round := range 3 {
		for n, s := range all {
			b.progress.step(fmt.Sprintf("sweep: round %d of 3, variant %d of %d", round+1, n+1, len(all)))
			score, err := b.try(ctx, c, s, filepath.Join(dir, fmt.Sprintf("%d-%d", round, n)))
			if ctx.Err() != nil {
				return side{}, context.Cause(ctx)
			}
			if err != nil { // The score of this round is 0: the variant hardly gets to the next.
				b.progress.line(fmt.Sprintf("  %v", err))
			}
			scores[s.name] = append(scores[s.name], score)
		}
		mean := func(s side) float64 { return stats.Mean(scores[s.name]).Mean }
		slices.SortFunc(all, func(x, y side) int { return cmp.Compare(mean(y), mean(x)) })
		all = all[:max(1, len(all)/2)]
	}
	return all[0], nil
}

// try returns the requests/s of a variant.
func (b *bench) try(ctx context.Context, c comparison, s side, dir string) (float64, error) {
	up, err := b.start(ctx, s, dir)
	if err != nil {
		return 0, err
	}
	defer up.group.Stop()
	if _, err := b.closed(ctx, c, s, up, max(b.options.slice/8, 100*time.Millisecond)); err != nil { // Opens the connections to the instances.
		return 0, err
	}
	return b.closed(ctx, c, s, up, max(b.options.slice/2, 100*time.Millisecond))
}
