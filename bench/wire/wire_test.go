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

// service answers, but for each tenth call where it is to fail.
type service struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	fails bool
	calls atomic.Int64
}

func (s *service) WhoAmI(context.Context, *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	if s.calls.Add(1)%10 == 0 && s.fails {
		return nil, status.Error(codes.Unavailable, "one of ten")
	}
	return &whoamiv1.WhoAmIResponse{Instance: "x", Hostname: strings.Repeat("y", 300)}, nil
}

func serveGRPC(t *testing.T, s *service) Spec {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	whoamiv1.RegisterWhoAmIServiceServer(server, s)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	return Spec{Address: l.Addr().String(), GRPC: true, Path: whoamiv1.WhoAmIService_WhoAmI_FullMethodName, Connections: 4, Streams: 8}
}

func serveHTTP(t *testing.T, f http.HandlerFunc) Spec {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return Spec{Address: server.Listener.Addr().String(), Path: "/x", Connections: 4}
}

func TestOpenSendsAllOverGRPC(t *testing.T) {
	t.Parallel()
	s := &service{}
	r, err := Open(t.Context(), serveGRPC(t, s), 101, 200*time.Millisecond)
	if err != nil || r.Done != 101 || r.Failed != 0 || s.calls.Load() != 101 {
		t.Errorf("%+v, %v; %d calls arrived", r, err, s.calls.Load())
	}
	if r.Took < 190*time.Millisecond {
		t.Errorf("it took %v, and was planned for 200 ms", r.Took)
	}
}

func TestClosedGoesOnUntilTheEndOverGRPC(t *testing.T) {
	t.Parallel()
	s := &service{}
	r, err := Closed(t.Context(), serveGRPC(t, s), 200*time.Millisecond)
	// Those that were under way at the end are answered, and not counted.
	if calls := int(s.calls.Load()); err != nil || r.Failed != 0 || r.Done == 0 || r.Done > calls || r.Done < calls-4*8 {
		t.Errorf("%+v, %v; %d calls arrived", r, err, calls)
	}
}

func TestErrorsOfGRPCAreSeen(t *testing.T) {
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

func TestOpenSendsAllOverHTTP(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	target := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		if r.URL.Path != "/x" {
			w.WriteHeader(http.StatusNotFound)
		}
		if n%2 == 0 {
			w.(http.Flusher).Flush() // chunked from here on
		}
		fmt.Fprintln(w, strings.Repeat("z", int(n)))
	})
	r, err := Open(t.Context(), target, 100, 50*time.Millisecond)
	if err != nil || r.Done != 100 || r.Failed != 0 || calls.Load() != 100 {
		t.Errorf("%+v, %v; %d calls arrived", r, err, calls.Load())
	}
	target.Path = "/y"
	if r, err := Open(t.Context(), target, 8, 5*time.Millisecond); err != nil || r.Failed != 8 {
		t.Errorf("of another path %+v, %v", r, err)
	}
}

func TestClosedCountsOverHTTP(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	target := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { calls.Add(1); fmt.Fprint(w, "x") })
	r, err := Closed(t.Context(), target, 100*time.Millisecond)
	if n := int(calls.Load()); err != nil || r.Done == 0 || r.Done > n || r.Done < n-4 || r.Failed != 0 {
		t.Errorf("%+v, %v; %d calls arrived", r, err, n)
	}
}

func TestAConnectionThatIsNotKeptIsAnError(t *testing.T) {
	t.Parallel()
	target := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, "x")
	})
	if r, err := Open(t.Context(), target, 10, 5*time.Millisecond); err == nil {
		t.Errorf("%+v", r)
	}
}

func TestTheEndOfTheContextEndsEverything(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	target := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { cancel(); fmt.Fprint(w, "x") })
	begin := time.Now()
	if r, err := Closed(ctx, target, time.Hour); err == nil || time.Since(begin) > time.Minute {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Open(ctx, target, 10, time.Second); err == nil {
		t.Error("it begins though its context has ended")
	}
}
