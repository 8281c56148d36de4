package draft

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// resolution is that of all times in a file.
const resolution = time.Millisecond

const (
	shortest    = 500 * time.Millisecond // a segment, or a time without load; what is shorter was not meant
	longestLull = 15 * time.Second       // for which nothing changes and nothing is done; longer than nginx's default fail_timeout
	after       = 5 * time.Second        // of load follow the last action, so that recovery can be seen; longer if nginx may eject instances
)

// Most of what a file's fleet can have.
const maxInstances, maxWorkers = 60, 16

// limit makes the fleet one that a file can have. Notes say how it differs.
func (h *History) limit() (notes []string) {
	for _, n := range []struct {
		of   string
		have *int
		most int
	}{{"instances of whoami", &h.Instances, maxInstances}, {"instances of front", &h.Front, maxInstances}, {"workers of nginx", &h.Workers, maxWorkers}} {
		if *n.have > n.most {
			notes = append(notes, fmt.Sprintf("there were %d %s: here there are %d, the most of an experiment", *n.have, n.of, n.most))
			*n.have = n.most
		}
	}
	return notes
}

// late removes the actions after the end of the load. It returns a note, if there were some.
func (h *History) late() (notes []string) {
	var names []string
	h.Actions = slices.DeleteFunc(h.Actions, func(a Action) bool {
		if a.At < h.end() {
			return false
		}
		names = append(names, a.name())
		return true
	})
	if len(names) > 0 {
		notes = append(notes, "what was done after the end of the load is left out: "+list(names))
	}
	return notes
}

// list has each of some names once, and at most four.
func list(names []string) string {
	var all []string
	for _, name := range names {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	if len(all) > 4 {
		all = append(all[:4], "…")
	}
	return strings.Join(all, ", ")
}

// load reports whether there is any.
func (s Segment) load() bool { return s.HTTP > 0 || s.GRPC > 0 || s.Streams > 0 }

// same reports whether a segment goes on like another.
func (s Segment) same(other Segment) bool {
	return s.HTTP == other.HTTP && s.GRPC == other.GRPC && s.Streams == other.Streams && s.Hold == other.Hold && s.Deadline == other.Deadline &&
		s.Interval == other.Interval && s.Channels == other.Channels && s.Retry == other.Retry && slices.Equal(s.Edits, other.Edits)
}

// tidy rounds all times and sorts by them. Each segment ends where the next begins, if that is at once; segments that are too short go to
// the one after them, which is what was meant.
func (h *History) tidy() {
	h.Actions = slices.Clone(h.Actions)
	for i := range h.Actions {
		a := &h.Actions[i]
		a.At = a.At.Round(resolution)
		a.Until = max(a.At, a.Until.Round(resolution))
	}
	slices.SortStableFunc(h.Actions, func(a, b Action) int { return cmp.Compare(a.At, b.At) })
	all := slices.DeleteFunc(slices.Clone(h.Segments), func(s Segment) bool { return !s.load() })
	h.Segments = nil
	slices.SortStableFunc(all, func(a, b Segment) int { return cmp.Compare(a.From, b.From) })
	for i, s := range all {
		s.From, s.To = s.From.Round(resolution), s.To.Round(resolution)
		if i+1 < len(all) {
			if next := all[i+1].From.Round(resolution); s.To > next-shortest {
				s.To = next
			}
		}
		if s.To > s.From {
			h.Segments = append(h.Segments, s)
		}
	}
	h.join()
}

// join joins segments that are too short to the next, the last to the one before, and those that are the same.
func (h *History) join() {
	for i := 0; i+1 < len(h.Segments); {
		s, next := &h.Segments[i], &h.Segments[i+1]
		switch joint := s.To == next.From; {
		case joint && s.same(*next):
			s.To = next.To
			h.Segments = slices.Delete(h.Segments, i+1, i+2)
		case joint && s.To-s.From < shortest:
			next.From = s.From
			h.Segments = slices.Delete(h.Segments, i, i+1)
			i = max(0, i-1)
		case joint && i+2 == len(h.Segments) && next.To-next.From < shortest:
			s.To = next.To
			h.Segments = h.Segments[:i+1]
		default:
			i++
		}
	}
}

// lastStart is when load was started last: where it went on from nothing.
func (h *History) lastStart() time.Duration {
	for i := len(h.Segments) - 1; i > 0; i-- {
		if h.Segments[i-1].To < h.Segments[i].From {
			return h.Segments[i].From
		}
	}
	return h.Segments[0].From
}

// from is the history from a time on, which becomes its time 0, and what had been done to the fleet by then.
func (h History) from(start time.Duration) (History, effects) {
	before := effects{}
	part := h
	part.Actions, part.Segments = nil, nil
	for _, a := range h.Actions {
		if a.At < start {
			before.do(a)
			continue
		}
		a.At, a.Until = a.At-start, a.Until-start
		part.Actions = append(part.Actions, a)
	}
	for _, s := range h.Segments {
		if s.To <= start {
			continue
		}
		s.From, s.To = max(0, s.From-start), s.To-start
		part.Segments = append(part.Segments, s)
	}
	return part, before
}

// end is when the load ended.
func (h History) end() time.Duration { return h.Segments[len(h.Segments)-1].To }

// next is the first time after start from which a shorter part of the history could begin: false if there is none.
func (h History) next(start time.Duration) (time.Duration, bool) {
	found := h.end()
	for _, s := range h.Segments {
		if s.From > start {
			found = min(found, s.From)
		}
	}
	for _, a := range h.Actions {
		if a.Until > start {
			found = min(found, a.Until)
		}
	}
	return found, found < h.end()-shortest
}

// shorten shortens each time for which nothing changes and nothing is done. It returns a note, if there was such a time.
func (h *History) shorten() (notes []string) {
	var cut time.Duration
	number, last := 0, time.Duration(0) // last: what happened last, in the history as it was
	until := func(at time.Duration) time.Duration {
		if lull := at - last; lull > longestLull {
			cut += lull - longestLull
			number++
		}
		last = max(last, at)
		return at - cut
	}
	next := 0
	actions := func(before time.Duration) {
		for ; next < len(h.Actions) && h.Actions[next].At < before; next++ {
			a := &h.Actions[next]
			at := until(a.At)
			last = max(last, a.Until)
			a.At, a.Until = at, at+a.Until-a.At
		}
	}
	for i := range h.Segments {
		s := &h.Segments[i]
		s.From = until(s.From)
		to := s.To
		actions(to)
		s.To = until(to)
	}
	if number > 0 {
		notes = append(notes, fmt.Sprintf("times without a change were longer, by %s in all: each is %s at most here", short(cut), short(longestLull)))
	}
	return notes
}

// extend lets the load go on after the last action, so that recovery can be seen.
func (h *History) extend() (notes []string) {
	if len(h.Actions) == 0 {
		return nil
	}
	var last time.Duration
	for _, a := range h.Actions {
		last = max(last, a.Until)
	}
	s := &h.Segments[len(h.Segments)-1]
	if enough := h.recovery(); s.To < last+enough {
		notes = append(notes, fmt.Sprintf("the load went on for %s after the last action: here it does for %s, to show how the system recovers", short(max(0, s.To-last)), short(enough)))
		s.To = last + enough
	}
	return notes
}

// recovery is how much load follows the last action: nginx may first have to end the ejection of all instances.
func (h History) recovery() time.Duration {
	longest := after
	for _, s := range h.Segments {
		for _, e := range s.Edits {
			if value, found := strings.CutPrefix(e.Parameter, "fail_timeout="); found {
				ejected, _ := time.ParseDuration(value) // What has no unit is no text of a setting.
				longest = max(longest, ejected+after)
			}
		}
	}
	return longest
}
