package whoami

import (
	"context"
	"net"
	"os"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/buildinfo"
)

// Bounds and default of a watch's interval, as the proto promises them.
const (
	leastInterval   = 10 * time.Millisecond
	mostInterval    = time.Hour
	defaultInterval = time.Second
)

// service is the one implementation, served by both listeners. It reads peer, metadata and call from the context.
type service struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	instance, environment, hostname, version string
	start                                    *timestamppb.Timestamp
}

// mapping is the REST mapping of the service.
func mapping(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
	return whoamiv1.RegisterWhoAmIServiceHandlerClient(ctx, mux, whoamiv1.NewWhoAmIServiceClient(conn))
}

func newService(c Config) (*service, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return &service{
		instance: c.Instance, environment: c.Environment, hostname: hostname,
		version: buildinfo.String(), start: timestamppb.Now(),
	}, nil
}

// WhoAmI implements [whoamiv1.WhoAmIServiceServer].
func (s *service) WhoAmI(ctx context.Context, _ *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	call := callFrom(ctx)
	response := &whoamiv1.WhoAmIResponse{
		Instance: s.instance, Environment: s.environment, Hostname: s.hostname, Version: s.version, StartTime: s.start,
		Protocol: string(call.protocol),
		Caller:   &whoamiv1.Caller{RequestId: call.id, ForwardedFor: forwardedFor(ctx)},
	}
	if p, ok := peer.FromContext(ctx); ok {
		response.Caller.PeerAddress = p.Addr.String()
		if local, ok := p.LocalAddr.(*net.TCPAddr); ok {
			response.Port = uint32(local.Port)
		}
	}
	return response, nil
}

// forwardedFor returns the X-Forwarded-For that arrived, with several values joined as in one header.
func forwardedFor(ctx context.Context) string {
	return strings.Join(metadata.ValueFromIncomingContext(ctx, "x-forwarded-for"), ", ")
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
		response, err := s.WhoAmI(stream.Context(), nil)
		if err != nil {
			return err
		}
		if err := stream.Send(&whoamiv1.WatchWhoAmIResponse{Sequence: sequence, Answer: response}); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}
