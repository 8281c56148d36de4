//go:build docker

package docker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	frontv1 "trivet/gen/front/v1"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/authority"
)

// tlsFiles are the override files with TLS.
var tlsFiles = []string{"docker-compose.tls.yml", "docker-compose.mtls.yml", "docker-compose.front-mtls.yml"}

// certified makes a directory in the copy of the tree with certificates for the containers. It returns its name for Compose, and what
// clients trust.
func certified(t *testing.T) (string, *authority.Authority, *tls.Config) {
	t.Helper()
	const dir = "./.tls"
	path := filepath.Join(tree(t), dir)
	t.Cleanup(func() { _ = os.RemoveAll(path) })
	a, err := authority.New(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"edge", "nginx", "whoami-1", "whoami-2", "whoami-3", "front-1"} {
		issue(t, a, name)
	}
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(a.CA())
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("%v, or no certificate in %s", err, a.CA())
	}
	return dir, a, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
}

// issue issues a certificate, which the accounts in the containers can read.
func issue(t *testing.T, a *authority.Authority, name string) {
	t.Helper()
	path, err := a.Issue(name, authority.Standard(name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil { // Only root could give it to the account.
		t.Fatal(err)
	}
}

// TestMesh checks all override files with TLS and front together, with certificates from a directory: both protocols at one port, mutual
// TLS to both services, hops, a reload with a new certificate, and a start without the edge's, which leaves the plain listeners.
func TestMesh(t *testing.T) {
	dir, a, config := certified(t)
	s := stack{tool: v2(t), files: append([]string{frontFile}, tlsFiles...), env: []string{"TLS=" + dir}}
	s.up(t)
	s.healthy(t, "front-1")
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
	response, err := whoamiv1.NewWhoAmIServiceClient(connection).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{})
	if got := response.GetCaller().GetIdentity(); err != nil || got != "spiffe://trivet/nginx" {
		t.Errorf("the instance's caller is %q, %v; want nginx", got, err)
	}
	visit(t, "spiffe://trivet/nginx")
	// Mutual TLS leaves no way around it.
	if out := s.try(t, "exec", "-T", "nginx", "curl", "-sS", "--max-time", "5", "http://whoami-1:8001/"); out.ok && !strings.Contains(out.text, "HTTPS server") {
		t.Errorf("an instance serves without TLS: %s", out.text)
	}

	issue(t, a, "edge")
	s.do(t, "exec", "-T", "nginx", "sh", "-c", reload)
	await(t, "new certificate is served", 30*time.Second, func() bool { return !secure().Equal(first) })

	if err := os.Remove(a.Path("edge")); err != nil {
		t.Fatal(err)
	}
	s.do(t, "exec", "-T", "nginx", "sh", "-c", reload)
	getOK(t)
}

// visit sends requests to front, whose hops lead through nginx to instances of whoami, and checks which identity each instance saw.
func visit(t *testing.T, identity string) {
	t.Helper()
	resp, err := client.Get(httpURL + "/front?hops=http,grpc&hops=grpc")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"instance":"front-1"`) || strings.Count(string(body), `"instance":"whoami-`) != 4 {
		t.Errorf("%s, %v: %s; want front-1, two calls of whoami, and one by each of these", resp.Status, err, body)
	}
	if n := strings.Count(string(body), `"identity":"`+identity+`"`); identity != "" && n != 5 {
		t.Errorf("%d of 5 instances were called by %s: %s", n, identity, body)
	}
	connection, err := grpc.NewClient("passthrough:"+grpcAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if response, err := frontv1.NewFrontServiceClient(connection).Visit(ctx, &frontv1.VisitRequest{Hops: []string{"http"}}); err != nil || response.GetInstance() != "front-1" || len(response.GetCalls()) != 1 {
		t.Errorf("front over gRPC: %v, %v", response, err)
	}
}
