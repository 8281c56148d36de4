package fleet

import (
	"math/rand/v2"
	"time"
)

// Restart pauses.
const (
	firstPause = 100 * time.Millisecond
	mostPause  = 5 * time.Second
	// A process that was ready this long works: its next death is a new event, not a crash loop.
	stable = time.Second
)

// pause returns the longest wait before the next start of a process that died after having been ready for so long (0: it never was),
// when the last such wait was last (0: there was none). It doubles up to mostPause, and is firstPause again after a stable life.
func pause(last, ready time.Duration) time.Duration {
	if last == 0 || ready >= stable {
		return firstPause
	}
	return min(2*last, mostPause)
}

// jitter returns a random wait from half of pause to all of it. Instances that die together so come back one by one: the first of them
// sooner than without jitter, and in a crash loop some run while others wait.
func jitter(pause time.Duration) time.Duration {
	return pause/2 + rand.N(pause/2+1)
}
