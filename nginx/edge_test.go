package nginx

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	whoamiv1 "trivet/gen/whoami/v1"
)

// edgeClient sends requests to a TLS edge.
type edgeClient struct {
	addr   string
	config *tls.Config
}

// send sends a request of one protocol, HTTP/1.1 or HTTP/2.0, to a host, and returns the response and its body.
func (c edgeClient) send(t *testing.T, protocol string, r *http.Request) (*http.Response, string) {
	t.Helper()
	config := c.config.Clone()
	config.ServerName = r.URL.Hostname()
	transport := &http.Transport{TLSClientConfig: config, Protocols: new(http.Protocols), DisableKeepAlives: true}
	transport.Protocols.SetHTTP1(protocol == "HTTP/1.1")
	transport.Protocols.SetHTTP2(protocol == "HTTP/2.0")
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, c.addr)
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.Proto != protocol {
		t.Errorf("%s %s: %v, %s", r.Method, r.URL, err, resp.Proto)
	}
	return resp, string(body)
}

// dial returns a gRPC connection that names a host.
func (c edgeClient) dial(t *testing.T, host string) *grpc.ClientConn {
	t.Helper()
	config := c.config.Clone()
	config.ServerName = host
	conn, err := grpc.NewClient("passthrough:"+c.addr, grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func newRequest(t *testing.T, method, url string, body io.Reader, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

// edgeShapes are the two shapes of the TLS edge: the hosts by which clients reach each protocol, and the edits that make it.
var edgeShapes = []struct {
	name, http, grpc string
	edits            []edit
}{
	{"one name", "localhost", "localhost", nil},
	{"two names", "http.localhost", "grpc.localhost", []edit{{"site/tls.conf", "include tls-listener.conf;", "include tls-names.conf;"}}},
}

// TestTLSEdge checks that both protocols get through the TLS edge, each with its own limits and errors.
func TestTLSEdge(t *testing.T) {
	for _, shape := range edgeShapes {
		t.Run(shape.name, func(t *testing.T) {
			t.Parallel()
			c := issued(t, "edge")
			edge := c.edge(t)
			b := startSite(t, Site{Servers: both(t), Workers: 1, Diagnostics: true, TLS: edge}, append(shape.edits,
				edit{"site/hosts.conf", "default \"\";\n", "default 421;\nlocalhost \"\";\nhttp.localhost \"\";\ngrpc.localhost \"\";\n"})...)
			e := edgeClient{edge.Listen, c.client(t, "")}
			for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
				restThroughEdge(t, e, protocol, shape.http)
			}
			grpcThroughEdge(t, e, shape.grpc)
			if shape.http == shape.grpc {
				mixedThroughEdge(t, e)
			}
			log, err := os.ReadFile(filepath.Join(b.dir, "logs", "error.log"))
			if err != nil || strings.Contains(string(log), "no live upstreams") || strings.Contains(string(log), "uninitialized") {
				t.Errorf("%v: %s", err, log)
			}
			for _, l := range b.log(t) {
				if l.TLS != "TLSv1.3" || l.Client != "" {
					t.Errorf("access log: %+v", l)
				}
			}
		})
	}
}

func restThroughEdge(t *testing.T, e edgeClient, protocol, host string) {
	t.Helper()
	resp, body := e.send(t, protocol, newRequest(t, "GET", "https://"+host+"/", nil, "X-Client-Identity: evil", "Grpc-Metadata-X-Client-Identity: evil", "X-Forwarded-Proto: evil"))
	var h http.Header
	if err := json.Unmarshal([]byte(body), &h); err != nil || resp.StatusCode != 200 || h.Get("X-Forwarded-Proto") != "https" || h.Get("Host") != host || strings.Contains(body, "evil") {
		t.Errorf("%s GET: %d %s, %v", protocol, resp.StatusCode, body, err)
	}
	large := newRequest(t, "POST", "https://"+host+"/", strings.NewReader(strings.Repeat("x", 2<<20)))
	for _, want := range []struct {
		request *http.Request
		status  int
		code    codes.Code
	}{
		{large, 413, codes.ResourceExhausted},
		{newRequest(t, "POST", "https://"+host+"/watch", strings.NewReader(strings.Repeat("x", 2<<20))), 413, codes.ResourceExhausted},
		{newRequest(t, "GET", "https://"+host+"/front", nil), 404, codes.Unimplemented},
		{newRequest(t, "GET", "https://"+host+"/.nginx-error", nil), 404, codes.Unimplemented},
		{newRequest(t, "GET", "https://"+host+"/.nginx-error/502", nil), 404, codes.Unimplemented},
	} {
		resp, body := e.send(t, protocol, want.request)
		if resp.StatusCode != want.status || decode(t, []byte(body)).Code != int(want.code) || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d %v %s", protocol, want.request.URL, resp.StatusCode, resp.Header, body)
		}
	}
	unknown := newRequest(t, "GET", "https://"+host+"/", nil)
	unknown.Host = "unknown.localhost"
	if resp, body := e.send(t, protocol, unknown); resp.StatusCode != 421 || decode(t, []byte(body)).Code != int(codes.Unimplemented) {
		t.Errorf("%s unknown host: %d %s", protocol, resp.StatusCode, body)
	}
	// The admin listener is another port: its paths are instances' paths here.
	if _, body := e.send(t, protocol, newRequest(t, "GET", "https://"+host+"/nginx_status", nil)); strings.Contains(body, "Active connections") {
		t.Errorf("%s: nginx's status is public: %s", protocol, body)
	}
}

func grpcThroughEdge(t *testing.T, e edgeClient, host string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn := e.dial(t, host)
	c := whoamiv1.NewWhoAmIServiceClient(conn)
	forged := metadata.AppendToOutgoingContext(ctx, "x-client-identity", "evil", "x-forwarded-proto", "evil")
	got, err := c.WhoAmI(forged, &whoamiv1.WhoAmIRequest{})
	if err != nil || !strings.Contains(got.GetHostname(), "x-forwarded-proto:[https]") || strings.Contains(got.GetHostname(), "evil") {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := c.WhoAmI(ctx, &whoamiv1.WhoAmIRequest{Hops: []string{strings.Repeat("x", 3<<20)}}); err != nil {
		t.Errorf("3 MiB: %v", err)
	}
	if s, err := c.WatchWhoAmI(ctx, &whoamiv1.WatchWhoAmIRequest{}); err != nil {
		t.Error(err)
	} else if _, err := s.Recv(); err != nil {
		t.Errorf("stream: %v", err)
	}
	for method, from := range map[string]string{
		"/other.v1.Service/Method":     "unknown service other.v1.Service", // The instance's answer.
		"/front.v1.FrontService/Visit": "nginx: there is nothing at this path",
		"/.nginx-error/502":            "nginx: there is nothing at this path",
		"/.nginx-error":                "nginx: there is nothing at this path",
	} {
		if err := conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{}); status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), from) {
			t.Errorf("%s: %v", method, err)
		}
	}
	unknown := newRequest(t, "POST", "https://"+host+"/whoami.v1.WhoAmIService/WhoAmI", strings.NewReader("\x00\x00\x00\x00\x00"), "Content-Type: application/grpc")
	unknown.Host = "unknown.localhost"
	resp, body := e.send(t, "HTTP/2.0", unknown)
	// With two names, nginx may be at the first server, HTTP's.
	if forGRPC := resp.Header.Get("Grpc-Status") == "12" && strings.Contains(resp.Header.Get("Grpc-Message"), "host is not served"); !forGRPC && (host == "localhost" || resp.StatusCode != 421) {
		t.Errorf("unknown host: %v %v %s", resp.Status, resp.Header, body)
	}
}

// mixedThroughEdge checks what is neither REST nor gRPC, or gRPC where no location expects it, where both share a name.
func mixedThroughEdge(t *testing.T, e edgeClient) {
	t.Helper()
	const method = "https://localhost/whoami.v1.WhoAmIService/WhoAmI"
	frame := func() io.Reader { return strings.NewReader("\x00\x00\x00\x00\x00") }
	const rest = "" // want a JSON error
	for _, c := range []struct {
		name, protocol string
		request        *http.Request
		status         int
		grpcStatus     string
	}{
		{"JSON to a gRPC method", "HTTP/2.0", newRequest(t, "POST", method, frame(), "Content-Type: application/json"), 415, rest},
		{"grpc-web", "HTTP/2.0", newRequest(t, "POST", method, frame(), "Content-Type: application/grpc-web+proto"), 415, rest},
		{"grpc-web over HTTP/1.1", "HTTP/1.1", newRequest(t, "POST", method, frame(), "Content-Type: application/grpc-web+proto"), 505, rest},
		{"gRPC over HTTP/1.1", "HTTP/1.1", newRequest(t, "POST", method, frame(), "Content-Type: application/grpc"), 505, rest},
		{"gRPC over HTTP/1.1, unlisted", "HTTP/1.1", newRequest(t, "POST", "https://localhost/other.v1.S/M", frame(), "Content-Type: application/grpc"), 505, rest},
		{"GET of a gRPC method", "HTTP/2.0", newRequest(t, "GET", method, nil), 405, rest},
		{"GET of one, as gRPC", "HTTP/2.0", newRequest(t, "GET", method, nil, "Content-Type: application/grpc"), 405, rest},
		{"internal prefix, as gRPC", "HTTP/2.0", newRequest(t, "POST", "https://localhost/.grpc/whoami.v1.WhoAmIService/WhoAmI", frame(), "Content-Type: application/grpc"), 200, "12"},
		{"internal prefix, escaped", "HTTP/2.0", newRequest(t, "POST", "https://localhost/%2egrpc/whoami.v1.WhoAmIService/WhoAmI", frame(), "Content-Type: application/grpc"), 200, "12"},
		{"internal prefix", "HTTP/1.1", newRequest(t, "GET", "https://localhost/.grpc/", nil), 404, rest},
		{"announced 2 MiB, unlisted", "HTTP/2.0", newRequest(t, "POST", "https://localhost/other.v1.S/M", strings.NewReader(strings.Repeat("x", 2<<20)), "Content-Type: application/grpc"), 200, "8"},
	} {
		resp, body := e.send(t, c.protocol, c.request)
		if resp.StatusCode != c.status || resp.Header.Get("Grpc-Status") != c.grpcStatus {
			t.Errorf("%s: %d %v %s", c.name, resp.StatusCode, resp.Header, body)
		}
		if c.grpcStatus == rest && decode(t, []byte(body)).Code == 0 || c.grpcStatus != rest && body != "" {
			t.Errorf("%s: %s", c.name, body)
		}
		if got := resp.Header.Get("Allow"); (got == "POST") != (c.status == 405) {
			t.Errorf("%s: Allow: %q", c.name, got)
		}
	}
}

// TestTLSEdgeWithoutInstances checks that each protocol's clients get their own local reply.
func TestTLSEdgeWithoutInstances(t *testing.T) {
	t.Parallel()
	c := issued(t, "edge")
	edge := c.edge(t)
	startSite(t, Site{Servers: noInstances(t), Workers: 1, TLS: edge})
	e := edgeClient{edge.Listen, c.client(t, "")}
	if resp, body := e.send(t, "HTTP/2.0", newRequest(t, "GET", "https://localhost/", nil)); resp.StatusCode != 502 || decode(t, []byte(body)).Code != int(codes.Unavailable) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	conn := e.dial(t, "localhost")
	for _, method := range []string{"/whoami.v1.WhoAmIService/WhoAmI", "/other.v1.Service/Method"} {
		err := conn.Invoke(t.Context(), method, &emptypb.Empty{}, &emptypb.Empty{})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no instance can be reached; the request was not handled") {
			t.Errorf("%s: %v", method, err)
		}
	}
	old := c.client(t, "")
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if conn, err := tls.Dial("tcp", edge.Listen, old); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2: %v, %v", conn, err)
	}
}

// TestOnlyStreamsMayBeSilentOverTLS checks that a stream keeps its long timeout where REST and unary calls have short ones.
func TestOnlyStreamsMayBeSilentOverTLS(t *testing.T) {
	t.Parallel()
	c := issued(t, "edge")
	edge := c.edge(t)
	held := &instance{release: make(chan struct{})}
	startSite(t, Site{Servers: []Server{{web(t), held.serve(t)}}, Workers: 1, TLS: edge},
		edit{"grpc-unary.conf", "client_body_timeout 10s;", "client_body_timeout 200ms;"},
		edit{"grpc-locations.conf", "grpc_read_timeout    10s;", "grpc_read_timeout 200ms;"},
		edit{"http-locations.conf", "proxy_read_timeout 10s;", "proxy_read_timeout 200ms;"},
		edit{"limits.conf", "client_body_timeout 30s;", "client_body_timeout 200ms;"},
		edit{"limits.conf", "send_timeout 30s;", "send_timeout 200ms;"})
	e := edgeClient{edge.Listen, c.client(t, "")}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	g := whoamiv1.NewWhoAmIServiceClient(e.dial(t, "localhost"))
	s, err := g.WatchWhoAmI(ctx, &whoamiv1.WatchWhoAmIRequest{})
	if err == nil {
		_, err = s.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	// Each takes 200 ms, so the stream is silent for four times the timeout.
	for range 2 {
		if _, err := g.WhoAmI(metadata.AppendToOutgoingContext(ctx, "do", "hang"), &whoamiv1.WhoAmIRequest{}); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "did not respond in time") {
			t.Errorf("unary call: %v", err)
		}
		if resp, body := e.send(t, "HTTP/2.0", newRequest(t, "GET", "https://localhost/hang", nil)); resp.StatusCode != 504 {
			t.Errorf("REST: %d %s", resp.StatusCode, body)
		}
	}
	close(held.release)
	for range 2 {
		if _, err := s.Recv(); err != nil {
			t.Errorf("silent stream: %v", err)
		}
	}
}
