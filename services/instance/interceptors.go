package instance

import (
	"context"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	"trivet/gateway"
)

// unaryInterceptors returns the interceptors of every unary call, over gRPC and REST, outermost first. The app's own, like
// one that checks credentials, run last.
func (i *instance) unaryInterceptors() []grpc.UnaryServerInterceptor {
	return append([]grpc.UnaryServerInterceptor{i.panics.unary, i.unaryTimeout, i.drain.unary}, i.app.Unary...)
}

// streamInterceptors returns the interceptors of every stream, likewise.
func (i *instance) streamInterceptors() []grpc.StreamServerInterceptor {
	return append([]grpc.StreamServerInterceptor{i.calls.stream, i.panics.stream, i.admitStream, i.drain.stream}, i.app.Stream...)
}

// early is a registrar that starts unary calls before their request is decoded. Interceptors run only afterwards: without
// early, a request that cannot be decoded gets a response without the headers and no record, and one that never arrives
// does not count against the limit. It does for unary calls what calls.stream and admitStream do for streams, whose
// interceptors run at once.
//
// Instance and request ID are in the trailer of every response, because grpc-go itself responds to a request that it cannot decode,
// and in the header only if the call succeeds: clients retry no response that has headers.
type early struct {
	grpc.ServiceRegistrar
	calls   *calls
	limit   *limit        // nil for none
	arrival time.Duration // bounds a request's arrival if the client's deadline is later
}

// RegisterService implements [grpc.ServiceRegistrar].
func (e early) RegisterService(desc *grpc.ServiceDesc, service any) {
	wrapped := *desc
	wrapped.Methods = slices.Clone(desc.Methods)
	for i := range wrapped.Methods {
		m := &wrapped.Methods[i]
		m.Handler = e.handler("/"+desc.ServiceName+"/"+m.MethodName, m.Handler)
	}
	e.ServiceRegistrar.RegisterService(&wrapped, service)
}

func (e early) handler(method string, next grpc.MethodHandler) grpc.MethodHandler {
	return func(service any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (resp any, err error) {
		ctx, end, err := e.calls.arrive(ctx, method, grpc.SetTrailer)
		// Before the response is sent, so that the record exists once the client has it. (grpc-go responds to an
		// undecodable request while decoding.)
		defer func() { end(err) }()
		if err != nil {
			return nil, err
		}
		if e.limit != nil {
			if err := e.limit.admit(); err != nil {
				return nil, err
			}
			defer e.limit.done()
		}
		if resp, err = next(service, ctx, e.timely(ctx, decode), interceptor); err != nil {
			return nil, err
		}
		if c := callFrom(ctx); c.Protocol == GRPC {
			_ = grpc.SetHeader(ctx, e.calls.names(c)) // It fails for a handler that has sent headers itself.
		}
		return resp, nil
	}
}

// timely bounds the arrival of a request whose deadline is far away, at the cost of a goroutine. A request without a
// deadline has tapTimeout's.
func (e early) timely(ctx context.Context, decode func(any) error) func(any) error {
	if deadline, has := ctx.Deadline(); !has || time.Until(deadline) <= e.arrival {
		return decode
	}
	return func(m any) error {
		target, ok := m.(proto.Message)
		if !ok {
			return decode(m)
		}
		ctx, cancel := context.WithTimeout(ctx, e.arrival)
		defer cancel()
		if err, received := receive(ctx, target, decode); received {
			return err
		}
		return errNoRequest
	}
}

// stream does the same for streams, and for calls of unknown methods, which grpc-go handles as streams.
func (w *calls) stream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx, end, err := w.arrive(stream.Context(), info.FullMethod, grpc.SetHeader)
	defer func() { end(err) }()
	if err != nil {
		return err
	}
	return handler(service, callStream{stream, ctx})
}

// callStream is a stream with the call in its context.
type callStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s callStream) Context() context.Context { return s.ctx }

// arrive begins a call of method, names instance and request in what set sends, and returns a function that ends it. For a REST call
// the HTTP middleware does all of this, and ends it with the HTTP status.
func (w *calls) arrive(ctx context.Context, method string, set func(context.Context, metadata.MD) error) (context.Context, func(error), error) {
	if callFrom(ctx) != nil {
		return ctx, func(error) {}, nil
	}
	attempts := ""
	if w.records != nil { // The search goes through all metadata, mostly in vain.
		attempts = first(ctx, attemptsKey)
	}
	ctx, c := w.begin(ctx, GRPC, method, first(ctx, requestIDKey), attempts)
	w.metrics.begin(c, func() string { return first(ctx, traceparentKey) })
	end := func(err error) { w.end(ctx, c, gateway.Status(err).Code().String()) }
	return ctx, end, set(ctx, w.names(c))
}

// names are what the response to c says of it.
func (w *calls) names(c *Call) metadata.MD {
	return metadata.MD{instanceKey: {w.instance}, requestIDKey: {c.ID}}
}

// first returns the first value of the client's metadata under key, or "".
func first(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// panics turns panics of handlers into INTERNAL and counts them. Without it one panic would end the instance and all other
// calls.
type panics struct {
	log   *slog.Logger
	count atomic.Int64
}

// failed is the status message of a call whose handler panicked.
const failed = "handler panicked: the instance's log has the stack under this request ID"

func (p *panics) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if v := recover(); v != nil {
			resp, err = nil, p.report(ctx, v)
		}
	}()
	return handler(ctx, req)
}

func (p *panics) stream(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = p.report(stream.Context(), v)
		}
	}()
	return handler(service, stream)
}

// report logs a panic with its stack, and returns the call's error. The function that recovered v must call it directly.
func (p *panics) report(ctx context.Context, v any) error {
	c := callFrom(ctx)
	p.log.Error("panic", "panic", v, "panics", p.count.Add(1), "protocol", c.Protocol, "method", c.Method, "id", c.ID, "stack", string(debug.Stack()))
	return status.Error(codes.Internal, failed)
}

// admitStream bounds how many streams run at once.
func (i *instance) admitStream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	limit := &i.streams
	if strings.HasPrefix(info.FullMethod, "/grpc.health.v1.Health/") {
		limit = &i.healthStreams // Separate, so that a busy instance does not look broken.
	}
	if err := limit.admit(); err != nil {
		return err
	}
	defer limit.done()
	return handler(service, stream)
}

// unaryTimeout sets a deadline of CALL_TIMEOUT on calls without one, and over HTTP also on those with a later one. Over gRPC tapTimeout
// has done so already.
func (i *instance) unaryTimeout(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	c := CallFrom(ctx)
	deadline, has := ctx.Deadline()
	if has && ctx.Value(tappedKey{}) == nil {
		c.Deadline = deadline
	}
	if has && c.Protocol == GRPC {
		return handler(ctx, req)
	}
	ctx, cancel := context.WithTimeout(ctx, i.config.CallTimeout)
	defer cancel()
	return handler(ctx, req)
}

// tapTimeout is a [tap.ServerInHandle] that makes CALL_TIMEOUT include the arrival of the request: a call whose message
// never arrives would otherwise hold its stream forever. grpc-go cancels ctx, and so its child, when the stream ends.
func (i *instance) tapTimeout(ctx context.Context, info *tap.Info) (context.Context, error) {
	if _, has := ctx.Deadline(); has || !i.unaryMethods[info.FullMethodName] {
		return ctx, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, i.config.CallTimeout, errCallTimeout)
	_ = cancel
	return context.WithValue(ctx, tappedKey{}, true), nil
}

// tappedKey marks a deadline that is not the client's.
type tappedKey struct{}

var errCallTimeout = status.Error(codes.DeadlineExceeded, "the call outlived CALL_TIMEOUT")
