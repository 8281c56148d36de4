package instance

import (
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A limit bounds how many calls run at once.
type limit struct {
	most    int64
	running atomic.Int64
	name    string

	rejected atomic.Int64
}

// admit counts a call; without an error, done must be called once. The error is RESOURCE_EXHAUSTED and not UNAVAILABLE,
// because clients retry the latter, which would add load to an overloaded instance.
func (l *limit) admit() error {
	if l.running.Add(1) > l.most {
		l.done()
		l.rejected.Add(1)
		return status.Errorf(codes.ResourceExhausted, "instance is at its limit of %d %s (MAX_CALLS)", l.most, l.name)
	}
	return nil
}

func (l *limit) done() { l.running.Add(-1) }
