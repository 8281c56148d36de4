//go:build cluster

package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	whoamiv1 "trivet/gen/whoami/v1"
)

// Each worker has one request in flight, and no worker sends one again: what is lost is seen.
const (
	workers  = 8                     // of each load: half over HTTP, half over gRPC, and of these half with a connection per request
	pace     = 10 * time.Millisecond // least time between two requests of a worker
	deadline = 15 * time.Second      // longer than nginx's own timeouts, so that these decide
)

// A result is one request and what became of it.
type result struct {
	protocol, instance string
	began, ended       time.Time
	err                error
}

// A load sends requests through nginx until it is stopped.
type load struct {
	t       testing.TB
	stop    context.CancelFunc
	workers sync.WaitGroup
	mu      sync.Mutex
	results []result
}

// A sender sends one request and returns the instance that responded.
type sender func(context.Context) (string, error)

// startLoad starts a load on nginx's Service, by a node's address. Each instance works for a time on each request.
func startLoad(t testing.TB, node string, work time.Duration) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{t: t, stop: stop}
	t.Cleanup(func() { stop(); l.workers.Wait() })
	httpAddress, grpcAddress := entry(t, node)
	for i := range workers {
		protocol, send, fresh := "http", httpSender(httpAddress, work, i%4 < 2), i%4 < 2
		if i%2 == 0 {
			protocol, send = "grpc", grpcSender(t, grpcAddress, work, fresh)
		}
		l.workers.Go(func() { l.work(ctx, protocol, send) })
	}
	return l
}

func (l *load) work(ctx context.Context, protocol string, send sender) {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		r := result{protocol: protocol, began: time.Now()}
		// Not ctx: a request in flight ends by itself.
		request, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline)
		r.instance, r.err = send(request)
		cancel()
		r.ended = time.Now()
		l.mu.Lock()
		l.results = append(l.results, r)
		l.mu.Unlock()
	}
}

// end stops the load, waits for what is in flight, and returns everything, in the order of planned starts.
func (l *load) end() []result {
	l.stop()
	l.workers.Wait()
	slices.SortFunc(l.results, func(a, b result) int { return cmp.Compare(a.began.UnixNano(), b.began.UnixNano()) })
	return l.results
}

// since returns what has ended of the requests that began after a time.
func (l *load) since(begin time.Time) (found []result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.results {
		if r.began.After(begin) {
			found = append(found, r)
		}
	}
	return found
}

// first is when the first response of an instance came.
func (l *load) first(instance string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.results { // in the order in which they ended
		if r.instance == instance {
			return r.ended
		}
	}
	return time.Time{}
}

// nothingLost ends the load and fails the test for each request that failed.
func (l *load) nothingLost(while string) {
	l.t.Helper()
	all := l.end()
	lost := failed(all)
	l.t.Logf("%s: %d requests in %.1f s, %d failed", while, len(all), all[len(all)-1].ended.Sub(all[0].began).Seconds(), len(lost))
	for _, r := range lost[:min(len(lost), 10)] {
		l.t.Errorf("%s: %s request after %.3f s, for %.3f s: %v", while, r.protocol, r.began.Sub(all[0].began).Seconds(), r.ended.Sub(r.began).Seconds(), r.err)
	}
}

func failed(all []result) (lost []result) {
	for _, r := range all {
		if r.err != nil {
			lost = append(lost, r)
		}
	}
	return lost
}

// shares counts the responses of each instance over one protocol; "" is all.
func shares(all []result, protocol string) map[string]int {
	count := map[string]int{}
	for _, r := range all {
		if r.err == nil && (protocol == "" || r.protocol == protocol) {
			count[r.instance]++
		}
	}
	return count
}

func httpSender(address string, work time.Duration, fresh bool) sender {
	transport := &http.Transport{DisableKeepAlives: fresh, DialContext: (&net.Dialer{Timeout: deadline}).DialContext}
	url := fmt.Sprintf("http://%s/?work=%s", address, strconv.FormatFloat(work.Seconds(), 'f', -1, 64)+"s")
	return func(ctx context.Context) (string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return "", err
		}
		// Otherwise net/http sends a GET again whose kept-alive connection was being closed.
		request.Body, request.TransferEncoding = unreplayable{}, []string{"identity"}
		response, err := transport.RoundTrip(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return "", err
		}
		if response.StatusCode != http.StatusOK {
			return "", fmt.Errorf("%s: %s", response.Status, body)
		}
		var reply struct{ Instance string }
		err = json.Unmarshal(body, &reply)
		return reply.Instance, err
	}
}

// unreplayable is an empty body that net/http cannot send twice.
type unreplayable struct{}

func (unreplayable) Read([]byte) (int, error) { return 0, io.EOF }
func (unreplayable) Close() error             { return nil }

func grpcSender(t testing.TB, address string, work time.Duration, fresh bool) sender {
	dial := func() *grpc.ClientConn {
		c, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	kept := dial()
	t.Cleanup(func() { kept.Close() })
	return func(ctx context.Context) (string, error) {
		c := kept
		if fresh {
			c = dial()
			defer c.Close()
		}
		reply, err := whoamiv1.NewWhoAmIServiceClient(c).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{Work: durationpb.New(work)})
		return reply.GetInstance(), err
	}
}
