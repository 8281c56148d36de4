package gateway

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// DefaultMaxMessage is the default limit of a message in a request's body, in bytes: the same as of a grpc-go server.
const DefaultMaxMessage = 4 << 20

// request is an HTTP request being served, and its limited body. Streaming calls find it in their context, to lift the
// server's ReadTimeout for a client stream, and to stop reading a body once the call is over.
type request struct {
	body io.ReadCloser
	w    http.ResponseWriter

	mutex  sync.Mutex
	most   int64 // bytes of a message
	left   int64 // bytes until the message is too large
	taken  bool  // by a stream
	whole  bool  // the body has been read completely
	ended  bool  // the call is over: the rest of the body is not needed
	broken bool  // the connection has a read deadline in the past, and must not serve another request
	served bool  // the handler has returned: the connection may be serving another request
}

type requestKey struct{}

func newRequest(w http.ResponseWriter, r *http.Request, most int64) *request {
	body := r.Body
	if body == nil {
		body = http.NoBody
	}
	return &request{body: body, w: w, most: most, left: most + 1}
}

// overRequest returns a request that is over: its methods do nothing.
func overRequest() *request { return &request{left: 1, served: true} }

// requestFrom returns the request that ctx belongs to, or one that is over.
func requestFrom(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return overRequest()
}

// Read implements [io.Reader].
func (r *request) Read(b []byte) (int, error) {
	r.mutex.Lock()
	ended, left := r.ended, r.left
	r.mutex.Unlock()
	switch {
	case ended:
		return 0, io.EOF
	case left <= 0:
		return 0, &http.MaxBytesError{Limit: r.most}
	case int64(len(b)) > left:
		b = b[:left]
	}
	n, err := r.body.Read(b)
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.left -= int64(n)
	if n > 0 && r.left <= 0 {
		return n - 1, &http.MaxBytesError{Limit: r.most} // Without the excess byte, which might complete a message.
	}
	r.whole = r.whole || err == io.EOF
	if err != nil && r.ended {
		err = io.EOF // Caused by endStream's deadline.
	}
	return n, err
}

// Close implements [io.Closer].
func (r *request) Close() error { return r.body.Close() }

// tooLarge reports whether a message was too large.
func (r *request) tooLarge() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.left <= 0
}

// take returns r for the call that it belongs to, and one that is over for calls that the service makes with the same context.
func (r *request) take() *request {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.taken {
		return overRequest()
	}
	r.taken = true
	return r
}

// startStream lifts the server's ReadTimeout, which is meant for a single message, and enables full duplex for
// bidirectional streams. httptest's recorder supports and needs neither.
func (r *request) startStream(bidirectional bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.served {
		return
	}
	control := http.NewResponseController(r.w)
	_ = control.SetReadDeadline(time.Time{})
	if bidirectional {
		_ = control.EnableFullDuplex()
	}
}

// nextMessage restarts the count: the limit applies to each message of a stream.
func (r *request) nextMessage() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.left > 0 {
		r.left = r.most + 1
	}
}

// endStream unblocks a reader of the body, because the call is over.
func (r *request) endStream() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.ended = true
	if !r.served && !r.whole && r.body != http.NoBody {
		r.broken = true
		_ = http.NewResponseController(r.w).SetReadDeadline(time.Unix(1, 0)) // In the past.
	}
}

// finish detaches r from the connection.
func (r *request) finish() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.served = true
}

// lastWriter sends "Connection: close" on a broken connection: net/http would take the past deadline as the client's
// leaving, and cancel the next request on it.
type lastWriter struct {
	http.ResponseWriter
	request *request
}

// WriteHeader implements [http.ResponseWriter].
func (w lastWriter) WriteHeader(status int) {
	w.close()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w lastWriter) Write(b []byte) (int, error) {
	w.close()
	return w.ResponseWriter.Write(b)
}

func (w lastWriter) close() {
	w.request.mutex.Lock()
	defer w.request.mutex.Unlock()
	if w.request.broken {
		w.Header().Set("Connection", "close")
	}
}

// Unwrap gives [http.ResponseController] access to the wrapped writer.
func (w lastWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
