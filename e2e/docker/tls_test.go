//go:build docker

package docker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/authority"
)

// TestTLSEdge checks the TLS edge with certificates from a directory: both protocols at one port, a reload with a new certificate, and a
// start without one, which leaves the plain listeners.
func TestTLSEdge(t *testing.T) {
	const dir = "./.tls"
	path := filepath.Join(tree(t), dir)
	t.Cleanup(func() { _ = os.RemoveAll(path) })
	a, err := authority.New(path)
	if err != nil {
		t.Fatal(err)
	}
	issueEdge(t, a)
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(a.CA())
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("%v, or no certificate in %s", err, a.CA())
	}
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}

	s := stack{tool: v2(t), files: []string{"docker-compose.tls.yml"}, env: []string{"TLS=" + dir}}
	s.up(t)
	secure := func() *x509.Certificate {
		transport := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true, DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: transport, Timeout: 15 * time.Second}).Get("https://localhost:8443/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.Proto != "HTTP/2.0" {
			t.Errorf("%s over %s", resp.Status, resp.Proto)
		}
		return resp.TLS.PeerCertificates[0]
	}
	first := secure()
	connection, err := grpc.NewClient("localhost:8443", grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if _, err := whoamiv1.NewWhoAmIServiceClient(connection).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{}); err != nil {
		t.Error(err)
	}
	issueEdge(t, a)
	s.do(t, "exec", "-T", "nginx", "sh", "-c", reload)
	await(t, "new certificate is served", 30*time.Second, func() bool { return !secure().Equal(first) })

	if err := os.Remove(a.Path("edge")); err != nil {
		t.Fatal(err)
	}
	s.do(t, "exec", "-T", "nginx", "sh", "-c", reload)
	getOK(t)
}

// issueEdge issues the edge's certificate, for nginx's account in the container.
func issueEdge(t *testing.T, a *authority.Authority) {
	t.Helper()
	path, err := a.Issue("edge", authority.Standard("edge"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil { // Only root could give it to the account.
		t.Fatal(err)
	}
}
