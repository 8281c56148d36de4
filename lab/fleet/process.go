package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Process is one process of a fleet, over all its lives. It is supervised: when it dies, it is reported and started again. All methods may be
// called at the same time from several goroutines.
type Process struct {
	name       string
	http, grpc string
	plan       plan
	requests   chan request
	over       chan struct{} // closed when supervision has ended
	running    atomic.Pointer[child]
}

// plan is all that supervision needs to know about a process; tests make their own.
type plan struct {
	start   func() (*child, error)
	ready   func(context.Context) error // returns when the process serves; polls until the context ends
	stop    []step
	restart bool
	jitter  func(time.Duration) time.Duration // the wait before a restart, for a pause
	observe func(Event)
}

// step is one way to ask a process to end, and how long to wait before the next, harder one. SIGKILL follows the last.
type step struct {
	signal syscall.Signal
	wait   time.Duration
	served bool // only for a process that has served: before, the signal would not find its handler
}

// killPatience bounds the wait for a process that was killed.
const killPatience = 10 * time.Second

var errOver = errors.New("the fleet has stopped")

func newProcess(name string, p plan) *Process {
	return &Process{name: name, plan: p, requests: make(chan request), over: make(chan struct{})}
}

// Name is nginx, whoami-1, whoami-2 …
func (p *Process) Name() string { return p.name }

// HTTP is the address of its HTTP door, as host:port. It stays the same over restarts.
func (p *Process) HTTP() string { return p.http }

// GRPC is the address of its gRPC door, as host:port. It stays the same over restarts.
func (p *Process) GRPC() string { return p.grpc }

// PID is the process's id, and 0 while it is down.
func (p *Process) PID() int {
	if c := p.running.Load(); c != nil {
		return c.pid
	}
	return 0
}

// Signal sends a signal to the process (for nginx: to its master). If it dies of it that is a death like any other. While the process
// is down the error is os.ErrProcessDone.
func (p *Process) Signal(s syscall.Signal) error {
	c := p.running.Load()
	if c == nil {
		return fmt.Errorf("%s is down: %w", p.name, os.ErrProcessDone)
	}
	if err := c.signal(s); err != nil {
		return fmt.Errorf("signal to %s (pid %d): %w", p.name, c.pid, err)
	}
	return nil
}

// Stop ends the process as it likes to be ended (an instance drains), and returns when it is gone. It stays down until Start. What
// takes too long, or is not over when ctx ends, is killed. To stop what is down is no error.
func (p *Process) Stop(ctx context.Context) error { return p.ask(ctx, request{ctx: ctx, verb: down}) }

// Start starts the process if it is down, and returns when it serves. The error of one that dies before that tells how it ended; it is
// supervised all the same. When ctx ends first, the process stays up.
func (p *Process) Start(ctx context.Context) error { return p.ask(ctx, request{ctx: ctx, verb: up}) }

// Restart is Stop, then Start.
func (p *Process) Restart(ctx context.Context) error {
	if err := p.Stop(ctx); err != nil {
		return err
	}
	return p.Start(ctx)
}

type verb int

const (
	up   verb = iota
	down      // stop, stay supervised
	end       // stop, and end supervision
)

type request struct {
	ctx   context.Context
	verb  verb
	reply chan error // room for one, so that nobody waits for who asked
}

func (p *Process) ask(ctx context.Context, r request) error {
	r.reply = make(chan error, 1)
	select {
	case p.requests <- r:
	case <-p.over:
		return errOver
	case <-ctx.Done():
		if r.verb == up {
			return fmt.Errorf("%s is not ready: %w", p.name, context.Cause(ctx))
		}
		// Supervision is busy with another request of bounded length; ending is promised also to an ended context.
		select {
		case p.requests <- r:
		case <-p.over:
			return errOver
		}
	}
	if r.verb != up {
		return <-r.reply // Bounded by the plan's steps, and by ctx.
	}
	select {
	case err := <-r.reply:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s is not ready: %w", p.name, context.Cause(ctx))
	}
}

// supervise runs until a request to end. It is the only one that starts and stops the process.
func (p *Process) supervise() {
	defer close(p.over)
	l := &life{Process: p}
	defer l.probes.Wait()
	for {
		select {
		case how := <-l.exited():
			l.died(how)
		case <-l.again:
			l.launch()
		case err := <-l.ready:
			l.isReady(err)
		case r := <-p.requests:
			if l.handle(r) {
				return
			}
		}
	}
}

// life is what only the goroutine of supervise knows.
type life struct {
	*Process
	child   *child // nil while down
	number  int
	served  bool
	since   time.Time        // when served became true
	pause   time.Duration    // the longest that the wait before this life could be
	again   <-chan time.Time // when the next life begins; nil: not waiting
	ready   chan error       // tells once that this life serves
	unprobe context.CancelFunc
	probes  sync.WaitGroup
	waiters []chan error // of those who asked for a start
}

// exited is the channel of the child that runs; while none does, one that never tells anything.
func (l *life) exited() <-chan string {
	if l.child == nil {
		return nil
	}
	return l.child.exited
}

func (l *life) launch() {
	l.again, l.served = nil, false
	l.number++
	c, err := l.plan.start()
	if err != nil {
		l.child = &child{began: time.Now()}
		l.died("not started: " + err.Error())
		return
	}
	l.child = c
	l.running.Store(c)
	l.tell(Event{Kind: Started})
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan error, 1)
	l.unprobe, l.ready = cancel, ready
	l.probes.Go(func() { ready <- l.plan.ready(ctx) })
}

func (l *life) isReady(err error) {
	l.ready = nil
	if err != nil {
		return // Only the end of its context ends a probe, and then nobody listens here any more.
	}
	l.served, l.since = true, time.Now()
	l.tell(Event{Kind: Ready})
	l.answer(nil)
}

// answer tells all who asked for a start.
func (l *life) answer(err error) {
	for _, w := range l.waiters {
		w <- err
	}
	l.waiters = nil
}

func (l *life) died(how string) {
	e := Event{Kind: Died, Exit: how}
	if l.plan.restart {
		var ready time.Duration
		if l.served {
			ready = time.Since(l.since)
		}
		l.pause = pause(l.pause, ready)
		e.Again = l.plan.jitter(l.pause)
		l.again = time.After(e.Again)
	}
	l.tell(e)
	l.clear()
	l.answer(fmt.Errorf("%s ended before it was ready (%s)", l.name, how))
}

func (l *life) clear() {
	if l.unprobe != nil {
		l.unprobe()
	}
	l.unprobe, l.ready, l.child, l.served = nil, nil, nil, false
	l.running.Store(nil)
}

func (l *life) tell(e Event) {
	e.Time, e.Name, e.PID, e.Life = time.Now(), l.name, l.child.pid, l.number
	e.HTTP, e.GRPC = l.http, l.grpc
	e.Since = e.Time.Sub(l.child.began)
	l.plan.observe(e)
}

// handle does what is asked for, and reports whether that was the last.
func (l *life) handle(r request) (last bool) {
	if r.verb == up {
		l.waiters = append(l.waiters, r.reply)
		switch {
		case l.child == nil:
			l.launch()
		case l.served:
			l.answer(nil)
		}
		return false
	}
	err := l.halt(r.ctx)
	l.again, l.pause = nil, 0
	l.answer(fmt.Errorf("%s was stopped before it was ready", l.name))
	r.reply <- err
	return r.verb == end
}

// halt ends the child. Each step is harder than the one before; the end of ctx leads to the hardest at once.
func (l *life) halt(ctx context.Context) error {
	if l.child == nil {
		return nil
	}
	how, gone := l.persuade(ctx)
	if !gone {
		l.child.kill()
		select {
		case how = <-l.child.exited:
		case <-time.After(killPatience):
			return fmt.Errorf("%s (pid %d) does not even heed SIGKILL: it hangs in the kernel", l.name, l.child.pid)
		}
	}
	l.tell(Event{Kind: Stopped, Exit: how})
	l.clear()
	return nil
}

func (l *life) persuade(ctx context.Context) (how string, gone bool) {
	for _, s := range l.plan.stop {
		if ctx.Err() != nil {
			return "", false
		}
		if s.served && !l.served {
			continue
		}
		// An error says that it is gone, and then exited tells how.
		_ = l.child.signal(syscall.SIGCONT) // One that is stopped would heed nothing else.
		_ = l.child.signal(s.signal)
		select {
		case how := <-l.child.exited:
			return how, true
		case <-time.After(s.wait):
		case <-ctx.Done():
		}
	}
	return "", false
}
