package instance

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
	notesv1 "trivet/internal/notes/v1"
)

// soon is a timeout that a test waits for; patient is one that it must not reach.
const (
	soon    = "200ms"
	patient = "10m"
)

// rawHTTP sends text over a new connection.
func (r running) rawHTTP(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A missing body holds its connection for READ_TIMEOUT, for any path and method.
func TestMissingBodyEndsConnectionAtReadTimeout(t *testing.T) {
	t.Parallel()
	r := startApp(t, extended(t), map[string]string{"READ_TIMEOUT": soon})
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"GET /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
		"POST /v1/topics/f/notes HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nX-Half: ",
	} {
		conn := r.rawHTTP(t, request)
		if _, err := io.Copy(io.Discard, conn); err != nil && !isReset(err) {
			t.Errorf("%q: %v", request, err)
		}
	}
}

func isReset(err error) bool { return strings.Contains(err.Error(), "reset by peer") }

// While the instance drains, missing bodies have bodyGrace, not READ_TIMEOUT.
func TestDrainDoesNotWaitForBodies(t *testing.T) {
	t.Parallel()
	r := startApp(t, extended(t), map[string]string{"READ_TIMEOUT": patient, "CALL_TIMEOUT": patient, "DRAIN_TIMEOUT": patient})
	for _, path := range []string{"/", "/nope", "/healthz", "/v1/topics/f/notes"} {
		r.rawHTTP(t, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
		r.rawHTTP(t, "GET "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	}
	// Once the ninth connection has its response, the eight before it have been accepted and are being read.
	if _, _, body := r.rest(t, "GET", "/healthz", "", ""); !strings.Contains(body, "SERVING") {
		t.Fatal(body)
	}
	r.signal()
	select {
	case err := <-r.over:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second): // bodyGrace is one second; READ_TIMEOUT and DRAIN_TIMEOUT are ten minutes.
		t.Error("the drain waits for bodies")
	}
}

// READ_TIMEOUT and bodyGrace bound the arrival of a request, not its handler.
func TestHandlerOutlastsReadTimeoutAndBodyGrace(t *testing.T) {
	t.Parallel()
	r := startApp(t, extended(t), map[string]string{"READ_TIMEOUT": "100ms", "CALL_TIMEOUT": "3s"})
	var responses []*bufio.Reader
	for _, headers := range []string{"", "Content-Length: 2\r\n"} {
		conn := r.rawHTTP(t, "GET /v1/wait HTTP/1.1\r\nHost: x\r\nAuthorization: "+token+"\r\n"+headers+"\r\n"+strings.Repeat("x", len(headers)/9))
		responses = append(responses, bufio.NewReader(conn))
	}
	r.awaitRunning(t, 2, 0)
	r.signal()
	for n, in := range responses {
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("request %d: %s; want 504, of CALL_TIMEOUT", n, response.Status)
		}
	}
}

// halfOpen is a gRPC connection that can send headers without a message.
type halfOpen struct {
	net.Conn
	*http2.Framer
	headers bytes.Buffer
	encoder *hpack.Encoder
	next    uint32
	timeout string // grpc-timeout of calls; "" for none
}

func (r running) halfOpen(t *testing.T) *halfOpen {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.connection.Target(), "passthrough:///"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	h := &halfOpen{Conn: conn, Framer: http2.NewFramer(conn, conn), next: 1}
	h.encoder = hpack.NewEncoder(&h.headers)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return h
}

// open sends the headers of a call without a message, and returns the stream.
func (h *halfOpen) open(t *testing.T, method string) uint32 {
	t.Helper()
	h.headers.Reset()
	fields := [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"},
		{"authorization", token},
	}
	if h.timeout != "" {
		fields = append(fields, [2]string{"grpc-timeout", h.timeout})
	}
	for _, f := range fields {
		if err := h.encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			t.Fatal(err)
		}
	}
	stream := h.next
	h.next += 2
	if err := h.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: h.headers.Bytes(), EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	return stream
}

// end reads until the stream is over, and returns its grpc-status.
func (h *halfOpen) end(t *testing.T, stream uint32) string {
	t.Helper()
	grpcStatus := ""
	decoder := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == "grpc-status" {
			grpcStatus = f.Value
		}
	})
	for {
		frame, err := h.ReadFrame()
		if err != nil {
			t.Fatalf("before the end of the stream: %v", err)
		}
		if f, ok := frame.(*http2.HeadersFrame); ok {
			if _, err := decoder.Write(f.HeaderBlockFragment()); err != nil {
				t.Fatal(err)
			}
			if f.StreamID == stream && f.StreamEnded() {
				return grpcStatus
			}
		}
	}
}

// A call whose message never arrives ends: a unary call by CALL_TIMEOUT, a server stream by READ_TIMEOUT.
func TestCallWithoutMessageTimesOut(t *testing.T) {
	t.Parallel()
	for _, method := range []string{whoAmI, "/whoami.v1.WhoAmIService/WatchWhoAmI", "/notes.v1.NotesService/CreateNote"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			r := startApp(t, extended(t), map[string]string{"READ_TIMEOUT": soon, "CALL_TIMEOUT": soon})
			h := r.halfOpen(t)
			if got := h.end(t, h.open(t, method)); got != fmt.Sprint(int(codes.DeadlineExceeded)) {
				t.Errorf("grpc-status %s, want DEADLINE_EXCEEDED", got)
			}
			r.awaitRunning(t, 0, 0)
		})
	}
}

// MAX_CALLS bounds unary calls and streams separately, counts calls whose message has not arrived, and exempts health
// checks.
func TestMaxCallsBoundsUnaryCallsAndStreams(t *testing.T) {
	t.Parallel()
	r := startApp(t, extended(t), map[string]string{"MAX_CALLS": "2", "CALL_TIMEOUT": patient, "READ_TIMEOUT": patient})
	h := r.halfOpen(t)
	for range 2 {
		h.open(t, whoAmI)
	}
	r.awaitRunning(t, 2, 0)
	if a := r.grpc(t, whoAmI, "authorization", token); a.code != codes.ResourceExhausted {
		t.Errorf("gRPC: %v, want RESOURCE_EXHAUSTED", a.code)
	}
	if code, _, body := r.rest(t, "GET", "/", "", token); code != 429 {
		t.Errorf("REST: %d %s, want 429", code, body)
	}
	if a := r.grpc(t, "/grpc.health.v1.Health/Check"); a.code != codes.OK {
		t.Errorf("health: %v", a.code)
	}
	for range 2 {
		h.open(t, "/whoami.v1.WhoAmIService/WatchWhoAmI")
	}
	r.awaitRunning(t, 2, 2)
	if code, _, body := r.rest(t, "GET", "/watch", "", token); code != 429 {
		t.Errorf("a stream over REST: %d %s, want 429", code, body)
	}
	h.Conn.Close()
	r.awaitRunning(t, 0, 0)
	if a := r.grpc(t, whoAmI, "authorization", token); a.code != codes.OK {
		t.Errorf("afterwards: %v", a.code)
	}
}

func TestMessageAboveLimitIsRejected(t *testing.T) {
	t.Parallel()
	r := startApp(t, extended(t), nil)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", token)
	for size, want := range map[int]codes.Code{maxMessageBytes - 100: codes.OK, maxMessageBytes + 1: codes.ResourceExhausted} {
		_, err := notesv1.NewNotesServiceClient(r.connection).CreateNote(ctx, &notesv1.CreateNoteRequest{Text: strings.Repeat("x", size)})
		if status.Code(err) != want {
			t.Errorf("%d bytes: %v, want %v", size, err, want)
		}
	}
}

// The SETTINGS frame announces maxStreamsPerConnection.
func TestStreamLimitIsAnnounced(t *testing.T) {
	t.Parallel()
	h := start(t, nil).halfOpen(t)
	for {
		frame, err := h.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := frame.(*http2.SettingsFrame); ok && !s.IsAck() {
			if n, _ := s.Value(http2.SettingMaxConcurrentStreams); n != maxStreamsPerConnection {
				t.Errorf("SETTINGS_MAX_CONCURRENT_STREAMS %d, want %d", n, maxStreamsPerConnection)
			}
			return
		}
	}
}

func TestFinalStatusIsRecorded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		code    string
		panics  int64
	}{
		{"nothing written", func(http.ResponseWriter, *http.Request) {}, "200", 0},
		{"informational first", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusNotFound)
		}, "404", 0},
		{"two statuses", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(500) }, "201", 0},
		{"body", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "x") }, "200", 0},
		{"aborted", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202); panic(http.ErrAbortHandler) }, "202", 0},
		{"panic", func(http.ResponseWriter, *http.Request) { panic("on purpose") }, "500", 1},
		{"panic midway", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(203); panic("on purpose") }, "203", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "records")
			log := slog.New(slog.DiscardHandler)
			records, err := openRecorder(Config{Records: path, Instance: "whoami-1", StartID: "a"}, log)
			if err != nil {
				t.Fatal(err)
			}
			w, p := &calls{instance: "whoami-1", log: log, records: records}, &panics{log: log}
			serve := func(r *http.Request) {
				defer func() {
					if v := recover(); v != nil && v != http.ErrAbortHandler {
						t.Errorf("panic %v", v)
					}
				}()
				w.http(p.http(test.handler)).ServeHTTP(&discardResponse{header: make(http.Header)}, r)
			}
			request, err := http.NewRequestWithContext(t.Context(), "GET", "/", nil)
			if err != nil {
				t.Fatal(err)
			}
			serve(request)
			text, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(text), `"code":"`+test.code+`"`) || p.count.Load() != test.panics {
				t.Errorf("want code %s and %d panics, have %d:\n%s%v", test.code, test.panics, p.count.Load(), text, err)
			}
		})
	}
}

type discardResponse struct{ header http.Header }

func (r *discardResponse) Header() http.Header         { return r.header }
func (r *discardResponse) Write(b []byte) (int, error) { return len(b), nil }
func (r *discardResponse) WriteHeader(int)             {}

// A start that fails leaves no socket open.
func TestFailedStartClosesListeners(t *testing.T) {
	t.Parallel()
	taken := listener(t)
	defer taken.Close()
	c, err := load(t, map[string]string{"RECORDS": filepath.Join(t.TempDir(), "records")})
	if err != nil {
		t.Fatal(err)
	}
	free := listener(t)
	port := func(l net.Listener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }
	c.HTTPPort, c.GRPCPort, c.AdminPort = port(free), port(taken), 0
	free.Close()
	if err := Run(context.Background(), fixture, c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "GRPC_PORT=") {
		t.Fatalf("%v", err)
	}
	again, err := net.Listen("tcp", c.HTTPAddr())
	if err != nil {
		t.Fatalf("the HTTP listener is still open: %v", err)
	}
	again.Close()
}

func TestPingFloodEndsConnection(t *testing.T) {
	t.Parallel()
	h := start(t, nil).halfOpen(t)
	go func() {
		for range 100 {
			if h.WritePing(false, [8]byte{}) != nil {
				return
			}
		}
	}()
	for {
		frame, err := h.ReadFrame()
		if err != nil {
			t.Fatalf("%v before a GOAWAY", err)
		}
		if f, ok := frame.(*http2.GoAwayFrame); ok {
			if f.ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("%v", f.ErrCode)
			}
			return
		}
	}
}

// The admin listener serves health, status and, only with PPROF, profiles.
func TestAdminListenerServesHealthAndStatus(t *testing.T) {
	t.Parallel()
	get := func(r running, path string) (int, string) {
		response, err := http.Get(r.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
	broken := start(t, panicking{})
	broken.http(t, "/")
	for path, want := range map[string]string{
		"/healthz": `{"status":"SERVING"}`, "/readyz": `{"status":"SERVING"}`,
		"/status": `{"instance":"whoami-7","ready":true,"unary_calls":0,"streams":0,"panics":1}`,
	} {
		if code, body := get(broken, path); code != 200 || strings.TrimSpace(body) != want {
			t.Errorf("%s: %d %s; want %s", path, code, body, want)
		}
	}
	if code, _ := get(broken, "/debug/pprof/"); code != 404 {
		t.Errorf("profiles without PPROF: %d", code)
	}
	if code, body := get(startApp(t, extended(t), map[string]string{"PPROF": "true"}), "/debug/pprof/"); code != 200 || !strings.Contains(body, "goroutine") {
		t.Errorf("profiles with PPROF: %d", code)
	}
	if code, _, _ := broken.rest(t, "GET", "/status", "", ""); code != 404 {
		t.Errorf("/status on the HTTP listener: %d, want 404", code)
	}
}

// A client's deadline applies even if it is later than CALL_TIMEOUT.
func TestCallTimeoutAppliesOnlyWithoutDeadline(t *testing.T) {
	t.Parallel()
	r := startApp(t, appOf(waiting{}), map[string]string{"CALL_TIMEOUT": "100ms"})
	client := whoamiv1.NewWhoAmIServiceClient(r.connection)
	if _, err := client.WhoAmI(t.Context(), nil); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("without a deadline: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := client.WhoAmI(ctx, nil); err != nil {
		t.Errorf("with a longer deadline: %v", err)
	}
}

// waiting responds after half a second.
type waiting struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
}

func (waiting) WhoAmI(ctx context.Context, _ *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	select {
	case <-time.After(500 * time.Millisecond):
		return &whoamiv1.WhoAmIResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Health can be watched while the instance is at its limit of streams.
func TestHealthWatchWorksAtStreamLimit(t *testing.T) {
	t.Parallel()
	r := startApp(t, appOf(waiting{}), map[string]string{"MAX_CALLS": "1", "READ_TIMEOUT": patient})
	r.halfOpen(t).open(t, "/whoami.v1.WhoAmIService/WatchWhoAmI")
	r.awaitRunning(t, 0, 1)
	watch, err := healthv1.NewHealthClient(r.connection).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", got, err)
	}
}

// READ_TIMEOUT bounds the arrival of a message even if the deadline is far away.
func TestMissingMessageWithLongDeadlineTimesOut(t *testing.T) {
	t.Parallel()
	r := startApp(t, extended(t), map[string]string{"READ_TIMEOUT": soon, "CALL_TIMEOUT": soon})
	h := r.halfOpen(t)
	h.timeout = "99999999H"
	if got := h.end(t, h.open(t, whoAmI)); got != fmt.Sprint(int(codes.DeadlineExceeded)) {
		t.Errorf("grpc-status %s, want DEADLINE_EXCEEDED", got)
	}
	r.awaitRunning(t, 0, 0)
}

// A record has the code that the client gets, even for a handler that returns its context's error.
func TestRecordHasResponseCode(t *testing.T) {
	t.Parallel()
	r := startApp(t, extended(t), map[string]string{"CALL_TIMEOUT": soon})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", token)
	if _, err := notesv1.NewNotesServiceClient(r.connection).WaitForNote(ctx, nil); status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("%v", err)
	}
	if text, err := os.ReadFile(r.records); err != nil || !strings.Contains(string(text), `"code":"DeadlineExceeded"`) {
		t.Errorf("%s%v", text, err)
	}
}

// A client that sends Expect: 100-continue gets its response at once: the instance does not wait for the body.
func TestExpectContinueGetsResponseAtOnce(t *testing.T) {
	t.Parallel()
	r := startApp(t, extended(t), map[string]string{"READ_TIMEOUT": patient})
	conn := r.rawHTTP(t, "POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "404") {
		t.Errorf("%q, %v", line, err)
	}
}

// Connections on which nothing was sent, like those of TCP health checks, do not delay a drain.
func TestDrainDoesNotWaitForSilentConnections(t *testing.T) {
	t.Parallel()
	r := startApp(t, appOf(waiting{}), map[string]string{"DRAIN_TIMEOUT": patient})
	r.rawHTTP(t, "")
	silent, err := net.Dial("tcp", strings.TrimPrefix(r.connection.Target(), "passthrough:///"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	// Once later connections are in use, the silent ones have been accepted.
	r.http(t, "/healthz")
	r.grpc(t, "/grpc.health.v1.Health/Check")
	began := time.Now()
	r.signal()
	if err := <-r.over; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 4*time.Second { // net/http waits 5 s for a first request, grpc-go 10 s.
		t.Errorf("the drain took %v", took)
	}
}
