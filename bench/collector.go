package main

import (
	"context"
	"net"
	"sync"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"trivet/bench/launch"
)

// A spanSink is an OpenTelemetry collector that takes all spans and keeps none. It starts when it is first needed, and ends with bench.
type spanSink struct {
	collector.UnimplementedTraceServiceServer
	once    sync.Once
	address string
	err     error
}

// Export implements [collector.TraceServiceServer].
func (*spanSink) Export(context.Context, *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	return &collector.ExportTraceServiceResponse{}, nil
}

// listen returns where it takes spans over gRPC.
func (s *spanSink) listen() (string, error) {
	s.once.Do(func() {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.err = err
			return
		}
		s.address = listener.Addr().String()
		server := grpc.NewServer()
		collector.RegisterTraceServiceServer(server, s)
		go server.Serve(listener)
	})
	return s.address, s.err
}

// traced is whoami that sends a span of each request to a collector in bench. It takes CPU of the machine, but none of the instances' own.
var traced = backend{
	program: func(b *bench, name string, http, grpc int) (launch.Program, error) {
		address, err := b.spans.listen()
		return launch.Program{
			Path: b.whoami(), Args: whoamiArgs(name, http, grpc),
			Env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + address, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
		}, err
	},
	get: whoami.get, call: whoami.call,
}
