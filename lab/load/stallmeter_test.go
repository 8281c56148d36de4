package load

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// The stalls that a meter keeps are enough: it knows the longest of any time that ends now, as from a list of all.
func TestStallMeterKnowsLongestStall(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	begin := time.Now()
	m := &stallMeter{last: begin}
	var all []stall
	now := begin
	for range 2000 {
		// Most beats are on time.
		pause := beat + time.Duration(max(0, rng.IntN(200)-100))*time.Millisecond
		if late := pause - beat; late > 0 {
			all = append(all, stall{now.Add(pause), late})
		}
		now = now.Add(pause)
		m.beat(now)
		to := now.Add(time.Duration(rng.IntN(50)) * time.Millisecond)
		from := begin.Add(time.Duration(rng.Int64N(int64(max(1, to.Sub(begin))))))
		if rng.IntN(2) == 0 {
			from = to.Add(-time.Duration(rng.IntN(400)) * time.Millisecond)
		}
		want := time.Duration(0)
		for _, s := range append(all, stall{to, to.Sub(now) - beat}) {
			want = max(want, min(s.length, s.end.Sub(from)))
		}
		if got := m.longest(from, to); got != want {
			t.Fatalf("from %v to %v: %v, want %v", from.Sub(begin), to.Sub(begin), got, want)
		}
	}
	// A beat that is late by less than a millisecond is late as those of an idle machine are.
	m.beat(now.Add(beat + leastStall - 1))
	now = now.Add(beat + leastStall - 1)
	if got := m.longest(now.Add(-leastStall), now); got != 0 {
		t.Errorf("%v", got)
	}
	// A beat that comes a moment later does not make a stall longer than the request.
	m.beat(now.Add(time.Second))
	if got := m.longest(now, now.Add(990*time.Millisecond)); got != 990*time.Millisecond {
		t.Errorf("%v", got)
	}
	if len(m.stalls) > 100 {
		t.Errorf("it keeps %d stalls", len(m.stalls))
	}
}

// A generator that is paused while no request is planned and some are in flight: none was late, and the times it measured are its own.
func TestGeneratorPausedBetweenStartsRecordsStall(t *testing.T) {
	t.Parallel()
	var arrived atomic.Int64
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived.Add(1)
		<-release
	}))
	defer server.Close()
	l := get(0)
	l.Rate = scenario.Rate{Shape: scenario.Step, PerSecond: []float64{100, 0, 0, 0, 0, 0, 0, 0, 0, 0}} // 100 ms each
	p := plan(t, time.Second, l)
	p.Begin = p.Begin.Add(time.Second)
	p.HTTP = server.Listener.Addr().String()
	g := started(t, p)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for arrived.Load() < 10 {
		select {
		case <-tick.C:
		case <-g.Done():
			t.Fatal(g.Wait())
		}
	}
	if err := pause(g); err != nil {
		t.Fatal(err)
	}
	paused := time.Now()
	close(release)
	<-time.After(500 * time.Millisecond)
	stalled := time.Since(paused)
	if err := g.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, r := range records(t, p)[0] {
		if least := (stalled - beat).Microseconds(); r.Outcome != record.OK || r.Stalled < least {
			t.Errorf("%+v: want a stall of at least %d µs", r, least)
		}
	}
}
