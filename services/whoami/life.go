package whoami

import (
	"context"
	"errors"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
)

// How a drain ends what still runs.
var (
	errReconnect = status.Error(codes.Unavailable, "draining: reconnect")
	errCut       = status.Error(codes.Unavailable, "draining: the call outlived DRAIN_TIMEOUT")
)

// life is how far an instance has come, as its calls must know it: serving, then closing (doors closed, streams end),
// then cut (unary calls end too).
type life struct {
	closing, cut           context.Context
	close, cutAll          context.CancelFunc
	streamsEnded, callsCut atomic.Int64
}

func newLife() *life {
	l := &life{}
	l.closing, l.close = context.WithCancel(context.Background())
	l.cut, l.cutAll = context.WithCancel(context.Background())
	return l
}

// until is ctx, ended with why as its cause once over is done. The caller must call the function returned.
func until(ctx, over context.Context, why error) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(over, func() { cancel(why) })
	return ctx, func() { stop(); cancel(nil) }
}

// cuttable is a service whose unary calls end with UNAVAILABLE once the instance's life is cut. It wraps the
// implementation, so that it holds for both doors.
type cuttable struct {
	whoamiv1.WhoAmIServiceServer
	life *life
}

func (c cuttable) WhoAmI(ctx context.Context, req *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	ctx, done := until(ctx, c.life.cut, errCut)
	defer done()
	answer, err := c.WhoAmIServiceServer.WhoAmI(ctx, req)
	if err != nil && errors.Is(context.Cause(ctx), errCut) {
		c.life.callsCut.Add(1)
		return nil, errCut
	}
	return answer, err
}

// endingStream is a server stream that ends once the instance closes, whatever its handler waits for.
type endingStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s endingStream) Context() context.Context { return s.ctx }

// RecvMsg returns errReconnect once the instance closes. grpc-go itself would wait for the client: a reflection stream
// that somebody left open would hold up the whole drain.
func (s endingStream) RecvMsg(m any) error {
	received := make(chan error, 1)
	go func() { received <- s.ServerStream.RecvMsg(m) }() // Ends with the stream at the latest.
	select {
	case err := <-received:
		return err
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}
