package nginx

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
)

// counted starts an instance's HTTP listener that counts requests and connections.
func counted(t *testing.T) (addr string, requests, connections *atomic.Int32) {
	t.Helper()
	requests, connections = new(atomic.Int32), new(atomic.Int32)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		h := r.Header.Clone()
		h.Set("Host", r.Host)
		if err := json.NewEncoder(w).Encode(h); err != nil {
			panic(err)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), requests, connections
}

// TestMalformedHostsAreRefused checks that no instance gets a host that it would refuse: net/http replies 400 and closes the pooled
// connection.
func TestMalformedHostsAreRefused(t *testing.T) {
	addr, requests, connections := counted(t)
	var grpcServer instance
	b := startNginx(t, []Server{{addr, grpcServer.serve(t)}})
	if status, _, body, err := raw(t, b.HTTP, get("first", "/")); err != nil || status != 200 {
		t.Fatalf("%d, %v: %s", status, err, body)
	}
	for _, host := range []string{`a"b`, `a'b`, "a<b", "a{b", `a\b`, "a^b", "a|b", "a\x7fb", "a\xffb", "a@b", "[::1", "::1]", "[x]"} {
		t.Run(host, func(t *testing.T) {
			status, h, body, err := raw(t, b.HTTP, "GET / HTTP/1.1\r\nX-Request-Id: bad\r\nHost: "+host+"\r\n\r\n")
			if err != nil || status != 400 {
				t.Fatalf("%d, %v: %s", status, err, body)
			}
			if a := decode(t, body); a.Code != 13 || !strings.Contains(a.Message, "malformed") {
				t.Errorf("%+v", a)
			}
			sameID(t, h, h.Get("X-Request-Id"))
			bad := append([][2]string{}, request...)
			bad[3] = [2]string{":authority", host}
			if own := ofStream(http2(t, b.GRPC, bad, ended)); len(own) != 1 || own[0].Type != headersFrame || own[0].Flags != endStream|endHeaders {
				t.Errorf("gRPC: frames %+v, want one HEADERS that ends the stream", own)
			}
		})
	}
	if status, _, body, err := raw(t, b.HTTP, get("last", "/")); err != nil || status != 200 {
		t.Fatalf("%d, %v: %s", status, err, body)
	}
	if requests.Load() != 2 || connections.Load() != 1 || grpcServer.calls.Load() != 0 {
		t.Errorf("%d requests over %d connections and %d calls reached the instance, want 2 over 1, and 0", requests.Load(), connections.Load(), grpcServer.calls.Load())
	}
}

func TestValidHostsPass(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}})
	for _, c := range []struct{ request, host string }{
		{"GET / HTTP/1.1\r\nHost: WhoAmI-1.Example_x.com:8080\r\n\r\n", "whoami-1.example_x.com"},
		{"GET / HTTP/1.1\r\nHost: whoami.example.com.\r\n\r\n", "whoami.example.com"},
		{"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", "127.0.0.1"},
		{"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "[::1]"},
		{"GET http://line.example/ HTTP/1.1\r\nHost: header.example\r\n\r\n", "line.example"},
		{"GET / HTTP/1.0\r\n\r\n", "whoami"},
	} {
		status, _, body, err := raw(t, b.HTTP, strings.Replace(c.request, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
		if err != nil || status != 200 {
			t.Errorf("%q: %d, %v: %s", c.request, status, err, body)
			continue
		}
		var h http.Header
		if err := json.Unmarshal(body, &h); err != nil {
			t.Fatal(err)
		}
		// Both are nginx's $host, whatever else the client sent.
		for _, name := range []string{"Host", "X-Forwarded-Host"} {
			if got := h.Values(name); len(got) != 1 || got[0] != c.host {
				t.Errorf("%q: %s is %q, want %q", c.request, name, got, c.host)
			}
		}
	}
}

func TestUnknownHostsAreRefused(t *testing.T) {
	addr, requests, _ := counted(t)
	var grpcServer instance
	b := startNginx(t, []Server{{addr, grpcServer.serve(t)}},
		edit{"site/hosts.conf", `default "";`, "default 421;"},
		edit{"site/hosts.conf", `# whoami.example.com "";`, `whoami.example.com "";`},
		edit{"site/hosts.conf", `# *.example.com      "";`, `*.inner.example.com "";`})
	call := func(host string) error {
		_, err := client(t, b.GRPC, grpc.WithDisableRetry(), grpc.WithAuthority(host)).WhoAmI(t.Context(), &whoamiv1.WhoAmIRequest{})
		return err
	}
	known := []string{"whoami.example.com", "WhoAmI.Example.com:8080", "whoami.example.com.", "a.b.inner.example.com"}
	for _, host := range known {
		if status, _, body, err := raw(t, b.HTTP, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil || status != 200 {
			t.Errorf("%s: %d, %v: %s", host, status, err, body)
		}
		if err := call(host); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, host := range []string{"example.com", "whoami.example.com.evil.org", "evil-whoami.example.com", "inner.example.com", "127.0.0.1", "localhost", "[::1]"} {
		status_, h, body, err := raw(t, b.HTTP, "GET / HTTP/1.1\r\nX-Request-Id: other\r\nHost: "+host+"\r\n\r\n")
		if err != nil || status_ != 421 {
			t.Errorf("%s: %d, %v: %s", host, status_, err, body)
			continue
		}
		if a := decode(t, body); a.Code != 12 || !strings.Contains(a.Message, "this host is not served here") {
			t.Errorf("%s: %+v", host, a)
		}
		sameID(t, h, "other")
		if err := call(host); status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "this host is not served here") {
			t.Errorf("%s: %v", host, err)
		}
	}
	// Paths of local replies are exempt from the host check, but reach no instance.
	for _, path := range []string{"/.nginx-error", "/.nginx-error/502", "/.nginx-errors", "/%2enginx-error/x"} {
		if status, _, body, err := raw(t, b.HTTP, "GET "+path+" HTTP/1.1\r\nHost: other\r\n\r\n"); err != nil || status != 404 {
			t.Errorf("%s: %d, %v: %s", path, status, err, body)
		}
	}
	if want := int32(len(known)); requests.Load() != want || grpcServer.calls.Load() != want {
		t.Errorf("%d requests and %d calls reached the instance, want %d of each", requests.Load(), grpcServer.calls.Load(), want)
	}
}

func TestDiagnosticsOverHTTP(t *testing.T) {
	paths := []string{
		"/healthz", "/readyz", "/openapi.json", "/readyz?x=/", "//readyz", "/./readyz", "/x/../readyz", "/%72eadyz", "/%2freadyz", "http://lab/readyz",
	}
	for _, c := range []struct {
		name   string
		edits  []edit
		status int
	}{
		{"open", nil, 200},
		{"closed", []edit{{"site/public.conf", `default "1";`, `default "";`}}, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, requests, _ := counted(t)
			b := startNginx(t, []Server{{addr, free(t)}}, c.edits...)
			for _, path := range paths {
				for _, method := range []string{"GET", "POST", "HEAD"} {
					status, h, body, err := raw(t, b.HTTP, strings.Replace(get("d", path, "Connection: close"), "GET", method, 1))
					if method == "HEAD" && err != nil && strings.Contains(err.Error(), "unexpected EOF") {
						err = nil // raw reads a response to a GET
					}
					if err != nil || status != c.status {
						t.Errorf("%s %s: %d, %v: %s", method, path, status, err, body)
						continue
					}
					if c.status == 404 {
						wantLocalReply(t, h, 404)
					}
					if c.status == 404 && method != "HEAD" {
						if a := decode(t, body); a.Code != 12 || a.Message != "nginx: there is nothing at this path" {
							t.Errorf("%s %s: %+v", method, path, a)
						}
					}
				}
			}
			if n := int(requests.Load()); (n == 0) != (c.status == 404) {
				t.Errorf("%d requests reached the instance", n)
			}
			if status, _, _, err := raw(t, b.HTTP, get("other", "/healthzz")); err != nil || status != 200 {
				t.Errorf("other path: %d, %v", status, err)
			}
		})
	}
}

func TestDiagnosticsOverGRPC(t *testing.T) {
	paths := []string{
		"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
		"//grpc.health.v1.Health/Check", "/x/../grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Chec%6b", "/grpc%2ehealth.v1.Health/Check",
	}
	for _, c := range []struct {
		name  string
		edits []edit
		error string
	}{
		{"open", nil, ""},
		{"closed", []edit{{"site/public.conf", `default "1";`, `default "";`}}, "404"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var i instance
			b := startNginx(t, []Server{{free(t), i.serve(t)}}, c.edits...)
			for _, path := range append(paths, "/grpc.healthy.v1.X/Y") {
				// Test instances lack these services, so the client gets UNIMPLEMENTED from nginx or from the instance.
				if resp, _ := sendHTTP2(t, "POST", b.GRPC, path, "application/grpc"); resp.StatusCode != 200 || resp.Header.Get("Grpc-Status") != "12" {
					t.Errorf("%s: %s, %v; want UNIMPLEMENTED", path, resp.Status, resp.Header)
				}
			}
			for _, l := range b.log(t) {
				if other := l.URI == "/grpc.healthy.v1.X/Y"; !other && l.Error != c.error || other && l.Error != "" || (l.UpstreamAddr == "") != (l.Error != "") {
					t.Errorf("%s: error %q, upstream %q", l.URI, l.Error, l.UpstreamAddr)
				}
			}
		})
	}
}
