package fleet

import (
	"math/rand/v2"
	"time"
)

// Pauses before a restart.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
	// A process that was ready for so long works: its next death is no crash loop.
	stable = time.Second
)

// nextPause is the longest wait before the next start of a process that died after it had been ready for a time (0: it never was), if the
// last such wait was last (0: there was none). It doubles up to maxPause, and is firstPause again after a stable time.
func nextPause(last, ready time.Duration) time.Duration {
	if last == 0 || ready >= stable {
		return firstPause
	}
	return min(2*last, maxPause)
}

// jitter is a random wait from half of pause to all of it. So instances that die together return one by one, the first sooner than without
// jitter, and in a crash loop some run while others wait.
func jitter(pause time.Duration) time.Duration {
	return pause/2 + rand.N(pause/2+1)
}
