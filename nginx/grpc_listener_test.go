package nginx

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
)

// instance is a test instance's gRPC service: it returns the received metadata as its hostname, and misbehaves on request.
type instance struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	calls   atomic.Int32
	release chan struct{} // if set, streams wait for it after their first message
}

func (i *instance) WhoAmI(ctx context.Context, _ *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	i.calls.Add(1)
	in, _ := metadata.FromIncomingContext(ctx)
	if strings.Join(in["do"], "") == "fail without headers" { // only such calls may be retried
		return nil, status.Error(codes.Unavailable, "instance's error")
	}
	out := metadata.Pairs("x-instance", "whoami-1", "x-request-id", strings.Join(in["x-request-id"], ","))
	if err := grpc.SetHeader(ctx, out); err != nil {
		return nil, err
	}
	switch strings.Join(in["do"], "") {
	case "hang":
		<-ctx.Done()
		return nil, ctx.Err()
	case "fail":
		return nil, status.Error(codes.Unavailable, "instance's error")
	}
	return &whoamiv1.WhoAmIResponse{Hostname: fmt.Sprint(map[string][]string(in))}, nil
}

func (i *instance) WatchWhoAmI(_ *whoamiv1.WatchWhoAmIRequest, s grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
	if in, _ := metadata.FromIncomingContext(s.Context()); strings.Join(in["do"], "") == "hang" {
		<-s.Context().Done()
		return s.Context().Err()
	}
	for n := range uint64(3) {
		if err := s.Send(&whoamiv1.WatchWhoAmIResponse{Sequence: n}); err != nil {
			return err
		}
		if n == 0 && i.release != nil {
			select {
			case <-i.release:
			case <-s.Context().Done():
				return s.Context().Err()
			}
		}
	}
	return nil
}

// serve starts i and returns its address.
func (i *instance) serve(t *testing.T) string { return serve(t, i) }

func serve(t testing.TB, i *instance, options ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	whoamiv1.RegisterWhoAmIServiceServer(server, i)
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// broken starts a listener that closes each connection after its first byte; it counts connections.
func broken(t *testing.T, count *atomic.Int32) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

func client(t testing.TB, addr string, options ...grpc.DialOption) whoamiv1.WhoAmIServiceClient {
	t.Helper()
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient("passthrough:"+addr, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return whoamiv1.NewWhoAmIServiceClient(conn)
}

// call makes one WhoAmI call with a request ID and pairs of metadata, without retries. It returns header and trailer joined, because grpc-go
// reports the header of a trailers-only response as its trailer.
func call(t *testing.T, addr, id string, pairs ...string) (*whoamiv1.WhoAmIResponse, metadata.MD, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return callContext(ctx, t, addr, id, pairs...)
}

func callContext(ctx context.Context, t testing.TB, addr, id string, pairs ...string) (*whoamiv1.WhoAmIResponse, metadata.MD, error) {
	t.Helper()
	ctx = metadata.AppendToOutgoingContext(ctx, append([]string{"x-request-id", id}, pairs...)...)
	var header, trailer metadata.MD
	resp, err := client(t, addr, grpc.WithDisableRetry()).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
	return resp, metadata.Join(header, trailer), err
}

// unary is the line in grpc-locations.conf after which tests change what nginx does with WhoAmI.
const unary = "location ^~ /whoami.v1.WhoAmIService/ {"

// TestGRPCErrors provokes each local reply that a gRPC client can get. Where no request provokes it, the configuration returns it.
func TestGRPCErrors(t *testing.T) {
	up := func(t *testing.T) []Server { return []Server{{free(t), new(instance).serve(t)}} }
	returns := func(status int) []edit {
		return []edit{{"grpc-locations.conf", unary, fmt.Sprintf("%s\nreturn %d;", unary, status)}}
	}
	var connections atomic.Int32
	for _, c := range []struct {
		name    string
		servers func(*testing.T) []Server
		edits   []edit
		do      string
		warmUp  bool
		error   string
		code    codes.Code
		message string
	}{
		{"400", up, returns(400), "", false, "400", codes.Internal, "malformed"},
		{"401", up, returns(401), "", false, "401", codes.Unauthenticated, "want a valid credential"},
		{"403", up, []edit{{"grpc-locations.conf", unary, unary + "\ndeny all;"}}, "", false, "403", codes.PermissionDenied, "not allowed"},
		{"404", up, returns(404), "", false, "404", codes.Unimplemented, "nothing at this path"},
		{"405", up, returns(405), "", false, "405", codes.Unimplemented, "method"},
		{"413", up, []edit{{"grpc-only.conf", "client_max_body_size 0;", "client_max_body_size 1;"}}, "", false, "413", codes.ResourceExhausted, "body is too large"},
		{"414", up, returns(414), "", false, "414", codes.ResourceExhausted, "path is too long"},
		{"415", up, returns(415), "", false, "415", codes.Internal, "want content-type application/grpc"},
		{"429, second call in a minute", up, []edit{
			{"limits.conf", `default "";`, "default $binary_remote_addr;"},
			{"limits.conf", "rate=100r/s", "rate=1r/m"},
			{"limits.conf", " burst=200 nodelay", ""},
		}, "", true, "429", codes.ResourceExhausted, "too many requests"},
		{"431", up, returns(431), "", false, "431", codes.ResourceExhausted, "headers are too large"},
		{"431 from internal number 494", up, returns(494), "", false, "431", codes.ResourceExhausted, "headers are too large"},
		{"500", up, returns(500), "", false, "500", codes.Internal, "error log"},
		{"501", up, returns(501), "", false, "501", codes.Unimplemented, "transfer encoding"},
		{"502, no instance runs", noInstances, nil, "", false, "502", codes.Unavailable, "no instance can be reached; the request was not handled"},
		{"502, instance breaks off", func(t *testing.T) []Server { return []Server{{free(t), broken(t, &connections)}} },
			nil, "", false, "502", codes.Unavailable, "may have been handled"},
		{"503", up, returns(503), "", false, "503", codes.Unavailable, "out of service"},
		{"504, instance hangs", up, []edit{{"grpc-locations.conf", unary, unary + "\ngrpc_read_timeout 100ms;"}}, "hang", false, "504", codes.Unavailable, "may have been handled"},
		{"505", up, returns(505), "", false, "505", codes.Internal, "version of HTTP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := startNginx(t, c.servers(t), c.edits...)
			if c.warmUp {
				if _, _, err := call(t, b.GRPC, "first"); err != nil {
					t.Fatalf("first call: %v", err)
				}
			}
			_, header, err := call(t, b.GRPC, "e", "do", c.do)
			if status.Code(err) != c.code || !strings.Contains(status.Convert(err).Message(), "nginx: ") || !strings.Contains(err.Error(), c.message) {
				t.Errorf("%v, want %v with %q", err, c.code, c.message)
			}
			sameID(t, http.Header{"X-Request-Id": header["x-request-id"]}, "e")
			l := b.only(t, "e")
			if l.Error != c.error || l.HeaderStatus != fmt.Sprint(int(c.code)) || l.TrailerStatus != "" {
				t.Errorf("access log: error %q, header status %q, trailer status %q", l.Error, l.HeaderStatus, l.TrailerStatus)
			}
			if want := "200"; l.Status != want && !strings.Contains("405 415 505", c.error) {
				t.Errorf("access log: status %s, want %s", l.Status, want)
			}
			if l.Method != "POST" || l.URI != "/whoami.v1.WhoAmIService/WhoAmI" || l.Protocol != "HTTP/2.0" {
				t.Errorf("access log: %q %q %q", l.Method, l.URI, l.Protocol)
			}
		})
	}
}

// sendHTTP2 sends an HTTP/2 request with an empty message to the gRPC listener.
func sendHTTP2(t *testing.T, method, addr, path, contentType string) (*http.Response, string) {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader("\x00\x00\x00\x00\x00"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Request-Id", "sent")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp, string(body)
}

// TestNonGRPCIsRefused checks that the HTTP status is an error too: a client that does not speak gRPC would take 200 for success.
func TestNonGRPCIsRefused(t *testing.T) {
	var i instance
	b := startNginx(t, []Server{{free(t), i.serve(t)}})
	const path = "/whoami.v1.WhoAmIService/WhoAmI"
	for _, c := range []struct {
		name, method, path, contentType string
		status                          int
		grpcStatus                      string
	}{
		{"JSON", "POST", path, "application/json", 415, "13"},
		{"no content type", "POST", path, "", 415, "13"},
		{"gRPC-Web", "POST", path, "application/grpc-web+proto", 415, "13"},
		{"other subtype", "POST", path, "application/grpcx", 415, "13"},
		{"unknown method, JSON", "POST", "/x", "application/json", 415, "13"},
		{"GET", "GET", path, "application/grpc", 405, "12"},
		{"GET of the root", "GET", "/", "", 405, "12"},
		{"path of local replies", "POST", "/.nginx-error/502", "application/grpc", 200, "12"},
		{"path with its prefix", "POST", "/.nginx-error-of-mine", "application/grpc", 200, "12"},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := sendHTTP2(t, c.method, b.GRPC, c.path, c.contentType)
			if resp.StatusCode != c.status || resp.Header.Get("Grpc-Status") != c.grpcStatus || resp.Header.Get("Content-Type") != "application/grpc" {
				t.Errorf("%s, %v; want %d and grpc-status %s", resp.Status, resp.Header, c.status, c.grpcStatus)
			}
			if body != "" {
				t.Errorf("body: %q", body)
			}
			if got := resp.Header.Get("Allow"); (got == "POST") != (c.status == 405) {
				t.Errorf("Allow: %q", got)
			}
			sameID(t, resp.Header, "sent")
		})
	}
	if n := i.calls.Load(); n != 0 {
		t.Errorf("%d calls reached the instance", n)
	}
	for _, contentType := range []string{"application/grpc", "application/grpc+proto", "application/grpc;charset=x"} {
		if resp, _ := sendHTTP2(t, "POST", b.GRPC, path, contentType); resp.StatusCode != 200 || resp.Header.Get("X-Instance") == "" {
			t.Errorf("%s is refused: %s %v", contentType, resp.Status, resp.Header)
		}
	}
}

// TestHTTP1OnGRPCListenerIsRefused checks that no call passes over HTTP/1.1, which newer nginx accepts: its grpc-status would be lost.
func TestHTTP1OnGRPCListenerIsRefused(t *testing.T) {
	var i instance
	b := startNginx(t, []Server{{free(t), i.serve(t)}})
	status, h, body, err := raw(t, b.GRPC, "POST /whoami.v1.WhoAmIService/WhoAmI HTTP/1.1\r\nHost: lab\r\nTE: trailers\r\n"+
		"Content-Type: application/grpc\r\nContent-Length: 5\r\n\r\n\x00\x00\x00\x00\x00")
	if findNginx(t).Version.atLeast(http2Directive) {
		if err != nil || status != 505 || h.Get("Grpc-Status") != "13" || len(body) > 0 {
			t.Errorf("%d, %v, %q, %v", status, h, body, err)
		}
	} else if err == nil {
		t.Errorf("status %d; nginx before 1.25.1 accepts only HTTP/2 here", status)
	}
	if n := i.calls.Load(); n != 0 {
		t.Errorf("%d calls reached the instance", n)
	}
}

var request = [][2]string{
	{":method", "POST"}, {":scheme", "http"}, {":path", "/whoami.v1.WhoAmIService/WhoAmI"}, {":authority", "lab"},
	{"content-type", "application/grpc"}, {"te", "trailers"}, {"x-request-id", "wire"},
}

// TestGRPCErrorIsOneFrame checks that an error is one HEADERS frame that ends the stream: gRPC's "trailers-only".
func TestGRPCErrorIsOneFrame(t *testing.T) {
	b := startNginx(t, noInstances(t))
	own := ofStream(http2(t, b.GRPC, request, ended))
	if len(own) != 1 || own[0].Type != headersFrame || own[0].Flags != endStream|endHeaders {
		t.Errorf("frames: %+v", own)
	}
}

// TestMalformedGRPCRequestGetsGRPCError sends a request for which nginx cannot enter a named location; errors lead to a path instead.
func TestMalformedGRPCRequestGetsGRPCError(t *testing.T) {
	b := startNginx(t, noInstances(t))
	bad := append([][2]string{}, request...)
	bad[3] = [2]string{":authority", "a b"}
	own := ofStream(http2(t, b.GRPC, bad, ended))
	if len(own) != 1 || own[0].Flags != endStream|endHeaders {
		t.Errorf("frames: %+v", own)
	}
	if all := b.log(t); len(all) != 1 || all[0].Error != "400" || all[0].HeaderStatus != "13" {
		t.Errorf("access log: %+v", all)
	}
}

// TestTooManyHeaderBytesEndConnection checks that nginx ends the whole connection instead of sending a status.
func TestTooManyHeaderBytesEndConnection(t *testing.T) {
	b := startNginx(t, noInstances(t))
	large := append([][2]string{}, request...)
	for n := range 6 {
		large = append(large, [2]string{fmt.Sprint("x-large-", n), strings.Repeat("h", 7000)})
	}
	all := http2(t, b.GRPC, large, ended)
	last := all[len(all)-1]
	if len(ofStream(all)) != 0 || last.Type != goAwayFrame || binary.BigEndian.Uint32(last.Payload[4:]) != 11 {
		t.Errorf("frames: %+v, want GOAWAY with ENHANCE_YOUR_CALM (11)", all)
	}
}

// TestTooManyHeadersGet431 checks the limit on the number of headers, where nginx has one; otherwise they go on to instances, of which
// none runs here.
func TestTooManyHeadersGet431(t *testing.T) {
	b := startNginx(t, noInstances(t))
	wantError, wantStatus := "431", "8"
	if !knows(t, "max_headers 1000;") {
		wantError, wantStatus = "502", "14"
	}
	many := append([][2]string{}, request...)
	for n := range 1001 {
		many = append(many, [2]string{fmt.Sprint("h", n), "1"})
	}
	own := ofStream(http2(t, b.GRPC, many, ended))
	if len(own) != 1 || own[0].Flags != endStream|endHeaders {
		t.Errorf("frames: %+v", own)
	}
	if l := b.only(t, "wire"); l.Error != wantError || l.HeaderStatus != wantStatus {
		t.Errorf("access log: %+v, want error %s and gRPC status %s", l, wantError, wantStatus)
	}
}

// knows reports whether this nginx has an http directive. Its version does not say so: Debian backports some.
func knows(t *testing.T, directive string) bool {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "nginx.conf")
	if err := os.WriteFile(conf, []byte("events {} http { "+directive+" }"), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), findNginx(t).Path, "-t", "-c", conf, "-g", "pid "+conf+".pid;").CombinedOutput()
	if err != nil && !strings.Contains(string(said), "unknown directive") {
		t.Fatalf("%v: %s", err, said)
	}
	return err == nil
}

// TestGRPC408IsOnlyLogged checks that nginx resets the stream of a body that never comes, and only its log says why.
func TestGRPC408IsOnlyLogged(t *testing.T) {
	b := startNginx(t, []Server{{free(t), new(instance).serve(t)}},
		edit{"grpc-unary.conf", "client_body_timeout 10s;", "client_body_timeout 100ms;"})
	own := ofStream(http2(t, b.GRPC, request, open))
	if len(own) != 1 || own[0].Type != resetFrame {
		t.Errorf("frames: %+v", own)
	}
	if l := b.only(t, "wire"); l.Status != "408" || l.Error != "" {
		t.Errorf("access log: %+v", l)
	}
}

func TestGRPCResponsesPassUnchanged(t *testing.T) {
	b := startNginx(t, []Server{{free(t), new(instance).serve(t)}})
	_, header, err := call(t, b.GRPC, "own", "do", "fail")
	if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "instance's error" {
		t.Errorf("%v", err)
	}
	sameID(t, http.Header{"X-Request-Id": header["x-request-id"]}, "own")
	if got := header["x-instance"]; len(got) != 1 || got[0] != "whoami-1" {
		t.Errorf("x-instance: %q", got)
	}
	if l := b.only(t, "own"); l.Error != "" || l.UpstreamStatus != "200" || l.HeaderStatus+l.TrailerStatus != "14" {
		t.Errorf("access log reports the instance's error as nginx's: %+v", l)
	}
}

// identities are headers that only an authenticating proxy may set.
var identities = []string{
	"X-Forwarded-User: evil", "X-Forwarded-Email: evil@example.com", "X-Forwarded-Groups: evil",
	"X-Forwarded-Preferred-Username: evil", "X-Forwarded-Access-Token: evil", "X-Client-Identity: evil",
}

func TestForgedGRPCHeadersAreRemoved(t *testing.T) {
	b := startNginx(t, []Server{{free(t), new(instance).serve(t)}})
	var pairs []string
	for _, f := range append(identities, forgeries...) {
		// Grpc-Metadata-* means something to the REST gateway only; over gRPC it passes.
		if name, value, _ := strings.Cut(f, ": "); !strings.HasPrefix(strings.ToLower(name), "grpc-metadata-") {
			pairs = append(pairs, name, value)
		}
	}
	pairs = append(pairs, "authorization", "Bearer kept", "tracestate", "a=kept", "baggage", "b=kept")
	resp, _, err := call(t, b.GRPC, "forger", append(pairs, "x-forwarded-host", "evil", "traceparent", sentTrace, "x_forwarded_for", "evil")...)
	if err != nil {
		t.Fatal(err)
	}
	arrived := resp.GetHostname()
	if strings.Contains(arrived, "evil") || strings.Contains(arrived, "6.6.6.6") {
		t.Errorf("forged metadata arrived: %s", arrived)
	}
	for _, want := range []string{
		"x-request-id:[forger]", "x-real-ip:[127.0.0.1]", "x-forwarded-for:[127.0.0.1]", "x-forwarded-proto:[http]",
		"x-forwarded-host:[127.0.0.1]", "traceparent:[00-0af7651916cd43dd8448eb211c80319c-", ":authority:[127.0.0.1]",
		"authorization:[Bearer kept]", "tracestate:[a=kept]", "baggage:[b=kept]",
	} {
		if !strings.Contains(arrived, want) {
			t.Errorf("no %s in %s", want, arrived)
		}
	}
}

func TestGRPCRequestIDs(t *testing.T) {
	b := startNginx(t, []Server{{free(t), new(instance).serve(t)}})
	for _, c := range []struct{ name, id, want string }{
		{"kept", "Order-7.b_C", "Order-7.b_C"},
		{"too long", strings.Repeat("i", 65), ""},
		{"a space", "a b", ""},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, header, err := call(t, b.GRPC, c.id)
			if err != nil {
				t.Fatal(err)
			}
			id := strings.Join(header["x-request-id"], ",")
			if c.want != "" && id != c.want || c.want == "" && len(id) != 32 || !strings.Contains(resp.GetHostname(), "x-request-id:["+id+"]") {
				t.Errorf("%q became %q; the instance got %s", c.id, id, resp.GetHostname())
			}
		})
	}
}

// TestGRPCRetries checks that nginx retries a refused call, but never one that it has sent, whatever grpc_next_upstream says.
func TestGRPCRetries(t *testing.T) {
	t.Run("refused: next instance", func(t *testing.T) {
		t.Parallel()
		down := noInstances(t)[:2]
		up := new(instance).serve(t)
		b := startNginx(t, append(down, Server{free(t), up}))
		if _, _, err := call(t, b.GRPC, "r", "grpc-previous-rpc-attempts", "2"); err != nil {
			t.Fatal(err)
		}
		l := b.only(t, "r")
		if want := down[0].GRPC + ", " + down[1].GRPC + ", " + up; l.UpstreamAddr != want || l.UpstreamStatus != "502, 502, 200" || l.TrailerStatus != "0" {
			t.Errorf("access log: %+v, want addresses %s", l, want)
		}
	})
	t.Run("sent: no other instance", func(t *testing.T) {
		t.Parallel()
		var connections atomic.Int32
		addr := broken(t, &connections)
		b := startNginx(t, []Server{{free(t), addr}, {free(t), new(instance).serve(t)}},
			edit{"grpc-locations.conf", "error timeout;", "error timeout non_idempotent;"})
		if _, _, err := call(t, b.GRPC, "s"); status.Code(err) != codes.Unavailable {
			t.Errorf("%v", err)
		}
		if l := b.only(t, "s"); l.UpstreamAddr != addr || connections.Load() != 1 {
			t.Errorf("upstream_addr %q, %d connections, want one attempt", l.UpstreamAddr, connections.Load())
		}
	})
	t.Run("sent: client with service config retries", func(t *testing.T) {
		t.Parallel()
		var connections atomic.Int32
		b := startNginx(t, []Server{{free(t), broken(t, &connections)}, {free(t), new(instance).serve(t)}})
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "c")
		c := client(t, b.GRPC, grpc.WithDefaultServiceConfig(ServiceConfig))
		if _, err := c.WhoAmI(ctx, &whoamiv1.WhoAmIRequest{}); err != nil {
			t.Fatal(err)
		}
		var attempts []string
		for _, l := range b.log(t) {
			attempts = append(attempts, l.PreviousAttempts+":"+l.Error)
		}
		if got := strings.Join(attempts, " "); got != ":502 1:" {
			t.Errorf("previous attempts and errors in the log: %q", got)
		}
	})
}

func TestGRPCStreamPasses(t *testing.T) {
	b := startNginx(t, []Server{{free(t), new(instance).serve(t)}})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "stream")
	s, err := client(t, b.GRPC).WatchWhoAmI(ctx, &whoamiv1.WatchWhoAmIRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3) {
		if m, err := s.Recv(); err != nil || m.GetSequence() != n {
			t.Fatalf("message %d: %v, %v", n, m, err)
		}
	}
	if _, err := s.Recv(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if l := b.only(t, "stream"); l.TrailerStatus != "0" || l.HeaderStatus != "" || l.Status != "200" {
		t.Errorf("access log: %+v", l)
	}
}

// TestRoundRobin checks that sequential calls are spread evenly over three instances.
func TestRoundRobin(t *testing.T) {
	var three [3]instance
	var servers []Server
	for i := range three {
		servers = append(servers, Server{free(t), three[i].serve(t)})
	}
	b := startNginx(t, servers)
	c := client(t, b.GRPC)
	for range 30 {
		if _, err := c.WhoAmI(t.Context(), &whoamiv1.WhoAmIRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range three {
		if n := three[i].calls.Load(); n != 10 {
			t.Errorf("instance %d got %d of 30 calls, want 10", i, n)
		}
	}
}
