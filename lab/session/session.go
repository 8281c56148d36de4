// Package session is what a person does to a fleet that runs: load, actions on its processes, settings of nginx, and single requests. It
// writes the records of each load into a load directory, which is a trial directory, and keeps what was done for an experiment.
package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"trivet/lab/draft"
	"trivet/lab/feed"
	"trivet/lab/fleet"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A Feed is what shows it all: a Shared. It may not call the Session.
type Feed interface {
	AddLoad(dir string) error
	EndLoad(dir string)
	Event(e record.Event)
	Say(e feed.Event)
}

// Options are what a Session needs. All fields but the last three are required.
type Options struct {
	Fleet    *fleet.Fleet
	Observer *Observer // that the fleet was started with; only one Session may have it
	Feed     Feed
	Trivet   string    // path of this program, which generates load when called with "load"
	Nginx    string    // its version
	Begin    time.Time // that times of the feed count from
	Workers  int       // of nginx
	Unlike   []string  // how the fleet is unlike an experiment's, in words; none: it is not

	Message func(string) string // changes nginx's lines to the paths that a person knows; nil: as they are
	Changed func()              // called, from any goroutine, when Control may return something else; it must return soon. nil: none
}

// A Session is what is done to one fleet. Its methods may be called concurrently.
type Session struct {
	options Options
	dir     string // the run directory
	ctx     context.Context
	cancel  context.CancelFunc
	longest time.Duration // of a load
	tasks   sync.WaitGroup
	setting sync.Mutex // one change of nginx's configuration after the other
	loading sync.Mutex // one change of the load after the other

	mu         sync.Mutex
	closed     bool
	processes  map[string]*process
	settings   []Setting
	refused    string
	wanted     Load       // the last that was asked for
	current    *running   // nil: none runs, or it ends
	open       []*running // the current, and those that end or wait to be reconciled
	numbers    int
	problem    string
	reconciled Reconciled
	old        []string // load directories that have been reconciled, the oldest first
	history    history
}

// New begins a Session with a fleet that runs. Close it before the fleet is stopped; the Feed gets events of the fleet until then, and after.
func New(o Options) (*Session, error) {
	if o.Message == nil {
		o.Message = func(text string) string { return text }
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	o.Begin = o.Begin.Round(0) // By the wall clock, as records are: while a machine sleeps the other one stands still.
	s := &Session{options: o, dir: o.Fleet.Dir(), longest: maxLength, settings: settings(), processes: make(map[string]*process)}
	for _, name := range append([]string{scenario.Nginx}, o.Fleet.Names()...) {
		s.processes[name] = &process{}
	}
	if err := record.MkdirAll(filepath.Join(s.dir, record.LoadsDir)); err != nil {
		return nil, fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	o.Observer.attach(s.observe)
	return s, nil
}

// Close ends the load, with its requests in flight, and single requests. It returns when no generator is left. An action that goes on does
// so until the fleet ends.
func (s *Session) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.loading.Lock() // A load that is starting.
	defer s.loading.Unlock()
	s.tasks.Wait()
	return nil
}

// task begins what Close waits for, unless the session has ended. It is over with tasks.Done.
func (s *Session) task() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.tasks.Add(1)
	return nil
}

// errClosed is for what comes too late.
var errClosed = errors.New("the session has ended")

// now is the time of the feed.
func (s *Session) now() time.Duration { return time.Since(s.options.Begin) }

// changed reports that Control returns something else.
func (s *Session) changed() { s.options.Changed() }

// say adds a row of what happened.
func (s *Session) say(e feed.Event) {
	e.At = s.now().Milliseconds()
	s.options.Feed.Say(e)
}

// observe takes an event of the fleet, also after Close.
func (s *Session) observe(e record.Event) {
	s.mu.Lock()
	before, after := s.interrupted(e)
	s.follow(e)
	for _, one := range before {
		s.write(one)
	}
	s.write(e)
	for _, one := range after {
		s.write(one)
	}
	s.mu.Unlock()
	s.options.Feed.Event(e)
	s.changed()
}

// event takes an event of the session's own, which happens now.
func (s *Session) event(e record.Event) {
	e.V, e.Time = record.EventVersion, time.Now()
	s.mu.Lock()
	s.write(e)
	s.mu.Unlock()
	s.options.Feed.Event(e)
}

// write writes an event to the load directories that are not over.
func (s *Session) write(e record.Event) {
	for _, l := range s.open {
		l.events.Write(e)
	}
}

// History is what was done.
func (s *Session) History() draft.History {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.history.copy(s.now())
	h.Instances, h.Front = s.services()
	h.Workers, h.MTLS, h.Unlike = s.options.Workers, s.options.Fleet.MTLS(), s.options.Unlike
	return h
}

// services are how many instances of whoami and of front there are.
func (s *Session) services() (instances, front int) {
	for _, name := range s.options.Fleet.Names() {
		if scenario.IsFront(name) {
			front++
		} else {
			instances++
		}
	}
	return instances, front
}

// trim removes the load directories of all but the newest loads.
func (s *Session) trim() {
	for ; len(s.old) > keptLoads; s.old = s.old[1:] {
		_ = os.RemoveAll(s.old[0]) // What cannot be removed stays until its run directory is.
	}
}
