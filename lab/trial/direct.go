package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"trivet/lab/experiment"
	"trivet/lab/fleet"
	"trivet/lab/ledger"
)

// direct does what the phases say, each from its beginning on, one thing after the other. What one cannot do is in the diary and makes
// the run invalid; it is an error here only when the end of ctx is the reason.
func direct(ctx context.Context, phases []experiment.Phase, begin time.Time, f *fleet.Fleet, diary *diary) error {
	for _, phase := range phases {
		if err := until(ctx, begin); err != nil {
			return err
		}
		diary.write(ledger.Event{Event: ledger.PhaseBegan, Phase: phase.Name})
		for _, action := range phase.Do {
			if err := act(ctx, phase.Name, action, f, diary); err != nil {
				return err
			}
		}
		begin = begin.Add(phase.For)
	}
	return nil
}

func until(ctx context.Context, t time.Time) error {
	select {
	case <-time.After(time.Until(t)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// act does one action to each of its targets in turn. Wait has none.
func act(ctx context.Context, phase string, a experiment.Action, f *fleet.Fleet, diary *diary) error {
	targets := a.Targets
	if a.Verb == experiment.Wait {
		targets = []string{""}
	}
	for _, name := range targets {
		diary.write(ledger.Event{Event: ledger.ActionBegan, Phase: phase, Verb: a.Verb, Target: name, Wait: a.Wait.Microseconds()})
		err := do(ctx, a, name, f, diary)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		done := ledger.Event{Event: ledger.ActionDone, Phase: phase, Verb: a.Verb, Target: name}
		if err != nil {
			done.Error = err.Error()
		}
		diary.write(done)
	}
	return nil
}

func do(ctx context.Context, a experiment.Action, name string, f *fleet.Fleet, diary *diary) error {
	p := f.Process(name)
	switch a.Verb {
	case experiment.Wait:
		return until(ctx, time.Now().Add(a.Wait))
	case experiment.Reload:
		return f.Reload(ctx)
	case experiment.Kill:
		return kill(ctx, p)
	case experiment.Stop:
		return stop(ctx, p, actionPatience)
	case experiment.Cont:
		return p.Signal(syscall.SIGCONT)
	case experiment.Drain:
		return drain(ctx, p, diary)
	case experiment.Start:
		return start(ctx, p, actionPatience)
	case experiment.Restart:
		if err := drain(ctx, p, diary); err != nil {
			return err
		}
		return start(ctx, p, actionPatience)
	}
	return fmt.Errorf("no such action: %s", a.Verb)
}

// drain returns when the process is gone. One that had to be killed did not drain, and what its callers saw is no finding about that.
func drain(ctx context.Context, p *fleet.Process, diary *diary) error {
	err := p.Stop(ctx)
	if err == nil && diary.killed(p.Name()) {
		err = fmt.Errorf("%s did not end when it was asked to, and had to be killed", p.Name())
	}
	return err
}

// actionPatience bounds the wait for an instance to serve, or to stand still. A drain bounds itself, and so does a reload.
const actionPatience = 30 * time.Second

// start returns when the process serves. One that never does must not keep the run from its end.
func start(ctx context.Context, p *fleet.Process, patience time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it does not serve %v after its start", patience))
	defer cancel()
	return p.Start(ctx)
}

// stop returns when no thread of the process runs any more: on a busy machine the signal alone takes its time.
func stop(ctx context.Context, p *fleet.Process, patience time.Duration) error {
	pid := p.PID()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%s still runs %v after SIGSTOP", p.Name(), patience))
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !halted(pid) {
		if p.PID() != pid {
			return fmt.Errorf("%s ended when it was to be stopped", p.Name())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// halted tells whether all threads of a process are stopped. Their state is what follows the last parenthesis, "12 (whoami) T 3 4".
func halted(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		return false
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil || !strings.HasPrefix(string(text[bytes.LastIndexByte(text, ')')+1:]), " T") {
			return false
		}
	}
	return true
}

// kill returns when the process is gone, so that a start which follows is one. What died by itself meanwhile cannot be killed: that is no error.
func kill(ctx context.Context, p *fleet.Process) error {
	pid := p.PID()
	if err := p.Signal(syscall.SIGKILL); errors.Is(err, os.ErrProcessDone) {
		return nil
	} else if err != nil {
		return err
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for p.PID() == pid {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
