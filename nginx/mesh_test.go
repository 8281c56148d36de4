package nginx

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/authority"
)

// meshed starts the two listeners of an instance that accepts only callers with a certificate of c, with a leaf of its own, and counts
// their connections.
func (c certificates) meshed(t *testing.T, name string, l authority.Leaf, i *instance, connections *atomic.Int32) Server {
	t.Helper()
	c.issue(t, name, l)
	config := c.client(t, name)
	config.ClientCAs, config.ClientAuth = config.RootCAs, tls.RequireAndVerifyClientCert
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Caller", r.TLS.PeerCertificates[0].URIs[0].String())
		_ = json.NewEncoder(w).Encode(r.Header)
	}))
	server.TLS = config.Clone()
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of refused handshakes
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return Server{server.Listener.Addr().String(), serve(t, i, grpc.Creds(credentials.NewTLS(config)))}
}

// TestMutualTLS checks that nginx and instances verify each other over both protocols, for both services, and that connections are reused.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	c := issued(t, "nginx", "edge")
	var connections, front atomic.Int32
	var i instance
	mesh := &MeshTLS{Certificate: c.Path("nginx"), Key: c.Path("nginx"), CA: c.CA()}
	edge := c.edge(t)
	b := startSite(t, Site{
		Servers: []Server{c.meshed(t, "whoami-1", authority.Standard("whoami-1"), &i, &connections)},
		Front:   []Server{c.meshed(t, "front-1", authority.Standard("front-1"), new(instance), &front)},
		Workers: 1, Mesh: mesh, TLS: edge,
	})
	for n := range 5 {
		code, h, body, err := raw(t, b.HTTP, get("m", "/"))
		if err != nil || code != 200 || h.Get("X-Caller") != "spiffe://trivet/nginx" {
			t.Errorf("HTTP: %d %v %s, %v", code, h, body, err)
		}
		if _, _, err := call(t, b.GRPC, "m"); err != nil {
			t.Errorf("gRPC: %v", err)
		}
		if code, h, body, err = raw(t, b.HTTP, get("m", "/front")); err != nil || code != 200 || front.Load() != 1 {
			t.Errorf("front: %d: %d %v %s, %v", n, code, h, body, err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for five requests in a row, want 1: the pool is what makes mutual TLS cheap", n)
	}
	e := edgeClient{edge.Listen, c.client(t, "")}
	if resp, body := e.send(t, "HTTP/2.0", newRequest(t, "GET", "https://localhost/", nil)); resp.StatusCode != 200 {
		t.Errorf("through the edge: %d %s", resp.StatusCode, body)
	}
	if _, err := whoamiv1.NewWhoAmIServiceClient(e.dial(t, "localhost")).WhoAmI(t.Context(), &whoamiv1.WhoAmIRequest{}); err != nil {
		t.Errorf("through the edge: %v", err)
	}
	// No method of front here, but its instance answers: the call has gone to the other upstream.
	err := e.dial(t, "localhost").Invoke(t.Context(), "/front.v1.FrontService/Visit", &whoamiv1.WhoAmIRequest{}, &whoamiv1.WhoAmIResponse{})
	if status.Code(err) != codes.Unimplemented || strings.Contains(err.Error(), "nginx") {
		t.Errorf("front over gRPC: %v", err)
	}
}

// TestUnverifiedInstancesGetNothing checks that nginx sends no request to an instance whose certificate it cannot verify.
func TestUnverifiedInstancesGetNothing(t *testing.T) {
	t.Parallel()
	c := issued(t, "nginx")
	for _, wrong := range []string{"expired", "not_yet_valid", "other_authority", "wrong_name", "no_identity"} {
		l, err := authority.Standard("whoami-1").Spoil(wrong)
		if err != nil {
			t.Fatal(err)
		}
		if wrong == "no_identity" { // nginx looks at the name alone; the instance's callers see the rest.
			l = authority.Leaf{URI: "spiffe://trivet/whoami", Client: true, Server: true}
		}
		var i instance
		var connections atomic.Int32
		b := startSite(t, Site{
			Servers: []Server{c.meshed(t, "whoami-1", l, &i, &connections)}, Workers: 1,
			Mesh: &MeshTLS{Certificate: c.Path("nginx"), Key: c.Path("nginx"), CA: c.CA()},
		})
		if code, _, body, err := raw(t, b.HTTP, get("h", "/")); err != nil || code != 502 || !strings.Contains(string(body), "was not handled") {
			t.Errorf("%s: HTTP: %d %s, %v", wrong, code, body, err)
		}
		if _, _, err := call(t, b.GRPC, "g"); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "was not handled") || i.calls.Load() > 0 {
			t.Errorf("%s: gRPC: %v", wrong, err)
		}
		log, err := os.ReadFile(filepath.Join(b.dir, "logs", "error.log"))
		if err != nil || !strings.Contains(string(log), "certificate verify error") && !strings.Contains(string(log), `does not match "whoami.mesh"`) {
			t.Errorf("%s: %v, error log: %s", wrong, err, log)
		}
	}
}

// TestClientCertificates checks the identity of a client of the edge, for instances and for the policy that requires a certificate.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	c := issued(t, "edge", "client", "stranger")
	expired, err := authority.Standard("client").Spoil("expired")
	if err != nil {
		t.Fatal(err)
	}
	c.issue(t, "expired", expired)
	unknown, err := authority.Standard("client").Spoil("other_authority")
	if err != nil {
		t.Fatal(err)
	}
	c.issue(t, "unknown", unknown)
	policy := []edit{
		inHTTP("client-certificate"),
		{"site/tls-certificate.conf", "ssl_verify_client      optional;", "ssl_verify_client optional;\ninclude policies/client-certificate-server.conf;"},
	}
	for name, edits := range map[string][]edit{"optional": nil, "required": policy} {
		for _, shape := range edgeShapes {
			t.Run(name+", "+shape.name, func(t *testing.T) {
				t.Parallel()
				edge := c.edge(t)
				b := startSite(t, Site{Servers: both(t), Workers: 1, TLS: edge}, append(edits[:len(edits):len(edits)], shape.edits...)...)
				for _, client := range []struct {
					name     string
					required codes.Code // with the policy
					optional codes.Code // without
				}{
					{"client", codes.OK, codes.OK},
					{"stranger", codes.PermissionDenied, codes.OK},
					{"", codes.Unauthenticated, codes.OK},
					{"expired", codes.Unauthenticated, codes.Unauthenticated},
					{"unknown", codes.Unauthenticated, codes.Unauthenticated},
				} {
					want := client.optional
					if len(edits) > 0 {
						want = client.required
					}
					identity := ""
					if want == codes.OK {
						identity = client.name
					}
					e := edgeClient{edge.Listen, c.client(t, client.name)}
					wantIdentity(t, e, shape.http, shape.grpc, want, identity)
				}
				// The plain listener knows no certificates, and its clients cannot claim one.
				if code, _, body, err := raw(t, b.HTTP, get("plain", "/", "X-Client-Identity: client")); err != nil || code != 200 || strings.Contains(string(body), "X-Client-Identity") {
					t.Errorf("plain: %d %s, %v", code, body, err)
				}
				logged := map[string]bool{}
				for _, l := range b.log(t) {
					logged[l.Client] = true
				}
				if !logged["client"] || !logged[""] || logged["evil"] || logged["expired"] {
					t.Errorf("access log: clients %v", logged)
				}
			})
		}
	}
}

// wantIdentity sends a request of each protocol, and checks its outcome and the client's identity at the instance.
func wantIdentity(t *testing.T, e edgeClient, httpHost, grpcHost string, want codes.Code, identity string) {
	t.Helper()
	statuses := map[codes.Code]int{codes.OK: 200, codes.Unauthenticated: 401, codes.PermissionDenied: 403}
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		resp, body := e.send(t, protocol, newRequest(t, "GET", "https://"+httpHost+"/", nil, "X-Client-Identity: evil"))
		if resp.StatusCode != statuses[want] {
			t.Errorf("%s: %d %s, want %v", protocol, resp.StatusCode, body, want)
		}
		var h http.Header
		if want != codes.OK {
			if got := decode(t, []byte(body)); got.Code != int(want) {
				t.Errorf("%s: %s", protocol, body)
			}
		} else if err := json.Unmarshal([]byte(body), &h); err != nil || h.Get("X-Client-Identity") != identity {
			t.Errorf("%s: identity %q, want %q; %v", protocol, h.Get("X-Client-Identity"), identity, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := whoamiv1.NewWhoAmIServiceClient(e.dial(t, grpcHost)).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{})
	if status.Code(err) != want || err != nil && !strings.Contains(err.Error(), "nginx: ") {
		t.Errorf("gRPC: %v, want %v", err, want)
	}
	if sent := "x-client-identity:[" + identity + "]"; err == nil && strings.Contains(got.GetHostname(), sent) != (identity != "") {
		t.Errorf("gRPC: want identity %q: %s", identity, got.GetHostname())
	}
}

// TestSessionsSurviveReload checks that a client that returns after a reload resumes its session.
func TestSessionsSurviveReload(t *testing.T) {
	t.Parallel()
	c := issued(t, "edge")
	edge := c.edge(t)
	b := startSite(t, Site{Servers: []Server{{web(t), free(t)}}, Workers: 1, TLS: edge})
	config := c.client(t, "")
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	resumed := func() bool {
		conn, err := tls.Dial("tcp", edge.Listen, config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(get("s", "/", "Connection: close"))); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); err != nil { // The session comes after the handshake.
			t.Fatal(err)
		}
		return conn.ConnectionState().DidResume
	}
	if resumed() || !resumed() {
		t.Error("want a full handshake, then a resumed session")
	}
	log := filepath.Join(b.dir, "logs", "error.log")
	if err := b.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { // The old worker is gone, so the new one serves.
		text, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(text), "exited with code 0")
	})
	if !resumed() {
		t.Error("after a reload: a full handshake")
	}
}
