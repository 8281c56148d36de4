package gateway

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Conn is an in-process connection between gRPC clients and the services registered on it: a
// [grpc.ServiceRegistrar] for the services, and a [grpc.ClientConnInterface] for generated clients. Calls run the
// interceptors of a gRPC server, so one that checks credentials protects REST too.
//
// Messages are copied, so neither side sees later changes by the other. A unary call runs on the client's goroutine: a
// handler that ignores the end of its context delays the client. Of the call options only Header and Trailer take
// effect.
//
// Register all services before the first call. Calls may be concurrent.
//
// The well-kept alternative, github.com/fullstorydev/grpchan/inprocgrpc, hides all context values from the service, the
// peer among them, and starts a goroutine per unary call: a REST request took 1.7 times as long (docs/performance.md).
type Conn struct {
	unary   grpc.UnaryServerInterceptor
	stream  grpc.StreamServerInterceptor
	methods map[string]method // by full name, like /whoami.v1.WhoAmIService/WhoAmI
}

// A method has either unary or stream.
type method struct {
	service any
	unary   *grpc.MethodDesc
	stream  *grpc.StreamDesc
}

// NewConn returns a connection without services. The interceptors run in the given order, as with
// [grpc.ChainUnaryInterceptor] and [grpc.ChainStreamInterceptor].
func NewConn(unary []grpc.UnaryServerInterceptor, stream []grpc.StreamServerInterceptor) *Conn {
	return &Conn{unary: chainUnary(unary), stream: chainStream(stream), methods: make(map[string]method)}
}

func chainUnary(all []grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		for _, interceptor := range slices.Backward(all) {
			next := handler
			handler = func(ctx context.Context, req any) (any, error) { return interceptor(ctx, req, info, next) }
		}
		return handler(ctx, req)
	}
}

func chainStream(all []grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	return func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		for _, interceptor := range slices.Backward(all) {
			next := handler
			handler = func(service any, stream grpc.ServerStream) error { return interceptor(service, stream, info, next) }
		}
		return handler(service, stream)
	}
}

// RegisterService implements [grpc.ServiceRegistrar].
func (c *Conn) RegisterService(desc *grpc.ServiceDesc, service any) {
	for i := range desc.Methods {
		c.methods["/"+desc.ServiceName+"/"+desc.Methods[i].MethodName] = method{service: service, unary: &desc.Methods[i]}
	}
	for i := range desc.Streams {
		c.methods["/"+desc.ServiceName+"/"+desc.Streams[i].StreamName] = method{service: service, stream: &desc.Streams[i]}
	}
}

// Invoke implements [grpc.ClientConnInterface]: it calls a unary method.
func (c *Conn) Invoke(ctx context.Context, name string, req, resp any, opts ...grpc.CallOption) error {
	m := c.methods[name]
	if m.unary == nil {
		return status.Errorf(codes.Unimplemented, "no such unary method: %s", name)
	}
	call := &serverCall{method: name}
	response, err := m.unary.Handler(m.service, serverContext(ctx, call), func(in any) error { return copyMessage(in, req) }, c.unary)
	call.storeHeaders(opts)
	if err != nil {
		return Status(err).Err()
	}
	return copyMessage(resp, response)
}

// serverContext returns the context in which a service handles a client's call: the client's outgoing metadata becomes
// incoming metadata, and calls that the service makes itself do not carry it.
func serverContext(ctx context.Context, call grpc.ServerTransportStream) context.Context {
	sent, _ := metadata.FromOutgoingContext(ctx)
	ctx = metadata.NewOutgoingContext(metadata.NewIncomingContext(ctx, sent), nil)
	return grpc.NewContextWithServerTransportStream(ctx, call)
}

// Status returns the status that a client receives for a handler's error, by the rules of grpc-go's server: the error's
// own, else CANCELED or DEADLINE_EXCEEDED for context errors, else UNKNOWN. A nil error is OK.
func Status(err error) *status.Status {
	if s, ok := status.FromError(err); ok {
		return s
	}
	return status.FromContextError(err)
}

func copyMessage(to, from any) error {
	target, ok := to.(proto.Message)
	source, ok2 := from.(proto.Message)
	if !ok || !ok2 {
		return status.Errorf(codes.Internal, "in-process call: copy %T to %T: want protobuf messages", from, to)
	}
	proto.Reset(target)
	proto.Merge(target, source)
	return nil
}

// serverCall holds the headers and trailers of a call. It implements [grpc.ServerTransportStream].
type serverCall struct {
	method          string
	mutex           sync.Mutex
	header, trailer metadata.MD
	sent            bool          // the headers have been sent and cannot change
	onSend          chan struct{} // closed when they are sent; nil for unary calls
}

// Method implements [grpc.ServerTransportStream].
func (c *serverCall) Method() string { return c.method }

// SetHeader implements [grpc.ServerTransportStream].
func (c *serverCall) SetHeader(md metadata.MD) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.sent {
		return status.Error(codes.Internal, "set header: headers have already been sent")
	}
	c.header = metadata.Join(c.header, md)
	return nil
}

// SendHeader implements [grpc.ServerTransportStream].
func (c *serverCall) SendHeader(md metadata.MD) error {
	if err := c.SetHeader(md); err != nil {
		return err
	}
	c.send()
	return nil
}

// send makes the headers final. Later calls do nothing.
func (c *serverCall) send() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.sent {
		return
	}
	c.sent = true
	if c.onSend != nil {
		close(c.onSend)
	}
}

// SetTrailer implements [grpc.ServerTransportStream].
func (c *serverCall) SetTrailer(md metadata.MD) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.trailer = metadata.Join(c.trailer, md)
	return nil
}

// headers returns the current headers and trailers.
func (c *serverCall) headers() (header, trailer metadata.MD) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.header, c.trailer
}

// storeHeaders stores headers and trailers where the client's options want them.
func (c *serverCall) storeHeaders(opts []grpc.CallOption) {
	header, trailer := c.headers()
	for _, opt := range opts {
		switch o := opt.(type) {
		case grpc.HeaderCallOption:
			*o.HeaderAddr = header
		case grpc.TrailerCallOption:
			*o.TrailerAddr = trailer
		}
	}
}
