package trial

import (
	"context"
	"sync"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// runActions carries out the actions of each phase, from the start of the phase. An action that fails is in the event log, which makes
// the trial invalid, and those that wait for its end follow. A phase begins late if actions of the one before it take too long. The only
// error is the end of ctx; no action runs any more then.
func runActions(ctx context.Context, s scenario.Scenario, begin time.Time, system System, events *record.EventWriter) error {
	for i, phase := range s.Phases {
		from, _ := s.Bounds(i)
		start := begin.Add(from)
		if err := waitUntil(ctx, start); err != nil {
			return err
		}
		events.Write(record.Event{Event: record.PhaseStarted, Phase: phase.Name})
		if err := runPhase(ctx, phase, start, system, events); err != nil {
			return err
		}
	}
	return nil
}

// runPhase carries out the operations of a phase that starts at a time, each in a goroutine of its own, and returns when all are done.
func runPhase(ctx context.Context, phase scenario.Phase, start time.Time, system System, events *record.EventWriter) error {
	r := phaseRun{phase: phase.Name, start: start, system: system, events: events}
	for _, o := range phase.Operations() {
		r.operations = append(r.operations, &operation{Operation: o, started: make(chan time.Duration, 1), ended: make(chan time.Duration, 1)})
	}
	var all sync.WaitGroup
	for i := range r.operations {
		all.Go(func() { r.run(ctx, i) })
	}
	all.Wait()
	return context.Cause(ctx)
}

// A phaseRun is one phase's operations while they are carried out.
type phaseRun struct {
	phase      string
	start      time.Time
	system     System
	events     *record.EventWriter
	operations []*operation
}

// An operation is one of a phase while it is carried out.
type operation struct {
	scenario.Operation
	// Each holds, once it is known, a time since the start of the phase, which every reader puts back.
	started, ended chan time.Duration
}

// run carries out an operation when those that it waits for have started and ended. It gives up when ctx ends.
func (r *phaseRun) run(ctx context.Context, index int) {
	o := r.operations[index]
	at, ok := o.Planned(
		func(i int) (time.Duration, bool) { return take(ctx, r.operations[i].started) },
		func(i int) (time.Duration, bool) { return take(ctx, r.operations[i].ended) },
	)
	if !ok || waitUntil(ctx, r.start.Add(at)) != nil {
		return
	}
	e := record.Event{Event: record.ActionStarted, Phase: r.phase, Operation: index, Action: o.Kind, Process: o.Process, Wait: o.Wait.Microseconds()}
	e.Time = time.Now()
	r.events.Write(e)
	o.started <- e.Time.Sub(r.start)
	var err error
	if o.Kind == scenario.Wait {
		err = waitUntil(ctx, e.Time.Add(o.Wait))
	} else {
		err = r.system.Do(ctx, o.Operation)
	}
	if ctx.Err() != nil {
		return
	}
	e.Event, e.Time, e.Wait = record.ActionDone, time.Now(), 0
	if err != nil {
		e.Error = err.Error()
	}
	r.events.Write(e)
	o.ended <- e.Time.Sub(r.start)
}

// take waits for a time; false if ctx ends first.
func take(ctx context.Context, from chan time.Duration) (time.Duration, bool) {
	select {
	case t := <-from:
		from <- t
		return t, true
	case <-ctx.Done():
		return 0, false
	}
}

func waitUntil(ctx context.Context, t time.Time) error {
	select {
	case <-time.After(time.Until(t)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
