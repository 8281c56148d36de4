package instance

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"trivet/gateway"
	whoamiv1 "trivet/gen/whoami/v1"
)

// fixture is the service that these tests run: the RPCs of whoami, with what the tests look at in their responses.
var fixture = Service{Name: "whoami", Port: 8000, New: func(c Config, _ *slog.Logger) (App, error) { return appOf(&service{name: c.Instance}), nil }}

// appOf returns an app with one service.
func appOf(s whoamiv1.WhoAmIServiceServer) App {
	return App{
		Register: func(r grpc.ServiceRegistrar) { whoamiv1.RegisterWhoAmIServiceServer(r, s) },
		Mappings: []gateway.Mapping{func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
			return whoamiv1.RegisterWhoAmIServiceHandlerClient(ctx, mux, whoamiv1.NewWhoAmIServiceClient(conn))
		}},
		OpenAPI: gateway.OpenAPI("whoami"),
	}
}

type service struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	name string
}

func (s *service) WhoAmI(ctx context.Context, _ *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	call := CallFrom(ctx)
	response := &whoamiv1.WhoAmIResponse{Instance: s.name, Protocol: string(call.Protocol), Caller: &whoamiv1.Caller{
		RequestId: call.ID, ForwardedFor: strings.Join(metadata.ValueFromIncomingContext(ctx, "x-forwarded-for"), ", "),
	}}
	if p, ok := peer.FromContext(ctx); ok {
		response.Caller.PeerAddress = p.Addr.String()
	}
	return response, nil
}

// WatchWhoAmI sends a response at once and then every interval, until its context ends.
func (s *service) WatchWhoAmI(req *whoamiv1.WatchWhoAmIRequest, stream grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
	if req.GetInterval() != nil && req.GetInterval().AsDuration() <= 0 {
		return status.Error(codes.InvalidArgument, "interval is not positive")
	}
	for sequence := uint64(1); ; sequence++ {
		response, err := s.WhoAmI(stream.Context(), nil)
		if err != nil {
			return err
		}
		if err := stream.Send(&whoamiv1.WatchWhoAmIResponse{Sequence: sequence, Answer: response}); err != nil {
			return err
		}
		select {
		case <-time.After(max(req.GetInterval().AsDuration(), 10*time.Millisecond)):
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}
