//go:build swarm

package swarm

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	whoamiv1 "trivet/gen/whoami/v1"
)

// answer is what an instance reports about itself.
type answer struct{ Instance, Version, Node string }

// caller sends one request after the other through the nginx of one node.
type caller struct {
	protocol, node string
	work           time.Duration // that the instance is asked for
	call           func(ctx context.Context) (answer, error)
}

func (c caller) String() string {
	return fmt.Sprintf("%s through %s", c.protocol, c.node)
}

// newCaller hides no loss: over HTTP each request has a connection of its own, because Go sends a GET again if a kept connection dies;
// over gRPC, retries are off. grpc-go still sends a call again that provably reached no instance.
func newCaller(t *testing.T, protocol, node string, work time.Duration) caller {
	t.Helper()
	c := caller{protocol: protocol, node: node, work: work}
	if protocol == "http" {
		client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		url := fmt.Sprintf("http://%s:8080/?work=%v", address(node), work)
		c.call = func(ctx context.Context) (answer, error) { return get(ctx, client, url) }
		return c
	}
	connection, err := grpc.NewClient("passthrough:///"+address(node)+":9090", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	client := whoamiv1.NewWhoAmIServiceClient(connection)
	c.call = func(ctx context.Context) (answer, error) {
		ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		r, err := client.WhoAmI(ctx, &whoamiv1.WhoAmIRequest{Work: durationpb.New(work)})
		return answer{r.GetInstance(), r.GetVersion(), r.GetNode()}, err
	}
	return c
}

func get(ctx context.Context, client *http.Client, url string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
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
	if response.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("%s: %s", response.Status, body)
	}
	var a answer
	return a, json.Unmarshal(body, &a)
}

// load is callers that send until they are ended.
type load struct {
	stop   context.CancelFunc
	done   sync.WaitGroup
	size   int // callers, so requests in flight at most
	mutex  sync.Mutex
	sent   map[string]int // by protocol
	long   int            // requests with work
	failed []failure
	seen   map[string]int       // answers by instance
	last   map[string]time.Time // answer of each instance
	any    time.Time            // last answer of any
	gap    time.Duration        // longest time without an answer
}

type failure struct {
	at   time.Time
	text string
}

// first is the text of up to five failures.
func first(failed []failure) string {
	var lines []string
	for _, f := range failed[:min(5, len(failed))] {
		lines = append(lines, f.text)
	}
	return strings.Join(lines, "\n")
}

// pause is between two requests of a caller.
const pause = 10 * time.Millisecond

// start starts, per node and protocol, shorts callers of requests without work, and longs callers of requests with longWork.
func start(t *testing.T, through []string, shorts, longs int) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop, sent: map[string]int{}, seen: map[string]int{}, last: map[string]time.Time{}}
	for _, node := range through {
		for _, protocol := range []string{"http", "grpc"} {
			for n := range shorts + longs {
				var work time.Duration
				if n >= shorts {
					work = longWork
				}
				c := newCaller(t, protocol, node, work)
				l.size++
				l.done.Go(func() { l.run(ctx, c) })
			}
		}
	}
	t.Cleanup(func() { stop(); l.done.Wait() })
	return l
}

func (l *load) run(ctx context.Context, c caller) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// Not with ctx: requests that have started are awaited.
		a, err := c.call(context.WithoutCancel(ctx))
		l.mutex.Lock()
		now := time.Now()
		l.sent[c.protocol]++
		if c.work > 0 {
			l.long++
		}
		if err != nil {
			l.failed = append(l.failed, failure{now, fmt.Sprintf("%s %v with %v of work: %v", now.Format(time.StampMilli), c, c.work, err)})
		} else {
			l.seen[a.Instance]++
			l.last[a.Instance] = now
			if !l.any.IsZero() && ctx.Err() == nil {
				l.gap = max(l.gap, now.Sub(l.any))
			}
			l.any = now
		}
		l.mutex.Unlock()
	}
}

// answers returns how many responses of each instance have arrived.
func (l *load) answers() map[string]int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	counts := make(map[string]int, len(l.seen))
	for name, n := range l.seen {
		counts[name] = n
	}
	return counts
}

// sawAll reports whether each of these instances has answered at least n times.
func (l *load) sawAll(names map[string]string, n int) bool {
	answers := l.answers()
	for name := range names {
		if answers[name] < n {
			return false
		}
	}
	return true
}

// onlyLately reports whether all answers of so long are of these instances.
func (l *load) onlyLately(names map[string]string, long time.Duration) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for name, at := range l.last {
		if _, ok := names[name]; !ok && time.Since(at) < long {
			return false
		}
	}
	return true
}

// end ends the callers once they have sent so many requests, however slow the machine is, prints what they sent, and returns failures.
func (l *load) end(t *testing.T, what string, least int) []failure {
	t.Helper()
	await(t, "requests over both protocols", 5*time.Minute, func() bool {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		return min(l.sent["http"], l.sent["grpc"]) >= least/2
	})
	l.stop()
	l.done.Wait()
	sent := l.sent["http"] + l.sent["grpc"]
	t.Logf("%s: %d requests (HTTP %d, gRPC %d; %d of them long), %d failed; longest time without a response %v", what, sent, l.sent["http"],
		l.sent["grpc"], l.long, len(l.failed), l.gap.Round(time.Millisecond))
	return l.failed
}

// lossless ends the callers and fails the test if a request failed.
func (l *load) lossless(t *testing.T, what string, least int) {
	t.Helper()
	if failed := l.end(t, what, least); len(failed) > 0 {
		t.Errorf("%s: %d requests failed, first:\n%s", what, len(failed), first(failed))
	}
}
