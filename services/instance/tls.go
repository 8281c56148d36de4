package instance

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"trivet/services/identity"
)

// loadBalancer is the identity that is believed what it says of its clients.
const loadBalancer = "spiffe://trivet/nginx"

// clientIdentityKey is the metadata, and over HTTP the header, in which the load balancer says which client it has verified.
const clientIdentityKey = "x-client-identity"

// loadIdentity returns the instance's identity; nil without one.
func loadIdentity(c Config, log *slog.Logger) (*identity.Identity, error) {
	if c.TLS == (identity.Files{}) {
		return nil, nil
	}
	return identity.New(c.TLS, log)
}

// serverLog gets what net/http logs, which are errors of connections.
type serverLog struct{ log *slog.Logger }

// Write logs a line. A connection that ends before the handshake is a check of the port, as load balancers make them, and no error.
func (l serverLog) Write(line []byte) (int, error) {
	level, text := slog.LevelWarn, strings.TrimSpace(string(line))
	if strings.Contains(text, "TLS handshake error") && strings.HasSuffix(text, ": EOF") {
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, text)
	return len(line), nil
}

// secureHTTP makes the HTTP listener accept only callers with an identity, if the instance has one. Behind it is HTTP/1.1: nginx speaks
// no other to an upstream.
func (i *instance) secureHTTP(l net.Listener) net.Listener {
	if i.identity == nil {
		return l
	}
	return tls.NewListener(l, i.identity.Server(i.config.TLSCallers, i.config.TLSMinVersion, "http/1.1"))
}

// secureGRPC does the same for the gRPC listener.
func (i *instance) secureGRPC() []grpc.ServerOption {
	if i.identity == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.Creds(credentials.NewTLS(i.identity.Server(i.config.TLSCallers, i.config.TLSMinVersion, "h2")))}
}

// CallerIdentity returns the SPIFFE ID in the certificate that the other end of the connection proved; "" without mutual TLS. It is the
// same over both protocols.
func CallerIdentity(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return ""
	}
	return identity.Of(info.State.VerifiedChains[0][0])
}

// ClientIdentity returns the name in the certificate that the client proved to the load balancer; "" if there is none, or if not the load
// balancer itself says so. A service must ask here, and never read the metadata: any caller can send it.
func ClientIdentity(ctx context.Context) string {
	if said := metadata.ValueFromIncomingContext(ctx, clientIdentityKey); len(said) == 1 && CallerIdentity(ctx) == loadBalancer {
		return said[0]
	}
	return ""
}
