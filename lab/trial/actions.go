package trial

import (
	"context"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// runActions carries out the actions of each phase, from the start of the phase, one after the other. An action that fails is in the
// event log, which makes the trial invalid, and the next one follows. The only error is the end of ctx.
func runActions(ctx context.Context, s scenario.Scenario, begin time.Time, system System, events *eventWriter) error {
	for i, phase := range s.Phases {
		from, _ := s.Bounds(i)
		if err := waitUntil(ctx, begin.Add(from)); err != nil {
			return err
		}
		events.write(record.Event{Event: record.PhaseStarted, Phase: phase.Name})
		for i, o := range phase.Operations() {
			if err := runOperation(ctx, phase.Name, i, o, system, events); err != nil {
				return err
			}
		}
	}
	return nil
}

// runOperation carries out one action on one process.
func runOperation(ctx context.Context, phase string, index int, o scenario.Operation, system System, events *eventWriter) error {
	e := record.Event{Event: record.ActionStarted, Phase: phase, Operation: index, Action: o.Kind, Process: o.Process, Wait: o.Wait.Microseconds()}
	events.write(e)
	var err error
	if o.Kind == scenario.Wait {
		err = waitUntil(ctx, time.Now().Add(o.Wait))
	} else {
		err = system.Do(ctx, o.Kind, o.Process)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e.Event, e.Wait = record.ActionDone, 0
	if err != nil {
		e.Error = err.Error()
	}
	events.write(e)
	return nil
}

func waitUntil(ctx context.Context, t time.Time) error {
	select {
	case <-time.After(time.Until(t)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
