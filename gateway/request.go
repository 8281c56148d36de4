package gateway

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// MaxBody is how much of a request's body is read, in bytes: as much as a gRPC server of grpc-go takes in a message by
// default. A client stream is a sequence of messages and has no limit as a whole.
const MaxBody = 4 << 20

// request is an HTTP request that is being served. A streaming call reaches it through the context: a client stream
// outlasts the server's ReadTimeout, and ends the reading of a body that nothing handles any longer.
//
// It is also the request's body, which it limits. A nil request does nothing.
type request struct {
	body io.ReadCloser
	w    http.ResponseWriter

	mutex    sync.Mutex
	left     int64 // bytes until the body is too large
	streamed bool  // left does not count
	whole    bool  // the body was read to its end
	ended    bool  // the call is over: what is left of the body is not wanted
	served   bool  // the handler has returned: the connection serves another request now
}

type requestKey struct{}

func newRequest(w http.ResponseWriter, r *http.Request) *request {
	return &request{body: r.Body, w: w, left: MaxBody + 1}
}

func requestFrom(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// Read implements [io.Reader].
func (r *request) Read(b []byte) (int, error) {
	r.mutex.Lock()
	ended, left, streamed := r.ended, r.left, r.streamed
	r.mutex.Unlock()
	switch {
	case ended:
		return 0, io.EOF
	case !streamed && left <= 0:
		return 0, &http.MaxBytesError{Limit: MaxBody}
	case !streamed && int64(len(b)) > left:
		b = b[:left]
	}
	n, err := r.body.Read(b)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.left -= int64(n)
	if n > 0 && !r.streamed && r.left <= 0 {
		return n - 1, &http.MaxBytesError{Limit: MaxBody} // Without the byte that is too many, or a whole message might end with it.
	}
	r.whole = r.whole || err == io.EOF
	if err != nil && r.ended {
		err = io.EOF // The deadline that endStream set.
	}
	return n, err
}

// Close implements [io.Closer].
func (r *request) Close() error { return r.body.Close() }

// tooLarge reports whether the body was longer than MaxBody.
func (r *request) tooLarge() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return !r.streamed && r.left <= 0
}

// startStream lifts the limits of a single message: the server's ReadTimeout, and MaxBody.
func (r *request) startStream() {
	if r == nil {
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.streamed = true
	if !r.served {
		_ = http.NewResponseController(r.w).SetReadDeadline(time.Time{}) // Not supported by a recorder in a test, which has no deadline either.
	}
}

// endStream wakes a reader of the body: the call that the body was for is over.
func (r *request) endStream() {
	if r == nil {
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.ended = true
	if !r.served && !r.whole && r.body != http.NoBody {
		_ = http.NewResponseController(r.w).SetReadDeadline(time.Unix(1, 0)) // In the past.
	}
}

// finish detaches r from the connection.
func (r *request) finish() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.served = true
}
