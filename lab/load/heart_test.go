package load

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What a heart remembers is enough: it knows the longest stall of any time that ends now, as from a list of all.
func TestStallsThatAreRemembered(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	begin := time.Now()
	h := &heart{last: begin}
	var all []stall
	now := begin
	for range 2000 {
		// Most beats are on time.
		pause := beat + time.Duration(max(0, rng.IntN(200)-100))*time.Millisecond
		if late := pause - beat; late > 0 {
			all = append(all, stall{now.Add(pause), late})
		}
		now = now.Add(pause)
		h.beat(now)
		to := now.Add(time.Duration(rng.IntN(50)) * time.Millisecond)
		from := begin.Add(time.Duration(rng.Int64N(int64(max(1, to.Sub(begin))))))
		if rng.IntN(2) == 0 {
			from = to.Add(-time.Duration(rng.IntN(400)) * time.Millisecond)
		}
		want := time.Duration(0)
		for _, s := range append(all, stall{to, to.Sub(now) - beat}) {
			want = max(want, min(s.length, s.end.Sub(from)))
		}
		if got := h.stalled(from, to); got != want {
			t.Fatalf("from %v to %v: %v, want %v", from.Sub(begin), to.Sub(begin), got, want)
		}
	}
	// A beat that came a moment later does not make a stall longer than the request.
	h.beat(now.Add(time.Second))
	if got := h.stalled(now, now.Add(990*time.Millisecond)); got != 990*time.Millisecond {
		t.Errorf("%v", got)
	}
	if len(h.stalls) > 100 {
		t.Errorf("it remembers %d stalls", len(h.stalls))
	}
}

// A generator that is stopped while no request is planned, and some are under way: it was not late, and what it read is no measurement.
func TestAGeneratorThatIsStoppedBetweenItsStarts(t *testing.T) {
	t.Parallel()
	var arrived atomic.Int64
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived.Add(1)
		<-release
	}))
	defer server.Close()
	s := get(0)
	s.Rate = []Point{{0, 100}, {100 * time.Millisecond, 100}, {100 * time.Millisecond, 0}}
	p := plan(t, time.Second, s)
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
	if err := halt(g); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	close(release)
	<-time.After(500 * time.Millisecond)
	stood := time.Since(stopped)
	if err := g.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, r := range records(t, p)[0] {
		if least := (stood - beat).Microseconds(); r.Outcome != OK || r.Stalled < least {
			t.Errorf("%+v stood still for %d µs at least", r, least)
		}
	}
}
