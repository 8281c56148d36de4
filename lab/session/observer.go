package session

import (
	"sync"
	"time"

	"trivet/lab/fleet"
	"trivet/lab/record"
)

// An Observer gets the events of a fleet, which begin before there is a Session, and hands them on to it. The zero Observer is ready.
type Observer struct {
	mu   sync.Mutex
	kept []record.Event
	to   func(record.Event)
}

// Process takes an event of a process: fleet.Options.Observe.
func (o *Observer) Process(e fleet.Event) {
	o.take(record.Event{Time: e.Time, Event: record.ProcessEvent, Kind: e.Kind, Process: e.Process, Start: e.Start, PID: e.PID, Exit: e.Exit})
}

// Health takes a change of an instance's health: fleet.Options.Health.
func (o *Observer) Health(h fleet.Health) {
	o.take(record.Event{Time: h.Time, Event: record.HealthEvent, Kind: h.Kind, Process: h.Process})
}

// Probed takes the ID of a request of the fleet's own: fleet.Options.Probed.
func (o *Observer) Probed(id string) {
	o.take(record.Event{Time: time.Now(), Event: record.Probe, ID: id})
}

func (o *Observer) take(e record.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e.V = record.EventVersion
	if o.to == nil {
		o.kept = append(o.kept, e)
		return
	}
	o.to(e)
}

// attach hands all events on, those that have been kept first.
func (o *Observer) attach(to func(record.Event)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.kept {
		to(e)
	}
	o.kept, o.to = nil, to
}
