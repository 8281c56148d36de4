package instance

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"trivet/gateway"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/notes"
	notesv1 "trivet/internal/notes/v1"
)

const token = "Bearer secret"

// authorize checks a token, like an auth interceptor that a user adds.
func authorize(ctx context.Context) error {
	switch first(ctx, "authorization") {
	case "":
		return status.Error(codes.Unauthenticated, "no token")
	case token:
		return nil
	}
	return status.Error(codes.PermissionDenied, "wrong token")
}

// extended returns the app with a second service and an auth interceptor, added as a user would.
func extended(t *testing.T) App {
	t.Helper()
	c, err := load(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := fixture.New(c, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	second, whoAmIOnly := &notes.Service{}, a.Register
	a.Register = func(r grpc.ServiceRegistrar) { whoAmIOnly(r); second.Register(r) }
	a.Mappings = append(a.Mappings, gateway.Mapping(notes.Mapping))
	a.Unary = append(a.Unary, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if strings.HasPrefix(info.FullMethod, "/grpc.") {
			return handler(ctx, req)
		}
		if err := authorize(ctx); err != nil {
			return nil, err
		}
		return handler(ctx, req)
	})
	a.Stream = append(a.Stream, func(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if err := authorize(stream.Context()); err != nil {
			return err
		}
		return handler(service, stream)
	})
	return a
}

// rest sends a request with a body, and returns status, headers and body of the response.
func (r running) rest(t *testing.T, method, path, body, authorization string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

// An auth interceptor and a second service behave the same on both listeners.
func TestInterceptorsAndServicesApplyToBothListeners(t *testing.T) {
	t.Parallel()
	r := startApp(t, extended(t), nil)
	client := notesv1.NewNotesServiceClient(r.connection)
	upload := func(ctx context.Context, texts ...string) error {
		stream, err := client.UploadNotes(ctx)
		if err != nil {
			return err
		}
		for _, text := range texts {
			if err := stream.Send(&notesv1.UploadNotesRequest{Topic: "f", Text: text}); err != nil {
				break // CloseAndRecv has the reason.
			}
		}
		_, err = stream.CloseAndRecv()
		return err
	}
	for _, test := range []struct {
		name, method, path, body string
		call                     func(context.Context) error
		code                     codes.Code // with the right token
	}{
		{"WhoAmI", "GET", "/", "", func(ctx context.Context) error {
			_, err := whoamiv1.NewWhoAmIServiceClient(r.connection).WhoAmI(ctx, nil)
			return err
		}, codes.OK},
		{"POST", "POST", "/v1/topics/f/notes", `{"text":"x"}`, func(ctx context.Context) error {
			_, err := client.CreateNote(ctx, &notesv1.CreateNoteRequest{Topic: "f", Text: "x"})
			return err
		}, codes.OK},
		{"error with details", "POST", "/v1/topics/f/notes", `{}`, func(ctx context.Context) error {
			_, err := client.CreateNote(ctx, &notesv1.CreateNoteRequest{Topic: "f"})
			return err
		}, codes.InvalidArgument},
		{"path parameters", "GET", "/v1/topics/f/notes/77", "", func(ctx context.Context) error {
			_, err := client.GetNote(ctx, &notesv1.GetNoteRequest{Topic: "f", Id: 77})
			return err
		}, codes.NotFound},
		{"client stream", "POST", "/v1/notes:upload", `{"topic":"f","text":"x"}{"topic":"f","text":"y"}`, func(ctx context.Context) error {
			return upload(ctx, "x", "y")
		}, codes.OK},
		{"client stream that fails", "POST", "/v1/notes:upload", `{"topic":"f","text":"x"}{"topic":"f","text":""}`, func(ctx context.Context) error {
			return upload(ctx, "x", "")
		}, codes.InvalidArgument},
	} {
		for authorization, want := range map[string]codes.Code{"": codes.Unauthenticated, "Bearer wrong": codes.PermissionDenied, token: test.code} {
			ctx := t.Context()
			if authorization != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
			}
			overGRPC := status.Convert(test.call(ctx))
			_, header, body := r.rest(t, test.method, test.path, test.body, authorization)
			var overREST struct {
				Code    codes.Code
				Message string
				Details []any
			}
			if err := json.Unmarshal([]byte(body), &overREST); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			if overGRPC.Code() != want || overREST.Code != want || overREST.Message != overGRPC.Message() || len(overREST.Details) != len(overGRPC.Details()) {
				t.Errorf("%s, authorization %q: gRPC %v with %d details, REST %s; want %v", test.name, authorization, overGRPC, len(overGRPC.Details()), body, want)
			}
			if got := header.Values("X-Instance"); len(got) != 1 || got[0] != "whoami-7" {
				t.Errorf("%s: X-Instance %q, want it once", test.name, got)
			}
		}
	}
}

// A drain ends the calls of a service without drain code: streams at once, unary calls at DRAIN_TIMEOUT.
func TestDrainEndsEveryMethodOnBothListeners(t *testing.T) {
	t.Parallel()
	r := startApp(t, extended(t), map[string]string{"DRAIN_TIMEOUT": "1s"})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", token)
	client := notesv1.NewNotesServiceClient(r.connection)

	errs := make(map[string]chan error)
	background := func(name string, call func() error) {
		ended := make(chan error, 1)
		errs[name] = ended
		go func() { ended <- call() }()
	}
	background("unary, draining: the call outlived DRAIN_TIMEOUT", func() error {
		_, err := client.WaitForNote(ctx, nil)
		return err
	})
	upload, err := client.UploadNotes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := upload.Send(&notesv1.UploadNotesRequest{Text: "x"}); err != nil {
		t.Fatal(err)
	}
	background("client stream, draining: reconnect", func() error {
		var resp notesv1.UploadNotesResponse
		return upload.RecvMsg(&resp)
	})
	watch, err := whoamiv1.NewWhoAmIServiceClient(r.connection).WatchWhoAmI(ctx, &whoamiv1.WatchWhoAmIRequest{Interval: durationpb.New(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	background("server stream, draining: reconnect", func() error {
		_, err := watch.Recv()
		return err
	})

	unaryREST, uploadREST, watchREST := make(chan string, 1), make(chan string, 1), make(chan string, 1)
	go func() { _, _, body := r.rest(t, "GET", "/v1/wait", "", token); unaryREST <- body }()
	body, write := io.Pipe()
	go r.postOpen(t, "/v1/notes:upload", body, uploadREST)
	if _, err := io.WriteString(write, `{"text":"x"}`); err != nil {
		t.Fatal(err)
	}
	lines := r.open(t, "/watch?interval=3600s")
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	go func() { rest, _ := io.ReadAll(lines); watchREST <- string(rest) }()
	r.awaitRunning(t, 2, 4)

	r.signal()
	for name, ended := range errs {
		_, want, _ := strings.Cut(name, ", ")
		if got := status.Convert(<-ended); got.Code() != codes.Unavailable || got.Message() != want {
			t.Errorf("gRPC, %s: %v", name, got)
		}
	}
	for name, got := range map[string]string{"outlived DRAIN_TIMEOUT": <-unaryREST, "draining: reconnect": <-uploadREST, "reconnect": <-watchREST} {
		if !strings.Contains(got, `"code":14`) || !strings.Contains(got, name) {
			t.Errorf("REST: %q, want code 14 and %q", got, name)
		}
	}
	if err := <-r.over; err != nil {
		t.Error(err)
	}
}

// postOpen sends a body without an end, and sends the response's body to got.
func (r running) postOpen(t *testing.T, path string, body io.Reader, got chan<- string) {
	request, err := http.NewRequestWithContext(t.Context(), "POST", r.base+path, body)
	if err != nil {
		got <- err.Error()
		return
	}
	request.Header.Set("Authorization", token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		got <- err.Error()
		return
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	got <- string(text)
}

// open sends a GET and returns a reader of the body as it arrives.
func (r running) open(t *testing.T, path string) *bufio.Reader {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", r.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return bufio.NewReader(response.Body)
}

// awaitRunning waits until the admin listener reports these numbers of running unary calls and streams.
func (r running) awaitRunning(t *testing.T, unary, streams int64) {
	t.Helper()
	for {
		response, err := http.Get(r.admin + "/status")
		if err != nil {
			t.Fatal(err)
		}
		var s Status
		err = json.NewDecoder(response.Body).Decode(&s)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if s.UnaryCalls == unary && s.Streams == streams {
			return
		}
		if t.Context().Err() != nil {
			t.Fatalf("%+v; want %d unary calls and %d streams", s, unary, streams)
		}
	}
}
