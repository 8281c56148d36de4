package instance

import (
	"log/slog"
	"net/http"

	"google.golang.org/grpc"

	"trivet/gateway"
)

// A Service is a program of which several instances run behind a load balancer.
type Service struct {
	Name string // like whoami: its program, and the names of its instances before the number
	// Port is the default of HTTP_PORT. Instance N listens on Port+N (HTTP), 1000 above (gRPC) and 1000 below (admin).
	Port uint16
	// Summary and Example are for --help: what an instance does, in lines of at most 80 characters, and how to run some.
	Summary, Example string
	New              func(Config, *slog.Logger) (App, error)
}

// An App holds what an instance serves. To add an RPC service, add it to Register and its REST mapping to Mappings. To add an
// interceptor, which then runs for both listeners, add it to Unary and Stream.
type App struct {
	Register func(grpc.ServiceRegistrar)
	Mappings []gateway.Mapping
	OpenAPI  http.HandlerFunc // serves the description of the REST mapping at /openapi.json: gateway.OpenAPI
	Unary    []grpc.UnaryServerInterceptor
	Stream   []grpc.StreamServerInterceptor
	Close    func() // ends what the app has opened; it runs after the last call. nil for nothing
}
