package whoami

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // Without it the server refuses whoever compresses, before any handler.
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
)

// window is how much of a stream, and of a connection, a caller may send before the instance has read it, in bytes: the least that
// grpc-go takes, and what HTTP/2 begins with, so that no frame has to say it.
const window = 65535

// workers is how many goroutines wait for calls. As many as nginx has calls under way in a busy moment: each costs its stack, 8 KB.
const workers = 64

// grpcServer is the gRPC door: the service, its health and, if asked for, reflection.
func (d *door) grpcServer(service whoamiv1.WhoAmIServiceServer, healthy *health.Server, reflect bool) *grpc.Server {
	server := watched{d, grpc.NewServer(
		// Behind nginx each call has a connection to itself for as long as it runs, so what is spent on a connection is spent on a
		// call. Windows that never change need no PING to measure the bandwidth by; a request here is a few bytes.
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(window),
		// Calls run on goroutines that are there, with stacks that have grown. All busy: on one of their own, as without.
		grpc.NumStreamWorkers(workers),
		grpc.StreamInterceptor(d.stream),
		// Without it an unknown method never reaches an interceptor, and its answer would name no instance.
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(stream)
			return status.Errorf(codes.Unimplemented, "no such method: %s", method)
		}),
	)}
	whoamiv1.RegisterWhoAmIServiceServer(server, service)
	healthv1.RegisterHealthServer(server, healthy)
	if reflect {
		reflection.Register(server)
	}
	return server.Server
}

// watched is a server whose unary methods all run through the door's unary. A grpc.UnaryInterceptor would run only once the
// request was decoded: the answer to one that cannot be would name no instance, and stand in no record.
type watched struct {
	door *door
	*grpc.Server
}

// RegisterService registers a service with its methods wrapped.
func (w watched) RegisterService(desc *grpc.ServiceDesc, implementation any) {
	own := *desc
	own.Methods = slices.Clone(desc.Methods)
	for i, method := range desc.Methods {
		info := &grpc.UnaryServerInfo{Server: implementation, FullMethod: "/" + desc.ServiceName + "/" + method.MethodName}
		own.Methods[i].Handler = func(service any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			return w.door.unary(ctx, nil, info, func(ctx context.Context, _ any) (any, error) {
				return method.Handler(service, ctx, decode, nil)
			})
		}
	}
	w.Server.RegisterService(&own, implementation)
}

// unary does for a unary call what middleware does at the HTTP door.
func (d *door) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	ctx, c := arriving(ctx)
	defer d.observe(ctx, c, info.FullMethod)(&err)
	if err := grpc.SetHeader(ctx, d.headers(c)); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

// stream does the same for a stream, and ends it when the instance drains: a stream has no end of its own to wait for.
func (d *door) stream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	ctx, c := arriving(stream.Context())
	defer d.observe(ctx, c, info.FullMethod)(&err)
	if err := stream.SetHeader(d.headers(c)); err != nil {
		return err
	}
	ctx, done := until(ctx, d.life.closing, errReconnect)
	defer done()
	err = handler(service, endingStream{stream, ctx})
	if err != nil && errors.Is(context.Cause(ctx), errReconnect) {
		d.life.streamsEnded.Add(1)
		return errReconnect
	}
	return err
}

// arriving names a call and puts it into its context.
func arriving(ctx context.Context) (context.Context, call) {
	c := call{requestID(first(ctx, requestIDKey)), protocolGRPC}
	return withCall(ctx, c), c
}

// first is the first value of the caller's metadata under key. Keys in lower case are found at once, others by looking at all there are.
func first(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) > 0 {
		return values[0]
	}
	return ""
}

func (d *door) headers(c call) metadata.MD {
	return metadata.MD{instanceKey: {d.instance}, requestIDKey: {c.id}}
}

// observe records the arrival of a call. The function returned must be deferred: it turns a panic into INTERNAL, and
// records and logs the end.
func (d *door) observe(ctx context.Context, c call, method string) func(*error) {
	began := time.Now()
	attempts := ""
	if d.records != nil { // Mostly there is none, and looking for it takes as long as all there are.
		attempts = first(ctx, "grpc-previous-rpc-attempts")
	}
	complete := d.records.arrive(c, method, attempts)
	return func(err *error) {
		if p := recover(); p != nil {
			d.panicked(p, c, method)
			*err = status.Error(codes.Internal, internal)
		}
		code := status.Code(*err)
		complete(code.String())
		if d.log.Enabled(ctx, slog.LevelDebug) { // Else the arguments would be allocated for nothing.
			d.log.Debug("call", "protocol", c.protocol, "method", method, "code", code, "id", c.id, "took_us", time.Since(began).Microseconds())
		}
	}
}
