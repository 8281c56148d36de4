package session

import (
	"cmp"
	"slices"
	"time"

	"trivet/lab/draft"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// maxHistory bounds the segments, and about the actions: of more, the oldest are forgotten.
const maxHistory = 200

// shortest is the least length of a segment: in less, no experiment can show anything.
const shortest = 50 * time.Millisecond

// A history is what was done, for an experiment.
type history struct {
	segments []draft.Segment
	open     bool // the last goes on
	actions  []draft.Action
	begun    map[string]draft.Action // those that go on, by process
	edits    []confedit.Edit
	settings []string // the same in words
}

// load notes that a load begins at a time.
func (h *history) load(at time.Duration, l Load) {
	h.end(at)
	h.segments, h.open = append(h.segments, draft.Segment{
		From: at, To: at, HTTP: l.HTTP, GRPC: l.GRPC, Streams: float64(l.Streams), Hold: hold, Interval: interval, Channels: l.channels(),
		Deadline: l.deadline(), Retry: l.Retry, Edits: h.edits, Settings: h.settings,
	}), true
	h.segments = h.segments[max(0, len(h.segments)-maxHistory):]
}

// end notes that the load ends at a time.
func (h *history) end(at time.Duration) {
	if !h.open {
		return
	}
	last := &h.segments[len(h.segments)-1]
	last.To, h.open = max(at, last.From), false
	if last.To-last.From < shortest { // It hardly began.
		h.segments = h.segments[:len(h.segments)-1]
	}
}

// configure notes that nginx has other edits.
func (h *history) configure(at time.Duration, edits []confedit.Edit, settings []string) {
	h.edits, h.settings = edits, settings
	if !h.open {
		return
	}
	next := h.segments[len(h.segments)-1]
	if at > next.From {
		h.end(at)
		h.segments = append(h.segments, draft.Segment{})
	}
	next.From, next.To, next.Edits, next.Settings = max(at, next.From), max(at, next.From), edits, settings
	h.segments[len(h.segments)-1], h.open = next, true
}

// begin notes that an action begins.
func (h *history) begin(a draft.Action) {
	if h.begun == nil {
		h.begun = map[string]draft.Action{}
	}
	h.begun[a.Process] = a
}

// act notes an action that is done.
func (h *history) act(a draft.Action) {
	h.actions = append(h.actions, a)
	sortActions(h.actions)
	for i := 0; i < len(h.actions) && len(h.actions) > maxHistory; {
		// The last of a process stays: it may be down or paused since.
		if slices.ContainsFunc(h.actions[i+1:], func(later draft.Action) bool { return later.Process == h.actions[i].Process }) {
			h.actions = slices.Delete(h.actions, i, i+1)
		} else {
			i++
		}
	}
}

// ready notes that a process serves: its start was done only then, as that of an experiment is.
func (h *history) ready(at time.Duration, process string) {
	for i := len(h.actions) - 1; i >= 0; i-- {
		if a := &h.actions[i]; a.Process == process {
			if a.Kind == scenario.Start {
				a.Until = max(a.Until, at)
			}
			return
		}
	}
}

func sortActions(all []draft.Action) {
	slices.SortStableFunc(all, func(a, b draft.Action) int { return cmp.Compare(a.At, b.At) })
}

func (h *history) len() int { return len(h.segments) + len(h.actions) }

// copy is the history until a time.
func (h *history) copy(at time.Duration) draft.History {
	all := draft.History{Segments: slices.Clone(h.segments), Actions: slices.Clone(h.actions)}
	for _, a := range h.begun {
		a.Until = at
		all.Actions = append(all.Actions, a)
	}
	sortActions(all.Actions)
	if h.open {
		last := len(all.Segments) - 1
		if all.Segments[last].To = at; at <= all.Segments[last].From {
			all.Segments = all.Segments[:last]
		}
	}
	return all
}
