package outgoing

import (
	"testing"
	"time"
)

// gRPC's timeouts have at most eight digits; none is zero, which would be no timeout.
func TestTimeout(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "1u", 0: "1u", time.Microsecond: "1u", 1500 * time.Millisecond: "1500000u", 99999999 * time.Microsecond: "99999999u",
		100 * time.Second: "100000m", 1 << 62: "99999999m",
	} {
		if got := timeout(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// A policy is what grpc-go reads: it would ignore one with an error, so a connection is opened with each.
func TestRetriesAreValid(t *testing.T) {
	t.Parallel()
	c := New(Options{GRPC: "127.0.0.1:1"})
	defer c.Close()
	seen := map[any]bool{}
	for attempts := range 6 {
		for _, budget := range []bool{false, true} {
			connection, err := c.GRPC(Retries{Attempts: attempts, Budget: budget})
			if err != nil || connection == nil {
				t.Errorf("%d attempts, budget %t: %v", attempts, budget, err)
			}
			seen[connection] = true
		}
	}
	if len(seen) != 10 {
		t.Errorf("%d connections, want one for each of 5 numbers of attempts, with and without a budget", len(seen))
	}
	if connection, err := New(Options{}).GRPC(Retries{}); connection != nil || err != nil {
		t.Errorf("%v, %v; want none without an address", connection, err)
	}
}
