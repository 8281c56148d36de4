package session

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"trivet/lab/draft"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A process is what the session knows of one.
type process struct {
	paused bool
	busy   string // the action that is carried out; "": none
	down   bool   // it ended and was not started again
}

// possible are the actions that make sense now.
func (s *Session) possible(name string) []string {
	p := s.processes[name]
	switch {
	case p == nil || p.busy != "":
		return []string{}
	case name == scenario.Nginx && !p.down:
		return []string{scenario.Reload}
	case name == scenario.Nginx:
		return []string{}
	case p.down:
		return []string{scenario.Start}
	case p.paused:
		return []string{scenario.Resume, scenario.Kill}
	}
	return []string{scenario.Kill, scenario.Drain, scenario.Pause, scenario.Restart}
}

// Do carries out an action on an instance, or reloads nginx, and returns when it is done. Of each process one is carried out at a time.
func (s *Session) Do(ctx context.Context, action, process string) error {
	if err := s.check(action, process); err != nil {
		return err
	}
	done, err := s.begin(action, process)
	if err != nil {
		return err
	}
	did := draft.Action{At: s.now(), Kind: action, Process: process}
	s.mu.Lock()
	s.history.begin(did)
	s.mu.Unlock()
	// A page that is closed must not leave half of an action.
	err = s.options.Fleet.Do(context.WithoutCancel(ctx), scenario.Operation{Kind: action, Process: process, Base: -1})
	s.mu.Lock()
	delete(s.history.begun, process)
	if did.Until = s.now(); err == nil {
		s.history.act(did)
	}
	s.mu.Unlock()
	done(err)
	if refused := refusal(err, s.options.Message); refused != nil {
		return refused
	}
	if err != nil {
		return notNow("%s: %v", scenario.Operation{Kind: action, Process: process}.Name(), err)
	}
	s.changed()
	return nil
}

// check returns an Error with all that is wrong with an action.
func (s *Session) check(action, process string) error {
	kinds, known := scenario.InstanceKinds, s.processes[process] != nil
	switch {
	case process == scenario.Nginx:
		kinds = []string{scenario.Reload}
	case !known:
		kinds = append(slices.Clone(kinds), scenario.Reload)
	}
	var problems []string
	if !slices.Contains(kinds, action) {
		problems = append(problems, fmt.Sprintf("action is %q: want %s", action, strings.Join(kinds, ", ")))
	}
	if !known {
		problems = append(problems, fmt.Sprintf("process is %q: want %s, or an instance, like %s", process, scenario.Nginx, s.options.Fleet.Names()[0]))
	}
	if len(problems) > 0 {
		return wrong("%s", strings.Join(problems, "; "))
	}
	return nil
}

// begin notes that an action begins, and returns what notes its end. The error says why it cannot be now.
func (s *Session) begin(action, name string) (done func(error), err error) {
	s.mu.Lock()
	p := s.processes[name]
	if possible := s.possible(name); !slices.Contains(possible, action) {
		defer s.mu.Unlock()
		return nil, notNow("%s", p.why(action, name))
	}
	p.busy = action
	s.mu.Unlock()
	s.changed()
	event := record.Event{Event: record.ActionStarted, Action: action, Process: name}
	s.event(event)
	return func(err error) {
		event.Event = record.ActionDone
		if err != nil {
			event.Error = s.options.Message(err.Error())
		}
		s.event(event)
		s.mu.Lock()
		p.busy = ""
		if err == nil {
			p.paused = action == scenario.Pause || p.paused && !scenario.Resumes(action)
		}
		s.mu.Unlock()
		s.changed()
	}, nil
}

// why says why an action cannot be.
func (p *process) why(action, name string) string {
	switch {
	case p.busy != "":
		return fmt.Sprintf("%s is busy: %s goes on; wait for its end", name, p.busy)
	case p.down && name == scenario.Nginx:
		return "nginx is down; wait until it is started again"
	case p.down:
		return name + " is down; start it first"
	case p.paused && action == scenario.Pause:
		return name + " is already paused; resume it first"
	case p.paused:
		return name + " is paused; resume it first"
	case action == scenario.Resume:
		return name + " is not paused"
	}
	return name + " is already running"
}

// follow takes an event of the fleet: what it means for a process, and for the history. What nothing asked for has to be in an experiment, too.
func (s *Session) follow(e record.Event) {
	p := s.processes[e.Process]
	if e.Event != record.ProcessEvent || p == nil {
		return
	}
	at := e.Time.Sub(s.options.Begin)
	itself := p.busy != scenario.Start && p.busy != scenario.Restart // if it starts
	switch e.Kind {
	case record.Started:
		if p.down && itself {
			s.history.act(draft.Action{At: at, Until: at, Kind: scenario.Start, Process: e.Process})
		}
		p.down = false
	case record.Ready:
		if itself {
			s.history.ready(at, e.Process)
		}
	case record.Died, record.Stopped:
		if asked := []string{scenario.Kill, scenario.Drain, scenario.Restart}; e.Kind == record.Died && !slices.Contains(asked, p.busy) {
			s.history.act(draft.Action{At: at, Until: at, Kind: death(e.Exit), Process: e.Process})
		}
		p.paused, p.down = false, true
	}
}

// death is the action that ends a process in such a way: a drained one has an exit code of its own.
func death(exit *record.Exit) string {
	if exit != nil && exit.Signal == "" && exit.Error == "" && exit.Code <= 1 {
		return scenario.Drain
	}
	return scenario.Kill
}

// interrupted are events around a death of nginx that no action asked for. The ledger needs them: what nginx had not logged is lost.
func (s *Session) interrupted(e record.Event) (before, after []record.Event) {
	if e.Event != record.ProcessEvent || e.Process != scenario.Nginx || e.Kind != record.Died {
		return nil, nil
	}
	kill := record.Event{V: record.EventVersion, Action: scenario.Kill, Process: scenario.Nginx}
	start, end := kill, kill
	start.Event, start.Time = record.ActionStarted, e.Time.Add(-100*time.Millisecond)
	end.Event, end.Time = record.ActionDone, e.Time
	return []record.Event{start}, []record.Event{end}
}
