package load

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A load that is to finish sends everything that was planned before, one request of which waits for the system, and nothing else. A load whose next request is
// an hour away does not wait for it.
func TestFinishedGeneratorSendsWhatWasPlannedBefore(t *testing.T) {
	t.Parallel()
	slow := call(4)
	slow.Call, slow.Deadline = scenario.Idle, 1500*time.Millisecond
	p := plan(t, time.Hour, get(200), slow, get(1./3600))
	p.HTTP, p.GRPC = quick(t), (&service{}).start(t)
	g := started(t, p)
	await(t, p, 5)
	finish := time.Since(p.Begin) + 300*time.Millisecond
	if err := g.Finish(finish + time.Hour); err != nil { // Later than the plan's end: the other is earlier.
		t.Fatal(err)
	}
	if err := g.Finish(finish); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	p.For = finish
	all := records(t, p) // Each planned request has exactly one.
	if len(all[0]) == 0 || len(all[1]) == 0 || len(all[2]) != 0 {
		t.Errorf("%d, %d and %d requests were planned within %v", len(all[0]), len(all[1]), len(all[2]), finish)
	}
	if slices.ContainsFunc(all[1], func(r record.Client) bool { return r.Reason != record.Deadline }) {
		t.Errorf("%+v: want calls that end by themselves, at their deadline", all[1])
	}
}

// One that is to finish at a time that has passed has sent what was planned until then, and sends nothing more.
func TestFinishInThePastEndsAtOnce(t *testing.T) {
	t.Parallel()
	var last time.Duration
	p := plan(t, time.Hour, get(100))
	p.HTTP = quick(t)
	g := started(t, p)
	await(t, p, 5)
	if err := g.Finish(0); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, r := range written(t, p.Records) {
		last = max(last, r.Planned.Sub(p.Begin))
	}
	p.For = last + 5*time.Millisecond
	records(t, p) // None is missing.
	if err := g.Finish(time.Second); err == nil {
		t.Error("a generator that is gone finishes")
	}
}

func TestWrongInstructionEndsTheLoad(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"finish":-1}`: "trivet load: read instruction from standard input: finish -1ns, want more than 0\n",
		`hello`:         "trivet load: read instruction from standard input: invalid character 'h' looking for beginning of value\n",
	} {
		p := plan(t, time.Hour, get(100))
		p.HTTP = quick(t)
		if code, stderr := serve(t, p, in); code != 1 || !strings.HasSuffix(stderr, want) {
			t.Errorf("%s: exit code %d, %q", in, code, stderr)
		}
	}
}

// A generator that is paused when it is to finish sees, when it goes on, that a request has its time and that nothing more is planned, in either order.
func TestGeneratorThatIsPausedWhileItFinishesSendsTheLast(t *testing.T) {
	t.Parallel()
	var all []*Generator
	for range 6 {
		p := plan(t, time.Hour, get(2))
		p.HTTP = quick(t)
		g := started(t, p)
		await(t, p, 1)
		// The second request is planned 750 ms after Begin.
		if err := errors.Join(g.Finish(751*time.Millisecond), pause(g)); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Until(p.Begin.Add(800 * time.Millisecond)))
		if err := g.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	for _, g := range all {
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}
}
