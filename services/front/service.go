// Package front is the service at the edge of the mesh: it responds with what its calls of other services returned.
package front

import (
	"context"
	"log/slog"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"trivet/gateway"
	frontv1 "trivet/gen/front/v1"
	"trivet/services/caller"
	"trivet/services/hops"
	"trivet/services/instance"
)

// Service is the front service.
var Service = instance.Service{
	Name: "front",
	Port: 8100,
	Summary: `Run one instance of the front service: over REST and gRPC it responds with what
other services returned, which it calls through the load balancer. It serves
until Ctrl-C or SIGTERM, and then drains.`,
	Example: `  Before nginx, which has instances of whoami behind it:

  front --port 8101 --hops-http http://localhost:8080 --hops-grpc localhost:9090
  curl localhost:8101/front
  grpcurl -plaintext -d '{"hops":["http","grpc,grpc"]}' localhost:9101 front.v1.FrontService/Visit`,
	New: newApp,
}

func newApp(c instance.Config, log *slog.Logger) (instance.App, error) {
	calls, err := hops.New(c, log)
	if err != nil {
		return instance.App{}, err
	}
	s := &service{name: c.Instance, hops: calls}
	if c.Node != "" {
		s.node = &c.Node
	}
	return instance.App{
		Register: func(r grpc.ServiceRegistrar) { frontv1.RegisterFrontServiceServer(r, s) },
		Mappings: []gateway.Mapping{mapping},
		OpenAPI:  gateway.OpenAPI("front"),
		Close:    s.hops.Close,
	}, nil
}

// mapping is the REST mapping of the service.
func mapping(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
	return frontv1.RegisterFrontServiceHandlerClient(ctx, mux, frontv1.NewFrontServiceClient(conn))
}

type service struct {
	frontv1.UnimplementedFrontServiceServer
	name string
	node *string // nil if it is unknown
	hops *hops.Caller
}

// Visit implements [frontv1.FrontServiceServer].
func (s *service) Visit(ctx context.Context, req *frontv1.VisitRequest) (*frontv1.VisitResponse, error) {
	calls, err := s.hops.Handle(ctx, req)
	if err != nil {
		return nil, err
	}
	response := &frontv1.VisitResponse{
		Instance: s.name, Node: s.node, Protocol: string(instance.CallFrom(ctx).Protocol), Port: caller.Port(ctx), Caller: caller.Of(ctx),
		DeadlineLeft: caller.DeadlineLeft(ctx), Calls: calls,
	}
	return response, hops.Failure(response)
}
