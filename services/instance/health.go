package instance

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"trivet/services/identity"
)

// CheckHealth returns the gRPC health status, like SERVING, of the instance that runs with c on this machine. An error
// means that no response came before ctx ended.
//
// It sends one request without retries, which would hide the failures that it is to report.
func CheckHealth(ctx context.Context, c Config) (healthv1.HealthCheckResponse_ServingStatus, error) {
	target := c.target(c.GRPCPort)
	transport := insecure.NewCredentials()
	if own, err := loadIdentity(c, slog.New(slog.DiscardHandler)); err != nil {
		return 0, err
	} else if own != nil {
		id := identity.Of(own.Certificate()) // The instance's, too.
		if !c.TLSCallers.Allow(id) {
			return 0, fmt.Errorf("check the health of %s: the instance accepts no calls of its own identity; add %s to TLS_CALLERS", target, id)
		}
		transport = credentials.NewTLS(own.Peer(id))
	}
	connection, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(transport), grpc.WithDisableRetry())
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	response, err := healthv1.NewHealthClient(connection).Check(ctx, &healthv1.HealthCheckRequest{Service: Readiness})
	if err != nil {
		return 0, fmt.Errorf("check the health of %s: %w", target, err)
	}
	return response.GetStatus(), nil
}

// target returns the address at which this machine reaches its own listener: localhost if it binds every address.
func (c Config) target(port uint16) string {
	host := c.Bind.String()
	if c.Bind.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
