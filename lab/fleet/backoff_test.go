package fleet

import (
	"testing"
	"time"
)

func TestPause(t *testing.T) {
	t.Parallel()
	const ms, s = time.Millisecond, time.Second
	for _, test := range []struct {
		name              string
		last, lived, want time.Duration
	}{
		{"the first death, young", 0, 0, 100 * ms},
		{"the first death, old", 0, time.Hour, 100 * ms},
		{"young again", 100 * ms, 10 * ms, 200 * ms},
		{"and again", 200 * ms, 4999 * ms, 400 * ms},
		{"up to the most", 3200 * ms, 0, 5 * s},
		{"and no further", 5 * s, 0, 5 * s},
		{"a life of five seconds is not young", 5 * s, 5 * s, 100 * ms},
		{"after a long life from the beginning", 800 * ms, time.Minute, 100 * ms},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := pause(test.last, test.lived); got != test.want {
				t.Errorf("pause(%v, %v) = %v, want %v", test.last, test.lived, got, test.want)
			}
		})
	}
}
