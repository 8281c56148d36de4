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

// The published doors.
const (
	httpDoor = "http://127.0.0.1:8080"
	grpcDoor = "127.0.0.1:9090"
)

// client waits longer than all that nginx waits before it gives up.
var client = &http.Client{Timeout: 15 * time.Second}

// answer is what an instance says of itself.
type answer struct {
	Instance, Environment, Version string
	Port                           int
	header                         http.Header
}

// get asks the HTTP door at url, once.
func get(ctx context.Context, url string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", url+"/", nil)
	if err != nil {
		return answer{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{header: response.Header}
	if response.StatusCode != http.StatusOK {
		return a, fmt.Errorf("%s: %s", response.Status, body)
	}
	return a, json.Unmarshal(body, &a)
}

// ask is get, which must succeed.
func ask(t *testing.T) answer {
	t.Helper()
	a, err := get(t.Context(), httpDoor)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// shares counts who answers n GETs, one after the other.
func shares(t *testing.T, n int) map[string]int {
	t.Helper()
	count := map[string]int{}
	for range n {
		count[ask(t).Instance]++
	}
	return count
}

// grpcShares counts who answers n calls over one channel.
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

// equal fails unless three instances answered, none more than one request more often than another: what round robin over one zone does.
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

// callers ask the HTTP door all the time.
type callers struct {
	stop   context.CancelFunc
	done   sync.WaitGroup
	mutex  sync.Mutex
	asked  int
	failed []failure
	seen   map[string]int
}

// failure is a GET that failed.
type failure struct {
	at  time.Time
	id  string // X-Request-Id, if nginx answered
	err error
}

func (f failure) String() string {
	return f.at.Format(time.StampMilli) + " " + f.id + " " + f.err.Error()
}

// callersAtOnce is how many GETs are under way at most.
const callersAtOnce = 4

// load starts the callers.
func load(t *testing.T) *callers {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	c := &callers{stop: stop, seen: map[string]int{}}
	for range callersAtOnce {
		c.done.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					// Not by ctx: a call that was begun is waited for.
					a, err := get(context.WithoutCancel(ctx), httpDoor)
					c.count(a, err)
				}
			}
		})
	}
	t.Cleanup(func() { stop(); c.done.Wait() })
	return c
}

func (c *callers) count(a answer, err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.asked++
	if err != nil {
		c.failed = append(c.failed, failure{time.Now(), a.header.Get("X-Request-Id"), err})
		return
	}
	c.seen[a.Instance]++
}

// answers is how often the instance answered so far.
func (c *callers) answers(instance string) int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.seen[instance]
}

// end ends the callers, and returns what failed. It is an error if no GET was made.
func (c *callers) end(t *testing.T) []failure {
	t.Helper()
	c.stop()
	c.done.Wait()
	t.Logf("%d GETs, %d failed", c.asked, len(c.failed))
	if c.asked == 0 {
		t.Error("no GET was made")
	}
	return c.failed
}

// lossless ends the callers, and fails if a GET failed.
func (c *callers) lossless(t *testing.T) {
	t.Helper()
	if failed := c.end(t); len(failed) > 0 {
		t.Errorf("of %d GETs failed %d, like %v", c.asked, len(failed), failed[:min(3, len(failed))])
	}
}
