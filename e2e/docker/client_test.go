//go:build docker

package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	whoamiv1 "trivet/gen/whoami/v1"
)

// The published listeners.
const (
	httpURL  = "http://127.0.0.1:8080"
	grpcAddr = "127.0.0.1:9090"
)

// client has a longer timeout than all of nginx's together.
var client = &http.Client{Timeout: 15 * time.Second}

// response is what an instance reports about itself.
type response struct {
	Instance, Environment, Version string
	Port                           int
	header                         http.Header
}

// get sends one GET to the HTTP listener at url.
func get(ctx context.Context, url string) (response, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", url+"/", nil)
	if err != nil {
		return response{}, err
	}
	resp, err := client.Do(request)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return response{}, err
	}
	a := response{header: resp.Header}
	if resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("%s: %s", resp.Status, body)
	}
	return a, json.Unmarshal(body, &a)
}

// getOK sends a GET that must succeed.
func getOK(t *testing.T) response {
	t.Helper()
	a, err := get(t.Context(), httpURL)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// shares sends n GETs sequentially and counts them by instance.
func shares(t *testing.T, n int) map[string]int {
	t.Helper()
	count := map[string]int{}
	for range n {
		count[getOK(t).Instance]++
	}
	return count
}

// grpcShares makes n calls sequentially over one channel and counts them by instance.
func grpcShares(t *testing.T, target string, n int) map[string]int {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	count := map[string]int{}
	for range n {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		response, err := whoamiv1.NewWhoAmIServiceClient(connection).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		count[response.GetInstance()]++
	}
	return count
}

// equal fails unless three instances have equal shares, up to one request: round robin over one zone.
func equal(t *testing.T, what string, count map[string]int) {
	t.Helper()
	least, most := 1<<30, 0
	for _, n := range count {
		least, most = min(least, n), max(most, n)
	}
	if len(count) != 3 || most-least > 1 {
		t.Errorf("%s: %v, want equal shares of whoami-1, -2 and -3", what, count)
	}
}

// clients send GETs to the HTTP listener until they are ended.
type clients struct {
	stop   context.CancelFunc
	done   sync.WaitGroup
	mutex  sync.Mutex
	sent   int
	failed []failure
	seen   map[string]int
}

// failure is a GET that failed.
type failure struct {
	at  time.Time
	id  string // X-Request-Id, if nginx responded
	err error
}

func (f failure) String() string {
	return f.at.Format(time.StampMilli) + " " + f.id + " " + f.err.Error()
}

// concurrentClients is the number of GETs in flight at most.
const concurrentClients = 4

// load starts clients.
func load(t *testing.T) *clients {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	c := &clients{stop: stop, seen: map[string]int{}}
	for range concurrentClients {
		c.done.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					// Not with ctx: requests that have started are awaited.
					a, err := get(context.WithoutCancel(ctx), httpURL)
					c.count(a, err)
				}
			}
		})
	}
	t.Cleanup(func() { stop(); c.done.Wait() })
	return c
}

func (c *clients) count(a response, err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.sent++
	if err != nil {
		c.failed = append(c.failed, failure{time.Now(), a.header.Get("X-Request-Id"), err})
		return
	}
	c.seen[a.Instance]++
}

// responses returns how many responses of the instance have arrived.
func (c *clients) responses(instance string) int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.seen[instance]
}

// end ends the clients and returns failures. It fails the test if no GET was sent.
func (c *clients) end(t *testing.T) []failure {
	t.Helper()
	c.stop()
	c.done.Wait()
	t.Logf("%d GETs, %d failed", c.sent, len(c.failed))
	if c.sent == 0 {
		t.Error("no GET was sent")
	}
	return c.failed
}

// lossless ends the clients and fails the test if a GET failed.
func (c *clients) lossless(t *testing.T) {
	t.Helper()
	if failed := c.end(t); len(failed) > 0 {
		t.Errorf("%d of %d GETs failed, first: %v", len(failed), c.sent, failed[:min(3, len(failed))])
	}
}
