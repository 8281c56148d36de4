package outgoing

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"time"
)

// caller is a [http.RoundTripper] that adds request ID, deadline and trace context to a request, and records its end.
type caller struct {
	next      http.RoundTripper
	userAgent string
}

// RoundTrip implements [http.RoundTripper].
func (t caller) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, c, err := from(r.Context())
	if err != nil {
		return nil, err
	}
	sent := r.Clone(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GetConn: func(string) { c.add(&attempt{call: c, ended: true}) }}))
	sent.Header.Set("User-Agent", t.userAgent)
	sent.Header.Set("X-Request-Id", c.ID)
	inherited(ctx, sent.Header.Add)
	if end, has := ctx.Deadline(); has {
		sent.Header.Set("Grpc-Timeout", timeout(time.Until(end)))
	}
	method := r.Method + " " + r.URL.Path
	response, err := t.next.RoundTrip(sent)
	if err != nil {
		c.recordHTTP(ctx, method, "", err)
		return nil, err
	}
	response.Body = &recordedBody{ReadCloser: response.Body, end: func(err error) {
		c.recordHTTP(ctx, method, strconv.Itoa(response.StatusCode), err)
	}}
	return response, nil
}

// unusedTimeout is how long a connection may stay without a request. net/http opens more than it needs where many requests are sent at once,
// and nginx, when it shuts down, waits for the first request of each.
const unusedTimeout = time.Second

// dial opens a connection that closes if it is not used.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &unusedConn{c, time.AfterFunc(unusedTimeout, func() { c.Close() })}, nil
}

// unusedConn is a connection that is closed by a timer until its first write. A request that comes just then has not been sent, so net/http
// sends it over another one.
type unusedConn struct {
	net.Conn
	unused *time.Timer
}

// Write implements [net.Conn].
func (c *unusedConn) Write(b []byte) (int, error) {
	c.unused.Stop()
	return c.Conn.Write(b)
}

// timeout is d as gRPC writes a timeout: at most eight digits, and a unit.
func timeout(d time.Duration) string {
	if us := d.Microseconds(); us < 1e8 {
		return strconv.FormatInt(max(us, 1), 10) + "u" // 0 would be no timeout.
	}
	return strconv.FormatInt(min(d.Milliseconds(), 1e8-1), 10) + "m"
}

// recordedBody is the body of a response, which is over when it ends.
type recordedBody struct {
	io.ReadCloser
	once sync.Once
	end  func(error)
}

// Read implements [io.Reader].
func (b *recordedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch err {
	case nil:
	case io.EOF:
		b.once.Do(func() { b.end(nil) })
	default:
		b.once.Do(func() { b.end(err) })
	}
	return n, err
}

// Close implements [io.Closer].
func (b *recordedBody) Close() error {
	b.once.Do(func() { b.end(context.Canceled) }) // The reader did not want the rest.
	return b.ReadCloser.Close()
}
