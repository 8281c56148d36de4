package feed

import (
	"cmp"
	"fmt"
	"time"

	"trivet/internal/words"
)

// Rules by which nginx's state is inferred from its access log; docs/feed.md has them in words.
const (
	// failingAttempts is how many attempts at an instance, one after the other, got no response header when it counts as failing, and failingFor
	// how long the first of them is ago, at least: of many requests with a short deadline a few in a row may be late.
	failingAttempts = 3
	failingFor      = 250 * time.Millisecond
	// othersChosen is how many first attempts went to others of the upstream since the last at an instance when it counts as not chosen, at
	// least; othersPerInstance is the same for each instance of it, because a random choice leaves one of many out for longer.
	othersChosen      = 20
	othersPerInstance = 10
	// notChosenFor is how long that was ago, at least.
	notChosenFor = time.Second
	// forgotten is how long an attempt says something.
	forgotten = 10 * time.Second
)

const protocols = 2 // HTTP and gRPC have an upstream each; streams are gRPC's

var protocolWords = [protocols]string{"HTTP", "gRPC"}

// upstreamOf is the index of the upstream of a flow.
func upstreamOf(flow int) int { return min(flow, 1) }

// A server is what nginx did with an instance in one upstream.
type server struct {
	tried   bool          // there was an attempt at it, or it was chosen
	last    time.Duration // of the attempts at it
	without int           // of the last attempts: how many, one after the other, got no response header
	failed  time.Duration // the first of those, or the first since nginx chose it again
	left    bool          // nginx did not choose it, and there was no attempt since

	chosen time.Duration // the last time
	others int           // first attempts at others of the upstream since
	other  time.Duration // the last of them
}

// attempt adds one at this server that ended at a time. The response header of a long one came earlier: it says nothing of what failed since.
func (s *server) attempt(at time.Duration, header bool, headerAt time.Duration) {
	s.tried, s.last = true, max(s.last, at)
	switch {
	case header && s.without > 0 && headerAt < s.failed:
		return
	case header:
		s.without = 0
	case s.without == 0 || s.left:
		s.failed = at
		fallthrough
	default:
		s.without++
	}
	s.left = false
}

// choose adds that nginx chose this server at a time, for a first attempt or a later one.
func (s *server) choose(at time.Duration) {
	if !s.tried || at > s.chosen {
		s.chosen, s.others = at, 0
	}
	s.tried = true
}

// pass adds that nginx chose another server of the upstream, or found none alive.
func (s *server) pass(at time.Duration) {
	if s.others == 0 && !s.tried && s.other == 0 {
		s.chosen = at // It was not there to be chosen before.
	}
	if at >= s.chosen {
		s.others++
		s.other = max(s.other, at)
	}
}

// state is what can be said of a server at a time, before which it had another one, in an upstream of so many instances. Delay is how long it
// may take until it is known that nginx has chosen the server.
func (s *server) state(now time.Duration, before string, instances int, delay time.Duration) string {
	needed := max(othersChosen, othersPerInstance*instances)
	switch {
	case s.others >= needed && now-s.chosen >= delay && now-s.other <= forgotten:
		return Ejected
	case !s.tried || now-s.last > forgotten:
		return Unknown
	case s.fails(now):
		return Failing
	case s.without == 0:
		return Serving
	case before == Ejected && s.others < needed:
		return Unknown // It has been tried again, and what that came to is not clear yet.
	}
	return before
}

// fails reports whether the last attempts at a server got no response header.
func (s *server) fails(now time.Duration) bool {
	return s.without >= failingAttempts && now-s.failed >= failingFor
}

// why says from what a state is inferred.
func (s *server) why(state string, upstream int, clock func(time.Duration) string) string {
	over := " over " + protocolWords[upstream]
	switch state {
	case Ejected:
		return fmt.Sprintf("0 of the last %s%s, since %s", words.Count(s.others, "first attempt"), over, clock(s.chosen))
	case Failing:
		return fmt.Sprintf("the last %s%s got no response header", words.Count(s.without, "attempt"), over)
	case Serving:
		return "the last attempt" + over + " got a response header"
	}
	return ""
}

// worse orders states of one instance in both upstreams: the worst is the instance's.
var worse = map[string]int{Unknown: 0, Serving: 1, Failing: 2, Ejected: 3}

// servers are what nginx did with an instance in both upstreams.
type servers struct {
	of     [protocols]server
	judged [protocols]string // "": not yet
}

// An inferred is what was inferred of an instance.
type inferred struct {
	state string
	over  string        // the protocol of which this is true, if it is not of the other
	why   string        // from what
	since time.Duration // of Ejected since the instance was chosen for the last time
}

// judge is the worse of the states in both upstreams at a time.
func (s *servers) judge(now time.Duration, instances int, delay time.Duration, clock func(time.Duration) string) inferred {
	var since [protocols]time.Duration
	for i := range s.of {
		one := &s.of[i]
		s.judged[i], since[i] = one.state(now, cmp.Or(s.judged[i], Unknown), instances, delay), now
		switch s.judged[i] {
		case Ejected:
			one.left, since[i] = true, one.chosen
		case Failing:
			since[i] = one.failed
		}
	}
	i := 0
	if worse[s.judged[1]] > worse[s.judged[0]] {
		i = 1
	}
	worst := inferred{s.judged[i], "", s.of[i].why(s.judged[i], i, clock), since[i]}
	switch s.judged[1-i] {
	case Unknown:
	case worst.state:
		worst.since = max(since[0], since[1])
	default:
		worst.over = Flows[i]
	}
	return worst
}
