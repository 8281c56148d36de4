package whoami

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // Without it the server refuses compressed requests before any handler.
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// Bounds of a connection of the gRPC listener. Each is there because a client chooses the amount.
const (
	// A client that resets its streams at once can have this many begin before the first is noticed (CVE-2023-44487).
	maxStreamsPerConnection = 250
	maxHeaderBytes          = 64 << 10 // of a request's metadata, here and of a request's headers over HTTP; grpc-go's default is 16 MB
	handshakeTimeout        = 10 * time.Second
	// Of a message. It is held in memory while it arrives, for each of MAX_CALLS: at grpc-go's default of 4 MB fifty
	// calls that withhold their last byte take 225 MB. Requests of this service have less than a hundred bytes.
	maxMessageBytes = 64 << 10
	// Pings closer together than this end the connection. Clients ping to notice a dead connection; the default of
	// five minutes is too long for that.
	minPingInterval = 10 * time.Second
)

// grpcServer returns the server of the gRPC listener: the services, their health and, if configured, reflection.
func (i *instance) grpcServer() *grpc.Server {
	server := grpc.NewServer(append(tuning(i.config),
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
	i.app.register(early{server, i.calls, &i.unaryCalls, i.config.ReadTimeout})
	// Health is answered whatever the load: a busy instance is not a broken one.
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

// unknownMethod answers calls of methods that do not exist. Without it grpc-go would, before any interceptor.
func unknownMethod(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	return status.Errorf(codes.Unimplemented, "no such method: %s", method)
}

// Flow-control windows of FIXED_WINDOWS, in bytes: how much a client may send before the instance has received it, and
// how much of a client stream can wait unread. With 64 KB, the least, an upload over a line of 50 ms takes nine times as
// long as with grpc-go's measured windows, which grow to 16 MB too.
const (
	streamWindow     = 4 << 20
	connectionWindow = 16 << 20
)

// tuning returns the server options that settings switch on: docs/performance.md has what each gives and costs.
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
