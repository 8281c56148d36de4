package gateway_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trivet/gateway"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/notes"
	notesv1 "trivet/internal/notes/v1"
)

// uploads is a notes service whose client stream is handled by a function.
type uploads struct {
	notesv1.UnimplementedNotesServiceServer
	handle func(grpc.ClientStreamingServer[notesv1.UploadNotesRequest, notesv1.UploadNotesResponse]) error
}

func (u uploads) UploadNotes(stream grpc.ClientStreamingServer[notesv1.UploadNotesRequest, notesv1.UploadNotesResponse]) error {
	return u.handle(stream)
}

// A service may respond before it has read all requests.
func TestClientStreamMayRespondEarly(t *testing.T) {
	t.Parallel()
	conn := gateway.NewConn(nil, nil)
	notesv1.RegisterNotesServiceServer(conn, uploads{handle: func(stream grpc.ClientStreamingServer[notesv1.UploadNotesRequest, notesv1.UploadNotesResponse]) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		return stream.SendAndClose(&notesv1.UploadNotesResponse{Count: 1})
	}})
	server := serveConn(t, conn, notes.Mapping)
	many := strings.Repeat(`{"text":"x"}`, 100)
	for range 20 { // On one connection, where net/http keeps it.
		if response, body := send(t, server, "POST", "/v1/notes:upload", many); response.StatusCode != 200 || body != `{"count":"1"}`+"\n" {
			t.Fatalf("%s %s", response.Status, body)
		}
	}
}

// Streams that a handler calls in process do not end the body of the request that it serves.
func TestStreamWithinStreamLeavesBodyOpen(t *testing.T) {
	t.Parallel()
	conn := gateway.NewConn(nil, nil)
	whoamiv1.RegisterWhoAmIServiceServer(conn, watcher{count: 1})
	notesv1.RegisterNotesServiceServer(conn, uploads{handle: func(stream grpc.ClientStreamingServer[notesv1.UploadNotesRequest, notesv1.UploadNotesResponse]) error {
		watch, err := whoamiv1.NewWhoAmIServiceClient(conn).WatchWhoAmI(stream.Context(), nil)
		if err != nil {
			return err
		}
		for err == nil {
			_, err = watch.Recv()
		}
		count := int64(0)
		for err = nil; ; count++ {
			if _, err = stream.Recv(); err != nil {
				break
			}
		}
		if err != io.EOF {
			return err
		}
		return stream.SendAndClose(&notesv1.UploadNotesResponse{Count: count})
	}})
	server := serveConn(t, conn, notes.Mapping)
	if response, body := send(t, server, "POST", "/v1/notes:upload", strings.Repeat(`{"text":"x"}`, 5000)); body != `{"count":"5000"}`+"\n" {
		t.Errorf("%s %s", response.Status, body)
	}
}

// The limit applies to each message of a client stream.
func TestEachClientStreamMessageIsLimited(t *testing.T) {
	t.Parallel()
	conn := gateway.NewConn(nil, nil)
	(&notes.Service{}).Register(conn)
	rest, err := gateway.New(t.Context(), conn, gateway.Options{MaxMessage: 10_000}, notes.Mapping)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(rest)
	t.Cleanup(server.Close)
	message := func(size int) string { return `{"text":"` + strings.Repeat("x", size) + `"}` }
	for body, want := range map[string]int{strings.Repeat(message(5_000), 20): 200, message(5_000) + message(20_000): 413} {
		if response, text := send(t, server, "POST", "/v1/notes:upload", body); response.StatusCode != want {
			t.Errorf("%s %s; want %d", response.Status, text, want)
		}
	}
}

// The error that ends a stream arrives whatever its content: a failed stream must not look complete.
func TestStreamErrorThatJSONCannotHoldArrives(t *testing.T) {
	t.Parallel()
	p := status.New(codes.Aborted, "not UTF-8: \xff").Proto()
	p.Details = append(p.Details, unknownDetail())
	for _, count := range []uint64{0, 1} {
		server := watchServer(t, watcher{count: count, err: status.ErrorProto(p)})
		response, body := do(t, server, "GET", "/watch")
		if !strings.Contains(body, `{"error":{"code":10,`) || (count == 0) != (response.StatusCode == 409) {
			t.Errorf("after %d messages: %s %s", count, response.Status, body)
		}
	}
}

func TestAcceptThatRefusesEventsGetsJSON(t *testing.T) {
	t.Parallel()
	server := watchServer(t, watcher{count: 1})
	for _, headers := range [][]string{{"Accept", "text/event-stream;q=0, */*"}, {"Accept", "text/event-stream; q=0.0"}, {"Content-Type", "text/event-stream"}} {
		if response, _ := do(t, server, "GET", "/watch", headers...); response.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%v: %s", headers, response.Header.Get("Content-Type"))
		}
	}
}

func TestSendAfterCloseSendIsAnError(t *testing.T) {
	t.Parallel()
	conn := gateway.NewConn(nil, nil)
	(&notes.Service{}).Register(conn)
	stream, err := notesv1.NewNotesServiceClient(conn).UploadNotes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&notesv1.UploadNotesRequest{}); status.Code(err) != codes.Internal {
		t.Errorf("%v", err)
	}
}

// Users test handlers with requests from http.NewRequest, whose Body is nil without a body.
func TestRequestWithoutBodyIsServed(t *testing.T) {
	t.Parallel()
	conn := gateway.NewConn(nil, nil)
	(&notes.Service{}).Register(conn)
	rest, err := gateway.New(context.Background(), conn, gateway.Options{}, notes.Mapping)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest("POST", "/v1/topics/f/notes", nil)
	if err != nil {
		t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	rest.ServeHTTP(recorder, request)
	if recorder.Code != 400 {
		t.Errorf("%d %s", recorder.Code, recorder.Body)
	}
}
