package load

import (
	"context"
	"sync"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
)

// A trace is what grpc-go reports about one call. Some of it comes on other goroutines, even after the call has returned.
type trace struct {
	mu       sync.Mutex
	attempts []*attempt
}

// An attempt is one attempt of a call.
type attempt struct {
	trace       *trace
	transparent bool // grpc-go knows that the attempt before was processed by no server, or never sent
	sent        bool // its headers were given to a connection
	header      bool // response headers came
	trailer     bool // response trailers came, and with them grpc-status; without header: both in one
	instance    string
	err         error
}

type (
	traceKey   struct{}
	attemptKey struct{}
)

// callTracer is the channels' stats.Handler. grpc-go passes it every event of a call with the context that TagRPC made.
type callTracer struct{}

func (callTracer) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, attemptKey{}, &attempt{trace: ctx.Value(traceKey{}).(*trace)})
}

func (callTracer) HandleRPC(ctx context.Context, event stats.RPCStats) {
	switch event.(type) {
	case *stats.InPayload, *stats.OutPayload:
		return
	}
	a := ctx.Value(attemptKey{}).(*attempt)
	a.trace.mu.Lock()
	defer a.trace.mu.Unlock()
	switch e := event.(type) {
	case *stats.Begin:
		a.transparent = e.IsTransparentRetryAttempt
		a.trace.attempts = append(a.trace.attempts, a)
	case *stats.OutHeader:
		a.sent = true
	case *stats.InHeader:
		a.header = true
		a.setInstance(e.Header)
	case *stats.InTrailer:
		a.trailer = true
		a.setInstance(e.Trailer)
	case *stats.End:
		a.err = e.Error
	}
}

func (a *attempt) setInstance(md metadata.MD) {
	if name := md["x-instance"]; len(name) > 0 {
		a.instance = name[0]
	}
}

func (callTracer) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (callTracer) HandleConn(context.Context, stats.ConnStats) {}
