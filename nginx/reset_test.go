package nginx

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	whoamiv1 "trivet/gen/whoami/v1"
)

// TestRapidResetEndsConnection checks that a client that resets each call at once (rapid reset, CVE-2023-44487) must reconnect after
// keepalive_requests calls.
func TestRapidResetEndsConnection(t *testing.T) {
	t.Parallel()
	var begun atomic.Int32
	b := startNginx(t, threeInstances(t, &begun))
	a, err := attack(t.Context(), b.GRPC)
	if err != nil {
		t.Fatal(err)
	}
	defer a.conn.Close()
	for range 5000 {
		if a.open(unaryPath, reset, hang) != nil {
			break // nginx has closed the connection, as it should
		}
	}
	_ = a.flush() // likewise
	select {
	case <-a.ended:
	case <-time.After(20 * time.Second):
		t.Error("connection is still open after 5000 calls")
	}
	if n := len(b.log(t)); n > 1000 {
		t.Errorf("nginx served %d calls of one connection, want 1000 at most", n)
	}
}

// TestReconnectsLoseNothing checks that the GOAWAY after keepalive_requests calls loses neither concurrent calls nor an earlier stream,
// without a retry policy.
func TestReconnectsLoseNothing(t *testing.T) {
	t.Parallel()
	i := &instance{release: make(chan struct{})}
	b := startNginx(t, []Server{{free(t), i.serve(t)}})
	c := client(t, b.GRPC, grpc.WithDisableRetry())
	stream, err := c.WatchWhoAmI(t.Context(), &whoamiv1.WatchWhoAmIRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	var failed atomic.Int32
	var last atomic.Value
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				if _, err := c.WhoAmI(ctx, &whoamiv1.WhoAmIRequest{}); err != nil {
					failed.Add(1)
					last.Store(err)
				}
				cancel()
			}
		})
	}
	all.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of 5000 calls failed, last: %v", n, last.Load())
	}
	close(i.release)
	if _, err := stream.Recv(); err != nil {
		t.Errorf("stream on the first connection: %v", err)
	}
	connections := map[int]int{}
	for _, l := range b.log(t) {
		connections[l.Connection]++
	}
	t.Logf("5001 calls on %d connections, %v", len(connections), connections)
	if len(connections) < 5 {
		t.Errorf("%d connections, want at least 5: %v", len(connections), connections)
	}
}

// BenchmarkRapidReset measures GETs beside a client that resets its calls, in about a minute:
//
//	go test ./nginx -bench RapidReset -benchtime 1x -run '^$'
func BenchmarkRapidReset(b *testing.B) {
	for _, c := range []struct {
		name  string
		edits []edit
	}{
		{"as shipped", nil},
		{"1000 streams, 1000000 calls per connection", []edit{
			{"grpc-server.conf", "http2_max_concurrent_streams 128;", "http2_max_concurrent_streams 1000;"},
			{"limits.conf", "keepalive_requests 1000;", "keepalive_requests 1000000;"},
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				besideRapidReset(b, c.edits)
			}
		})
	}
}

// besideRapidReset sends 350 GETs, ten at a time, while one connection at a time resets its calls as fast as nginx reads. Each GET has 2 s;
// those not sent within 20 s are counted separately.
func besideRapidReset(b *testing.B, edits []edit) {
	var begun, failed, unsent atomic.Int32
	var sent atomic.Int64
	n := startSite(b, Site{Servers: threeInstances(b, &begun), Workers: 1}, edits...)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var attacker, users sync.WaitGroup
	attacker.Go(func() {
		for ctx.Err() == nil {
			resetUntilEnded(ctx, n.GRPC, &sent)
		}
	})
	end := time.Now().Add(20 * time.Second)
	for range 10 {
		users.Go(func() {
			for range 35 {
				if time.Now().After(end) {
					unsent.Add(1)
				} else if getOnce(n.HTTP, 2*time.Second) != nil {
					failed.Add(1)
				}
			}
		})
	}
	users.Wait()
	cancel()
	attacker.Wait()
	b.ReportMetric(float64(failed.Load()), "failed")
	b.ReportMetric(float64(unsent.Load()), "unsent")
	b.ReportMetric(float64(sent.Load()), "resets")
}

func resetUntilEnded(ctx context.Context, addr string, sent *atomic.Int64) {
	a, err := attack(ctx, addr)
	if err != nil {
		return
	}
	defer a.conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = a.conn.Close() })
	defer stop()
	for {
		select {
		case <-a.ended:
			return
		default:
		}
		if a.open(unaryPath, reset, hang) != nil {
			return
		}
		sent.Add(1)
	}
}
