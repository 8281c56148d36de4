package instance

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

// Errors with which a drain ends running calls.
var (
	errReconnect = status.Error(codes.Unavailable, "draining: reconnect")
	errCanceled  = status.Error(codes.Unavailable, "draining: the call outlived DRAIN_TIMEOUT")
)

// bodyGrace bounds the arrival of the rest of a request's body once the instance drains.
const bodyGrace = time.Second

// drainState is the progress of a shutdown: serving, then closing (listeners closed, streams end), then canceled (unary
// calls end too). Its interceptors and middleware end the calls, so no service method needs to know about draining.
type drainState struct {
	closing, canceled           context.Context
	close, cancel               context.CancelFunc
	begun                       atomic.Bool   // DRAIN_DELAY has begun
	readTimeout                 time.Duration // for the one request of a server stream
	streamsEnded, callsCanceled atomic.Int64
}

func newDrainState(readTimeout time.Duration) *drainState {
	d := &drainState{readTimeout: readTimeout}
	d.closing, d.close = context.WithCancel(context.Background())
	d.canceled, d.cancel = context.WithCancel(context.Background())
	return d
}

// state returns the index in drainStates.
func (d *drainState) state() int {
	switch {
	case d.canceled.Err() != nil:
		return 3
	case d.closing.Err() != nil:
		return 2
	case d.begun.Load():
		return 1
	}
	return 0
}

// until returns ctx, canceled with cause why once over is done. The caller must call the returned function.
func until(ctx, over context.Context, why error) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(over, func() { cancel(why) })
	return ctx, func() { stop(); cancel(nil) }
}

// unary ends a call with UNAVAILABLE once DRAIN_TIMEOUT has passed.
func (d *drainState) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, done := until(ctx, d.canceled, errCanceled)
	defer done()
	resp, err := handler(ctx, req)
	if err != nil && errors.Is(context.Cause(ctx), errCanceled) {
		d.callsCanceled.Add(1)
		return nil, errCanceled
	}
	return resp, err
}

// stream ends a stream with UNAVAILABLE once the listeners close: unlike a unary call it has no end to wait for.
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

// drainingStream is a server stream that ends with ctx, even while its handler waits.
type drainingStream struct {
	grpc.ServerStream
	ctx     context.Context
	timeout time.Duration // of RecvMsg; 0 is none
}

func (s *drainingStream) Context() context.Context { return s.ctx }

// RecvMsg returns when the stream's context ends. grpc-go's own waits for the client, so one open reflection stream would
// delay the whole drain. It receives into a separate message, because the waiting goroutine may outlive the call.
func (s *drainingStream) RecvMsg(m any) error {
	target, ok := m.(proto.Message)
	if !ok { // A custom codec: its messages cannot be copied here, so a drain waits for the client.
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

// receive calls recv with a message of target's type and copies the result to target, unless ctx ends first. recv may
// outlive receive: it returns when the stream ends at the latest.
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

// bodies is a middleware that bounds the wait for the rest of a request's body once the instance drains; before that the
// server's ReadTimeout does. It also reads up to 256 KiB that the handler left unread: net/http would do so later, when
// a drain can no longer shorten the wait.
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
		if body.read || r.Header.Get("Expect") == "" { // A client waiting for 100 Continue has sent no body.
			_, _ = io.CopyN(io.Discard, body, 256<<10)
		}
	})
}

// watchedBody calls whole once the body has been read completely. A read deadline after that would cancel the handler's
// context, because net/http could no longer watch the connection.
type watchedBody struct {
	io.ReadCloser
	whole func() bool
	read  bool // the handler has called Read
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
