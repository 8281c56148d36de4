package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/scenario"
)

// shares counts responses per instance.
type shares struct {
	sync.Mutex
	of map[string]int
}

func (s *shares) add(instance string) {
	s.Lock()
	defer s.Unlock()
	if s.of == nil {
		s.of = make(map[string]int)
	}
	s.of[instance]++
}

// spread returns the largest share minus the smallest, of three.
func (s *shares) spread() int {
	counts := slices.Sorted(maps.Values(s.of))
	if len(counts) != 3 {
		return 1 << 30
	}
	return counts[2] - counts[0]
}

// With zone the workers share one round robin. So while no attempt fails the spread is at most one, for any number of workers,
// connections and clients.
func TestSharesAreEqual(t *testing.T) {
	t.Parallel()
	const clients, each = 8, 50
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprintf("workers %d", workers), func(t *testing.T) {
			t.Parallel()
			f := start(t, workers)
			var rest, rpc shares
			var all sync.WaitGroup
			for range clients {
				// Separate connections are accepted by different workers.
				web, api := browser(t), dial(t, f, false)
				all.Go(func() {
					for range each {
						instance, err := get(t.Context(), web, f)
						if err != nil {
							t.Error(err)
						}
						rest.add(instance)
					}
				})
				all.Go(func() {
					for range each {
						response, err := api.WhoAmI(t.Context(), nil)
						if err != nil {
							t.Error(err)
						}
						rpc.add(response.GetInstance())
					}
				})
			}
			all.Wait()
			if rest.spread() > 1 || rpc.spread() > 1 {
				t.Errorf("shares of %d: HTTP %v, gRPC %v; want a spread of at most one", clients*each, rest.of, rpc.of)
			}
			wantFirstAttemptsEqual(t, f)
		})
	}
}

// wantFirstAttemptsEqual checks the spread of first attempts in nginx's access log, which includes the warm-up. It stops nginx,
// so that every line has been written.
func wantFirstAttemptsEqual(t *testing.T, f stack) {
	t.Helper()
	if _, err := f.Process(scenario.Nginx).Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	byPort := make(map[string]*shares)
	for _, line := range accessLog(t, f) {
		first, _, retried := strings.Cut(line.UpstreamAddr, ",")
		if retried {
			t.Errorf("second attempt: %+v", line)
		}
		if byPort[line.Port] == nil {
			byPort[line.Port] = &shares{}
		}
		byPort[line.Port].add(first)
	}
	if len(byPort) != 2 {
		t.Errorf("the access log has the ports %v, want two", slices.Collect(maps.Keys(byPort)))
	}
	for port, s := range byPort {
		if s.spread() > 1 {
			t.Errorf("first attempts on port %s: %v; want a spread of at most one", port, s.of)
		}
	}
}

// An accessLine has the fields of an access-log entry that the tests use.
type accessLine struct {
	ID           string `json:"id"`
	Port         string `json:"port"`
	URI          string `json:"uri"`
	UpstreamAddr string `json:"upstream_addr"`
}

func accessLog(t *testing.T, f stack) []accessLine {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.Dir(), "logs", "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []accessLine
	for text := range strings.Lines(string(text)) {
		var line accessLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		lines = append(lines, line)
	}
	return lines
}

// Streams are few and long, so they would show a round robin per worker, where each worker starts at the first server.
func TestStreamsSpreadEvenlyWithManyWorkers(t *testing.T) {
	t.Parallel()
	f := start(t, 4)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var s shares
	for range 9 {
		watch, err := dial(t, f, false).WatchWhoAmI(ctx, hourly)
		if err != nil {
			t.Fatal(err)
		}
		first, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		s.add(first.GetAnswer().GetInstance())
	}
	if s.spread() != 0 {
		t.Errorf("9 streams on 9 connections: %v, want 3 each", s.of)
	}
}

// hourly requests a stream that sends one message and is then idle.
var hourly = &whoamiv1.WatchWhoAmIRequest{Interval: durationpb.New(time.Hour)}
