package feed

import (
	"math"
	"time"

	"trivet/lab/record"
)

// A TrialSource reads a trial directory, also while the trial runs. It is not safe for concurrent use.
//
// The same messages come of a trial that is read while it runs and of one that has ended, but for how they are cut into parts.
type TrialSource struct {
	trial    int
	manifest record.Manifest
	reader   *record.Reader
	*view
}

// heldBack is for how long an earlier event, attempt or failure may still come: as long as it takes until records are written and read.
const heldBack = time.Second

// maxFailures bounds the failures of a trial that are kept: the first ones.
const maxFailures = 5000

// Open opens a trial directory, whose manifest must exist, as the trial of that number in a feed. Close it in any case.
func Open(dir string, trial int) (*TrialSource, error) {
	m, err := record.ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	width := binWidth(m.Scenario.Length())
	last := int((m.Scenario.Length() + m.Settle() + 10*time.Second) / width)
	t := &TrialSource{trial: trial, manifest: m, reader: record.NewReader(dir, m)}
	t.view = newView(trial, newCounter(m.Begin, width, 0, last), sinceBegin)
	t.counter.addLoads(m)
	for _, i := range m.Instances {
		t.counter.addInstance(i)
	}
	t.maxFailures, t.queue.hold = maxFailures, heldBack
	t.info = t.trialMessage
	_, calls := m.Has()
	n := t.narrator
	n.length, n.delay, n.blind = m.Scenario.Length(), m.Settle(), !calls
	n.maxEvents, n.maxStates = 2000, 1000
	n.phaseFrom = func(name string) (from, to time.Duration, ok bool) {
		i := m.Scenario.Phase(name)
		if i < 0 {
			return 0, 0, false
		}
		from, to = m.Scenario.Bounds(i)
		return from, to, true
	}
	return t, nil
}

// binWidth is how long a bin is of a trial of some length.
func binWidth(length time.Duration) time.Duration {
	for _, w := range []struct{ to, width time.Duration }{{time.Minute, 100 * time.Millisecond}, {150 * time.Second, 250 * time.Millisecond}, {300 * time.Second, 500 * time.Millisecond}} {
		if length <= w.to {
			return w.width
		}
	}
	for unit := time.Second; ; unit *= 10 {
		for _, width := range []time.Duration{unit, 2 * unit, 5 * unit} {
			if length <= 600*width {
				return width
			}
		}
	}
}

func (t *TrialSource) trialMessage() Trial {
	m := t.manifest
	accessLog, calls := m.Has()
	one := Trial{
		Trial: t.trial, Experiment: m.Scenario.Experiment, Variant: m.Scenario.Variant, Number: m.Trial, Begin: m.Begin, Length: m.Scenario.Length().Milliseconds(),
		Width: t.counter.width.Milliseconds(), Instances: t.counter.instances, Workers: m.Scenario.Workers, HTTP: m.HTTP, GRPC: m.GRPC, TLS: m.Scenario.TLS, MTLS: m.Scenario.MTLS,
		Loads: loadsOf(m.Scenario), Phases: phasesOf(m.Scenario), Problem: t.problem,
	}
	if m.Target != nil {
		one.Target = m.Target.Name
	}
	for _, lack := range []struct {
		source string
		lacks  bool
	}{{"nginx", !accessLog}, {"instances", !calls}, {"health", !t.narrator.health}, {"samples", !m.Sampled}} {
		if lack.lacks {
			one.Lacks = append(one.Lacks, lack.source)
		}
	}
	return one
}

// Advance reads what has been written since. The error is one of reading a file.
func (t *TrialSource) Advance() error {
	t.queue.read = t.since(time.Now())
	for {
		next, err := t.reader.Next()
		switch {
		case err != nil:
			t.problem = err.Error()
			return err
		case next == nil && t.ended:
			t.queue.release(math.MaxInt64)
			t.narrator.reach(t.queue.newest)
			return nil
		case next == nil:
			t.queue.release(t.queue.known())
			t.narrator.reach(t.queue.known())
			return nil
		}
		t.add(next)
	}
}

// Close closes the files.
func (t *TrialSource) Close() error { return t.reader.Close() }
