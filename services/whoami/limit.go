package whoami

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
}

// admit counts a call; the caller must call done once, if there is no error. RESOURCE_EXHAUSTED and not UNAVAILABLE:
// clients retry the latter, which would add load where there is too much.
func (l *limit) admit() error {
	if l.running.Add(1) > l.most {
		l.done()
		return status.Errorf(codes.ResourceExhausted, "the instance runs %d %s, its limit (MAX_CALLS)", l.most, l.name)
	}
	return nil
}

func (l *limit) done() { l.running.Add(-1) }
