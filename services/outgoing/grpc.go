package outgoing

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
)

// unary is a [grpc.UnaryClientInterceptor]: it adds request ID and trace context to a call, and records its end. grpc-go itself passes the
// deadline on.
func unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	ctx, c, err := from(ctx)
	if err != nil {
		return err
	}
	added := []string{"x-request-id", c.ID}
	inherited(ctx, func(key, value string) { added = append(added, key, value) })
	err = invoke(metadata.AppendToOutgoingContext(ctx, added...), method, req, reply, conn, opts...)
	c.recordGRPC(ctx, method, err)
	return err
}

// counter is a [stats.Handler] that collects the attempts of calls. grpc-go passes it every event of an attempt with the context that
// TagRPC made.
type counter struct{}

type attemptKey struct{}

// TagRPC implements [stats.Handler].
func (counter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	c, _ := ctx.Value(callKey{}).(*Call)
	return context.WithValue(ctx, attemptKey{}, &attempt{call: c})
}

// HandleRPC implements [stats.Handler].
func (counter) HandleRPC(ctx context.Context, event stats.RPCStats) {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	if a == nil || a.call == nil {
		return
	}
	a.call.mutex.Lock()
	defer a.call.mutex.Unlock()
	switch e := event.(type) {
	case *stats.Begin:
		a.transparent = e.IsTransparentRetryAttempt
		a.call.attempts = append(a.call.attempts, a)
	case *stats.OutHeader:
		a.sent = true
	case *stats.InHeader:
		a.header = true
	case *stats.InTrailer:
		a.trailer = true
	case *stats.End:
		a.ended, a.err = true, e.Error
	}
}

// TagConn implements [stats.Handler].
func (counter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements [stats.Handler].
func (counter) HandleConn(context.Context, stats.ConnStats) {}
