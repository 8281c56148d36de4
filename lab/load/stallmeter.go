package load

import (
	"sync"
	"time"
)

const (
	// beat is the interval at which a stallMeter checks that this process runs. A shorter stall may pass unseen.
	beat = 2 * time.Millisecond
	// leastStall is how late a beat must be to be a stall. On an idle machine it is late by a tenth of that.
	leastStall = time.Millisecond
)

// A stallMeter measures when this process stalled: paused, or starved. A stall does not only delay sends: responses are read late, and
// deadlines pass that only the client was too slow to keep. Its methods may be called at the same time.
type stallMeter struct {
	mu   sync.Mutex
	last time.Time // beat
	// stalls holds, oldest first, every stall longer than all later ones. So the first one that ended after t is the longest that did.
	// There are few.
	stalls []stall
}

// A stall is a time without a beat that was due.
type stall struct {
	end    time.Time
	length time.Duration
}

func newStallMeter() *stallMeter { return &stallMeter{last: time.Now()} }

// run beats until the alarm's context ends.
func (m *stallMeter) run(a *alarm) {
	// The next beat is due an interval after this one, however late this was.
	for a.wait(time.Now().Add(beat)) == nil {
		m.beat(time.Now())
	}
}

func (m *stallMeter) beat(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	current := m.current(now)
	m.last = now
	if current.length <= 0 {
		return
	}
	n := len(m.stalls)
	for n > 0 && m.stalls[n-1].length <= current.length {
		n--
	}
	m.stalls = append(m.stalls[:n], current)
}

// current is the stall that lasts until now; its length is 0 if there is none.
func (m *stallMeter) current(now time.Time) stall {
	if late := now.Sub(m.last) - beat; late >= leastStall {
		return stall{now, late}
	}
	return stall{end: now}
}

// longest is the longest stall, or part of one, between two times of which the second is now, or has just been.
func (m *stallMeter) longest(from, to time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := to
	if m.last.After(now) {
		now = m.last // There has been a beat since.
	}
	longest := m.current(now).since(from)
	for _, s := range m.stalls {
		part := s.since(from)
		longest = max(longest, part)
		if part > 0 && part == s.length {
			break // Later ones are shorter.
		}
	}
	return min(longest, to.Sub(from))
}

// since is how much of a stall is later than a time.
func (s stall) since(from time.Time) time.Duration { return max(0, min(s.length, s.end.Sub(from))) }
