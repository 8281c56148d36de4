package labtest

import (
	"testing"
	"time"
	"unsafe"
)

// SetForward returns a time with another wall clock, by whole seconds, and the same monotonic clock, so that no clock need be set.
func SetForward(t testing.TB, at time.Time, by time.Duration) time.Time {
	t.Helper()
	set := at
	*(*uint64)(unsafe.Pointer(&set)) += uint64(by/time.Second) << 30 // Seconds of the wall clock begin at bit 30 of a Time that has both.
	if moved := set.Round(0).Sub(at.Round(0)); moved != by || set.Sub(at) != 0 {
		t.Fatalf("package time has other internals: %v later by the wall clock, %v by the monotonic clock", moved, set.Sub(at))
	}
	return set
}
