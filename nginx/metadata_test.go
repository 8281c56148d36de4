package nginx

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
)

// A call with more metadata than large_client_header_buffers costs its channel the connection, and with it every other call on it. grpc-go
// makes UNAVAILABLE of that, other clients RESOURCE_EXHAUSTED; the shipped policy retries the first only. docs/nginx.md says why.
func TestOversizedMetadataEndsTheCallsBesideIt(t *testing.T) {
	t.Parallel()
	var begun atomic.Int32
	b := balance(t, three(t, &begun))
	c := client(t, b.GRPC, grpc.WithDisableRetry())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const others = 40
	ended := make(chan error, others)
	for range others {
		go func() {
			_, err := c.WhoAmI(metadata.AppendToOutgoingContext(ctx, "do", "hang"), &whoamiv1.WhoAmIRequest{})
			ended <- err
		}()
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for begun.Load() < others {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("only %d calls came to the instances", begun.Load())
		}
	}
	var pairs []string
	for n := range 6 {
		pairs = append(pairs, fmt.Sprint("x-large-", n), strings.Repeat("h", 7000))
	}
	if _, err := c.WhoAmI(metadata.AppendToOutgoingContext(ctx, pairs...), &whoamiv1.WhoAmIRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("the large call: %v", err)
	}
	for range others {
		if err := <-ended; status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "ENHANCE_YOUR_CALM") {
			t.Errorf("a call beside it: %v", err)
		}
	}
	if _, err := c.WhoAmI(ctx, &whoamiv1.WhoAmIRequest{}); err != nil {
		t.Errorf("the next call, on a new connection: %v", err)
	}
}
