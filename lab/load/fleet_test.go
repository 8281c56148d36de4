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
	"trivet/lab/record"
	"trivet/lab/scenario"
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

// everything is a load of each kind.
func everything() []scenario.Load {
	retriedGet, shortGet := get(100), get(30)
	retriedGet.Retry = true
	shortGet.Deadline = time.Millisecond
	retriedCall, shortCall, watch, idle := call(100), call(30), call(10), call(10)
	retriedCall.Retry, retriedCall.Channels, retriedCall.Deadline = true, 2, 3*time.Second
	shortCall.Deadline = time.Millisecond
	watch.Call, watch.Hold, watch.Deadline = scenario.Watch, 250*time.Millisecond, 3*time.Second
	idle.Call, idle.Deadline = scenario.Idle, 200*time.Millisecond
	users, post, newGet, newCall, padded := get(50), get(50), get(50), call(50), call(20)
	users.Users, users.Connections, users.Addresses = 5, 1, []string{"127.0.0.2", "127.0.0.3"}
	post.Request = scenario.Request{Method: "POST", BodySize: 30_000}
	newGet.NewConnection, newCall.NewConnection, newCall.Addresses = true, true, []string{"127.0.0.4"}
	padded.Request = scenario.Request{Metadata: map[string]string{"x-tenant": "a"}, Padding: 30_000}
	return []scenario.Load{get(100), retriedGet, shortGet, call(100), retriedCall, shortCall, watch, idle, users, post, newGet, newCall, padded}
}

// The ledger relies on this: nginx has at least one access-log entry for each attempt that is not in MaybeUnlogged, and never more entries
// than attempts.
func TestAttemptsAreLoggedOrMaybeUnlogged(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	p := plan(t, 4*time.Second, everything()...)
	p.Begin = p.Begin.Add(time.Second)
	p.HTTP, p.GRPC = f.HTTP(), f.GRPC()
	g := started(t, p)
	for i, do := range []func() error{
		func() error { return f.Process("whoami-1").Signal(syscall.SIGKILL) },
		func() error { return f.Reload(t.Context()) },
		func() error {
			return f.Do(t.Context(), scenario.Operation{Kind: scenario.Restart, Process: "whoami-2"})
		},
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
	stop(t, f) // Now nginx has written all entries.
	entries := logged(t, filepath.Join(f.Dir(), record.AccessLogFile))
	for i, load := range records(t, p) {
		for _, r := range load {
			if n := entries[r.ID]; n > r.Attempts || n < r.Attempts-len(r.MaybeUnlogged) {
				t.Errorf("nginx has %d entries of %+v", n, r)
			}
		}
		t.Logf("%s %s: %v", p.Loads[i].Protocol, p.Loads[i].Call, count(load, ending))
	}
}

// logged counts access-log entries by ID.
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

func TestFleetOutcomes(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	watch, idle := call(20), call(20)
	watch.Call, watch.Hold = scenario.Watch, 300*time.Millisecond
	idle.Call, idle.Deadline = scenario.Idle, 300*time.Millisecond
	p := plan(t, 500*time.Millisecond, get(60), call(60), watch, idle)
	p.HTTP, p.GRPC = f.HTTP(), f.GRPC()
	all := carriedOut(t, p)
	for i, want := range []string{`ok 200 1[]`, `ok OK 1[]`, `ok OK 1[]`, `incomplete DeadlineExceeded deadline 1[]`} {
		if got := count(all[i], endingOnce); got[want] != len(all[i]) {
			t.Errorf("%v, want %s alone", got, want)
		}
		// Not how many each has: round robin may send each of two loads to only some of the servers.
		for name := range count(all[i], func(r record.Client) string { return r.Instance }) {
			if i < 3 && !slices.Contains(f.Names(), name) {
				t.Errorf("%s by %q, want one of %v", want, name, f.Names())
			}
		}
	}
}

func TestLocalRepliesNameNoInstance(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for _, name := range f.Names() {
		if _, err := f.Process(name).Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	retried := call(50)
	retried.Retry = true
	p := plan(t, 200*time.Millisecond, get(50), call(50), retried)
	p.HTTP, p.GRPC = f.HTTP(), f.GRPC()
	all := carriedOut(t, p)
	for i, want := range []string{`nginx_error 502 1[]`, `nginx_error Unavailable 1[]`, `nginx_error Unavailable 4[]`} {
		if got := count(all[i], ending); got[want] != 10 {
			t.Errorf("%v, want 10 times %s", got, want)
		}
	}
	if message := all[1][0].Error; !strings.Contains(message, "nginx: no instance can be reached") {
		t.Errorf("error %q", message)
	}
}

// Each request planned while the only instance is paused waits for the pause to end, and no record may hide that.
func TestPausedInstanceIsInLatency(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	instance := f.Process("whoami-1")
	p := plan(t, 4*time.Second, get(100), call(100))
	p.HTTP, p.GRPC = instance.HTTP(), instance.GRPC() // Without nginx, which would use other instances.
	p.Begin = p.Begin.Add(time.Second)
	g := started(t, p)
	await(t, p, 50)
	if err := instance.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	paused := time.Now()
	<-time.After(2 * time.Second)
	resumed := time.Now()
	if err := instance.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, load := range records(t, p) {
		var latencies []time.Duration
		for _, r := range load {
			latency := time.Duration(r.Latency) * time.Microsecond
			latencies = append(latencies, latency)
			if least := resumed.Sub(r.Planned) - time.Millisecond; r.Planned.After(paused.Add(50*time.Millisecond)) && latency < least {
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
