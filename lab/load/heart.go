package load

import (
	"context"
	"sync"
	"time"
)

// beat is how often the heart beats.
const beat = 10 * time.Millisecond

// A heart tells when this process stood still: stopped, or starved. Then requests are not only sent late; what has come meanwhile is
// read late too, and a deadline passes that only the client was too slow to keep. Its methods may be called at the same time.
type heart struct {
	mu   sync.Mutex
	last time.Time // beat
	// stalls are those of which no later one is as long, the oldest first: of all that ended after some time, the longest is the first of
	// these which did. There are few.
	stalls []stall
}

// A stall is a time without a beat that was due.
type stall struct {
	end    time.Time
	length time.Duration
}

func newHeart() *heart { return &heart{last: time.Now()} }

// live beats until ctx ends.
func (h *heart) live(ctx context.Context) {
	// A ticker's next tick would come sooner after a late one.
	timer := time.NewTimer(beat)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		h.beat(time.Now())
		timer.Reset(beat)
	}
}

func (h *heart) beat(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one := h.overdue(now)
	h.last = now
	if one.length <= 0 {
		return
	}
	n := len(h.stalls)
	for n > 0 && h.stalls[n-1].length <= one.length {
		n--
	}
	h.stalls = append(h.stalls[:n], one)
}

// overdue is the stall in which the process is, if its length is more than 0.
func (h *heart) overdue(now time.Time) stall { return stall{now, now.Sub(h.last) - beat} }

// stalled is how long the process stood still at most, at one go, between two times of which the second is now, or has just been.
func (h *heart) stalled(from, to time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := to
	if h.last.After(now) {
		now = h.last // A beat has come since.
	}
	longest := h.overdue(now).since(from)
	for _, s := range h.stalls {
		part := s.since(from)
		longest = max(longest, part)
		if part > 0 && part == s.length {
			break // Those after it are shorter.
		}
	}
	return min(longest, to.Sub(from))
}

// since is how much of a stall is later than a time.
func (s stall) since(from time.Time) time.Duration { return max(0, min(s.length, s.end.Sub(from))) }
