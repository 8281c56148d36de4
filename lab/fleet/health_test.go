package fleet

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Health follows what happens to an instance. A check is in no record of a request, and the end of the fleet is no change.
func TestHealthFollowsInstances(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	got := map[string][]string{}
	o := testOptions(t, 2)
	records := filepath.Join(o.Dir, "instances.jsonl")
	o.MTLS, o.NoRestart, o.Env = true, true, []string{"RECORDS=" + records, "DRAIN_DELAY=1200ms"}
	o.Health = func(h Health) {
		mu.Lock()
		defer mu.Unlock()
		got[h.Process] = append(got[h.Process], h.Kind)
	}
	probes := 0
	o.Probed = func(string) { probes++ }
	f := begin(t, o)
	is := func(process string, want ...string) bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Equal(got[process], want)
	}
	do := func(kind, process string) {
		t.Helper()
		if err := f.Do(t.Context(), scenario.Operation{Kind: kind, Process: process}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both are well", func() bool { return is("whoami-1", record.Serving) && is("whoami-2", record.Serving) })
	do(scenario.Pause, "whoami-2")
	eventually(t, "the paused one does not respond", func() bool { return is("whoami-2", record.Serving, record.NoResponse) })
	do(scenario.Resume, "whoami-2")
	eventually(t, "the resumed one is well", func() bool { return is("whoami-2", record.Serving, record.NoResponse, record.Serving) })
	do(scenario.Drain, "whoami-2")
	eventually(t, "the one that drained does not respond", func() bool {
		return is("whoami-2", record.Serving, record.NoResponse, record.Serving, record.NotServing, record.NoResponse)
	})
	if err := f.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if !is("whoami-1", record.Serving) {
		t.Errorf("%v: the end of the fleet is no change", got["whoami-1"])
	}
	text, err := os.ReadFile(records)
	if arrivals := strings.Count(string(text), `"arrival"`); err != nil || arrivals > probes {
		t.Errorf("%d arrivals and %d probes, %v", arrivals, probes, err)
	}
}

// A response that is late is waited for, because a paused instance would respond to all that it got when it resumes.
func TestLateHealthCheckIsNotRepeated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []string
		var at []time.Duration
		begun, calls := time.Now(), 0
		c := &healthChecker{interval: healthInterval, changed: func(when time.Time, kind string) { got, at = append(got, kind), append(at, when.Sub(begun)) }}
		c.ask = func(ctx context.Context) string {
			if calls++; calls > 1 {
				return record.Serving
			}
			select {
			case <-time.After(5 * time.Second):
				return record.Serving
			case <-ctx.Done():
				return record.NoResponse
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5400*time.Millisecond)
		defer cancel()
		c.run(ctx, 0)
		if !slices.Equal(got, []string{record.NoResponse, record.Serving}) || !slices.Equal(at, []time.Duration{healthTimeout, 5 * time.Second}) || calls != 2 {
			t.Errorf("%v at %v, %d checks", got, at, calls)
		}
	})
}
