package wire

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
)

// service responds with size bytes; every tenth call fails if fails is set.
type service struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	size  int
	fails bool
	calls atomic.Int64
	conns atomic.Int64
}

func (s *service) WhoAmI(context.Context, *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	if s.calls.Add(1)%10 == 0 && s.fails {
		return nil, status.Error(codes.Unavailable, "one of ten")
	}
	return &whoamiv1.WhoAmIResponse{Hostname: strings.Repeat("y", s.size)}, nil
}

func (s *service) WatchWhoAmI(r *whoamiv1.WatchWhoAmIRequest, stream grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
	for range 10 * int(r.GetInterval().GetSeconds()) {
		if err := stream.Send(&whoamiv1.WatchWhoAmIResponse{Sequence: 1, Answer: &whoamiv1.WhoAmIResponse{Hostname: strings.Repeat("y", s.size)}}); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return nil
}

// counter counts the connections that a listener accepts.
type counter struct {
	net.Listener
	n *atomic.Int64
}

func (c counter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

func serveGRPC(t *testing.T, s *service) Spec {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	whoamiv1.RegisterWhoAmIServiceServer(server, s)
	go server.Serve(counter{l, &s.conns})
	t.Cleanup(server.Stop)
	return Spec{Address: l.Addr().String(), GRPC: true, Path: whoamiv1.WhoAmIService_WhoAmI_FullMethodName, Connections: 4}
}

func serveHTTP(t *testing.T, f http.HandlerFunc) Spec {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return Spec{Address: server.Listener.Addr().String(), Path: "/x", Connections: 4}
}

func TestOpenSendsAllOverGRPC(t *testing.T) {
	t.Parallel()
	s := &service{size: 300}
	r, err := Open(t.Context(), serveGRPC(t, s), 101, 200*time.Millisecond)
	if err != nil || r.Done != 101 || r.Failed != 0 || s.calls.Load() != 101 || s.conns.Load() != 4 {
		t.Errorf("%+v, %v; %d calls arrived on %d connections", r, err, s.calls.Load(), s.conns.Load())
	}
	if r.Took < 190*time.Millisecond {
		t.Errorf("it took %v, and was planned for 200 ms", r.Took)
	}
	if len(r.Latencies) != 101 || r.Latencies[0] <= 0 {
		t.Errorf("latencies %v", r.Latencies)
	}
}

func TestClosedSendsUntilEndOverGRPC(t *testing.T) {
	t.Parallel()
	for _, streams := range []int{1, 8} {
		s := &service{}
		spec := serveGRPC(t, s)
		spec.Streams = streams
		r, err := Closed(t.Context(), spec, 200*time.Millisecond)
		// What was in flight at the end is answered, and not counted.
		if calls := int(s.calls.Load()); err != nil || r.Failed != 0 || r.Done == 0 || r.Done > calls || r.Done < calls-4*streams {
			t.Errorf("%d streams: %+v, %v; %d calls arrived", streams, r, err, calls)
		}
	}
}

func TestFreshConnectionCarriesOneRequest(t *testing.T) {
	t.Parallel()
	s := &service{}
	spec := serveGRPC(t, s)
	spec.Fresh = true
	if r, err := Open(t.Context(), spec, 10, 20*time.Millisecond); err != nil || r.Done != 10 || s.conns.Load() != 10 {
		t.Errorf("%+v, %v; %d connections", r, err, s.conns.Load())
	}
}

func TestConnectionIsReplacedBeforeNginxClosesIt(t *testing.T) {
	t.Parallel()
	s := &service{}
	spec := serveGRPC(t, s)
	spec.Connections = 1
	if r, err := Open(t.Context(), spec, perConnection+1, time.Millisecond); err != nil || r.Done != perConnection+1 || s.conns.Load() != 2 {
		t.Errorf("%d done, %v; %d connections, want 2", r.Done, err, s.conns.Load())
	}
}

// Larger than a frame, and than the windows that HTTP/2 starts with.
func TestLargeResponseIsReadWhole(t *testing.T) {
	t.Parallel()
	if r, err := Open(t.Context(), serveGRPC(t, &service{size: 200_000}), 8, 20*time.Millisecond); err != nil || r.Done != 8 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestErrorsOfGRPCCountAsFailed(t *testing.T) {
	t.Parallel()
	r, err := Open(t.Context(), serveGRPC(t, &service{fails: true}), 100, 50*time.Millisecond)
	if err != nil || r.Done != 90 || r.Failed != 10 {
		t.Errorf("%+v, %v", r, err)
	}
	unknown := serveGRPC(t, &service{})
	unknown.Path = "/no/such"
	if r, err := Open(t.Context(), unknown, 5, 5*time.Millisecond); err != nil || r.Failed != 5 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestWatchCountsMessagesOverGRPC(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 20_000} { // Several messages in a frame, several frames for a message.
		spec := serveGRPC(t, &service{size: size})
		spec.Path, spec.Message = whoamiv1.WhoAmIService_WatchWhoAmI_FullMethodName, []byte{0x0a, 2, 8, 1} // interval 1 s: ten messages at once
		if r, err := Watch(t.Context(), spec, 300*time.Millisecond); err != nil || r.Done != 40 {
			t.Errorf("size %d: %+v, %v", size, r, err)
		}
		spec.Path = "/no/such"
		if r, err := Watch(t.Context(), spec, time.Minute); err == nil {
			t.Errorf("a stream that the server ends is no error: %+v", r)
		}
	}
}

func TestWatchCountsLinesOverHTTP(t *testing.T) {
	t.Parallel()
	spec := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		for range 7 {
			fmt.Fprintln(w, `{"a":{"b":1}}`)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	})
	if r, err := Watch(t.Context(), spec, 300*time.Millisecond); err != nil || r.Done != 28 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := Watch(t.Context(), serveHTTP(t, http.NotFound), time.Minute); err == nil {
		t.Errorf("404 is no error: %+v", r)
	}
}

func TestOpenSendsAllOverHTTP(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	spec := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		if r.URL.Path != "/x" {
			w.WriteHeader(http.StatusNotFound)
		}
		if n%2 == 0 {
			w.(http.Flusher).Flush() // chunked from here on
		}
		fmt.Fprintln(w, strings.Repeat("z", int(n)))
	})
	r, err := Open(t.Context(), spec, 100, 50*time.Millisecond)
	if err != nil || r.Done != 100 || r.Failed != 0 || calls.Load() != 100 {
		t.Errorf("%+v, %v; %d calls arrived", r, err, calls.Load())
	}
	spec.Path = "/y"
	if r, err := Open(t.Context(), spec, 8, 5*time.Millisecond); err != nil || r.Failed != 8 {
		t.Errorf("of another path %+v, %v", r, err)
	}
}

func TestClosedCountsOverHTTP(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	spec := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { calls.Add(1); fmt.Fprint(w, "x") })
	r, err := Closed(t.Context(), spec, 100*time.Millisecond)
	if n := int(calls.Load()); err != nil || r.Done == 0 || r.Done > n || r.Done < n-4 || r.Failed != 0 {
		t.Errorf("%+v, %v; %d calls arrived", r, err, n)
	}
}

func TestConnectionThatServerClosesIsAnError(t *testing.T) {
	t.Parallel()
	spec := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, "x")
	})
	if r, err := Open(t.Context(), spec, 10, 5*time.Millisecond); err == nil {
		t.Errorf("%+v", r)
	}
}

func TestEndOfContextEndsEverything(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	spec := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { cancel(); fmt.Fprint(w, "x") })
	begin := time.Now()
	if r, err := Closed(ctx, spec, time.Hour); err == nil || time.Since(begin) > time.Minute {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Open(ctx, spec, 10, time.Second); err == nil {
		t.Error("it begins though its context has ended")
	}
}
