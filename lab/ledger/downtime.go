package ledger

import (
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A span is a time; to is zero while it lasts.
type span struct{ from, to time.Time }

// overlaps reports whether any of the time from one to the other belongs to the span.
func (s span) overlaps(from, to time.Time) bool {
	return !to.Before(s.from) && (s.to.IsZero() || !from.After(s.to))
}

// ofNginx reports whether a process is nginx or one of its workers.
func ofNginx(process string) bool {
	_, worker := scenario.WorkerNumber(process)
	return worker || process == scenario.Nginx
}

// interruptions are the times in which actions paused or killed nginx, or one of its workers. All that a killed worker had not logged is
// lost; a paused one logs late. Which worker had a request cannot be known if it did not log it, so it is not asked.
type interruptions struct {
	pauses, kills []span
	stopping      time.Time // when the last action that stops nginx began, which kills what does not stop
}

func (n *interruptions) event(e record.Event) {
	if !ofNginx(e.Process) {
		return
	}
	started, done := e.Event == record.ActionStarted, e.Event == record.ActionDone
	switch e.Action {
	case scenario.Pause:
		if started {
			n.pauses = append(n.pauses, span{from: e.Time})
		}
	case scenario.Kill:
		if started {
			n.kills = append(n.kills, span{from: n.pausedSince(e.Time)})
		}
	case scenario.Drain, scenario.Restart:
		if started {
			n.stopping = e.Time
		}
	}
	switch {
	case done && e.Action == scenario.Kill:
		end(n.kills, e.Time)
	case done && scenario.Resumes(e.Action):
		end(n.pauses, e.Time)
	case e.Event == record.ProcessEvent && e.Kind == record.Stopped && e.Exit != nil && e.Exit.Killed() && !n.stopping.IsZero():
		n.kills = append(n.kills, span{n.pausedSince(n.stopping), e.Time})
	}
}

// pausedSince is the earliest start of a pause that lasts, if it is before a time: what nginx read before it may be open ever since.
func (n *interruptions) pausedSince(at time.Time) time.Time {
	for _, p := range n.pauses {
		if p.to.IsZero() {
			at = earlier(at, p.from)
		}
	}
	return at
}

// end ends the spans that last.
func end(all []span, at time.Time) {
	for i := range all {
		if all[i].to.IsZero() {
			all[i].to = at
		}
	}
}

// paused reports whether nginx was paused at any time of a request, as the client and nginx know it.
func (n *interruptions) paused(q *Request) bool {
	start, end := q.interval()
	for _, e := range q.Entries {
		start, end = earlier(start, e.Begin()), later(end, e.When())
	}
	return overlap(n.pauses, start, end)
}

// killed reports whether nginx may have lost what it knew of a request: one was open, or had just ended at the client, when an action
// killed nginx or a worker, and has fewer access-log entries than attempts. After a response that was whole, nginx logs within its round
// of events; that a client has left it notices when it runs.
func (n *interruptions) killed(q *Request) bool {
	if q.Client == nil || len(q.Entries) >= q.Client.Attempts {
		return false
	}
	start, end := q.interval()
	if q.Client.Outcome == record.Incomplete {
		return overlap(n.kills, start, end.Add(behind))
	}
	return overlap(n.kills, start, end.Add(ahead))
}

func overlap(all []span, from, to time.Time) bool {
	for _, s := range all {
		if s.overlaps(from, to) {
			return true
		}
	}
	return false
}
