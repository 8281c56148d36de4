package load

import (
	"context"
	"sync"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
)

// sighting is what grpc-go tells of one call. It tells some of it on other goroutines, and even when the call is over for its caller.
type sighting struct {
	mu       sync.Mutex
	attempts []*attempt
}

// attempt is one attempt of a call.
type attempt struct {
	of          *sighting
	transparent bool // grpc-go knows that nobody processed the attempt before, or that it was never sent
	sent        bool // its headers were given to a connection
	header      bool // the answer's headers came
	trailer     bool // the answer's trailers came, and with them grpc-status; without header: both in one
	instance    string
	err         error
}

type (
	sightingKey struct{}
	attemptKey  struct{}
)

// witness is the channels' stats.Handler. It is told everything about a call with the context that TagRPC made.
type witness struct{}

func (witness) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, attemptKey{}, &attempt{of: ctx.Value(sightingKey{}).(*sighting)})
}

func (witness) HandleRPC(ctx context.Context, event stats.RPCStats) {
	switch event.(type) {
	case *stats.InPayload, *stats.OutPayload:
		return
	}
	a := ctx.Value(attemptKey{}).(*attempt)
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	switch e := event.(type) {
	case *stats.Begin:
		a.transparent = e.IsTransparentRetryAttempt
		a.of.attempts = append(a.of.attempts, a)
	case *stats.OutHeader:
		a.sent = true
	case *stats.InHeader:
		a.header = true
		a.named(e.Header)
	case *stats.InTrailer:
		a.trailer = true
		a.named(e.Trailer)
	case *stats.End:
		a.err = e.Error
	}
}

func (a *attempt) named(md metadata.MD) {
	if name := md["x-instance"]; len(name) > 0 {
		a.instance = name[0]
	}
}

func (witness) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (witness) HandleConn(context.Context, stats.ConnStats) {}
