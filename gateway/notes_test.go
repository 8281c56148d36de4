package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"trivet/gateway"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/notes"
	notesv1 "trivet/internal/notes/v1"
)

// notesServer serves the notes service with interceptors.
func notesServer(t *testing.T, unary []grpc.UnaryServerInterceptor, stream []grpc.StreamServerInterceptor) *httptest.Server {
	t.Helper()
	conn := gateway.NewConn(unary, stream)
	(&notes.Service{}).Register(conn)
	return serveConn(t, conn, notes.Mapping)
}

// send sends a request with a body, and returns the response with its body.
func send(t *testing.T, server *httptest.Server, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

func TestAnyMethodAndPathOfMappingIsServed(t *testing.T) {
	t.Parallel()
	server := notesServer(t, nil, nil)
	for _, test := range []struct {
		method, path, body string
		status             int
		want, allow        string
	}{
		{"POST", "/v1/topics/a%20b/notes", `{"text":"one"}`, 200, `{"note":{"topic":"a b","id":"1","text":"one"}}`, ""},
		{"GET", "/v1/topics/a%20b/notes/1", "", 200, `{"note":{"topic":"a b","id":"1","text":"one"}}`, ""},
		{"HEAD", "/v1/topics/a%20b/notes/1", "", 200, "", ""},
		{"GET", "/v1/topics/a/notes/7", "", 404, `no note 7 in topic \"a\"`, ""},
		{"GET", "/v1/topics/a/notes/x", "", 400, `"code":3`, ""},
		{"POST", "/v1/topics/a/notes", `{"text":"one","unknown":1}`, 400, `unknown field`, ""},
		{"POST", "/v1/topics/a/notes", `{`, 400, `"code":3`, ""},
		{"DELETE", "/v1/topics/a/notes/1", "", 405, `"code":12`, "GET, HEAD, OPTIONS"},
		{"POST", "/v1/topics/a/notes/1", "", 405, `"code":12`, "GET, HEAD, OPTIONS"},
		{"GET", "/v1/topics/a/notes", "", 405, `"code":12`, "POST, OPTIONS"},
		{"HEAD", "/v1/topics/a/notes", "", 405, "", "POST, OPTIONS"},
		{"OPTIONS", "/v1/topics/a/notes", "", 204, "", "POST, OPTIONS"},
		{"OPTIONS", "/v1/nothing", "", 404, `"code":5`, ""},
		{"GET", "/v1/nothing", "", 404, `"code":5`, ""},
	} {
		response, body := send(t, server, test.method, test.path, test.body)
		if response.StatusCode != test.status || !strings.Contains(body, test.want) || response.Header.Get("Allow") != test.allow {
			t.Errorf("%s %s: %s, Allow %q, %s; want %d, %q, %s", test.method, test.path,
				response.Status, response.Header.Get("Allow"), body, test.status, test.allow, test.want)
		}
	}
}

func TestErrorsKeepDetailsHeadersAndTrailers(t *testing.T) {
	t.Parallel()
	server := notesServer(t, nil, nil)
	response, body := send(t, server, "POST", "/v1/topics/f/notes", `{}`, "TE", "trailers")
	want := `{"code":3,"message":"text is empty","details":[{"@type":"type.googleapis.com/notes.v1.Note","topic":"f","id":"0","text":""}]}` + "\n"
	if response.StatusCode != 400 || body != want {
		t.Errorf("%s %s\nwant 400 %s", response.Status, body, want)
	}
	if got := response.Header.Get("X-Notes"); got != "f" {
		t.Errorf("X-Notes %q, want f: the header that was set before the error", got)
	}
	if got := response.Trailer.Get("Grpc-Trailer-X-Notes-Total"); got != "1" {
		t.Errorf("trailers %v, want Grpc-Trailer-X-Notes-Total 1", response.Trailer)
	}
}

func TestInterceptorsRunInOrderForUnaryCallsAndStreams(t *testing.T) {
	t.Parallel()
	var order []string
	unary := func(name string) grpc.UnaryServerInterceptor {
		return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			order = append(order, name+" "+info.FullMethod)
			return handler(ctx, req)
		}
	}
	deny := func(any, grpc.ServerStream, *grpc.StreamServerInfo, grpc.StreamHandler) error {
		return status.Error(codes.PermissionDenied, "no")
	}
	server := notesServer(t, []grpc.UnaryServerInterceptor{unary("1"), unary("2")}, []grpc.StreamServerInterceptor{deny})
	send(t, server, "POST", "/v1/topics/f/notes", `{"text":"x"}`)
	if got := strings.Join(order, ", "); got != "1 /notes.v1.NotesService/CreateNote, 2 /notes.v1.NotesService/CreateNote" {
		t.Errorf("interceptors ran as %s", got)
	}
	if response, body := send(t, server, "POST", "/v1/notes:upload", `{"text":"x"}`); response.StatusCode != 403 || !strings.Contains(body, `"code":7`) {
		t.Errorf("a stream that an interceptor denies: %s %s", response.Status, body)
	}
}

func TestClientStreamIsOneObjectPerMessage(t *testing.T) {
	t.Parallel()
	server := notesServer(t, nil, nil)
	many := strings.Repeat(`{"topic":"f","text":"`+strings.Repeat("x", 100_000)+`"}`+"\n", 50) // 5 MB: more than the limit of one message
	if response, body := send(t, server, "POST", "/v1/notes:upload", many); response.StatusCode != 200 || body != `{"count":"50"}`+"\n" {
		t.Errorf("%s %s", response.Status, body)
	}
	response, body := send(t, server, "POST", "/v1/notes:upload", `{"text":"x"}{"text":""}`)
	if response.StatusCode != 400 || !strings.Contains(body, "text is empty") {
		t.Errorf("%s %s", response.Status, body)
	}
}

func TestBodyOfOneMessageIsLimited(t *testing.T) {
	t.Parallel()
	server := notesServer(t, nil, nil)
	for size, want := range map[int]int{gateway.DefaultMaxMessage: 200, gateway.DefaultMaxMessage + 1: 413} {
		response, body := send(t, server, "POST", "/v1/topics/f/notes", strings.Repeat(" ", size-12)+`{"text":"x"}`)
		if response.StatusCode != want {
			t.Errorf("%d bytes: %s %.200s; want %d", size, response.Status, body, want)
		}
	}
}

// watcher sends messages until its context ends or it has sent count, and then fails with err.
type watcher struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	count uint64
	err   error
	ended chan error
}

func (w watcher) WatchWhoAmI(_ *whoamiv1.WatchWhoAmIRequest, stream grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
	for n := uint64(1); n <= w.count; n++ {
		if err := stream.Send(&whoamiv1.WatchWhoAmIResponse{Sequence: n}); err != nil {
			return err
		}
	}
	if w.ended == nil {
		return w.err
	}
	<-stream.Context().Done()
	w.ended <- stream.Context().Err()
	return stream.Context().Err()
}

func watchServer(t *testing.T, w watcher) *httptest.Server {
	t.Helper()
	conn := gateway.NewConn(nil, nil)
	whoamiv1.RegisterWhoAmIServiceServer(conn, w)
	return serveConn(t, conn, whoAmI)
}

const first = `{"result":{"sequence":"1","answer":null}}` + "\n"

func TestServerStreamIsNewlineDelimitedJSONOrEvents(t *testing.T) {
	t.Parallel()
	server := watchServer(t, watcher{count: 2, err: status.Error(codes.Unavailable, "draining")})
	second := strings.Replace(first, `"1"`, `"2"`, 1)
	failure := `{"error":{"code":14,"message":"draining","details":[]}}` + "\n"
	for _, test := range []struct{ accept, contentType, body string }{
		{"", "application/x-ndjson", first + second + failure},
		{"*/*", "application/x-ndjson", first + second + failure},
		{"application/json", "application/x-ndjson", first + second + failure},
		{"text/event-stream", "text/event-stream", "data: " + first + "\ndata: " + second + "\nevent: error\ndata: " + failure + "\n"},
		{"text/html, Text/Event-Stream;q=0.9", "text/event-stream", "data: " + first + "\ndata: " + second + "\nevent: error\ndata: " + failure + "\n"},
	} {
		var headers []string
		if test.accept != "" {
			headers = []string{"Accept", test.accept}
		}
		response, body := do(t, server, "GET", "/watch", headers...)
		if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != test.contentType || body != test.body {
			t.Errorf("Accept %q: %s, %s\n%s\nwant %s\n%s", test.accept, response.Status, got, body, test.contentType, test.body)
		}
	}
	if response, _ := do(t, server, "HEAD", "/watch"); response.StatusCode != 200 {
		t.Errorf("HEAD: %s", response.Status)
	}
}

func TestStreamArrivesMessageByMessageAndEndsWithTheClient(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	server := watchServer(t, watcher{count: 1, ended: ended})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if line, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil || line != first {
		t.Errorf("%q, %v: want the first message while the stream lasts", line, err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the service's context ended with %v", err)
	}
}

// The response to HEAD has no body, so the stream must not go on.
func TestHEADEndsStream(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	server := watchServer(t, watcher{count: 1, ended: ended})
	if response, body := do(t, server, "HEAD", "/watch"); response.StatusCode != 200 || body != "" {
		t.Errorf("%s %q", response.Status, body)
	}
	if err := <-ended; err == nil {
		t.Error("the service's context did not end")
	}
}

// The error of a service that ends a client stream early arrives at once, although the client is still sending.
func TestClientStreamErrorArrivesWhileClientSends(t *testing.T) {
	t.Parallel()
	server := notesServer(t, nil, nil)
	body, write := io.Pipe()
	defer write.Close()
	go io.WriteString(write, `{"text":""}`)
	response, err := server.Client().Post(server.URL+"/v1/notes:upload", "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != 400 || !strings.Contains(string(text), "text is empty") {
		t.Errorf("%s %s", response.Status, text)
	}
}

// A client stream may last longer than the server's ReadTimeout, which applies to one message.
func TestClientStreamOutlastsReadTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 100 * time.Millisecond
	conn := gateway.NewConn(nil, nil)
	(&notes.Service{}).Register(conn)
	rest, err := gateway.New(t.Context(), conn, gateway.Options{}, notes.Mapping)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(rest)
	server.Config.ReadTimeout = timeout
	server.Start()
	t.Cleanup(server.Close)
	body, write := io.Pipe()
	go func() {
		ticker := time.NewTicker(timeout)
		defer ticker.Stop()
		for range 4 {
			<-ticker.C
			io.WriteString(write, `{"text":"x"}`)
		}
		write.Close()
	}()
	response, err := server.Client().Post(server.URL+"/v1/notes:upload", "application/json", body)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); string(text) != `{"count":"4"}`+"\n" {
		t.Errorf("%s %s", response.Status, text)
	}
}

func TestServiceSeesTLSOfThePeer(t *testing.T) {
	t.Parallel()
	var info credentials.AuthInfo
	conn := gateway.NewConn(nil, nil)
	whoamiv1.RegisterWhoAmIServiceServer(conn, implementation{respond: func(ctx context.Context) (*whoamiv1.WhoAmIResponse, error) {
		p, _ := peer.FromContext(ctx)
		info = p.AuthInfo
		return ok(ctx)
	}})
	rest, err := gateway.New(t.Context(), conn, gateway.Options{}, whoAmI)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(rest)
	t.Cleanup(server.Close)
	do(t, server, "GET", "/")
	got, isTLS := info.(credentials.TLSInfo)
	if !isTLS || got.State.Version < tls.VersionTLS12 || got.SecurityLevel != credentials.PrivacyAndIntegrity {
		t.Errorf("AuthInfo %#v, want TLSInfo of the connection", info)
	}
}

// Calls that the service itself makes must not carry the client's metadata.
func TestOutgoingMetadataStaysWithTheClient(t *testing.T) {
	t.Parallel()
	server := serve(t, func(ctx context.Context) (*whoamiv1.WhoAmIResponse, error) {
		if md, _ := metadata.FromOutgoingContext(ctx); len(md) > 0 {
			return nil, status.Errorf(codes.Internal, "outgoing metadata %v", md)
		}
		return ok(ctx)
	})
	if response, body := do(t, server, "GET", "/", "Authorization", "Bearer x"); response.StatusCode != 200 {
		t.Error(body)
	}
}

// Client and service do not see each other's changes to a message after it was sent.
func TestMessagesAreCopied(t *testing.T) {
	t.Parallel()
	kept := &whoamiv1.WhoAmIResponse{Instance: "whoami-1", Caller: &whoamiv1.Caller{RequestId: "a"}}
	conn := gateway.NewConn(nil, nil)
	whoamiv1.RegisterWhoAmIServiceServer(conn, implementation{respond: func(context.Context) (*whoamiv1.WhoAmIResponse, error) { return kept, nil }})
	got, err := whoamiv1.NewWhoAmIServiceClient(conn).WhoAmI(t.Context(), &whoamiv1.WhoAmIRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got.Caller.RequestId = "changed"
	if kept.Caller.RequestId != "a" {
		t.Error("the client changed the service's message")
	}
}

// Errors of handlers follow the rules of grpc-go's server.
func TestHandlerErrorsWithoutStatusGetTheirCode(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]codes.Code{
		context.Canceled: codes.Canceled, context.DeadlineExceeded: codes.DeadlineExceeded, io.ErrUnexpectedEOF: codes.Unknown,
	} {
		conn := gateway.NewConn(nil, nil)
		whoamiv1.RegisterWhoAmIServiceServer(conn, implementation{respond: func(context.Context) (*whoamiv1.WhoAmIResponse, error) { return nil, err }})
		_, got := whoamiv1.NewWhoAmIServiceClient(conn).WhoAmI(t.Context(), &whoamiv1.WhoAmIRequest{})
		if status.Code(got) != want {
			t.Errorf("%v became %v, want %v", err, got, want)
		}
	}
}

func TestUnregisteredMethodsAreUnimplemented(t *testing.T) {
	t.Parallel()
	conn := gateway.NewConn(nil, nil)
	if _, err := notesv1.NewNotesServiceClient(conn).GetNote(t.Context(), nil); status.Code(err) != codes.Unimplemented {
		t.Errorf("unary: %v", err)
	}
	if _, err := notesv1.NewNotesServiceClient(conn).UploadNotes(t.Context()); status.Code(err) != codes.Unimplemented {
		t.Errorf("stream: %v", err)
	}
}

// An error with a detail of a type unknown to this program arrives without details.
func TestErrorWithUnknownDetailArrivesWithoutDetails(t *testing.T) {
	t.Parallel()
	p := status.New(codes.Aborted, "busy").Proto()
	p.Details = append(p.Details, unknownDetail())
	server := serve(t, func(context.Context) (*whoamiv1.WhoAmIResponse, error) { return nil, status.ErrorProto(p) })
	response, body := do(t, server, "GET", "/")
	var got struct {
		Code    int
		Message string
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || response.StatusCode != 409 || got.Code != 10 || got.Message != "busy" {
		t.Errorf("%s %s, %v", response.Status, body, err)
	}
}

func unknownDetail() *anypb.Any {
	return &anypb.Any{TypeUrl: "type.googleapis.com/no.such.Type", Value: []byte{1}}
}
