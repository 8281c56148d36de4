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

// instance is an instance's gRPC door for the tests: it returns the metadata that arrived as its hostname, and misbehaves where asked to.
type instance struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	calls   atomic.Int32
	release chan struct{} // if set, streams wait for it between their first message and the others
}

func (i *instance) WhoAmI(ctx context.Context, _ *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	i.calls.Add(1)
	in, _ := metadata.FromIncomingContext(ctx)
	if strings.Join(in["do"], "") == "fail without headers" { // only then clients may retry
		return nil, status.Error(codes.Unavailable, "instance's own trouble")
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
		return nil, status.Error(codes.Unavailable, "instance's own trouble")
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

// serve starts an instance and returns its address.
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

// broken takes connections and closes each once something has been sent to it; it counts them.
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

// call is one WhoAmI with an id and pairs of metadata, without retries. What came back beside the answer is header and trailer together:
// grpc-go takes the only header of a trailers-only answer for the trailer.
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

// unary is the place in grpc-listener.conf where a test makes nginx do something else with a WhoAmI.
const unary = "location / {"

// TestGRPCErrors provokes the errors that reach a gRPC client. Where nothing a caller does can provoke one, the configuration returns it.
func TestGRPCErrors(t *testing.T) {
	up := func(t *testing.T) []Server { return []Server{{free(t), new(instance).serve(t)}} }
	returns := func(status int) []edit {
		return []edit{{"grpc-listener.conf", unary, fmt.Sprintf("%s\nreturn %d;", unary, status)}}
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
		{"403", up, []edit{{"grpc-listener.conf", unary, unary + "\ndeny all;"}}, "", false, "403", codes.PermissionDenied, "not allowed"},
		{"404", up, returns(404), "", false, "404", codes.Unimplemented, "nothing at this path"},
		{"405", up, returns(405), "", false, "405", codes.Unimplemented, "method"},
		{"413", up, []edit{{"grpc-listener.conf", "client_max_body_size 0;", "client_max_body_size 1;"}}, "", false, "413", codes.ResourceExhausted, "body is too large"},
		{"414", up, returns(414), "", false, "414", codes.ResourceExhausted, "path is too long"},
		{"415", up, returns(415), "", false, "415", codes.Internal, "want content-type application/grpc"},
		{"429, the second of a minute", up, []edit{
			{"limits.conf", `default "";`, "default $binary_remote_addr;"},
			{"limits.conf", "rate=100r/s", "rate=1r/m"},
			{"limits.conf", " burst=200 nodelay", ""},
		}, "", true, "429", codes.ResourceExhausted, "too many requests"},
		{"431", up, returns(431), "", false, "431", codes.ResourceExhausted, "headers are too large"},
		{"431 by nginx's own number", up, returns(494), "", false, "431", codes.ResourceExhausted, "headers are too large"},
		{"500", up, returns(500), "", false, "500", codes.Internal, "error log"},
		{"501", up, returns(501), "", false, "501", codes.Unimplemented, "transfer encoding"},
		{"502, nobody is there", nobody, nil, "", false, "502", codes.Unavailable, "no instance can be reached; the request was not handled"},
		{"502, the instance breaks off", func(t *testing.T) []Server { return []Server{{free(t), broken(t, &connections)}} },
			nil, "", false, "502", codes.Unavailable, "may have been handled"},
		{"503", up, returns(503), "", false, "503", codes.Unavailable, "out of service"},
		{"504, the instance hangs", up, []edit{{"grpc-listener.conf", unary, unary + "\ngrpc_read_timeout 100ms;"}}, "hang", false, "504", codes.Unavailable, "may have been handled"},
		{"505", up, returns(505), "", false, "505", codes.Internal, "version of HTTP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := balance(t, c.servers(t), c.edits...)
			if c.warmUp {
				if _, _, err := call(t, b.GRPC, "first"); err != nil {
					t.Fatalf("the first call: %v", err)
				}
			}
			_, header, err := call(t, b.GRPC, "e", "do", c.do)
			if status.Code(err) != c.code || !strings.Contains(status.Convert(err).Message(), "nginx: ") || !strings.Contains(err.Error(), c.message) {
				t.Errorf("%v, want %v with %q", err, c.code, c.message)
			}
			sameID(t, http.Header{"X-Request-Id": header["x-request-id"]}, "e")
			l := b.only(t, "e")
			if l.Error != c.error || l.HeaderStatus != fmt.Sprint(int(c.code)) || l.TrailerStatus != "" {
				t.Errorf("the access log has error %q, header status %q, trailer status %q", l.Error, l.HeaderStatus, l.TrailerStatus)
			}
			if want := "200"; l.Status != want && !strings.Contains("405 415 505", c.error) {
				t.Errorf("the access log has status %s, sent was %s", l.Status, want)
			}
			if l.Method != "POST" || l.URI != "/whoami.v1.WhoAmIService/WhoAmI" || l.Protocol != "HTTP/2.0" {
				t.Errorf("the access log has %q %q %q", l.Method, l.URI, l.Protocol)
			}
		})
	}
}

// ask sends any HTTP/2 request, with an empty message, to the gRPC door.
func ask(t *testing.T, method, addr, path, contentType string) (*http.Response, string) {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader("\x00\x00\x00\x00\x00"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Request-Id", "asked")
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

// Who does not speak gRPC is told so by the HTTP status too, or would take the answer for a success.
func TestWhatIsNotGRPCIsRefused(t *testing.T) {
	var i instance
	b := balance(t, []Server{{free(t), i.serve(t)}})
	const path = "/whoami.v1.WhoAmIService/WhoAmI"
	for _, c := range []struct {
		name, method, path, contentType string
		status                          int
		grpcStatus                      string
	}{
		{"JSON", "POST", path, "application/json", 415, "13"},
		{"no content type", "POST", path, "", 415, "13"},
		{"gRPC-Web", "POST", path, "application/grpc-web+proto", 415, "13"},
		{"another word", "POST", path, "application/grpcx", 415, "13"},
		{"a method nobody has, in JSON", "POST", "/x", "application/json", 415, "13"},
		{"GET", "GET", path, "application/grpc", 405, "12"},
		{"GET of the root", "GET", "/", "", 405, "12"},
		{"the errors' own path", "POST", "/.nginx-error/502", "application/grpc", 200, "12"},
		{"a path below it", "POST", "/.nginx-error-of-mine", "application/grpc", 200, "12"},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := ask(t, c.method, b.GRPC, c.path, c.contentType)
			if resp.StatusCode != c.status || resp.Header.Get("Grpc-Status") != c.grpcStatus || resp.Header.Get("Content-Type") != "application/grpc" {
				t.Errorf("%s, %v; want %d and grpc-status %s", resp.Status, resp.Header, c.status, c.grpcStatus)
			}
			if body != "" {
				t.Errorf("a body: %q", body)
			}
			if got := resp.Header.Get("Allow"); (got == "POST") != (c.status == 405) {
				t.Errorf("Allow: %q", got)
			}
			sameID(t, resp.Header, "asked")
		})
	}
	if n := i.calls.Load(); n != 0 {
		t.Errorf("%d calls reached the instance", n)
	}
	for _, contentType := range []string{"application/grpc", "application/grpc+proto", "application/grpc;charset=x"} {
		if resp, _ := ask(t, "POST", b.GRPC, path, contentType); resp.StatusCode != 200 || resp.Header.Get("X-Instance") == "" {
			t.Errorf("%s is refused: %s %v", contentType, resp.Status, resp.Header)
		}
	}
}

// Newer nginx takes HTTP/1.1 on the same port. No call may pass that way: the grpc-status would be lost.
func TestHTTP1OnTheGRPCDoor(t *testing.T) {
	var i instance
	b := balance(t, []Server{{free(t), i.serve(t)}})
	status, h, body, err := raw(t, b.GRPC, "POST /whoami.v1.WhoAmIService/WhoAmI HTTP/1.1\r\nHost: lab\r\nTE: trailers\r\n"+
		"Content-Type: application/grpc\r\nContent-Length: 5\r\n\r\n\x00\x00\x00\x00\x00")
	if real(t).Version.atLeast(http2Directive) {
		if err != nil || status != 505 || h.Get("Grpc-Status") != "13" || len(body) > 0 {
			t.Errorf("%d, %v, %q, %v", status, h, body, err)
		}
	} else if err == nil {
		t.Errorf("%d: an nginx before 1.25.1 speaks nothing but HTTP/2 here", status)
	}
	if n := i.calls.Load(); n != 0 {
		t.Errorf("%d calls reached the instance", n)
	}
}

var request = [][2]string{
	{":method", "POST"}, {":scheme", "http"}, {":path", "/whoami.v1.WhoAmIService/WhoAmI"}, {":authority", "lab"},
	{"content-type", "application/grpc"}, {"te", "trailers"}, {"x-request-id", "wire"},
}

// An error is one HEADERS frame that ends the stream, as gRPC's "trailers-only" wants it.
func TestGRPCErrorOnTheWire(t *testing.T) {
	b := balance(t, nobody(t))
	own := ofStream(http2(t, b.GRPC, request, ended))
	if len(own) != 1 || own[0].Type != headersFrame || own[0].Flags != endStream|endHeaders {
		t.Errorf("frames: %+v", own)
	}
}

// nginx has no path to enter a location with here; that the answer is not HTML shows why errors lead to a path.
func TestGRPCRequestThatCannotBeRead(t *testing.T) {
	b := balance(t, nobody(t))
	bad := append([][2]string{}, request...)
	bad[3] = [2]string{":authority", "a b"}
	own := ofStream(http2(t, b.GRPC, bad, ended))
	if len(own) != 1 || own[0].Flags != endStream|endHeaders {
		t.Errorf("frames: %+v", own)
	}
	if all := b.log(t); len(all) != 1 || all[0].Error != "400" || all[0].HeaderStatus != "13" {
		t.Errorf("the access log: %+v", all)
	}
}

// What errors.conf says about too many header bytes: the whole connection ends, so that no status can be sent.
func TestTooManyHeaderBytesEndTheConnection(t *testing.T) {
	b := balance(t, nobody(t))
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

// Their number is a 431 on this door too, where nginx counts them. Elsewhere they go on to the instances: here there is none.
func TestTooManyHeadersAreAnswered(t *testing.T) {
	b := balance(t, nobody(t))
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
		t.Errorf("the access log: %+v, want error %s and gRPC status %s", l, wantError, wantStatus)
	}
}

// knows tells whether this nginx has a directive of http. Its version does not: Debian brings some to older ones.
func knows(t *testing.T, directive string) bool {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "nginx.conf")
	if err := os.WriteFile(conf, []byte("events {} http { "+directive+" }"), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), real(t).Path, "-t", "-c", conf, "-g", "pid "+conf+".pid;").CombinedOutput()
	if err != nil && !strings.Contains(string(said), "unknown directive") {
		t.Fatalf("%v: %s", err, said)
	}
	return err == nil
}

// What errors.conf says about 408: the stream is reset, and only the log says why.
func TestGRPC408IsOnlyInTheLog(t *testing.T) {
	b := balance(t, []Server{{free(t), new(instance).serve(t)}},
		edit{"grpc-listener.conf", "client_body_timeout  10s;", "client_body_timeout 100ms;"})
	own := ofStream(http2(t, b.GRPC, request, open))
	if len(own) != 1 || own[0].Type != resetFrame {
		t.Errorf("frames: %+v", own)
	}
	if l := b.only(t, "wire"); l.Status != "408" || l.Error != "" {
		t.Errorf("the access log: %+v", l)
	}
}

func TestGRPCAnswersOfTheInstancePassUntouched(t *testing.T) {
	b := balance(t, []Server{{free(t), new(instance).serve(t)}})
	_, header, err := call(t, b.GRPC, "own", "do", "fail")
	if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "instance's own trouble" {
		t.Errorf("%v", err)
	}
	sameID(t, http.Header{"X-Request-Id": header["x-request-id"]}, "own")
	if got := header["x-instance"]; len(got) != 1 || got[0] != "whoami-1" {
		t.Errorf("x-instance: %q", got)
	}
	if l := b.only(t, "own"); l.Error != "" || l.UpstreamStatus != "200" || l.HeaderStatus+l.TrailerStatus != "14" {
		t.Errorf("the log takes the instance's answer for nginx's: %+v", l)
	}
}

// identities are header lines that only an authenticating proxy may set.
var identities = []string{
	"X-Forwarded-User: evil", "X-Forwarded-Email: evil@example.com", "X-Forwarded-Groups: evil",
	"X-Forwarded-Preferred-Username: evil", "X-Forwarded-Access-Token: evil",
}

func TestGRPCForgedHeadersDoNotPass(t *testing.T) {
	b := balance(t, []Server{{free(t), new(instance).serve(t)}})
	var pairs []string
	for _, f := range append(identities, forgeries...) {
		// Grpc-Metadata-* is the REST gateway's word: over gRPC it is metadata like any other.
		if name, value, _ := strings.Cut(f, ": "); !strings.HasPrefix(strings.ToLower(name), "grpc-metadata-") {
			pairs = append(pairs, name, value)
		}
	}
	pairs = append(pairs, "authorization", "Bearer kept", "tracestate", "a=kept", "baggage", "b=kept")
	resp, _, err := call(t, b.GRPC, "forger", append(pairs, "x-forwarded-host", "evil", "traceparent", "00-kept", "x_forwarded_for", "evil")...)
	if err != nil {
		t.Fatal(err)
	}
	arrived := resp.GetHostname()
	if strings.Contains(arrived, "evil") || strings.Contains(arrived, "6.6.6.6") {
		t.Errorf("something forged arrived: %s", arrived)
	}
	for _, want := range []string{
		"x-request-id:[forger]", "x-real-ip:[127.0.0.1]", "x-forwarded-for:[127.0.0.1]", "x-forwarded-proto:[http]",
		"x-forwarded-host:[127.0.0.1]", "traceparent:[00-kept]", ":authority:[127.0.0.1]",
		"authorization:[Bearer kept]", "tracestate:[a=kept]", "baggage:[b=kept]",
	} {
		if !strings.Contains(arrived, want) {
			t.Errorf("no %s in %s", want, arrived)
		}
	}
}

func TestGRPCRequestIDs(t *testing.T) {
	b := balance(t, []Server{{free(t), new(instance).serve(t)}})
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
				t.Errorf("%q became %q; the instance saw %s", c.id, id, resp.GetHostname())
			}
		})
	}
}

// An instance that refuses is passed over; one that was sent the call is not, whatever grpc_next_upstream says.
func TestWhatNginxRetriesForGRPC(t *testing.T) {
	t.Run("refused: the next is asked", func(t *testing.T) {
		t.Parallel()
		down := nobody(t)[:2]
		up := new(instance).serve(t)
		b := balance(t, append(down, Server{free(t), up}))
		if _, _, err := call(t, b.GRPC, "r", "grpc-previous-rpc-attempts", "2"); err != nil {
			t.Fatal(err)
		}
		l := b.only(t, "r")
		if want := down[0].GRPC + ", " + down[1].GRPC + ", " + up; l.UpstreamAddr != want || l.UpstreamStatus != "502, 502, 200" || l.TrailerStatus != "0" {
			t.Errorf("the access log: %+v, want addresses %s", l, want)
		}
	})
	t.Run("sent: nobody else is asked", func(t *testing.T) {
		t.Parallel()
		var connections atomic.Int32
		addr := broken(t, &connections)
		b := balance(t, []Server{{free(t), addr}, {free(t), new(instance).serve(t)}},
			edit{"grpc-listener.conf", "error timeout;", "error timeout non_idempotent;"})
		if _, _, err := call(t, b.GRPC, "s"); status.Code(err) != codes.Unavailable {
			t.Errorf("%v", err)
		}
		if l := b.only(t, "s"); l.UpstreamAddr != addr || connections.Load() != 1 {
			t.Errorf("asked were %q, with %d connections", l.UpstreamAddr, connections.Load())
		}
	})
	t.Run("sent, but the client has the service config: it tries again", func(t *testing.T) {
		t.Parallel()
		var connections atomic.Int32
		b := balance(t, []Server{{free(t), broken(t, &connections)}, {free(t), new(instance).serve(t)}})
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

func TestStreamsPass(t *testing.T) {
	b := balance(t, []Server{{free(t), new(instance).serve(t)}})
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
		t.Errorf("the access log: %+v", l)
	}
}

// Three calls share out over three instances, and calls one after the other reuse the idle connections.
func TestRoundRobin(t *testing.T) {
	var three [3]instance
	var servers []Server
	for i := range three {
		servers = append(servers, Server{free(t), three[i].serve(t)})
	}
	b := balance(t, servers)
	c := client(t, b.GRPC)
	for range 30 {
		if _, err := c.WhoAmI(t.Context(), &whoamiv1.WhoAmIRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range three {
		if n := three[i].calls.Load(); n != 10 {
			t.Errorf("instance %d had %d of 30 calls", i, n)
		}
	}
}
