package trial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// series is experiments of these names, each with variants plain and other, without callbacks.
func series(t *testing.T, start Start, names ...string) Series {
	t.Helper()
	s := Series{
		Dir: proctest.Passable(t), Start: start, Nginx: "1.22.1", Trivet: self(t),
	}
	for _, name := range names {
		plain, other := during(100*time.Millisecond), during(100*time.Millisecond)
		plain.Experiment, other.Experiment, plain.Variant, other.Variant = name, name, "plain", "other"
		s.Experiments = append(s.Experiments, scenario.Experiment{
			Path: "experiments/" + name + ".yaml", Name: name, Scenarios: []scenario.Scenario{plain, other}, Expect: []scenario.Expectation{{Text: "plain.during.http.failed == 0"}},
		})
		s.Sources = append(s.Sources, []byte("# "+name))
	}
	return s
}

// begun are the variants with a trial directory, and how they ended.
func begun(t *testing.T, dir string) []string {
	t.Helper()
	index, err := record.ReadIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range index.Experiments {
		for _, variant := range []string{"plain", "other"} {
			event, err := record.LastEvent(e.Trial(dir, variant, 1))
			if err == nil {
				all = append(all, e.Dir+"/"+variant+" "+event.Event)
			} else if !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		}
	}
	return all
}

// The failed experiment's other variants are left out. Both experiments have the same name.
func TestSeriesGoesOnAfterAFailedTrial(t *testing.T) {
	t.Parallel()
	f, starts := newFake(t), 0
	s := series(t, func(ctx context.Context, sc scenario.Scenario, dir string, observe func(record.Event)) (System, error) {
		if starts++; starts == 1 {
			return nil, errors.New("no luck")
		}
		return f.start(ctx, sc, dir, observe)
	}, "same", "same")
	var calls []string
	watched := 0
	s.Watch = func(e scenario.Experiment, v scenario.Scenario, _ int, m *measure.Trial) {
		if m != nil {
			watched++
			return
		}
		calls = append(calls, e.Name+" "+v.Variant)
	}
	s.Done = func() { calls = append(calls, "done") }
	if err := s.Run(t.Context()); err == nil || err.Error() != "same, plain: no luck" {
		t.Errorf("got %v", err)
	}
	if want := []string{"same plain", "done", "same plain", "same other", "done"}; !slices.Equal(calls, want) || watched == 0 {
		t.Errorf("%q, %d calls with a trial", calls, watched)
	}
	if got := begun(t, s.Dir); !slices.Equal(got, []string{"1-same/plain error", "2-same/plain ended", "2-same/other ended"}) {
		t.Errorf("%q", got)
	}
	checkGone(t, filepath.Join(s.Dir, "2-same", "other"))
}

// Interleaved: what changes on the machine meanwhile changes both variants alike.
func TestSeriesRunsEachVariantSeveralTimes(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	s := series(t, f.start, "one")
	s.Experiments[0].Trials = 2
	var calls []string
	s.Watch = func(_ scenario.Experiment, v scenario.Scenario, trial int, m *measure.Trial) {
		if m == nil {
			calls = append(calls, fmt.Sprint(v.Variant, " ", trial))
		} else if m.Manifest().Trial != trial || m.Manifest().Scenario.Variant != v.Variant {
			t.Errorf("%s %d: %+v", v.Variant, trial, m.Manifest())
		}
	}
	if err := s.Run(t.Context()); err != nil {
		t.Error(err)
	}
	if want := []string{"plain 1", "other 1", "plain 2", "other 2"}; !slices.Equal(calls, want) {
		t.Errorf("got %q, want %q", calls, want)
	}
	entry := record.Entry{Dir: "1-one", Experiment: s.Experiments[0]}
	for _, variant := range []string{"plain", "other"} {
		for trial := 1; trial <= 2; trial++ {
			m, err := record.ReadManifest(entry.Trial(s.Dir, variant, trial))
			if err != nil || m.Trial != trial || m.Scenario.Variant != variant || m.Scenario.Seed != 1 {
				t.Errorf("%s %d: %+v, %v", variant, trial, m, err)
			}
		}
	}
}

func TestFailedTrialIsNamed(t *testing.T) {
	t.Parallel()
	f, starts := newFake(t), 0
	s := series(t, func(ctx context.Context, sc scenario.Scenario, dir string, observe func(record.Event)) (System, error) {
		if starts++; starts == 4 {
			return nil, errors.New("no luck")
		}
		return f.start(ctx, sc, dir, observe)
	}, "one")
	s.Experiments[0].Trials = 3
	if err := s.Run(t.Context()); err == nil || err.Error() != "one, other, trial 2: no luck" || starts != 4 {
		t.Errorf("got %v after %d starts", err, starts)
	}
}

// The end of the context between two variants is an interruption too, and the records say so: a variant that never began did not fail.
func TestSeriesInterruptedBetweenVariantsRunsNoMore(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	f := newFake(t)
	f.stop = func(context.Context) error { cancel(errSignal); return nil } // The load is over then: nothing is left to interrupt.
	s := series(t, func(ctx context.Context, sc scenario.Scenario, dir string, observe func(record.Event)) (System, error) {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		return f.start(ctx, sc, dir, observe)
	}, "one", "two")
	done := 0
	s.Done = func() { done++ }
	if err := s.Run(ctx); !errors.Is(err, errSignal) {
		t.Errorf("got %v", err)
	}
	if got := begun(t, s.Dir); !slices.Equal(got, []string{"1-one/plain ended", "1-one/other interrupted"}) || done != 1 {
		t.Errorf("%q, %d done", got, done)
	}
}

// A file may be called like one of its variants, or .yaml.
func TestExperimentsOfAnyNameHaveTheirDirectory(t *testing.T) {
	t.Parallel()
	s := series(t, func(context.Context, scenario.Scenario, string, func(record.Event)) (System, error) {
		return nil, errors.New("no luck")
	}, "plain", "a b.c", "")
	if err := s.Run(t.Context()); err == nil || errors.Is(err, record.ErrRunDir) {
		t.Errorf("got %v", err)
	}
	if got := begun(t, s.Dir); !slices.Equal(got, []string{"1-plain/plain error", "2-a b.c/plain error", "3-/plain error"}) {
		t.Errorf("%q", got)
	}
}

func TestIndexHoldsTheExperiments(t *testing.T) {
	t.Parallel()
	s := series(t, nil, "one", "two")
	before := time.Now()
	entries, err := s.writeIndex()
	if err != nil {
		t.Fatal(err)
	}
	index, err := record.ReadIndex(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if index.Time.Before(before.Add(-time.Millisecond)) || index.Trivet == "" {
		t.Errorf("%+v", index)
	}
	want := record.Index{
		V: record.IndexVersion, Time: index.Time, Trivet: index.Trivet, Nginx: "1.22.1", CPUs: runtime.NumCPU(),
		Experiments: []record.Entry{{Dir: "1-one", Experiment: s.Experiments[0]}, {Dir: "2-two", Experiment: s.Experiments[1]}},
	}
	if !reflect.DeepEqual(index, want) || !reflect.DeepEqual(entries, want.Experiments) {
		t.Errorf("got %+v, want %+v", index, want)
	}
	for i, e := range index.Experiments {
		if text, err := os.ReadFile(e.Copy(s.Dir)); err != nil || string(text) != string(s.Sources[i]) {
			t.Errorf("%s is no copy: %v", e.Copy(s.Dir), err)
		}
	}
}
