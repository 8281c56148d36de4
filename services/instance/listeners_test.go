package instance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	whoamiv1 "trivet/gen/whoami/v1"
)

// running is an instance on ports assigned by the kernel, and a client of each listener.
type running struct {
	base       string // of the HTTP listener, http://host:port
	connection *grpc.ClientConn
	records    string       // path
	admin      string       // of the admin listener, http://host:port
	signal     func()       // what SIGTERM does
	over       <-chan error // what serve returned
}

// start runs an instance of service, or of the real service if nil, until the test ends.
func start(t *testing.T, service whoamiv1.WhoAmIServiceServer) running {
	t.Helper()
	if service != nil {
		return startApp(t, appOf(service), nil)
	}
	c, err := load(t, map[string]string{"INSTANCE": "whoami-7", "ENVIRONMENT": "qa"})
	if err != nil {
		t.Fatal(err)
	}
	a, err := fixture.New(c, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	return startApp(t, a, nil)
}

// startApp runs an instance of a, with settings, until the test ends.
func startApp(t *testing.T, a App, environ map[string]string) running {
	t.Helper()
	return startTraced(t, a, environ, nil)
}

// startTraced runs an instance that makes spans.
func startTraced(t *testing.T, a App, environ map[string]string, traces *tracing) running {
	t.Helper()
	all := map[string]string{"INSTANCE": "whoami-7", "ENVIRONMENT": "qa", "START_ID": "first"}
	maps.Copy(all, environ)
	c, err := load(t, all)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "records")
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	c.Records = path
	records, err := openRecorder(c, log)
	if err != nil {
		t.Fatal(err)
	}
	i, err := newInstance(c, a, records, traces, log)
	if err != nil {
		t.Fatal(err)
	}
	l := listeners{http: listener(t), grpc: listener(t), admin: listener(t)}
	l.http, l.grpc = l.bound(c, l.http), l.bound(c, l.grpc)
	rest, rpc := l.http, l.grpc
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- i.serve(ctx, l); close(over) }()
	t.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	connection, err := grpc.NewClient("passthrough:///"+rpc.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return running{"http://" + rest.Addr().String(), connection, path, "http://" + l.admin.Addr().String(), stop, over}
}

func listener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// response holds what both listeners' responses have in common.
type response struct {
	headers map[string][]string // lower-case names
	code    codes.Code          // of gRPC; over HTTP from the body
	message *whoamiv1.WhoAmIResponse
}

// http sends a GET, with headers as name, value, name, value.
func (r running) http(t *testing.T, path string, headers ...string) response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", r.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(headers, 2) {
		request.Header.Add(pair[0], pair[1])
	}
	rest, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer rest.Body.Close()
	body, err := io.ReadAll(rest.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := response{headers: make(map[string][]string), message: &whoamiv1.WhoAmIResponse{}}
	for name, values := range rest.Header {
		a.headers[strings.ToLower(name)] = values
	}
	if rest.StatusCode != http.StatusOK {
		var e struct{ Code codes.Code }
		if err := json.Unmarshal(body, &e); err != nil {
			t.Fatalf("%v: %q", err, body)
		}
		a.code = e.Code
		return a
	}
	if path == "/" {
		if err := protojson.Unmarshal(body, a.message); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// grpc calls a unary method of WhoAmIService or Health, with headers as name, value, name, value.
func (r running) grpc(t *testing.T, method string, headers ...string) response {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), headers...)
	a := response{message: &whoamiv1.WhoAmIResponse{}}
	var header, trailer metadata.MD
	var in, out proto.Message = &whoamiv1.WhoAmIRequest{}, a.message
	if strings.Contains(method, "Health") {
		in, out = &healthv1.HealthCheckRequest{}, &healthv1.HealthCheckResponse{}
	}
	err := r.connection.Invoke(ctx, method, in, out, grpc.Header(&header), grpc.Trailer(&trailer))
	a.code = status.Code(err)
	if a.headers = header; err != nil {
		a.headers = metadata.Join(header, trailer) // An error without a message comes with trailers alone.
	}
	return a
}

const whoAmI = "/whoami.v1.WhoAmIService/WhoAmI"

// panicking is a service whose calls panic.
type panicking struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
}

func (panicking) WhoAmI(context.Context, *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	panic("on purpose")
}

// The same requests to both listeners.
func TestBothListenersSendInstanceAndRequestID(t *testing.T) {
	t.Parallel()
	real, broken := start(t, nil), start(t, panicking{})
	long := strings.Repeat("a", 64)
	for _, test := range []struct {
		name         string
		on           running
		path, method string // the same request over HTTP and gRPC
		rest, rpc    codes.Code
	}{
		{"call", real, "/", whoAmI, codes.OK, codes.OK},
		{"health", real, "/readyz", "/grpc.health.v1.Health/Check", codes.OK, codes.OK},
		{"unknown path, unknown service", real, "/nope", "/no.Such/Method", codes.NotFound, codes.Unimplemented},
		{"path below, unknown method", real, "/x/y", "/whoami.v1.WhoAmIService/Nope", codes.NotFound, codes.Unimplemented},
		{"panic", broken, "/", whoAmI, codes.Internal, codes.Internal},
	} {
		for _, id := range []struct {
			name, sent string
			kept       bool
		}{
			{"none", "", false}, {"valid", "Aa0.-_", true}, {"longest", long, true}, {"too long", long + "a", false},
			{"space", "a b", false}, {"line end encoded", "a%0a", false}, {"quote", `a"b`, false}, {"slash", "a/b", false},
		} {
			t.Run(test.name+", id: "+id.name, func(t *testing.T) {
				t.Parallel()
				var headers []string
				if id.sent != "" {
					headers = []string{"x-request-id", id.sent}
				}
				rest, rpc := test.on.http(t, test.path, headers...), test.on.grpc(t, test.method, headers...)
				wantNamed(t, "http", rest, id.sent, id.kept)
				wantNamed(t, "grpc", rpc, id.sent, id.kept)
				if rest.code != test.rest || rpc.code != test.rpc {
					t.Errorf("codes %v, %v; want %v, %v", rest.code, rpc.code, test.rest, test.rpc)
				}
			})
		}
	}
}

// wantNamed checks that each of the two headers is there once, with the instance, and with the ID sent or a valid new one.
func wantNamed(t *testing.T, listener string, a response, sent string, kept bool) {
	t.Helper()
	if got := a.headers["x-instance"]; !slices.Equal(got, []string{"whoami-7"}) {
		t.Errorf("%s: x-instance %q, want whoami-7 once", listener, got)
	}
	ids := a.headers["x-request-id"]
	if len(ids) != 1 || !isID(ids[0]) || (ids[0] == sent) != kept {
		t.Errorf("%s: x-request-id %q after %q was sent; kept: want %t", listener, ids, sent, kept)
	}
}

// Clients retry an instance's UNAVAILABLE, because errors of unary calls have no header; a response that has one is final. So have
// errors of requests that grpc-go itself responds to.
func TestErrorsOfUnaryCallsAreRetried(t *testing.T) {
	t.Parallel()
	s := &failing{service: &service{name: "whoami-7"}, left: 2}
	r := start(t, s)
	connection, err := grpc.NewClient("passthrough:///"+r.connection.CanonicalTarget()[len("passthrough:///"):],
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(`{"methodConfig":[{"name":[{}],"retryPolicy":
		{"maxAttempts":3,"initialBackoff":"0.01s","maxBackoff":"0.01s","backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	var header metadata.MD
	if _, err := whoamiv1.NewWhoAmIServiceClient(connection).WhoAmI(t.Context(), nil, grpc.Header(&header)); err != nil {
		t.Errorf("%v, want a third attempt that succeeds", err)
	}
	if got := header["x-instance"]; len(got) != 1 {
		t.Errorf("x-instance %q in the header of a response, want it once", got)
	}
}

// failing is a service whose first calls fail.
type failing struct {
	*service
	left int
}

func (s *failing) WhoAmI(ctx context.Context, req *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	if s.left > 0 {
		s.left--
		return nil, status.Error(codes.Unavailable, "on purpose")
	}
	return s.service.WhoAmI(ctx, req)
}

// garbage is a codec that sends bytes that are not a message.
type garbage struct{}

func (garbage) Marshal(any) ([]byte, error) { return []byte{0xff, 0xff, 0xff}, nil }
func (garbage) Unmarshal([]byte, any) error { return nil }
func (garbage) Name() string                { return "proto" }

func TestUndecodableRequestHasHeadersAndRecords(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	var header, trailer metadata.MD
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "garbage")
	err := r.connection.Invoke(ctx, whoAmI, &whoamiv1.WhoAmIRequest{}, &whoamiv1.WhoAmIResponse{},
		grpc.ForceCodec(garbage{}), grpc.Header(&header), grpc.Trailer(&trailer))
	if status.Code(err) != codes.Internal {
		t.Errorf("%v, want INTERNAL", err)
	}
	wantNamed(t, "grpc", response{headers: metadata.Join(header, trailer)}, "garbage", true)
	for { // grpc-go responds while decoding, so the completion's record comes after the response.
		text, err := os.ReadFile(r.records)
		if err != nil || t.Context().Err() != nil {
			t.Fatalf("records: %s, %v", text, err)
		}
		if strings.Count(string(text), "garbage") == 2 {
			break
		}
	}
}

// Unless options prevent it, net/http and grpc-go respond to these requests themselves, without the instance's headers.
func TestLibrariesSendNoResponseOfTheirOwn(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	connection, err := net.Dial("tcp", strings.TrimPrefix(r.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent || response.Header.Get("Allow") == "" || response.Header.Get("X-Instance") != "whoami-7" {
		t.Errorf("OPTIONS *: %s %v", response.Status, response.Header)
	}
	if _, err := whoamiv1.NewWhoAmIServiceClient(r.connection).WhoAmI(t.Context(), nil, grpc.UseCompressor(gzip.Name)); err != nil {
		t.Errorf("a compressed call: %v", err)
	}
}

func TestStreamHeadersNameInstanceAndRequest(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "stream")
	watch, err := whoamiv1.NewWhoAmIServiceClient(r.connection).WatchWhoAmI(ctx, &whoamiv1.WatchWhoAmIRequest{Interval: durationpb.New(10 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	for want := uint64(1); want <= 3; want++ {
		m, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetSequence() != want || m.GetAnswer().GetInstance() != "whoami-7" || m.GetAnswer().GetCaller().GetRequestId() != "stream" {
			t.Errorf("%v, want sequence %d", m, want)
		}
	}
	header, err := watch.Header()
	if err != nil {
		t.Fatal(err)
	}
	wantNamed(t, "watch", response{headers: header}, "stream", true)

	reflection, err := reflectionv1.NewServerReflectionClient(r.connection).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := reflection.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if header, err = reflection.Header(); err != nil {
		t.Fatal(err)
	}
	_, err = reflection.Recv()
	if err != io.EOF {
		t.Errorf("reflection ended with %v, want EOF", err)
	}
	wantNamed(t, "reflection", response{headers: metadata.Join(header, reflection.Trailer())}, "stream", true)
}

// Each request to either listener writes two lines, which agree on all but event and code.
func TestRequestWritesArrivalAndCompletion(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	r.http(t, "/", "x-request-id", "one")
	r.http(t, "/nope", "x-request-id", "two")
	r.grpc(t, whoAmI, "x-request-id", "three", "grpc-previous-rpc-attempts", "2")
	r.grpc(t, "/no.Such/Method", "x-request-id", "four")
	text, err := os.ReadFile(r.records)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range bytes.Lines(text) {
		var one recordLine
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if one.Version != recordVersion || one.Start != "first" || one.Instance != "whoami-7" || one.PID != os.Getpid() || one.Time.IsZero() {
			t.Errorf("%+v", one)
		}
		got = append(got, strings.Join([]string{one.Event, strconv.FormatUint(one.Call, 10), one.ID, string(one.Protocol), one.Method, one.Attempts, one.Code}, " "))
	}
	want := []string{
		"arrival 1 one http GET /  ", "completion 1 one http GET /  200",
		"arrival 2 two http GET /nope  ", "completion 2 two http GET /nope  404",
		"arrival 3 three grpc " + whoAmI + " 2 ", "completion 3 three grpc " + whoAmI + " 2 OK",
		"arrival 4 four grpc /no.Such/Method  ", "completion 4 four grpc /no.Such/Method  Unimplemented",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPanicDoesNotEndInstance(t *testing.T) {
	t.Parallel()
	r := start(t, panicking{})
	for range 3 {
		if a := r.http(t, "/"); a.code != codes.Internal {
			t.Errorf("http: %v", a.code)
		}
		if a := r.grpc(t, whoAmI); a.code != codes.Internal {
			t.Errorf("grpc: %v", a.code)
		}
	}
	if a := r.http(t, "/healthz"); a.code != codes.OK {
		t.Errorf("healthz: %v", a.code)
	}
}
