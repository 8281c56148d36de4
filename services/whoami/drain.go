package whoami

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// How a drain ends what still runs.
var (
	errReconnect = status.Error(codes.Unavailable, "draining: reconnect")
	errCut       = status.Error(codes.Unavailable, "draining: the call outlived DRAIN_TIMEOUT")
)

// bodyGrace is how long the rest of a request's body may take once the instance drains.
const bodyGrace = time.Second

// drainState is how far the end of an instance has come: serving, then closing (listeners closed, streams end), then
// cut (unary calls end too). Its interceptors and its middleware end the calls; no method takes part in that.
type drainState struct {
	closing, cut           context.Context
	close, cutAll          context.CancelFunc
	readTimeout            time.Duration // for the request of a stream whose client sends just one
	streamsEnded, callsCut atomic.Int64
}

func newDrainState(readTimeout time.Duration) *drainState {
	d := &drainState{readTimeout: readTimeout}
	d.closing, d.close = context.WithCancel(context.Background())
	d.cut, d.cutAll = context.WithCancel(context.Background())
	return d
}

// until is ctx, ended with why as its cause once over is done. The caller must call the function returned.
func until(ctx, over context.Context, why error) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(over, func() { cancel(why) })
	return ctx, func() { stop(); cancel(nil) }
}

// unary ends a call with UNAVAILABLE once the instance is cut.
func (d *drainState) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, done := until(ctx, d.cut, errCut)
	defer done()
	resp, err := handler(ctx, req)
	if err != nil && errors.Is(context.Cause(ctx), errCut) {
		d.callsCut.Add(1)
		return nil, errCut
	}
	return resp, err
}

// stream ends a stream with UNAVAILABLE once the instance closes: unlike a unary call it has no end to wait for.
func (d *drainState) stream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, done := until(stream.Context(), d.closing, errReconnect)
	defer done()
	draining := &drainingStream{ServerStream: stream, ctx: ctx}
	if !info.IsClientStream {
		draining.timeout = d.readTimeout
	}
	err := handler(service, draining)
	if err != nil && errors.Is(context.Cause(ctx), errReconnect) {
		d.streamsEnded.Add(1)
		return errReconnect
	}
	return err
}

// drainingStream is a server stream that ends with ctx, whatever its handler waits for.
type drainingStream struct {
	grpc.ServerStream
	ctx     context.Context
	timeout time.Duration // of RecvMsg; 0 is none
}

func (s *drainingStream) Context() context.Context { return s.ctx }

// RecvMsg ends with the stream's context; grpc-go itself would wait for the client, and a reflection stream left open
// would hold up the whole drain. It receives into a message of its own: the goroutine that waits may outlive the call.
func (s *drainingStream) RecvMsg(m any) error {
	target, ok := m.(proto.Message)
	if !ok { // A codec of its own: nothing here can copy its messages, so a drain waits for the client.
		return s.ServerStream.RecvMsg(m)
	}
	ctx := s.ctx
	if s.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.timeout, errNoRequest)
		defer cancel()
	}
	err, received := receive(ctx, target, s.ServerStream.RecvMsg)
	if !received {
		if cause := context.Cause(ctx); cause == errNoRequest || cause == errReconnect {
			return cause
		}
		return status.FromContextError(ctx.Err()).Err()
	}
	return err
}

// receive calls recv with a message of target's type, and copies it to target unless ctx ends first. recv may outlive
// the call: it ends with the stream at the latest.
func receive(ctx context.Context, target proto.Message, recv func(any) error) (err error, received bool) {
	message := target.ProtoReflect().New().Interface()
	result := make(chan error, 1)
	go func() { result <- recv(message) }()
	select {
	case err := <-result:
		if err == nil {
			proto.Reset(target)
			proto.Merge(target, message)
		}
		return err, true
	case <-ctx.Done():
		return nil, false
	}
}

var errNoRequest = status.Error(codes.DeadlineExceeded, "the request did not arrive within READ_TIMEOUT")

// bodies is a middleware that bounds the wait for the rest of a request's body once the instance drains; until then the
// server's ReadTimeout does. What the handler leaves of a body, at most 256 KiB, is read here: net/http would do so
// later, when a drain can no longer shorten it.
func (d *drainState) bodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		control := http.NewResponseController(w)
		stop := context.AfterFunc(d.closing, func() { _ = control.SetReadDeadline(time.Now().Add(bodyGrace)) })
		defer stop()
		body := &watchedBody{ReadCloser: r.Body, whole: stop}
		r.Body = body
		next.ServeHTTP(w, r)
		if body.read || r.Header.Get("Expect") == "" { // A client that waits for 100 Continue has sent none.
			_, _ = io.CopyN(io.Discard, body, 256<<10)
		}
	})
}

// watchedBody calls whole when the body has been read to its end: a deadline after that would end the context of the
// handler, which net/http does when it cannot watch the connection any longer.
type watchedBody struct {
	io.ReadCloser
	whole func() bool
	read  bool // the handler wanted some of it
}

// Read implements [io.Reader].
func (b *watchedBody) Read(p []byte) (int, error) {
	b.read = true
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.whole()
	}
	return n, err
}
