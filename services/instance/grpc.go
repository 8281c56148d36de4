package instance

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // Without it the server rejects compressed requests before any handler.
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// Bounds of one connection of the gRPC listener: without them clients choose the amounts.
const (
	// A client that resets its streams at once can start this many before the first reset is noticed (CVE-2023-44487).
	maxStreamsPerConnection = 250
	maxHeaderBytes          = 64 << 10 // per request, over gRPC and HTTP; grpc-go's default is 16 MB
	handshakeTimeout        = 10 * time.Second
	// Arriving messages are held in memory, one for each of MAX_CALLS: at grpc-go's default of 4 MB, 50 calls that
	// withhold their last byte take 225 MB. Requests of this service have less than 100 bytes.
	maxMessageBytes = 64 << 10
	// More frequent pings end the connection. Clients ping to detect dead connections, for which the default of five
	// minutes is too long.
	minPingInterval = 10 * time.Second
)

// grpcServer returns the gRPC server, with the services, health and, if configured, reflection.
func (i *instance) grpcServer() *grpc.Server {
	server := grpc.NewServer(append(append(append(tuning(i.config), i.secureGRPC()...), i.calls.traces.grpc()...),
		grpc.InTapHandle(i.tapTimeout),
		grpc.ChainUnaryInterceptor(i.unaryInterceptors()...),
		grpc.ChainStreamInterceptor(i.streamInterceptors()...),
		grpc.UnknownServiceHandler(unknownMethod),
		grpc.MaxConcurrentStreams(maxStreamsPerConnection),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingInterval, PermitWithoutStream: true}),
	)...)
	i.app.Register(early{server, i.calls, &i.unaryCalls, i.config.ReadTimeout})
	// Health checks have no limit: a busy instance is not a broken one.
	healthv1.RegisterHealthServer(early{server, i.calls, nil, i.config.ReadTimeout}, i.health)
	if i.config.Reflection {
		reflection.Register(server)
	}
	for service, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			i.unaryMethods["/"+service+"/"+m.Name] = !m.IsClientStream && !m.IsServerStream
		}
	}
	return server
}

// unknownMethod handles calls of methods that do not exist. Without it grpc-go responds before any interceptor runs.
func unknownMethod(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	return status.Errorf(codes.Unimplemented, "no such method: %s", method)
}

// Flow-control windows of FIXED_WINDOWS, in bytes: how much a client may send before the instance has received it, and
// how much of a client stream may wait unread. With the minimum of 64 KB, uploads over a 50 ms link take nine times as
// long as with grpc-go's measured windows, which also grow to 16 MB.
const (
	streamWindow     = 4 << 20
	connectionWindow = 16 << 20
)

// tuning returns the server options of the tuning settings. docs/performance.md says what each gains and costs.
func tuning(c Config) []grpc.ServerOption {
	var options []grpc.ServerOption
	if c.FixedWindows {
		options = append(options, grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connectionWindow))
	}
	if c.StreamWorkers > 0 {
		options = append(options, grpc.NumStreamWorkers(c.StreamWorkers))
	}
	return options
}
