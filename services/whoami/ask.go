package whoami

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	whoamiv1 "trivet/gen/whoami/v1"
)

// AskHealth asks the instance that runs by c, on this machine, for its own gRPC health, and returns the state, like
// SERVING. It errs if no answer came before ctx ended.
//
// It asks once: a retry would hide what it is there to tell.
func AskHealth(ctx context.Context, c Config) (healthv1.HealthCheckResponse_ServingStatus, error) {
	target := c.target(c.GRPCPort)
	connection, err := grpc.NewClient("passthrough:///"+target,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	answer, err := healthv1.NewHealthClient(connection).Check(ctx,
		&healthv1.HealthCheckRequest{Service: whoamiv1.WhoAmIService_ServiceDesc.ServiceName})
	if err != nil {
		return 0, fmt.Errorf("asking %s: %w", target, err)
	}
	return answer.GetStatus(), nil
}

// target is the address under which this machine reaches a door of its own: loopback where the door listens on every
// address.
func (c Config) target(port uint16) string {
	host := c.Bind.String()
	if c.Bind.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
