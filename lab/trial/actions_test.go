package trial

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// acted carries out the actions of phases in fake time, on a system that does each as do says, and returns its error and the events:
// "1.5s 2 start whoami-1", where 2 is the operation.
func acted(t *testing.T, phases []scenario.Phase, do func(ctx context.Context, kind, process string) error) (lines []string, err error) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		w, failed := record.NewEventWriter(dir)
		if failed != nil {
			t.Fatal(failed)
		}
		begin := time.Now().Add(time.Second)
		w.CountFrom(begin)
		time.AfterFunc(time.Hour, func() { cancel(errSignal) })
		err = runActions(ctx, scenario.Scenario{Phases: phases}, begin, &fake{do: do}, w)
		if failed := w.Close(); failed != nil {
			t.Error(failed)
		}
		for _, e := range events(t, dir) {
			at := e.Time.Sub(begin)
			switch e.Event {
			case record.PhaseStarted:
				lines = append(lines, fmt.Sprintf("%v phase %s", at, e.Phase))
			case record.ActionStarted:
				lines = append(lines, fmt.Sprintf("%v %d %s", at, e.Operation, e.ActionName()))
			case record.ActionDone:
				lines = append(lines, strings.TrimSpace(fmt.Sprintf("%v %d done %s", at, e.Operation, e.Error)))
			}
		}
	})
	// What happens at the same time has no order.
	slices.SortStableFunc(lines, func(a, b string) int {
		at := func(line string) time.Duration {
			d, err := time.ParseDuration(strings.Fields(line)[0])
			if err != nil {
				t.Error(err)
			}
			return d
		}
		if d := at(a) - at(b); d != 0 {
			return int(d)
		}
		return strings.Compare(a, b)
	})
	return lines, err
}

// takes is a system at which each action takes a time, a second unless it is named.
func takes(times map[string]time.Duration) func(context.Context, string, string) error {
	return func(ctx context.Context, kind, process string) error {
		d, ok := times[kind+" "+process]
		if !ok {
			d = time.Second
		}
		if err := waitUntil(ctx, time.Now().Add(d)); err != nil {
			return err
		}
		if process == "whoami-9" {
			return errors.New("no luck")
		}
		return nil
	}
}

func together(do ...scenario.Action) scenario.Action { return scenario.Action{Together: do} }

func repeat(times int, every time.Duration, do ...scenario.Action) scenario.Action {
	return scenario.Action{Repeat: &scenario.RepeatAction{Times: times, Every: every, Do: do}}
}

func checkLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// The third begins when both are done. One that fails holds none of the others up.
func TestActionsTogetherBeginAtTheSameTime(t *testing.T) {
	t.Parallel()
	got, err := acted(t, []scenario.Phase{{Name: "one", For: time.Minute, Do: []scenario.Action{
		together(on(scenario.Kill, "whoami-1", "whoami-9"), on(scenario.Kill, "whoami-9"), wait(5*time.Second)), on(scenario.Start, "whoami-1"),
	}}}, takes(map[string]time.Duration{"kill whoami-1": 3 * time.Second}))
	if err != nil {
		t.Error(err)
	}
	checkLines(t, got, "0s 0 kill whoami-1", "0s 2 kill whoami-9", "0s 3 wait", "0s phase one", "1s 2 done no luck", "3s 0 done", "3s 1 kill whoami-9",
		"4s 1 done no luck", "5s 3 done", "5s 4 start whoami-1", "6s 4 done")
}

// The second time of the first begins late, because the first takes longer than the interval; the third is on time again.
func TestRepeatedActionsBeginAtTheirInterval(t *testing.T) {
	t.Parallel()
	n := 0
	slow := func(ctx context.Context, kind, process string) error {
		n++
		if n == 1 {
			return waitUntil(ctx, time.Now().Add(5*time.Second))
		}
		return waitUntil(ctx, time.Now().Add(time.Second))
	}
	got, err := acted(t, []scenario.Phase{
		{Name: "one", For: 2 * time.Second},
		{Name: "two", For: time.Minute, Do: []scenario.Action{wait(time.Second), repeat(3, 4*time.Second, reload), on(scenario.Kill, "whoami-1")}},
	}, slow)
	if err != nil {
		t.Error(err)
	}
	checkLines(t, got, "0s phase one", "2s 0 wait", "2s phase two", "3s 0 done", "3s 1 reload nginx", "8s 1 done", "8s 2 reload nginx", "9s 2 done",
		"11s 3 reload nginx", "12s 3 done", "12s 4 kill whoami-1", "13s 4 done")
}

// Then no action runs any more, and none begins.
func TestEndOfContextEndsAllActions(t *testing.T) {
	t.Parallel()
	var running atomic.Int32 // The actions run at the same time.
	got, err := acted(t, []scenario.Phase{
		{Name: "one", For: 2 * time.Hour, Do: []scenario.Action{
			together(on(scenario.Pause, "whoami-1"), wait(2*time.Hour), repeat(3, 40*time.Minute, reload)), on(scenario.Kill, "whoami-2"),
		}},
		{Name: "two", For: time.Second},
	}, func(ctx context.Context, kind, process string) error {
		running.Add(1)
		defer running.Add(-1)
		return takes(map[string]time.Duration{"pause whoami-1": 3 * time.Hour})(ctx, kind, process)
	})
	if !errors.Is(err, errSignal) || running.Load() != 0 {
		t.Errorf("got %v, %d running", err, running.Load())
	}
	// The hour counts from a second before the first phase.
	checkLines(t, got, "0s 0 pause whoami-1", "0s 1 wait", "0s 2 reload nginx", "0s phase one", "1s 2 done", "40m0s 3 reload nginx", "40m1s 3 done")
}

// It is as long as the phase, and the phase that follows begins late.
func TestPhaseWaitsForTheActionsOfTheOneBefore(t *testing.T) {
	t.Parallel()
	got, err := acted(t, []scenario.Phase{
		{Name: "one", For: time.Second, Do: []scenario.Action{on(scenario.Kill, "whoami-1")}},
		{Name: "two", For: time.Second, Do: []scenario.Action{on(scenario.Start, "whoami-1")}},
	}, takes(map[string]time.Duration{"kill whoami-1": 3 * time.Second}))
	if err != nil {
		t.Error(err)
	}
	checkLines(t, got, "0s 0 kill whoami-1", "0s phase one", "3s 0 done", "3s 0 start whoami-1", "3s phase two", "4s 0 done")
}
