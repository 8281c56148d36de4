package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"trivet/lab/scenario"
)

// actionTimeout bounds the wait for an instance to be ready, or paused. A drain and a reload have bounds of their own.
const actionTimeout = 30 * time.Second

// Can reports whether Do carries out actions of a kind on a process.
func (f *Fleet) Can(kind, process string) bool {
	switch {
	case f.Process(process) == nil:
		return false
	case process == scenario.Nginx:
		return kind == scenario.Reload && f.balancer.Info().Reloads
	}
	return slices.Contains(scenario.InstanceKinds, kind)
}

// Do carries out one action on one process, and returns when it is done.
func (f *Fleet) Do(ctx context.Context, kind, process string) error {
	p := f.Process(process)
	if p == nil {
		return fmt.Errorf("there is no process %s", process)
	}
	switch kind {
	case scenario.Reload:
		return f.Reload(ctx)
	case scenario.Kill:
		return kill(ctx, p)
	case scenario.Pause:
		return pause(ctx, p)
	case scenario.Resume:
		return p.Signal(syscall.SIGCONT)
	case scenario.Drain:
		return drain(ctx, p)
	case scenario.Start:
		return start(ctx, p)
	case scenario.Restart:
		if err := drain(ctx, p); err != nil {
			return err
		}
		return start(ctx, p)
	}
	return fmt.Errorf("no such action: %s", kind)
}

// Reload makes the load balancer read its configuration (conf/ in Dir, which may have been edited) again. It returns when the new one
// serves. A configuration that is refused changes nothing: the error wraps ErrConf.
func (f *Fleet) Reload(ctx context.Context) error {
	f.reloading.Lock()
	defer f.reloading.Unlock()
	if !f.balancer.Info().Reloads {
		return errors.New("the load balancer cannot reload its configuration")
	}
	if err := f.balancer.Test(ctx, f.options.Dir); err != nil {
		return err
	}
	f.reloads = append(f.reloads, Reloading{Begin: time.Now()})
	if err := f.balancer.Reload(ctx, f.options.Dir, f.Process(scenario.Nginx)); err != nil {
		return err
	}
	f.reloads[len(f.reloads)-1].End = time.Now()
	return nil
}

// drain returns when the process is gone. One that had to be killed, or ended otherwise than whoami's exit codes 0 and 1 say, did not drain,
// so what its clients saw says nothing about draining.
func drain(ctx context.Context, p *Process) error {
	switch exit, err := p.Stop(ctx); {
	case err != nil:
		return err
	case exit.Killed():
		return fmt.Errorf("%s did not drain in time and was killed", p.name)
	case exit.Signal != "" || exit.Error != "" || exit.Code > 1:
		return fmt.Errorf("%s did not drain (%s)", p.name, exit)
	}
	return nil
}

// start returns when the process is ready. A process that never is must not keep the trial from its end.
func start(ctx context.Context, p *Process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, actionTimeout, fmt.Errorf("timeout of %v after its start", actionTimeout))
	defer cancel()
	return p.Start(ctx)
}

// pause returns when no thread of the process runs: on a busy machine the signal takes time.
func pause(ctx context.Context, p *Process) error {
	pid := p.PID()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, actionTimeout, fmt.Errorf("%s still runs %v after SIGSTOP", p.name, actionTimeout))
	defer cancel()
	return await(ctx, func() (bool, error) {
		if paused(pid) {
			return true, nil
		}
		if p.PID() != pid {
			return false, fmt.Errorf("%s ended when it was to be paused", p.name)
		}
		return false, nil
	})
}

// kill returns when SIGKILL has ended the process, so that a start that follows starts another.
func kill(ctx context.Context, p *Process) error {
	exit, err := p.do(ctx, opKill)
	if err == nil && !exit.Killed() {
		err = fmt.Errorf("%s ended before it was killed (%s)", p.name, exit)
	}
	return err
}

// await calls done every 5 ms until it returns true or an error. When ctx ends first, the error is its cause.
func await(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
