package fleet

import "time"

// How a process that died is started again.
const (
	firstPause = 100 * time.Millisecond
	mostPause  = 5 * time.Second
	young      = 5 * time.Second // One that lived shorter than this died young.
)

// pause is how long to wait before a process that lived so long is started again, when the wait before that life was last
// (0: there was none). It doubles while the process keeps dying young, and begins anew after a longer life.
func pause(last, lived time.Duration) time.Duration {
	if last == 0 || lived >= young {
		return firstPause
	}
	return min(2*last, mostPause)
}
