package fleet

import (
	"testing"
	"testing/synctest"
	"time"

	"trivet/lab/record"
)

func TestNextPause(t *testing.T) {
	t.Parallel()
	const ms, s = time.Millisecond, time.Second
	for _, test := range []struct {
		name              string
		last, ready, want time.Duration
	}{
		{"first death, never ready", 0, 0, 100 * ms},
		{"first death, stable", 0, time.Hour, 100 * ms},
		{"second death in a row", 100 * ms, 10 * ms, 200 * ms},
		{"just short of stable", 200 * ms, 999 * ms, 400 * ms},
		{"longest pause", 3200 * ms, 0, 5 * s},
		{"no longer than that", 5 * s, 0, 5 * s},
		{"one stable second", 5 * s, 1 * s, 100 * ms},
		{"stable for long", 800 * ms, time.Minute, 100 * ms},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := nextPause(test.last, test.ready); got != test.want {
				t.Errorf("nextPause(%v, %v) = %v, want %v", test.last, test.ready, got, test.want)
			}
		})
	}
}

func TestJitterStaysInItsRange(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{0, 1, firstPause, maxPause} {
		low, high := pause, time.Duration(0)
		for range 10_000 {
			d := jitter(pause)
			low, high = min(low, d), max(high, d)
		}
		if low < pause/2 || high > pause {
			t.Errorf("jitter(%v) is from %v to %v", pause, low, high)
		}
		// Of 10,000 waits the shortest and the longest are near the ends: for either not to be has a probability of 0.9^10000.
		if pause >= firstPause && (low > pause*55/100 || high < pause*95/100) {
			t.Errorf("jitter(%v) is only from %v to %v", pause, low, high)
		}
	}
}

// Processes that die at the same time, again and again, are not all started again at the same moment.
func TestPausesOfProcessesDiffer(t *testing.T) {
	t.Parallel()
	const processes, seconds = 3, 30
	var starts [processes][]time.Time
	synctest.Test(t, func(t *testing.T) {
		var all [processes]*Process
		for i := range all {
			a := &actor{lives: 500 * time.Millisecond, readyAfter: 10 * time.Millisecond}
			all[i] = newProcess("whoami", "", "", plan{
				start: a.start, ready: a.ready, restart: true, jitter: jitter,
				observe: func(e Event) {
					if e.Kind == record.Started {
						starts[i] = append(starts[i], e.Time)
					}
				},
			})
			go all[i].supervise()
			if err := all[i].Start(t.Context()); err != nil {
				t.Error(err)
			}
		}
		<-time.After(seconds * time.Second)
		for _, p := range all {
			if err := p.end(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	first := starts[0]
	for i, other := range starts[1:] {
		if len(first) < 5 || len(other) < 5 {
			t.Fatalf("%d and %d starts in %d s", len(first), len(other), seconds)
		}
		same := 0
		for n := range min(len(first), len(other)) {
			if first[n].Sub(starts[0][0]) == other[n].Sub(other[0]) {
				same++
			}
		}
		if same > 1 { // The first start, which has no pause.
			t.Errorf("process %d started at the same time as the first %d times: %v, %v", i+2, same, first, other)
		}
	}
}
