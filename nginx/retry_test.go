package nginx

import (
	"context"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
)

// TestRetriesAreThrottled checks that the shipped service config stops retries before they become the load: a failed attempt costs one of
// 1000 tokens, a success returns a tenth of one, and at 500 or fewer nothing is retried.
func TestRetriesAreThrottled(t *testing.T) {
	t.Parallel()
	var i instance
	b := startNginx(t, []Server{{free(t), i.serve(t)}})
	c := client(t, b.GRPC, grpc.WithDefaultServiceConfig(ServiceConfig))
	// calls makes n calls, 50 at a time, and returns how many attempts reached the instance.
	calls := func(n int, do string, want codes.Code) int {
		before := i.calls.Load()
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "do", do), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		free := make(chan struct{}, 50)
		for range n {
			free <- struct{}{}
			all.Go(func() {
				if _, err := c.WhoAmI(ctx, &whoamiv1.WhoAmIRequest{}); status.Code(err) != want {
					t.Errorf("%q: %v", do, err)
				}
				<-free
			})
		}
		all.Wait()
		return int(i.calls.Load() - before)
	}
	if n := calls(10, "fail without headers", codes.Unavailable); n != 40 {
		t.Errorf("10 calls made %d attempts at first, want 4 each", n)
	}
	failed := 40 + calls(250, "fail without headers", codes.Unavailable)
	if failed < 500 || failed > 800 {
		t.Errorf("260 calls made %d attempts, want about 500 until retries stop, and one per call after", failed)
	}
	if n := calls(50, "fail without headers", codes.Unavailable); n != 50 {
		t.Errorf("with no tokens left 50 calls made %d attempts", n)
	}
	failed += 50
	// Half of all calls fail now. With a whole token per success, retries would be back.
	succeeded := calls(failed-500+10, "", codes.OK)
	if n := calls(1, "fail without headers", codes.Unavailable); n != 1 {
		t.Errorf("after %d failed attempts and %d successes a call made %d attempts, want 1", failed, succeeded, n)
	}
	failed++
	for need := 10 * (failed - 500 + 10); succeeded < need; {
		succeeded += calls(need-succeeded, "", codes.OK)
	}
	if n := calls(1, "fail without headers", codes.Unavailable); n != 4 {
		t.Errorf("after %d failed attempts and %d successes a call made %d attempts, want 4", failed, succeeded, n)
	}
}
