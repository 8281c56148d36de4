package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"trivet/lab/record"
)

// An actor plays a process in a bubble of fake time: it is ready after a time, and runs until it is killed or its time is over.
type actor struct {
	readyAfter time.Duration
	lives      time.Duration    // 0: forever
	endsOn     []syscall.Signal // at once
	exit       record.Exit      // how it ends then
	startErr   error            // cannot even be started
	hangs      bool             // SIGKILL does not end it
	got        []syscall.Signal // without SIGCONT and SIGKILL
	events     []string         // "1s ready"
	begin      time.Time
	mu         sync.Mutex
}

func (a *actor) start() (*child, error) {
	if a.startErr != nil {
		return nil, a.startErr
	}
	c := &child{pid: 1, began: time.Now(), exited: make(chan record.Exit, 1)}
	var once sync.Once
	die := func(exit record.Exit) { once.Do(func() { c.exited <- exit }) }
	if a.lives > 0 {
		time.AfterFunc(a.lives, func() { die(record.Exit{Code: 1}) })
	}
	c.group = func(s syscall.Signal) {
		_ = c.signal(s)
		if s == syscall.SIGKILL && !a.hangs {
			die(record.Exit{Signal: "SIGKILL"})
		}
	}
	c.signal = func(s os.Signal) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if s != syscall.SIGCONT && s != syscall.SIGKILL {
			a.got = append(a.got, s.(syscall.Signal))
		}
		if slices.Contains(a.endsOn, s.(syscall.Signal)) {
			die(a.exit)
		}
		return nil
	}
	return c, nil
}

func (a *actor) ready(ctx context.Context) error {
	select {
	case <-time.After(a.readyAfter):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *actor) observe(e Event) {
	text := fmt.Sprintf("%v %s", e.Time.Sub(a.begin), e.Kind)
	if e.RestartIn > 0 {
		text += fmt.Sprintf(" again in %v", e.RestartIn)
	}
	a.events = append(a.events, text)
}

// play supervises the actor while test runs, and ends it.
func (a *actor) play(t *testing.T, restart bool, test func(*testing.T, *Process)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a.begin = time.Now()
		p := newProcess("whoami-1", "", "", plan{
			start: a.start, ready: a.ready, restart: restart, observe: a.observe,
			jitter: func(pause time.Duration) time.Duration { return pause },
			stop:   []StopStep{{syscall.SIGQUIT, 5 * time.Second, true}, {syscall.SIGTERM, 3 * time.Second, false}},
		})
		go p.supervise()
		test(t, p)
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if err := p.end(ended); err != nil && !a.hangs {
			t.Error(err)
		}
		if err := p.Start(context.Background()); !errors.Is(err, errOver) {
			t.Errorf("Start after the end: %v", err)
		}
	})
}

// stopCleanly stops a process, which must end by itself.
func stopCleanly(p *Process) error {
	exit, err := p.Stop(context.Background())
	if err == nil && !exit.Clean() {
		err = errors.New(exit.String())
	}
	return err
}

func (a *actor) expect(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(a.events, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(a.events, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestCrashLoopRestartsAfterGrowingPauses(t *testing.T) {
	t.Parallel()
	a := &actor{lives: time.Second, readyAfter: time.Hour}
	a.play(t, true, func(t *testing.T, p *Process) {
		if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "exit code 1") {
			t.Errorf("Start: %v", err)
		}
		<-time.After(17 * time.Second)
	})
	a.expect(t,
		"0s started", "1s died again in 100ms",
		"1.1s started", "2.1s died again in 200ms",
		"2.3s started", "3.3s died again in 400ms",
		"3.7s started", "4.7s died again in 800ms",
		"5.5s started", "6.5s died again in 1.6s",
		"8.1s started", "9.1s died again in 3.2s",
		"12.3s started", "13.3s died again in 5s")
}

func TestStableSecondResetsPause(t *testing.T) {
	t.Parallel()
	a := &actor{lives: 3 * time.Second, readyAfter: 2 * time.Second}
	a.play(t, true, func(t *testing.T, p *Process) {
		if err := p.Start(t.Context()); err != nil {
			t.Error(err)
		}
		<-time.After(5 * time.Second)
	})
	a.expect(t, "0s started", "2s ready", "3s died again in 100ms",
		"3.1s started", "5.1s ready", "6.1s died again in 100ms",
		"6.2s started", "7s stopped")
}

// Time before a process is ready does not count: one that starts slowly and fails at once is in a crash loop.
func TestSlowStartDoesNotResetPause(t *testing.T) {
	t.Parallel()
	a := &actor{lives: 3 * time.Second, readyAfter: 2500 * time.Millisecond}
	a.play(t, true, func(t *testing.T, p *Process) {
		if err := p.Start(t.Context()); err != nil {
			t.Error(err)
		}
		<-time.After(4 * time.Second)
	})
	a.expect(t, "0s started", "2.5s ready", "3s died again in 100ms",
		"3.1s started", "5.6s ready", "6.1s died again in 200ms",
		"6.3s started", "6.5s stopped")
}

func TestFailedStartIsRetried(t *testing.T) {
	t.Parallel()
	a := &actor{startErr: errors.New("no such file")}
	a.play(t, true, func(t *testing.T, p *Process) {
		if err := p.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("Start: %v", err)
		}
		<-time.After(200 * time.Millisecond)
	})
	a.expect(t, "0s died again in 100ms", "100ms died again in 200ms")
}

func TestDeadProcessStaysDownWithoutRestart(t *testing.T) {
	t.Parallel()
	a := &actor{lives: time.Second}
	a.play(t, false, func(t *testing.T, p *Process) {
		if err := p.Start(t.Context()); err != nil {
			t.Error(err)
		}
		<-time.After(time.Minute)
		if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("Signal to a process that is down: %v", err)
		}
		if p.PID() != 0 {
			t.Errorf("pid %d", p.PID())
		}
	})
	a.expect(t, "0s started", "0s ready", "1s died")
}

func TestStoppedProcessStaysDownUntilStart(t *testing.T) {
	t.Parallel()
	a := &actor{endsOn: []syscall.Signal{syscall.SIGQUIT}}
	a.play(t, true, func(t *testing.T, p *Process) {
		if err := errors.Join(p.Start(t.Context()), p.Start(t.Context()), stopCleanly(p)); err != nil {
			t.Error(err)
		}
		if err := stopCleanly(p); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("Stop of a process that is down: %v", err)
		}
		<-time.After(time.Minute)
		if err := p.Start(t.Context()); err != nil {
			t.Error(err)
		}
		<-time.After(time.Second)
		if err := errors.Join(stopCleanly(p), p.Start(t.Context())); err != nil {
			t.Error(err)
		}
	})
	a.expect(t, "0s started", "0s ready", "0s stopped", "1m0s started", "1m0s ready",
		"1m1s stopped", "1m1s started", "1m1s ready", "1m1s stopped")
}

func TestStopTakesEachStepThenKills(t *testing.T) {
	t.Parallel()
	a := &actor{}
	a.play(t, true, func(t *testing.T, p *Process) {
		if err := p.Start(t.Context()); err != nil {
			t.Error(err)
		}
		if exit, err := p.Stop(t.Context()); err != nil || !exit.Killed() {
			t.Errorf("%v, %v", exit, err)
		}
	})
	a.expect(t, "0s started", "0s ready", "8s stopped")
	if want := []syscall.Signal{syscall.SIGQUIT, syscall.SIGTERM}; !slices.Equal(a.got, want) {
		t.Errorf("got signals %v, want %v and SIGKILL", a.got, want)
	}
}

func TestEndOfStopsContextKills(t *testing.T) {
	t.Parallel()
	a := &actor{}
	a.play(t, true, func(t *testing.T, p *Process) {
		if err := p.Start(t.Context()); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if exit, err := p.Stop(ctx); err != nil || !exit.Killed() {
			t.Errorf("%v, %v", exit, err)
		}
	})
	a.expect(t, "0s started", "0s ready", "1s stopped")
}

func TestStopBeforeReadySkipsStepsForReadyProcesses(t *testing.T) {
	t.Parallel()
	a := &actor{readyAfter: time.Hour, endsOn: []syscall.Signal{syscall.SIGTERM}}
	a.play(t, true, func(t *testing.T, p *Process) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := p.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Start: %v", err)
		}
		if err := stopCleanly(p); err != nil {
			t.Error(err)
		}
	})
	if want := []syscall.Signal{syscall.SIGTERM}; !slices.Equal(a.got, want) {
		t.Errorf("got signals %v, want %v", a.got, want)
	}
}

// It hangs in the kernel, before it is ready or afterwards: each way to end it says so within its bounds.
func TestProcessThatSIGKILLDoesNotEndIsAnError(t *testing.T) {
	t.Parallel()
	for name, readyAfter := range map[string]time.Duration{"ready": 0, "not ready": time.Hour} {
		a := &actor{hangs: true, readyAfter: readyAfter}
		a.play(t, false, func(t *testing.T, p *Process) {
			starting, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := p.Start(starting); (err == nil) != (readyAfter == 0) {
				t.Errorf("%s: %v", name, err)
			}
			for _, end := range []func(context.Context, *Process) error{kill, drain, func(ctx context.Context, p *Process) error { return p.end(ctx) }} {
				begun := time.Now()
				err := end(t.Context(), p)
				if took := time.Since(begun); err == nil || !strings.Contains(err.Error(), "whoami-1 (pid 1) runs 10s after SIGKILL") || took > 20*time.Second {
					t.Errorf("%s: %v after %v", name, err, took)
				}
			}
		})
	}
}

// The process is dead, and supervision has not handled that yet when the request comes.
func TestRequestComesAfterDeathBeforeIt(t *testing.T) {
	t.Parallel()
	for op, want := range map[op][]string{
		opStart: {"0s started", "0s died", "0s started"},
		opKill:  {"0s started", "0s died"},
		opStop:  {"0s started", "0s died"},
	} {
		a := &actor{}
		synctest.Test(t, func(t *testing.T) {
			a.begin = time.Now()
			s := &supervisor{Process: newProcess("whoami-1", "", "", plan{start: a.start, ready: a.ready, observe: a.observe})}
			s.launch()
			s.served = true
			s.child.group(syscall.SIGKILL)
			r := request{ctx: t.Context(), op: op, reply: make(chan result, 1)}
			s.handle(r)
			if op != opStart {
				if got := <-r.reply; !errors.Is(got.err, os.ErrProcessDone) {
					t.Errorf("operation %d: %v", op, got.err)
				}
			}
			s.clear()
			s.probes.Wait()
		})
		a.expect(t, want...)
	}
}
