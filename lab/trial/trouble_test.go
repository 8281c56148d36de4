package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/fleet"
	"trivet/lab/ledger"
	"trivet/lab/load"
)

const quiet = `
question: What if something goes wrong?
load: [{protocol: http, rate: 50/s, retry: true, deadline: 500ms}]
phases: [{name: during, for: %s, do: [%s]}]
expect: ["during.http.failed == 0"]
`

// errSignal is why contexts end here: somebody typed Ctrl-C.
var errSignal = errors.New("interrupt signal received")

// inTime fails the test when a run does not come to its end.
func inTime(t *testing.T, ctx context.Context, s Setup) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, s) }()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		t.Fatal("the run does not end")
		return nil
	}
}

// wasInterrupted fails the test unless that is what error and records say.
func wasInterrupted(t *testing.T, s Setup, err error) {
	t.Helper()
	if !errors.Is(err, errSignal) {
		t.Errorf("got %v", err)
	}
	if e := last(t, s.Dir); e.Event != ledger.Interrupted || e.Error != errSignal.Error() {
		t.Errorf("%+v", e)
	}
	gone(t, s.Dir)
}

// Interrupted in the middle of an action, while an instance is stopped and requests hang in its hands.
func TestInterruptedInAnAction(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	s := setup(t, fmt.Sprintf(quiet, "10m", "{stop: whoami-2}, {wait: 9m}"))
	s.Watch = func(book *ledger.Ledger) {
		if live := book.Live(); live.Protocols["http"].Failed > 0 {
			cancel(errSignal)
		}
	}
	wasInterrupted(t, s, inTime(t, ctx, s))
	told := words(events(t, s.Dir))
	if !slices.Contains(told, "during: action wait") || slices.Contains(told, "during: done wait") {
		t.Errorf("%q", told)
	}
	book, balance := read(t, s.Dir)
	if balance.Valid() || book.Ending().Event != ledger.Interrupted {
		t.Errorf("%+v %q", book.Ending(), balance.Reasons)
	}
}

// Interrupted before the fleet serves: at once, and while it starts. There is no scene, and nothing that looks like a fault.
func TestInterruptedBeforeTheLoad(t *testing.T) {
	t.Parallel()
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errSignal)
		s := setup(t, fmt.Sprintf(quiet, "1s", ""))
		wasInterrupted(t, s, inTime(t, ctx, s))
	})
	t.Run("while it starts", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancelCause(t.Context())
		s := setup(t, fmt.Sprintf(quiet, "1s", ""))
		s.Whoami = program(t, "exec sleep 600")
		var waiting sync.WaitGroup
		waiting.Go(func() {
			eventually(t, "an instance starts", func() bool {
				text, err := os.ReadFile(filepath.Join(s.Dir, ledger.EventsFile))
				return err == nil && strings.Contains(string(text), `"whoami-3"`)
			})
			cancel(errSignal)
		})
		wasInterrupted(t, s, inTime(t, ctx, s))
		waiting.Wait()
		if _, err := ledger.Open(s.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("there is a scene: %v", err)
		}
	})
}

// program is an instances' program that knows its settings, and then does something else.
func program(t *testing.T, instead string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "whoami")
	text := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = config ]; then exec %s \"$@\"; fi\n%s\n", whoami, instead)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// Processes that die though nothing killed them stay down, and the run goes on to its end: it is invalid, and each death is a reason.
func TestUnaskedDeaths(t *testing.T) {
	t.Parallel()
	s := setup(t, fmt.Sprintf(quiet, "1500ms", "{wait: 1ms}"))
	first := true
	s.Watch = func(*ledger.Ledger) { // It is called before the load begins.
		if !first {
			return
		}
		first = false
		for _, name := range []string{"whoami-2", "nginx"} {
			if err := syscall.Kill(only(events(t, s.Dir), "started", name)[0].PID, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
	if err := inTime(t, t.Context(), s); err != nil {
		t.Fatal(err)
	}
	gone(t, s.Dir)
	all := events(t, s.Dir)
	for _, name := range []string{"whoami-2", "nginx"} {
		if len(only(all, "started", name)) != 1 || len(only(all, "died", name)) != 1 || len(only(all, "stopped", name)) != 0 {
			t.Errorf("%s: %q", name, words(all))
		}
	}
	if e := last(t, s.Dir); e.Event != ledger.Ended {
		t.Errorf("%+v", e)
	}
	_, balance := read(t, s.Dir)
	told := strings.Join(reasons(balance), "\n")
	for _, part := range []string{"whoami-2 died (signal SIGKILL)", "no action killed it", "nginx died (signal SIGKILL)"} {
		if !strings.Contains(told, part) {
			t.Errorf("no %q in the reasons: %s", part, told)
		}
	}
}

// A generator that is killed is a fault of the laboratory, not of what it asks about: the run breaks off, actions and all.
func TestAGeneratorThatIsKilled(t *testing.T) {
	t.Parallel()
	s := setup(t, fmt.Sprintf(quiet, "10m", "{wait: 9m}"))
	s.Watch = func(book *ledger.Ledger) {
		if book.Live().Protocols["http"].OK == 0 {
			return
		}
		for _, pid := range holders(t, s.Dir)[ledger.ClientFile] {
			if pid != os.Getpid() { // The ledger here reads along.
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
					t.Error(err)
				}
			}
		}
	}
	err := inTime(t, t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "the load generator ended with signal: killed") {
		t.Errorf("got %v", err)
	}
	if e := last(t, s.Dir); e.Event != ledger.Broke || !strings.Contains(e.Error, "the load generator ended with signal: killed") {
		t.Errorf("%+v", e)
	}
	gone(t, s.Dir)
}

// A generator that is stopped, and never goes on, stood still: that is no fault of the laboratory, and the run is invalid.
func TestAGeneratorThatIsStopped(t *testing.T) {
	t.Parallel()
	s := setup(t, fmt.Sprintf(quiet, "1s", ""))
	s.Watch = func(book *ledger.Ledger) {
		if book.Live().Protocols["http"].OK == 0 {
			return
		}
		for _, pid := range holders(t, s.Dir)[ledger.ClientFile] {
			if pid != os.Getpid() { // The ledger here reads along.
				if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
					t.Error(err)
				}
			}
		}
	}
	if err := inTime(t, t.Context(), s); err != nil {
		t.Fatal(err)
	}
	gone(t, s.Dir)
	_, balance := read(t, s.Dir)
	if first := balance.Reasons[0]; !strings.HasPrefix(first, "the generator stood still, and was killed: ") || !strings.Contains(first, " of 50 planned requests have no record") {
		t.Errorf("%q", balance.Reasons)
	}
	if e := last(t, s.Dir); e.Event != ledger.Ended {
		t.Errorf("%+v", e)
	}
}

// What cannot be started is told with the reason, and breaks the run before there is a scene.
func TestWhatCannotBeStarted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(*testing.T, *Setup)
		want  string
	}{
		{"no such instance", func(_ *testing.T, s *Setup) { s.Whoami = "/nowhere/whoami" }, "/nowhere/whoami"},
		{"an instance that fails", func(t *testing.T, s *Setup) { s.Whoami = program(t, "echo out of luck; exit 3") }, "out of luck"},
		{"no such generator", func(_ *testing.T, s *Setup) { s.Trivet = "/nowhere/trivet" }, "starting the load generator: fork/exec /nowhere/trivet"},
		{"a generator that fails", func(_ *testing.T, s *Setup) { s.Trivet = "/bin/false" }, "the load generator ended with exit status 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := setup(t, fmt.Sprintf(quiet, "1s", ""))
			test.spoil(t, &s)
			err := inTime(t, t.Context(), s)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
			if e := last(t, s.Dir); e.Event != ledger.Broke || !strings.Contains(e.Error, test.want) {
				t.Errorf("%+v", e)
			}
			gone(t, s.Dir)
		})
	}
}

// An nginx that cannot write its log leaves out requests: that is no finding about anybody, and must not look like one.
func TestAnAccessLogThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	s := setup(t, `
question: Who has an eye on nginx's log?
nginx: {set: [{context: http, directive: access_log /dev/full requests}]}
load: [{protocol: http, rate: 50/s}]
phases: [{name: during, for: 200ms}]
expect: ["during.http.failed == 0"]
`)
	err := inTime(t, t.Context(), s)
	if !errors.Is(err, fleet.ErrRunFolder) || !strings.Contains(err.Error(), "No space left on device") {
		t.Errorf("got %v", err)
	}
	if e := last(t, s.Dir); e.Event != ledger.Broke || !strings.Contains(e.Error, "No space left on device") {
		t.Errorf("%+v", e)
	}
}

// The same of an instance.
func TestRecordsThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	s := setup(t, fmt.Sprintf(quiet, "200ms", ""))
	s.Whoami = program(t, "RECORDS=/dev/full exec "+whoami+` "$@"`)
	err := inTime(t, t.Context(), s)
	if !errors.Is(err, fleet.ErrRunFolder) || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("got %v", err)
	}
	if e := last(t, s.Dir); e.Event != ledger.Broke || !strings.Contains(e.Error, "no space left on device") {
		t.Errorf("%+v", e)
	}
	gone(t, s.Dir)
}

// A stop returns when the instance stands still. One that is started and never serves fails its action, and does not hold up the run.
func TestAStopAndAStartWithoutEnd(t *testing.T) {
	t.Parallel()
	s := setup(t, fmt.Sprintf(quiet, "1s", ""))
	marker := filepath.Join(t.TempDir(), "again")
	f, err := fleet.Start(t.Context(), fleet.Options{
		Instances: 1, Whoami: program(t, fmt.Sprintf("if [ -e %s ]; then exec sleep 600; fi; exec %s \"$@\"", marker, whoami)),
		Env: []string{"DRAIN_DELAY=0s", "RECORDS="}, Nginx: s.Nginx, Dir: s.Dir, NoRestart: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Stop(context.Background())
	p := f.Process("whoami-1")
	if halted(p.PID()) || halted(-1) {
		t.Error("what runs, or is nobody, is said to be stopped")
	}
	if err := stop(t.Context(), p, patience); err != nil || !halted(p.PID()) {
		t.Errorf("got %v", err)
	}
	ended, end := context.WithCancelCause(t.Context())
	end(errSignal)
	if err := stop(ended, p, patience); err != nil { // It is stopped already.
		t.Errorf("got %v", err)
	}
	if err := errors.Join(p.Stop(t.Context()), os.WriteFile(marker, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := start(t.Context(), p, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "it does not serve 50ms after its start") {
		t.Errorf("got %v", err)
	}
}

// Nor does a generator that hangs: somebody may have stopped it.
func TestAGeneratorWithoutEnd(t *testing.T) {
	t.Parallel()
	s := setup(t, fmt.Sprintf(quiet, "100ms", ""))
	plan := planned(s)
	plan.Begin, plan.HTTP = time.Now(), "127.0.0.1:"+proctest.Reserve(t)
	scene := ledger.Scene{V: ledger.SceneVersion, Begin: plan.Begin, Phases: []ledger.Phase{{Name: "during", For: plan.For}}}
	if err := errors.Join(os.Mkdir(filepath.Join(s.Dir, "records"), 0o711), scene.Write(s.Dir)); err != nil {
		t.Fatal(err)
	}
	book, err := ledger.Open(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	generator, err := load.Start(s.Trivet, plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := generator.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := follow(t.Context(), s, book, generator, time.Now().Add(50*time.Millisecond)); err == nil || !strings.Contains(err.Error(), "the load generator does not end") {
		t.Errorf("got %v", err)
	}
	if err := generator.Stop(); err != nil {
		t.Error(err)
	}
}
