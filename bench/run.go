package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"trivet/bench/stats"
	"trivet/nginx"
)

// cache is where bench/fetch puts the programs to compare with, relative to the tree.
var cache = filepath.Join(".cache", "bench")

// bench is one run.
type bench struct {
	options
	progress *progress
	rng      *rand.Rand // the order of sides
	tree     string     // absolute
	dir      string     // of this run; nginx's workers, not root, can pass it
	nginxAt  nginx.Binary
	table    []Row
	parts    int // subdirectories of dir made so far
	spans    spanSink
}

// A metric is what is compared, with its unit.
type metric string

// A goal is a metric and the bar that it should reach.
type goal struct {
	metric metric
	bar    *stats.Bar
}

func atMost(value float64) *stats.Bar  { return &stats.Bar{Kind: stats.AtMost, Value: value} }
func atLeast(value float64) *stats.Bar { return &stats.Bar{Kind: stats.AtLeast, Value: value} }

// block holds the means of one block, of side A and side B.
type block map[metric][2]float64

// add adds v to side i.
func (b block) add(m metric, i int, v float64) {
	pair := b[m]
	pair[i] += v
	b[m] = pair
}

// A job measures the rows that have the same sides.
type job struct {
	what  string
	a, b  string // the sides; without b the rows have values of a alone
	goals []goal
	// block starts everything anew and measures it.
	block func(ctx context.Context, dir string) (block, error)
}

// title is what --rows selects by.
func (j *job) title() string { return strings.TrimSuffix(j.what+": "+j.a+" / "+j.b, " / ") }

func (b *bench) jobs() []*job {
	if b.sweep {
		return []*job{b.sweepJob(false), b.sweepJob(true)}
	}
	var all []*job
	for _, c := range b.comparisons() {
		all = append(all, b.compare(c))
	}
	all = append(all, b.uploadJobs()...)
	all = append(all, b.instanceJobs()...)
	all = append(all, b.generatorJobs()...)
	slices.SortStableFunc(all, func(x, y *job) int { return strings.Compare(x.what, y.what) })
	return all
}

// run measures the jobs. Errors of a job become rows; what is missing on this machine does too.
func (b *bench) run(ctx context.Context, jobs []*job) (err error) {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	failed := false
	for n, j := range jobs {
		b.progress.line(fmt.Sprintf("[%d/%d] %s", n+1, len(jobs), j.title()))
		failed = b.measure(ctx, j) || failed
		if ctx.Err() != nil {
			break
		}
	}
	if failed && ctx.Err() == nil {
		b.progress.line("the logs of blocks with errors are in " + b.dir)
		return nil
	}
	return os.RemoveAll(b.dir)
}

// prepare finds what is needed and makes the run's directory.
func (b *bench) prepare(ctx context.Context) (err error) {
	if b.tree, err = os.Getwd(); err != nil {
		return err
	}
	for _, name := range []string{"bin/whoami", "bin/trivet", filepath.Join(cache, "bin", "bare")} {
		if _, err := os.Stat(name); err != nil {
			return fmt.Errorf("%w; run make bench in Trivet's source tree, which builds it", err)
		}
	}
	name := b.nginx
	if name == "" {
		name = "nginx"
	}
	if b.nginxAt, err = nginx.Find(ctx, name); err != nil && b.nginx == "" {
		if cached, e := nginx.Find(ctx, filepath.Join(".cache", "nginx", "nginx")); e == nil {
			b.nginxAt, err = cached, nil
		}
	}
	if err != nil {
		return err
	}
	// Everything is kept here, also what `trivet up` keeps, so that no other run directory is touched.
	if b.dir, err = os.MkdirTemp("", "trivet-bench-"); err != nil {
		return err
	}
	return os.Chmod(b.dir, 0o711)
}

// part returns a new subdirectory of the run's.
func (b *bench) part() (string, error) {
	b.parts++
	dir := filepath.Join(b.dir, fmt.Sprint(b.parts))
	if err := os.Mkdir(dir, 0o711); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711) // Mkdir's mode went through the umask.
}

// errUnavailable is in the error of a job that this machine cannot measure.
var errUnavailable = errors.New("not available")

// fetched returns the path of a file that bench/fetch gets, or its reason for not having it.
func (b *bench) fetched(name, file string) (string, error) {
	path := filepath.Join(b.tree, cache, name, file)
	why, err := os.ReadFile(filepath.Join(b.tree, cache, name, "why"))
	if err == nil {
		return "", fmt.Errorf("%w: %s", errUnavailable, strings.TrimSpace(string(why)))
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: %w; bench/fetch gets it", errUnavailable, err)
	}
	return path, nil
}

// measure measures a job block by block, adds its rows, and reports whether it met errors. Failed blocks are replaced, until
// there are three more of them than others.
func (b *bench) measure(ctx context.Context, j *job) (failed bool) {
	blocks := make(map[metric][][2]float64)
	done, bad := 0, 0
	var last error
	for done < b.blocks && bad < done+3 {
		b.progress.step(fmt.Sprintf("block %d of %d", done+1, b.blocks))
		got, err := b.block(ctx, j)
		switch {
		case ctx.Err() != nil:
			return true
		case errors.Is(err, errUnavailable):
			b.table = append(b.table, Row{What: j.what, A: j.a, B: j.b, Verdict: stats.NotMeasured, Why: err.Error()})
			return false
		case err != nil:
			bad, last = bad+1, err
		default:
			done++
			for m, v := range got {
				blocks[m] = append(blocks[m], v)
			}
		}
	}
	for _, g := range j.goals {
		r := Row{What: j.what, Metric: string(g.metric), A: j.a, B: j.b, Bar: g.bar, Blocks: blocks[g.metric]}
		if rates := blocks[fixedRate]; len(rates) > 0 {
			r.Rate = rates[0][0]
		}
		r.judge()
		if bad > 0 {
			r.Why = fmt.Sprintf("blocks with errors, which do not count: %d; the last: %v", bad, last)
		}
		if done < b.blocks {
			r.Verdict = stats.Errors
		}
		b.table = append(b.table, r)
	}
	return bad > 0
}

// block measures one block. Its directory stays only if it failed: access logs of all blocks would take gigabytes.
func (b *bench) block(ctx context.Context, j *job) (block, error) {
	dir, err := b.part()
	if err != nil {
		return nil, err
	}
	got, err := j.block(ctx, dir)
	if err == nil {
		err = os.RemoveAll(dir)
	}
	return got, err
}
