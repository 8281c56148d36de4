package outgoing

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"trivet/lab/authority"
	"trivet/services/identity"
	"trivet/services/instance"
)

// newAuthority returns an authority, and what a TLS server of it needs.
func newAuthority(t *testing.T) (*authority.Authority, *tls.Config) {
	t.Helper()
	a, err := authority.New(filepath.Join(t.TempDir(), "tls"))
	if err != nil {
		t.Fatal(err)
	}
	path, err := a.Issue("edge", authority.Standard("edge"))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(a.CA())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return a, &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS13}
}

// Over TLS an instance shows its own certificate, and accepts a load balancer of its own authorities only, over both protocols.
func TestCallsOverTLS(t *testing.T) {
	t.Parallel()
	a, config := newAuthority(t)
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS.PeerCertificates[0].URIs[0]) }))
	web.TLS = config.Clone()
	web.StartTLS()
	defer web.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	healthv1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(l) }()
	defer server.Stop()

	other, _ := newAuthority(t)
	for name, from := range map[string]*authority.Authority{"own": a, "other": other} {
		own, err := from.Issue("whoami-1", authority.Standard("whoami-1"))
		if err != nil {
			t.Fatal(err)
		}
		o, err := From(instance.Config{
			TLS: identity.Files{Cert: own, Key: own, CA: from.CA()}, HopsHTTP: web.URL, HopsGRPC: "https://" + l.Addr().String(),
		}, slog.Default())
		if err != nil {
			t.Fatal(err)
		}
		connections := New(o)
		defer connections.Close()
		connection, err := connections.GRPC(Retries{})
		if err != nil {
			t.Fatal(err)
		}
		_, overGRPC := healthv1.NewHealthClient(connection).Check(t.Context(), &healthv1.HealthCheckRequest{})
		client, url := connections.HTTP()
		response, overHTTP := client.Get(url + "/")
		if name == "other" {
			if status.Code(overGRPC) != codes.Unavailable || overHTTP == nil || !strings.Contains(overHTTP.Error()+overGRPC.Error(), "x509") {
				t.Errorf("a load balancer of another authority: %v, %v", overGRPC, overHTTP)
			}
			continue
		}
		if overGRPC != nil || overHTTP != nil {
			t.Fatalf("%v, %v", overGRPC, overHTTP)
		}
		if id, _ := io.ReadAll(response.Body); string(id) != "spiffe://trivet/whoami" {
			t.Errorf("the load balancer saw %s", id)
		}
		response.Body.Close()
	}
}
