package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// actionTimeout bounds the wait for a process to be ready, or paused, and for nginx to drain. A reload has a bound of its own.
const actionTimeout = 30 * time.Second

// Target is nil: a trial starts a fleet itself.
func (f *Fleet) Target() *record.Target { return nil }

// Can reports whether Do carries out an operation, whatever the state of its process.
func (f *Fleet) Can(o scenario.Operation) bool {
	kind, process := o.Kind, o.Process
	info := f.balancer.Info()
	if _, ok := scenario.WorkerNumber(process); ok {
		return info.Workers && slices.Contains(scenario.WorkerKinds, kind)
	}
	if slices.Contains(scenario.CertificateKinds, kind) {
		return f.certifies(kind, process)
	}
	switch {
	case f.Process(process) == nil:
		return false
	case process == scenario.Nginx:
		return slices.Contains(scenario.NginxKinds, kind) && (kind != scenario.Reload || info.Reloads)
	}
	return slices.Contains(scenario.InstanceKinds, kind)
}

// Do carries out one operation, and returns when it is done.
func (f *Fleet) Do(ctx context.Context, o scenario.Operation) error {
	kind, process := o.Kind, o.Process
	if n, ok := scenario.WorkerNumber(process); ok && f.balancer.Info().Workers {
		return f.doToWorker(ctx, kind, n)
	}
	if slices.Contains(scenario.CertificateKinds, kind) {
		return f.doToCertificate(ctx, kind, process)
	}
	p := f.Process(process)
	if p == nil {
		return fmt.Errorf("there is no process %s", process)
	}
	switch kind {
	case scenario.Reload:
		return f.Reload(ctx)
	case scenario.Kill:
		pid := p.PID()
		if err := kill(ctx, p); err != nil {
			return err
		}
		if groupRuns(pid) {
			return fmt.Errorf("a child of %s (pid %d) runs %v after SIGKILL: it hangs in the kernel", p.name, pid, groupTimeout)
		}
		return nil
	case scenario.Pause:
		return pause(ctx, p)
	case scenario.Resume:
		return p.SignalAll(syscall.SIGCONT)
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

// workerTimeout bounds the wait for a worker of a number: nginx starts another in the place of one that ended, within milliseconds.
const workerTimeout = 5 * time.Second

// doToWorker carries out one action on one worker of nginx.
func (f *Fleet) doToWorker(ctx context.Context, kind string, number int) error {
	name := scenario.WorkerName(number)
	waiting, cancel := context.WithTimeoutCause(ctx, workerTimeout, fmt.Errorf("nginx has no %s that takes connections", name))
	defer cancel()
	var pid int
	err := await(waiting, func() (bool, error) {
		if nginx := f.Process(scenario.Nginx); nginx.PID() == 0 {
			return false, nginx.down()
		}
		pid = f.serving(number)
		return pid != 0, nil
	})
	if err != nil {
		return err
	}
	process, err := os.FindProcess(pid) // It holds on to the process: another that gets its PID gets no signal.
	if err != nil {
		return err
	}
	defer func() { _ = process.Release() }() // The only error is that it was released.
	if f.serving(number) != pid {
		return fmt.Errorf("%s (pid %d) ended before it was to %s", name, pid, kind)
	}
	switch kind {
	case scenario.Kill:
		return f.killWorker(ctx, name, process)
	case scenario.Pause:
		if err := process.Signal(syscall.SIGSTOP); err != nil {
			return fmt.Errorf("signal to %s (pid %d): %w", name, pid, err)
		}
		return awaitPaused(ctx, name, func() (bool, bool) { return paused(pid), runs(pid) })
	case scenario.Resume:
		if err := process.Signal(syscall.SIGCONT); err != nil {
			return fmt.Errorf("signal to %s (pid %d): %w", name, pid, err)
		}
		return nil
	}
	return fmt.Errorf("no such action on a worker of nginx: %s", kind)
}

// killWorker returns when SIGKILL has ended the worker.
func (f *Fleet) killWorker(ctx context.Context, name string, process *os.Process) error {
	f.requests.Lock()
	f.requested.Killed = append(f.requested.Killed, process.Pid)
	f.requests.Unlock()
	if err := process.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("signal to %s (pid %d): %w", name, process.Pid, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, killTimeout, fmt.Errorf("%s (pid %d) runs %v after SIGKILL: it hangs in the kernel", name, process.Pid, killTimeout))
	defer cancel()
	return await(ctx, func() (bool, error) { return !runs(process.Pid), nil })
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
	return f.reload(ctx)
}

// reload is Reload of a configuration that was tested. One at a time.
func (f *Fleet) reload(ctx context.Context) error {
	f.requests.Lock()
	n := len(f.requested.Reloads)
	f.requested.Reloads = append(f.requested.Reloads, Reloading{Begin: time.Now()})
	f.requests.Unlock()
	if err := f.balancer.Reload(ctx, f.options.Dir, f.Process(scenario.Nginx)); err != nil {
		return err
	}
	f.numbers.forget()
	f.requests.Lock()
	defer f.requests.Unlock()
	f.requested.Reloads[n].End = time.Now()
	return nil
}

// drain returns when the process is gone. One that had to be killed, or ended otherwise than the exit codes 0 and 1 of whoami and nginx say, did not drain,
// so what its clients saw says nothing about draining.
func drain(ctx context.Context, p *Process) error {
	switch exit, err := p.do(ctx, opDrain); {
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

// pause returns when no thread of the process and its children runs: on a busy machine the signal takes time.
func pause(ctx context.Context, p *Process) error {
	pid := p.PID()
	if err := p.SignalAll(syscall.SIGSTOP); err != nil {
		return err
	}
	return awaitPaused(ctx, p.name, func() (bool, bool) { return pausedGroup(pid), p.PID() == pid })
}

// awaitPaused returns when is says that a process is paused. It also says whether the process still runs.
func awaitPaused(ctx context.Context, name string, is func() (paused, runs bool)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, actionTimeout, fmt.Errorf("%s still runs %v after SIGSTOP", name, actionTimeout))
	defer cancel()
	return await(ctx, func() (bool, error) {
		paused, runs := is()
		if !paused && !runs {
			return false, fmt.Errorf("%s ended when it was to be paused", name)
		}
		return paused, nil
	})
}

// kill returns when SIGKILL has ended the process and its children, so that a start that follows starts another.
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
