package instance

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	whoamiv1 "trivet/gen/whoami/v1"
)

// slow is a service whose unary call takes d. If deaf, it ignores the end of its context.
type slow struct {
	*service
	d    time.Duration
	deaf bool
}

func (s slow) WhoAmI(ctx context.Context, req *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	if s.deaf {
		ctx = context.WithoutCancel(ctx)
	}
	select {
	case <-time.After(s.d):
		return s.service.WhoAmI(ctx, req)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A bubble is an instance under fake time, with in-memory connections and a client of each listener.
type bubble struct {
	*instance
	connection *grpc.ClientConn
	rest       *http.Client
	log        *bytes.Buffer
	signal     context.CancelFunc // what SIGTERM does
	over       chan error         // what serve returned
}

func newBubble(t *testing.T, environ map[string]string, d time.Duration, deaf bool) *bubble {
	t.Helper()
	c, err := load(t, environ)
	if err != nil {
		t.Fatal(err)
	}
	real := &service{name: c.Instance}
	b := &bubble{log: &bytes.Buffer{}, over: make(chan error, 1)}
	if b.instance, err = newInstance(c, appOf(slow{real, d, deaf}), nil, nil, slog.New(slog.NewTextHandler(b.log, nil))); err != nil {
		t.Fatal(err)
	}
	rest, rpc := bufconn.Listen(1<<16), bufconn.Listen(1<<16)
	ctx, signal := context.WithCancel(t.Context())
	b.signal = signal
	go func() { b.over <- b.serve(ctx, listeners{http: rest, grpc: rpc}) }()
	b.connection, err = grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return rpc.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return rest.DialContext(ctx) }}
	b.rest = &http.Client{Transport: transport}
	t.Cleanup(func() { b.connection.Close(); transport.CloseIdleConnections() })
	synctest.Wait()
	return b
}

// get returns the status (0 without a response), the body, and whether the response has Connection: close.
func (b *bubble) get(path string) (int, string, bool) {
	response, err := b.rest.Get("http://instance" + path)
	if err != nil {
		return 0, err.Error(), false
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error(), false
	}
	return response.StatusCode, string(body), response.Close
}

// health returns what grpc.health.v1 says of a service.
func (b *bubble) health(t *testing.T, service string) string {
	t.Helper()
	response, err := healthv1.NewHealthClient(b.connection).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	return response.GetStatus().String()
}

func (b *bubble) client() whoamiv1.WhoAmIServiceClient {
	return whoamiv1.NewWhoAmIServiceClient(b.connection)
}

func TestDrainIsUnreadyAtOnceButOpenForDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, map[string]string{"DRAIN_DELAY": "5s"}, 0, false)
		if status, _, _ := b.get("/readyz"); status != 200 || b.health(t, "whoami.v1.WhoAmIService") != "SERVING" || b.health(t, Readiness) != "SERVING" {
			t.Fatalf("before: readyz %d", status)
		}
		began := time.Now()
		b.signal()
		synctest.Wait()
		if status, body, _ := b.get("/readyz"); status != 503 || !strings.Contains(body, "NOT_SERVING") {
			t.Errorf("draining: readyz %d %s", status, body)
		}
		for service, want := range map[string]string{"whoami.v1.WhoAmIService": "NOT_SERVING", Readiness: "NOT_SERVING", "": "SERVING"} {
			if got := b.health(t, service); got != want {
				t.Errorf("draining: health of %q is %s, want %s", service, got, want)
			}
		}
		if status, _, _ := b.get("/healthz"); status != 200 {
			t.Errorf("draining: healthz %d, want 200: the process is alive", status)
		}
		if status, _, _ := b.get("/"); status != 200 {
			t.Errorf("draining: / %d, want 200 for the length of DRAIN_DELAY", status)
		}
		if _, err := b.client().WhoAmI(t.Context(), nil); err != nil {
			t.Errorf("draining: WhoAmI: %v", err)
		}
		if err := <-b.over; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("drained after %v, want 5s", took)
		}
	})
}

func TestUnaryCallsFinishDuringDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, nil, 9*time.Second, false)
		rpc := make(chan error, 1)
		rest := make(chan bool, 1)
		go func() { _, err := b.client().WhoAmI(t.Context(), nil); rpc <- err }()
		go func() { status, _, closing := b.get("/"); rest <- status == 200 && closing }()
		synctest.Wait()
		b.signal()
		if err := <-rpc; err != nil {
			t.Errorf("gRPC: %v", err)
		}
		if !<-rest {
			t.Error("REST: want 200 with Connection: close")
		}
		if err := <-b.over; err != nil {
			t.Error(err)
		}
		if !strings.Contains(b.log.String(), "streams_ended=0 calls_canceled=0") {
			t.Errorf("log: %s", b.log)
		}
	})
}

func TestUnaryCallsAreCanceledAtDrainTimeout(t *testing.T) {
	t.Parallel()
	for name, deaf := range map[string]bool{"that end with their context": false, "that ignore it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, map[string]string{"DRAIN_TIMEOUT": "3s"}, 20*time.Second, deaf)
				rpc := make(chan error, 1)
				rest := make(chan int, 1)
				go func() { _, err := b.client().WhoAmI(t.Context(), nil); rpc <- err }()
				go func() { status, _, _ := b.get("/"); rest <- status }()
				synctest.Wait()
				began := time.Now()
				b.signal()
				if err := <-rpc; status.Code(err) != codes.Unavailable {
					t.Errorf("gRPC: %v, want UNAVAILABLE", err)
				}
				// If the handler ignores its context its connection is closed: over HTTP there is no response.
				if status := <-rest; !deaf && status != 503 || deaf && status != 0 {
					t.Errorf("REST: %d", status)
				}
				took := time.Since(began)
				if err := <-b.over; err != nil {
					t.Error(err)
				}
				want, counted := 3*time.Second, "calls_canceled=2"
				if deaf {
					want, counted = want+cancelGrace, "calls_canceled=0"
				}
				if took != want || !strings.Contains(b.log.String(), counted) {
					t.Errorf("canceled after %v, want %v; log: %s", took, want, b.log)
				}
				<-time.After(20 * time.Second) // Fake time, in which deaf handlers return before the bubble ends.
			})
		})
	}
}

func TestStreamsEndAtOnceWithReconnectStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, nil, 0, false)
		watch, err := b.client().WatchWhoAmI(t.Context(), &whoamiv1.WatchWhoAmIRequest{Interval: durationpb.New(time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		// Streams whose handlers wait: for a change of health, for the client's next message.
		health, err := healthv1.NewHealthClient(b.connection).Watch(t.Context(), &healthv1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		reflection, err := reflectionv1.NewServerReflectionClient(b.connection).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		b.signal()
		for name, receive := range map[string]func() error{
			"watch":      func() error { _, err := watch.Recv(); return err },
			"health":     func() error { return drainHealth(health) },
			"reflection": func() error { _, err := reflection.Recv(); return err },
		} {
			if err := receive(); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "draining: reconnect" {
				t.Errorf("%s ended with %v", name, err)
			}
		}
		if err := <-b.over; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("drained after %v, want at once", took)
		}
		if !strings.Contains(b.log.String(), "streams_ended=3 calls_canceled=0") {
			t.Errorf("log: %s", b.log)
		}
	})
}

// drainHealth reads a health watch to its end.
func drainHealth(stream grpc.ServerStreamingClient[healthv1.HealthCheckResponse]) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

func TestListenersCloseWhenOneFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := load(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		real := &service{name: c.Instance}
		i, err := newInstance(c, appOf(real), nil, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		rest, rpc := bufconn.Listen(1), bufconn.Listen(1)
		rest.Close()
		if err := i.serve(t.Context(), listeners{http: rest, grpc: rpc}); err == nil || !strings.Contains(err.Error(), "listener failed") {
			t.Errorf("%v", err)
		}
	})
}
