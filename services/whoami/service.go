// Package whoami is the WhoAmI service: each instance responds with its name and with what it saw of the client.
package whoami

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trivet/gateway"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/buildinfo"
	"trivet/services/caller"
	"trivet/services/hops"
	"trivet/services/instance"
)

// Bounds and default of a watch's interval, as the proto promises them.
const (
	leastInterval   = 10 * time.Millisecond
	mostInterval    = time.Hour
	defaultInterval = time.Second
)

// Service is the WhoAmI service.
var Service = instance.Service{
	Name: "whoami",
	Port: 8000,
	Summary: `Run one instance of the WhoAmI service: over REST and gRPC it responds with its name, and with what it saw of the
client. It serves until Ctrl-C or SIGTERM, and then drains.`,
	Example: `  In three terminals, as three instances:

  whoami --port 8001       curl localhost:8001/
  whoami --port 8002       grpcurl -plaintext localhost:9002 whoami.v1.WhoAmIService/WhoAmI
  whoami --port 8003       whoami health --port 8003`,
	New: newApp,
}

func newApp(c instance.Config, log *slog.Logger) (instance.App, error) {
	s, err := newService(c, log)
	if err != nil {
		return instance.App{}, err
	}
	return instance.App{
		Close:    s.hops.Close,
		Register: func(r grpc.ServiceRegistrar) { whoamiv1.RegisterWhoAmIServiceServer(r, s) },
		Mappings: []gateway.Mapping{mapping},
		OpenAPI:  gateway.OpenAPI("whoami"),
	}, nil
}

// service is the one implementation, served by both listeners. It reads peer, metadata and call from the context.
type service struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	name, environment, hostname, version string
	node                                 *string // nil if it is unknown
	start                                *timestamppb.Timestamp
	hops                                 *hops.Caller
}

// mapping is the REST mapping of the service.
func mapping(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
	return whoamiv1.RegisterWhoAmIServiceHandlerClient(ctx, mux, whoamiv1.NewWhoAmIServiceClient(conn))
}

func newService(c instance.Config, log *slog.Logger) (*service, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	calls, err := hops.New(c, log)
	if err != nil {
		return nil, err
	}
	s := &service{
		name: c.Instance, environment: c.Environment, hostname: hostname,
		version: buildinfo.String(), start: timestamppb.Now(), hops: calls,
	}
	if c.Node != "" {
		s.node = &c.Node
	}
	return s, nil
}

// WhoAmI implements [whoamiv1.WhoAmIServiceServer].
func (s *service) WhoAmI(ctx context.Context, req *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	response := s.identify(ctx)
	var err error
	if response.Calls, err = s.hops.Handle(ctx, req); err != nil {
		return nil, err
	}
	return response, hops.Failure(response)
}

// identify returns the response without calls.
func (s *service) identify(ctx context.Context) *whoamiv1.WhoAmIResponse {
	return &whoamiv1.WhoAmIResponse{
		Instance: s.name, Node: s.node, Environment: s.environment, Hostname: s.hostname, Version: s.version, StartTime: s.start,
		Protocol: string(instance.CallFrom(ctx).Protocol), Port: caller.Port(ctx), Caller: caller.Of(ctx), DeadlineLeft: caller.DeadlineLeft(ctx),
	}
}

// WatchWhoAmI implements [whoamiv1.WhoAmIServiceServer]. It ends with its context: the client has left, or the instance
// drains.
func (s *service) WatchWhoAmI(req *whoamiv1.WatchWhoAmIRequest, stream grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
	interval := defaultInterval
	if requested := req.GetInterval(); requested != nil {
		// AsDuration saturates, so durations that do not fit are out of bounds too.
		if interval = requested.AsDuration(); !requested.IsValid() || interval < leastInterval || interval > mostInterval {
			return status.Errorf(codes.InvalidArgument, "interval is %v: want %v to %v", interval, leastInterval, mostInterval)
		}
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for sequence := uint64(1); ; sequence++ {
		if err := stream.Send(&whoamiv1.WatchWhoAmIResponse{Sequence: sequence, Answer: s.identify(stream.Context())}); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}
