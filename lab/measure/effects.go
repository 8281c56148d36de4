package measure

import (
	"fmt"
	"slices"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// An effect is what an action must do to its process, as an event of the process shows.
type effect struct {
	*operation
	event string    // kind of the process's event
	until time.Time // zero while the action runs
}

// effects are the events that an operation wants. Of nginx's workers there are none: the master starts and ends them.
func effects(o *operation) []string {
	if _, worker := scenario.WorkerNumber(o.Process); worker {
		return nil
	}
	switch o.Kind {
	case scenario.Kill:
		return []string{record.Died}
	case scenario.Drain:
		return []string{record.Stopped}
	case scenario.Start:
		return []string{record.Started}
	case scenario.Restart:
		return []string{record.Stopped, record.Started}
	}
	return nil
}

// had reports whether an exit is what its action asks for: SIGKILL of a kill; of a drain one of the codes with which an instance ends
// after SIGTERM: 0, or 1 if it had to cancel calls. A start has none.
func (x effect) had(exit *record.Exit) bool {
	switch x.event {
	case record.Died:
		return exit != nil && exit.Killed()
	case record.Stopped:
		return exit != nil && exit.Signal == "" && exit.Error == "" && exit.Code <= 1
	}
	return true
}

// expectEffects is for an operation that starts.
func (l *eventLog) expectEffects(o *operation) {
	for _, event := range effects(o) {
		if l.manifest.Target != nil && event == record.Started {
			continue // A target announces a start at its first record, which may be any time later.
		}
		l.effects = append(l.effects, effect{operation: o, event: event})
	}
}

// endEffects is for an operation that is done. What a failed one did is of no interest; the event of another may still be on its way.
func (l *eventLog) endEffects(o *operation, e record.Event) {
	for i, x := range l.effects {
		if x.operation == o {
			l.effects[i].until = e.Time.Add(MaxLateness)
			if l.manifest.Target != nil {
				l.effects[i].until = e.Time.Add(announced)
			}
		}
	}
	if e.Error != "" {
		l.effects = slices.DeleteFunc(l.effects, func(x effect) bool { return x.operation == o })
	}
}

// announced is how long after an action a target may report what it did.
const announced = 10 * time.Second

// shows reports whether an event is what an action asks for. What ends on a target has ended; how, not every engine says.
func (l *eventLog) shows(x effect, e record.Event) bool {
	if l.manifest.Target != nil {
		return x.event != record.Started && (e.Kind == record.Died || e.Kind == record.Stopped)
	}
	return x.event == e.Kind && x.had(e.Exit)
}

// takeEffect reports whether an action requested an event of its process.
func (l *eventLog) takeEffect(e record.Event) bool {
	i := slices.IndexFunc(l.effects, func(x effect) bool {
		return l.manifest.ProcessName(x.Process) == e.Process && l.shows(x, e) && (x.until.IsZero() || !e.Time.After(x.until))
	})
	if i >= 0 {
		l.effects = slices.Delete(l.effects, i, i+1)
	}
	return i >= 0
}

// withoutEffect are the reasons for actions that were done and did nothing.
func (l *eventLog) withoutEffect() (all []string) {
	for _, x := range l.effects {
		if !x.until.IsZero() {
			how := map[string]string{record.Died: " of SIGKILL", record.Stopped: " with exit code 0 or 1"}[x.event]
			all = append(all, fmt.Sprintf("phase %s: %s was done, and %s has no event that %s %s%s",
				l.manifest.Scenario.Phases[x.phase].Name, x.Name(), record.EventsFile, x.Process, x.event, how))
		}
	}
	return all
}
