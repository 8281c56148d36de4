package load

import (
	"context"
	"sync/atomic"
	"time"
)

// A horizon is when a load ends: with its plan, or earlier. Its context ends then, and when the generator ends early.
type horizon struct {
	context.Context
	cancel context.CancelFunc
	begin  time.Time    // of the plan, on the monotonic clock
	length atomic.Int64 // nothing is planned so long after begin, or later
}

func newHorizon(ctx context.Context, begin time.Time, length time.Duration) *horizon {
	h := &horizon{begin: begin}
	h.Context, h.cancel = context.WithCancel(ctx)
	h.length.Store(int64(length))
	return h
}

// take takes times to finish until close. The context ends only when all that is planned before has its time: then no dispatcher waits for
// anything else.
func (h *horizon) take(finishes <-chan time.Duration) {
	var over <-chan time.Time
	for {
		select {
		case at := <-finishes:
			if at < h.planned() {
				h.length.Store(int64(at))
				over = time.After(time.Until(h.begin.Add(at)))
			}
		case <-over:
			h.cancel()
			return
		case <-h.Done():
			return
		}
	}
}

// planned is the time in which requests are planned.
func (h *horizon) planned() time.Duration { return time.Duration(h.length.Load()) }

func (h *horizon) close() { h.cancel() }
