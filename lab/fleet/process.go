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

	"trivet/lab/record"
)

// A Process is one process of a fleet, over all its starts. It is supervised: when it dies, that is reported and it is started again. All
// methods may be called at the same time from several goroutines.
type Process struct {
	name       string
	http, grpc string
	plan       plan
	requests   chan request
	over       chan struct{} // closed when supervision has ended
	running    atomic.Pointer[child]
}

// plan is all that supervision must know about a process; tests make their own.
type plan struct {
	start   func() (*child, error)
	ready   func(context.Context) error // returns when the process is ready; polls until the context ends
	stop    []StopStep
	drain   []StopStep // of an action; nil: stop
	restart bool
	jitter  func(time.Duration) time.Duration // the wait before a restart, for a pause
	observe func(Event)
}

// killTimeout bounds the wait for a process that was killed.
const killTimeout = 10 * time.Second

var errOver = errors.New("the fleet has stopped")

func newProcess(name, http, grpc string, p plan) *Process {
	return &Process{name: name, http: http, grpc: grpc, plan: p, requests: make(chan request), over: make(chan struct{})}
}

// HTTP is its HTTP endpoint, as host:port. It stays the same over restarts.
func (p *Process) HTTP() string { return p.http }

// GRPC is its gRPC endpoint, as host:port. It stays the same over restarts.
func (p *Process) GRPC() string { return p.grpc }

// PID is the process's ID, and 0 while it is down.
func (p *Process) PID() int {
	if c := p.running.Load(); c != nil {
		return c.pid
	}
	return 0
}

// Signal sends a signal to the process (of nginx: to its master). A process that it ends died. While the process is down the error is
// os.ErrProcessDone.
func (p *Process) Signal(s syscall.Signal) error {
	c := p.running.Load()
	if c == nil {
		return p.down()
	}
	if err := c.signal(s); err != nil {
		return fmt.Errorf("signal to %s (pid %d): %w", p.name, c.pid, err)
	}
	return nil
}

// SignalAll sends a signal to the process and its children, at the same time. While the process is down the error is os.ErrProcessDone.
func (p *Process) SignalAll(s syscall.Signal) error {
	c := p.running.Load()
	if c == nil {
		return p.down()
	}
	c.group(s)
	return nil
}

func (p *Process) down() error { return fmt.Errorf("%s is down: %w", p.name, os.ErrProcessDone) }

// Stop ends the process gracefully (an instance drains) and returns how it ended. It stays down until Start. If it takes too long, or ctx
// ends, the process is killed. While it is down the error is os.ErrProcessDone.
func (p *Process) Stop(ctx context.Context) (record.Exit, error) {
	return p.do(ctx, opStop)
}

// Start starts the process if it is down, and returns when it is ready. The error for one that dies before that says how it ended; it is
// supervised all the same. When ctx ends first, the process stays up.
func (p *Process) Start(ctx context.Context) error {
	_, err := p.do(ctx, opStart)
	return err
}

// end stops the process and its supervision.
func (p *Process) end(ctx context.Context) error {
	_, err := p.do(ctx, opEnd)
	<-p.over
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

type op int

const (
	opStart op = iota
	opKill     // which is a death
	opStop     // and stay supervised
	opDrain    // stop by the plan's drain
	opEnd      // stop, and end supervision
)

type request struct {
	ctx   context.Context
	op    op
	reply chan result // room for one, so that supervision never waits for the reader
}

type result struct {
	exit record.Exit
	err  error
}

func (p *Process) do(ctx context.Context, op op) (record.Exit, error) {
	r := request{ctx: ctx, op: op, reply: make(chan result, 1)}
	done := ctx.Done()
	if op != opStart {
		// A stop is carried out even if ctx has ended. The plan's steps and ctx bound it, and those of a request that supervision is busy with.
		done = nil
	}
	select {
	case p.requests <- r:
		select {
		case got := <-r.reply:
			return got.exit, got.err
		case <-done:
		}
	case <-p.over:
		return record.Exit{}, errOver
	case <-done:
	}
	return record.Exit{}, fmt.Errorf("%s is not ready: %w", p.name, context.Cause(ctx))
}

// supervise runs until a request to end. Only its goroutine starts and stops the process.
func (p *Process) supervise() {
	defer close(p.over)
	s := &supervisor{Process: p}
	defer s.endProbe()
	for {
		select {
		case exit := <-s.exited():
			s.died(exit)
		case <-s.restart:
			s.launch()
		case err := <-s.ready:
			s.becameReady(err)
		case r := <-p.requests:
			if s.handle(r) {
				return
			}
		}
	}
}

// supervisor has what only the goroutine of supervise uses.
type supervisor struct {
	*Process
	child      *child // nil while down
	startCount int
	served     bool // since its start it has been ready
	readySince time.Time
	pause      time.Duration    // the longest that the wait before this start could be
	restart    <-chan time.Time // when the next start is due; nil: none
	ready      chan error       // the result of this start's probe
	unprobe    context.CancelFunc
	probes     sync.WaitGroup
	waiters    []chan result // of requests for a start
}

// endProbe returns when no probe runs any more. One does if the process could not be ended.
func (s *supervisor) endProbe() {
	if s.unprobe != nil {
		s.unprobe()
	}
	s.probes.Wait()
}

// exited is the channel of the child that runs; nil, which blocks, while none does.
func (s *supervisor) exited() <-chan record.Exit {
	if s.child == nil {
		return nil
	}
	return s.child.exited
}

func (s *supervisor) launch() {
	s.restart, s.served = nil, false
	s.startCount++
	c, err := s.plan.start()
	if err != nil {
		s.child = &child{began: time.Now()}
		s.died(record.Exit{Error: err.Error()})
		return
	}
	s.child = c
	s.running.Store(c)
	s.report(Event{Kind: record.Started})
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan error, 1)
	s.unprobe, s.ready = cancel, ready
	s.probes.Go(func() { ready <- s.plan.ready(ctx) })
}

func (s *supervisor) becameReady(err error) {
	s.ready = nil
	if err != nil {
		return // Only the end of its context ends a probe without success, and then its start is over.
	}
	s.served, s.readySince = true, time.Now()
	s.report(Event{Kind: record.Ready})
	s.reply(nil)
}

// reply replies to all requests for a start.
func (s *supervisor) reply(err error) {
	for _, w := range s.waiters {
		w <- result{err: err}
	}
	s.waiters = nil
}

func (s *supervisor) died(exit record.Exit) {
	e := Event{Kind: record.Died, Exit: &exit}
	if s.plan.restart {
		var ready time.Duration
		if s.served {
			ready = time.Since(s.readySince)
		}
		s.pause = nextPause(s.pause, ready)
		e.RestartIn = s.plan.jitter(s.pause)
		s.restart = time.After(e.RestartIn)
	}
	s.report(e)
	s.clear()
	if exit.Error != "" {
		s.reply(fmt.Errorf("%s could not be started: %s", s.name, exit.Error))
	} else {
		s.reply(fmt.Errorf("%s ended before it was ready (%s)", s.name, exit))
	}
}

func (s *supervisor) clear() {
	if s.unprobe != nil {
		s.unprobe()
	}
	s.unprobe, s.ready, s.child, s.served = nil, nil, nil, false
	s.running.Store(nil)
}

func (s *supervisor) report(e Event) {
	e.Time, e.Process, e.PID, e.Start, e.StartCount = time.Now(), s.name, s.child.pid, s.child.start, s.startCount
	e.HTTP, e.GRPC = s.http, s.grpc
	e.Elapsed = e.Time.Sub(s.child.began)
	s.plan.observe(e)
}

// handle carries out a request, and reports whether it was the last. A death that was not handled yet came before it.
func (s *supervisor) handle(r request) (last bool) {
	select {
	case exit := <-s.exited():
		s.died(exit)
	default:
	}
	switch r.op {
	case opStart:
		s.waiters = append(s.waiters, r.reply)
		switch {
		case s.child == nil:
			s.launch()
		case s.served:
			s.reply(nil)
		}
		return false
	case opKill:
		exit, err := s.kill()
		if err == nil {
			s.died(exit)
		}
		r.reply <- result{exit, err}
		return false
	}
	steps := s.plan.stop
	if r.op == opDrain && s.plan.drain != nil {
		steps = s.plan.drain
	}
	exit, err := s.stop(r.ctx, steps)
	s.restart, s.pause = nil, 0
	s.reply(fmt.Errorf("%s was stopped before it was ready", s.name))
	r.reply <- result{exit, err}
	return r.op == opEnd
}

// stop ends the child. Each step is harder than the one before; the end of ctx leads to SIGKILL at once.
func (s *supervisor) stop(ctx context.Context, steps []StopStep) (record.Exit, error) {
	if s.child == nil {
		return record.Exit{}, s.down()
	}
	exit, gone := s.takeSteps(ctx, steps)
	if !gone {
		var err error
		if exit, err = s.kill(); err != nil {
			return exit, err
		}
	}
	s.report(Event{Kind: record.Stopped, Exit: &exit})
	s.clear()
	return exit, nil
}

// kill sends SIGKILL to the child, and returns how it ended: by itself, if that came first.
func (s *supervisor) kill() (record.Exit, error) {
	if s.child == nil {
		return record.Exit{}, s.down()
	}
	s.child.group(syscall.SIGKILL)
	select {
	case exit := <-s.child.exited:
		return exit, nil
	case <-time.After(killTimeout):
		return record.Exit{}, fmt.Errorf("%s (pid %d) runs %v after SIGKILL: it hangs in the kernel", s.name, s.child.pid, killTimeout)
	}
}

func (s *supervisor) takeSteps(ctx context.Context, steps []StopStep) (exit record.Exit, gone bool) {
	for _, step := range steps {
		if ctx.Err() != nil {
			return exit, false
		}
		if step.ReadyFirst && !s.served {
			continue
		}
		// An error means that it is gone, and then exited says how it ended.
		s.child.group(syscall.SIGCONT) // A paused process handles no other signal.
		_ = s.child.signal(step.Signal)
		select {
		case exit = <-s.child.exited:
			return exit, true
		case <-time.After(step.Wait):
		case <-ctx.Done():
		}
	}
	return exit, false
}
