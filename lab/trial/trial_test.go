package trial

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

func TestPhasesAndActionsRunInOrder(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	s := during(400*time.Millisecond, on(scenario.Kill, "whoami-1"), wait(100*time.Millisecond), on(scenario.Restart, "whoami-2", "whoami-3"), reload)
	s.Phases = []scenario.Phase{{Name: "before", For: 200 * time.Millisecond}, s.Phases[0], {Name: "after", For: 100 * time.Millisecond}}
	set := setup(t, s, f.start)
	if err := run(t, t.Context(), set); err != nil {
		t.Fatal(err)
	}
	checkGone(t, set.Dir)
	all := events(t, set.Dir)
	want := []string{
		"phase before", "phase during",
		"during: action_started kill whoami-1", "during: action_done kill whoami-1",
		"during: action_started wait", "during: action_done wait",
		"during: action_started restart whoami-2", "during: action_done restart whoami-2",
		"during: action_started restart whoami-3", "during: action_done restart whoami-3",
		"during: action_started reload nginx", "during: action_done reload nginx",
		"phase after", "ended",
	}
	if got := words(all); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want := []string{"start", "kill whoami-1", "restart whoami-2", "restart whoami-3", "reload nginx", "stop", "findings"}; !slices.Equal(f.calls, want) {
		t.Errorf("got %q, want %q", f.calls, want)
	}
	m, err := record.ReadManifest(set.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, phase := range []int{0, 1, 12} {
		from, _ := s.Bounds(i)
		if e := all[phase]; e.Time.Before(m.Begin.Add(from)) {
			t.Errorf("phase %s started at %v, planned %v", e.Phase, e.Time, m.Begin.Add(from))
		}
	}
	if started, done := all[4], all[5]; started.Wait != 100_000 || done.Wait != 0 || done.Time.Sub(started.Time) < 100*time.Millisecond {
		t.Errorf("the wait: %+v to %+v", started, done)
	}
}

func TestManifestHoldsWhatWasSetUp(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	s := during(200*time.Millisecond, wait(time.Millisecond))
	s.Loads = append(s.Loads, grpcLoad("calls", 30))
	set := setup(t, s, f.start)
	before := time.Now()
	if err := run(t, t.Context(), set); err != nil {
		t.Fatal(err)
	}
	m, err := record.ReadManifest(set.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if m.Begin.Before(before.Add(headStart)) || m.Trivet == "" {
		t.Errorf("%+v", m)
	}
	want := record.Manifest{
		V: record.ManifestVersion, Scenario: s, Nginx: "1.22.1", Trivet: m.Trivet, Begin: m.Begin, Planned: []int{10, 6},
		Instances: f.Instances(), HTTP: f.HTTP(), GRPC: f.GRPC(), Trial: 1, CPUs: runtime.NumCPU(),
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got  %+v\nwant %+v", m, want)
	}
}

func TestWatchIsCalledWhileTheLoadRuns(t *testing.T) {
	t.Parallel()
	var watched atomic.Int32
	ended := 0
	s := setup(t, during(500*time.Millisecond), newFake(t).start)
	s.Watch = func(m *measure.Trial) {
		watched.Add(1)
		if live := m.Progress(); len(live.Protocols) != 1 {
			t.Errorf("%+v", live)
		}
		ended = 0
		for _, c := range m.Progress().Protocols {
			ended += c.OK + c.Failed + c.Dropped
		}
	}
	if err := run(t, t.Context(), s); err != nil || watched.Load() == 0 {
		t.Errorf("called %d times, %v", watched.Load(), err)
	}
	// What is shown last is what the report will say.
	m, err := record.ReadManifest(s.Dir)
	if err != nil || len(m.Planned) != 1 || ended != m.Planned[0] {
		t.Errorf("%d requests were shown, planned %d (%v)", ended, m.Planned, err)
	}
}

// The reason is in the event log and makes the trial invalid: what was measured then is unknown.
func TestFailedActionIsRecordedAndTheNextOneRuns(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.do = func(_ context.Context, kind, _ string) error {
		if kind == scenario.Pause {
			return errors.New("whoami-2 is down")
		}
		return nil
	}
	s := setup(t, during(500*time.Millisecond, on(scenario.Pause, "whoami-2"), on(scenario.Start, "whoami-2")), f.start)
	if err := run(t, t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if done := only(events(t, s.Dir), record.ActionDone, "whoami-2"); len(done) != 2 || done[0].Error != "whoami-2 is down" || done[1].Error != "" {
		t.Errorf("%+v", done)
	}
	if e := last(t, s.Dir); e.Event != record.Ended {
		t.Errorf("%+v", e)
	}
	if reasons := result(t, s.Dir).Reasons; !slices.Contains(reasons, "phase during: pause whoami-2 failed: whoami-2 is down") {
		t.Errorf("reasons %q", reasons)
	}
}

func TestActionThatTheSystemCannotDoIsAnErrorBeforeTheLoad(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.cannot = scenario.Reload
	s := setup(t, during(time.Second, on(scenario.Kill, "whoami-1"), wait(time.Millisecond), reload), f.start)
	err := run(t, t.Context(), s)
	if err == nil || err.Error() != "phase during: the system under test cannot reload nginx" {
		t.Errorf("got %v", err)
	}
	checkNoLoad(t, s, err.Error())
	if want := []string{"start", "stop", "findings"}; !slices.Equal(f.calls, want) {
		t.Errorf("got %q, want %q", f.calls, want)
	}
}

// checkNoLoad fails the test unless the trial's only event is an error with that text, and there is no manifest.
func checkNoLoad(t *testing.T, s Setup, want string) {
	t.Helper()
	if all := events(t, s.Dir); len(all) != 1 || all[0].Event != record.LabError || !strings.Contains(all[0].Error, want) {
		t.Errorf("events %+v, want an error %q", all, want)
	}
	if _, err := measure.Open(s.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a manifest: %v", err)
	}
	checkGone(t, s.Dir)
}

func TestInterruptedInAnActionEndsItAndTheLoad(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	f := newFake(t)
	f.do = func(ctx context.Context, kind, process string) error {
		cancel(errSignal)
		<-ctx.Done()
		return ctx.Err()
	}
	f.stop = func(ctx context.Context) error {
		if ctx.Err() != nil {
			t.Error("stop got a context that has ended: it could not drain")
		}
		return nil
	}
	s := setup(t, during(10*time.Minute, on(scenario.Drain, "whoami-2"), wait(9*time.Minute)), f.start)
	checkInterrupted(t, s, run(t, ctx, s))
	if got, want := words(events(t, s.Dir)), []string{"phase during", "during: action_started drain whoami-2", "interrupted"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if r := result(t, s.Dir); r.Ending.Event != record.Interrupted || len(r.Reasons) == 0 {
		t.Errorf("%+v", r)
	}
}

func TestInterruptedStartHasNoManifest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	s := setup(t, during(time.Second), func(ctx context.Context, _ scenario.Scenario, _ string, observe func(record.Event)) (System, error) {
		observe(record.Event{Event: record.ProcessEvent, Process: "whoami-1", Kind: record.Started})
		cancel(errSignal)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	checkInterrupted(t, s, run(t, ctx, s))
	if got := words(events(t, s.Dir)); !slices.Equal(got, []string{"whoami-1 started", "interrupted"}) {
		t.Errorf("%q", got)
	}
	if _, err := measure.Open(s.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a manifest: %v", err)
	}
}

func TestErrorsOfSystemAndGeneratorEndTheTrial(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Setup, *fake)
		want   string
		before []string // events before the error
	}{
		{"start", func(s *Setup, _ *fake) {
			s.Start = func(context.Context, scenario.Scenario, string, func(record.Event)) (System, error) {
				return nil, errors.New("whoami-1 does not start")
			}
		}, "whoami-1 does not start", nil},
		{"stop", func(_ *Setup, f *fake) {
			f.stop = func(context.Context) error { return errors.New("whoami-1 does not end") }
		},
			"whoami-1 does not end", []string{"phase during"}},
		{"incomplete records", func(_ *Setup, f *fake) {
			f.findings = func() ([]record.Event, error) {
				return []record.Event{{Event: record.NginxEvent, Kind: record.Reconfigured, Time: time.Now()}}, errors.New("nginx could not write its records")
			}
		}, "nginx could not write its records", []string{"phase during", "nginx"}},
		{"no generator", func(s *Setup, _ *fake) { s.Trivet = "/no/such/trivet" }, "fork/exec /no/such/trivet", nil},
		{"a generator that fails", func(s *Setup, _ *fake) { s.Trivet = "/bin/false" }, "exit status 1", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			s := setup(t, during(200*time.Millisecond), f.start)
			test.change(&s, f)
			err := run(t, t.Context(), s)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			if e := last(t, s.Dir); e.Event != record.LabError || !strings.Contains(e.Error, test.want) {
				t.Errorf("%+v", e)
			}
			if got := words(events(t, s.Dir)); !slices.Equal(got, append(test.before, "error")) {
				t.Errorf("events %q, want %q before the error", got, test.before)
			}
			if !slices.Contains(f.calls, "stop") && test.name != "start" {
				t.Errorf("the system was not stopped: %q", f.calls)
			}
			checkGone(t, s.Dir)
		})
	}
}

// signalGenerator is a Watch that signals the generator once it has recorded a request.
func signalGenerator(t *testing.T, dir string, signal syscall.Signal) func(*measure.Trial) {
	var once sync.Once
	return func(*measure.Trial) {
		if info, err := os.Stat(filepath.Join(dir, record.ClientFile)); err != nil || info.Size() == 0 {
			return
		}
		once.Do(func() {
			for _, pid := range holders(t, dir)[record.ClientFile] {
				if pid != os.Getpid() { // The trial reads the file too.
					if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
						t.Error(err)
					}
				}
			}
		})
	}
}

// The lab has failed then, not what it tests: the trial ends, actions and all.
func TestKilledGeneratorIsAnError(t *testing.T) {
	t.Parallel()
	s := setup(t, during(10*time.Minute, wait(9*time.Minute)), newFake(t).start)
	s.Watch = signalGenerator(t, s.Dir, syscall.SIGKILL)
	err := run(t, t.Context(), s)
	const want = "the load generator ended with signal: killed"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	if e := last(t, s.Dir); e.Event != record.LabError || !strings.Contains(e.Error, want) {
		t.Errorf("%+v", e)
	}
	checkGone(t, s.Dir)
}

// A generator that never goes on is killed in the end. The lab has not failed then, and the trial is invalid.
func TestPausedGeneratorMakesTheTrialInvalid(t *testing.T) {
	t.Parallel()
	s := setup(t, during(time.Second), newFake(t).start)
	s.Watch = signalGenerator(t, s.Dir, syscall.SIGSTOP)
	if err := run(t, t.Context(), s); err != nil {
		t.Fatal(err)
	}
	checkGone(t, s.Dir)
	if got := words(events(t, s.Dir)); !slices.Equal(got, []string{"phase during", "generator_killed", "ended"}) {
		t.Errorf("%q", got)
	}
	if reasons := result(t, s.Dir).Reasons; len(reasons) == 0 || !strings.Contains(reasons[0], " of 50 planned requests have no record") {
		t.Errorf("%q", reasons)
	}
}
