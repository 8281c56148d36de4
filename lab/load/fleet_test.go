package load

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/fleet"
	"trivet/lab/labtest"
)

// newFleet is a fleet that runs until the test ends.
func newFleet(t testing.TB) *fleet.Fleet {
	t.Helper()
	f, err := fleet.Start(t.Context(), fleet.Options{
		Instances: 3, Whoami: whoami, Nginx: labtest.Nginx(t), Workers: 2, Dir: proctest.Passable(t),
		Env: []string{"REFLECTION=true"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, f) })
	return f
}

func stop(t testing.TB, f *fleet.Fleet) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := f.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// everything is a stream of each kind.
func everything() []Stream {
	patient, impatient := get(100), get(30)
	patient.Retry = true
	impatient.Deadline = time.Millisecond
	again, short, watch, silent := call(100), call(30), call(10), call(10)
	again.Retry, again.Channels, again.Deadline = true, 2, 3*time.Second
	short.Deadline = time.Millisecond
	watch.Call, watch.Hold, watch.Deadline = Watch, 250*time.Millisecond, 3*time.Second
	silent.Call, silent.Deadline = Silent, 200*time.Millisecond
	return []Stream{get(100), patient, impatient, call(100), again, short, watch, silent}
}

// What the ledger relies on: whatever happens, nginx has at least a line for each attempt that the client has no reason of its own
// for, and never more lines than there were attempts.
func TestEachAttemptHasALineOrAReason(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	p := plan(t, 4*time.Second, everything()...)
	p.Begin = p.Begin.Add(time.Second)
	p.HTTP, p.GRPC = f.HTTP(), f.GRPC()
	g := started(t, p)
	for i, do := range []func() error{
		func() error { return f.Process("whoami-1").Signal(syscall.SIGKILL) },
		func() error { return f.Reload(t.Context()) },
		func() error { return f.Process("whoami-2").Restart(t.Context()) },
		func() error { return f.Reload(t.Context()) },
	} {
		await(t, p, 100+200*i)
		if err := do(); err != nil {
			t.Error(err)
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	stop(t, f) // Now nginx has written all its lines.
	lines := logged(t, filepath.Join(f.Dir(), "logs", "access.log"))
	for i, stream := range records(t, p) {
		for _, r := range stream {
			if n := lines[r.ID]; n > r.Attempts || n < r.Attempts-len(r.Own) {
				t.Errorf("nginx has %d lines of %+v", n, r)
			}
		}
		t.Logf("%s %s: %v", p.Streams[i].Protocol, p.Streams[i].Call, tally(stream, ending))
	}
}

// logged counts nginx's lines by id.
func logged(t *testing.T, path string) map[string]int {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	counts := map[string]int{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var line struct{ ID string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		counts[line.ID]++
	}
	return counts
}

func TestAFleetAnswers(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	watch, silent := call(20), call(20)
	watch.Call, watch.Hold = Watch, 300*time.Millisecond
	silent.Call, silent.Deadline = Silent, 300*time.Millisecond
	p := plan(t, 500*time.Millisecond, get(60), call(60), watch, silent)
	p.HTTP, p.GRPC = f.HTTP(), f.GRPC()
	all := carriedOut(t, p)
	for i, want := range []string{`ok 200 1[]`, `ok OK 1[]`, `ok OK 1[]`, `client DeadlineExceeded deadline 1[]`} {
		if got := tally(all[i], atDeadline); got[want] != len(all[i]) {
			t.Errorf("%v, want %s alone", got, want)
		}
		// How many each has is not told: streams that take turns at the same servers can each meet a part of them.
		for name := range tally(all[i], func(r Record) string { return r.Instance }) {
			if i < 3 && !slices.Contains(f.Names(), name) {
				t.Errorf("%s by %q, want one of %v", want, name, f.Names())
			}
		}
	}
}

// Errors that nginx makes name no instance.
func TestNginxAnswersItself(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for _, name := range f.Names() {
		if name != fleet.Nginx {
			if err := f.Process(name).Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	retried := call(50)
	retried.Retry = true
	p := plan(t, 200*time.Millisecond, get(50), call(50), retried)
	p.HTTP, p.GRPC = f.HTTP(), f.GRPC()
	all := carriedOut(t, p)
	for i, want := range []string{`nginx 502 1[]`, `nginx Unavailable 1[]`, `nginx Unavailable 4[]`} {
		if got := tally(all[i], ending); got[want] != 10 {
			t.Errorf("%v, want 10 times %s", got, want)
		}
	}
	if words := all[1][0].Error; !strings.Contains(words, "nginx: no instance can be reached") {
		t.Errorf("error %q", words)
	}
}

// An instance that is stopped for a while at a fixed rate: whoever is planned meanwhile waits for its end, and no record may hide that.
func TestAStoppedInstance(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	instance := f.Process("whoami-1")
	p := plan(t, 4*time.Second, get(100), call(100))
	p.HTTP, p.GRPC = instance.HTTP(), instance.GRPC() // Without nginx: nobody else is asked.
	p.Begin = p.Begin.Add(time.Second)
	g := started(t, p)
	await(t, p, 50)
	if err := instance.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	<-time.After(2 * time.Second)
	continued := time.Now()
	if err := instance.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, stream := range records(t, p) {
		var latencies []time.Duration
		for _, r := range stream {
			latency := time.Duration(r.Latency) * time.Microsecond
			latencies = append(latencies, latency)
			if least := continued.Sub(r.Planned) - time.Millisecond; r.Planned.After(stopped.Add(50*time.Millisecond)) && latency < least {
				t.Errorf("%+v was planned %v before the instance ran again", r, least)
			}
		}
		// 200 of 400 waited, evenly from nothing to 2 s: the 1 % that waited longest are the first 4 of them, whose wait is nearly all.
		slices.Sort(latencies)
		if p99 := latencies[len(latencies)*99/100]; p99 < 1900*time.Millisecond {
			t.Errorf("p99 is %v, want 1.95 s", p99)
		}
	}
}
