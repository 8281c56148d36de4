package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// program is an instances' program that knows its settings, and otherwise runs another command.
func program(t *testing.T, command string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "whoami")
	text := fmt.Sprintf("#!/bin/sh\nif [ \"$1\" = config ]; then exec %s \"$@\"; fi\n%s\n", whoami, command)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDoCarriesOutEachKind(t *testing.T) {
	t.Parallel()
	events := make(chan Event, 100)
	o := testOptions(t, 2)
	o.NoRestart, o.Observe = true, func(e Event) { events <- e }
	f := begin(t, o)
	old := workers(f.Process(scenario.Nginx).PID())
	for len(events) > 0 {
		<-events
	}
	p := f.Process("whoami-1")
	starts := map[string]bool{}
	for _, step := range []struct {
		kind, process string
		want          []string // events
		down, paused  bool
	}{
		{scenario.Kill, "whoami-1", []string{"whoami-1 died signal SIGKILL"}, true, false},
		{scenario.Start, "whoami-1", []string{"whoami-1 started", "whoami-1 ready"}, false, false},
		{scenario.Start, "whoami-1", nil, false, false}, // It runs.
		{scenario.Pause, "whoami-1", nil, false, true},
		{scenario.Pause, "whoami-1", nil, false, true},
		{scenario.Resume, "whoami-1", nil, false, false},
		{scenario.Drain, "whoami-1", []string{"whoami-1 stopped exit code 0"}, true, false},
		{scenario.Start, "whoami-1", []string{"whoami-1 started", "whoami-1 ready"}, false, false},
		{scenario.Restart, "whoami-1", []string{"whoami-1 stopped exit code 0", "whoami-1 started", "whoami-1 ready"}, false, false},
		{scenario.Reload, scenario.Nginx, nil, false, false},
	} {
		if err := f.Do(t.Context(), scenario.Operation{Kind: step.kind, Process: step.process}); err != nil {
			t.Errorf("%s %s: %v", step.kind, step.process, err)
		}
		var got []string
		for len(events) > 0 {
			e := <-events
			text := e.Process + " " + e.Kind
			if e.Exit != nil {
				text += " " + e.Exit.String()
			}
			if e.Kind == record.Started {
				starts[e.Start] = true
				environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", e.PID))
				if e.Start == "" || err != nil || !slices.Contains(strings.Split(string(environment), "\x00"), "START_ID="+e.Start) {
					t.Errorf("%+v: its environment does not have its start: %v", e, err)
				}
			}
			got = append(got, text)
		}
		if pid := p.PID(); !slices.Equal(got, step.want) || step.down != (pid == 0) || !step.down && step.paused != paused(pid) {
			t.Errorf("%s %s: events %q, want %q; pid %d", step.kind, step.process, got, step.want, pid)
		}
	}
	if len(starts) != 3 {
		t.Errorf("three starts have the identities %v", starts)
	}
	if now := workers(f.Process(scenario.Nginx).PID()); !reloaded(old, now) {
		t.Errorf("workers before the reload %+v, after %+v", old, now)
	}
}

func TestDoReportsWhatFailed(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 2)
	o.NoRestart, o.Whoami = true, filepath.Join(t.TempDir(), "whoami")
	if err := os.Symlink(whoami, o.Whoami); err != nil {
		t.Fatal(err)
	}
	f := begin(t, o)
	if err := errors.Join(f.Do(t.Context(), scenario.Operation{Kind: scenario.Drain, Process: "whoami-2"}), os.Remove(o.Whoami),
		os.WriteFile(filepath.Join(f.Dir(), "conf", "nginx.conf"), []byte("nonsense;\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, test := range [][3]string{
		{scenario.Kill, "whoami-2", "whoami-2 is down: os: process already finished"},
		{scenario.Drain, "whoami-2", "whoami-2 is down: os: process already finished"},
		{scenario.Restart, "whoami-2", "whoami-2 is down: os: process already finished"},
		{scenario.Pause, "whoami-2", "whoami-2 is down: os: process already finished"},
		{scenario.Resume, "whoami-2", "whoami-2 is down: os: process already finished"},
		{scenario.Start, "whoami-2", "whoami-2 could not be started: fork/exec " + o.Whoami + ": no such file or directory"},
		{scenario.Reload, scenario.Nginx, "nginx refuses its configuration:"},
		{"paint", "whoami-2", "no such action: paint"},
		{scenario.Kill, "whoami-9", "there is no process whoami-9"},
	} {
		if err := f.Do(t.Context(), scenario.Operation{Kind: test[0], Process: test[1]}); err == nil || !strings.HasPrefix(err.Error(), test[2]) {
			t.Errorf("%s %s: %v, want %s", test[0], test[1], err, test[2])
		}
	}
}

// The actor handles no signal, so only SIGKILL ends it.
func TestDrainThatEndsInKillIsAnError(t *testing.T) {
	t.Parallel()
	a := &actor{}
	a.play(t, false, func(t *testing.T, p *Process) {
		if err := p.Start(t.Context()); err != nil {
			t.Error(err)
		}
		if err := drain(t.Context(), p); err == nil || !strings.Contains(err.Error(), "did not drain in time and was killed") {
			t.Errorf("got %v", err)
		}
	})
}

func TestEndThatNoSignalExplainsIsAnError(t *testing.T) {
	t.Parallel()
	segfault := record.Exit{Signal: "SIGSEGV"}
	for _, test := range []struct {
		act  func(context.Context, *Process) error
		on   syscall.Signal
		exit record.Exit
		want string
	}{
		{drain, syscall.SIGTERM, record.Exit{Code: 0}, ""},
		{drain, syscall.SIGTERM, record.Exit{Code: 1}, ""}, // It served, and its drain did not end in time.
		{drain, syscall.SIGTERM, record.Exit{Code: 2}, "whoami-1 did not drain (exit code 2)"},
		{drain, syscall.SIGTERM, segfault, "whoami-1 did not drain (signal SIGSEGV)"},
		{kill, syscall.SIGKILL, record.Exit{Signal: "SIGKILL"}, ""},
		{kill, syscall.SIGKILL, record.Exit{Code: 1}, "whoami-1 ended before it was killed (exit code 1)"},
		{kill, syscall.SIGKILL, segfault, "whoami-1 ended before it was killed (signal SIGSEGV)"},
	} {
		a := &actor{endsOn: []syscall.Signal{test.on}, exit: test.exit}
		a.play(t, false, func(t *testing.T, p *Process) {
			if err := p.Start(t.Context()); err != nil {
				t.Error(err)
			}
			got := ""
			if err := test.act(t.Context(), p); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("%v: %q, want %q", test.exit, got, test.want)
			}
		})
	}
}

func TestStartThatIsNeverReadyTimesOut(t *testing.T) {
	t.Parallel()
	a := &actor{readyAfter: time.Hour}
	a.play(t, false, func(t *testing.T, p *Process) {
		if err := start(t.Context(), p); err == nil || !strings.Contains(err.Error(), "whoami-1 is not ready: timeout of 30s after its start") {
			t.Errorf("got %v", err)
		}
	})
}

func TestPauseReturnsWhenAllThreadsAreStopped(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 1))
	p := f.Process("whoami-1")
	if paused(p.PID()) || paused(-1) {
		t.Error("a process that runs, or does not exist, is reported as paused")
	}
	if err := pause(t.Context(), p); err != nil || !paused(p.PID()) {
		t.Errorf("got %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := pause(ended, p); err != nil { // It is paused already.
		t.Errorf("got %v", err)
	}
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Error(err)
	}
}
