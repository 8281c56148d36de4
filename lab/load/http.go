package load

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// httpClient sends GET / over connections of its own: no proxy from the environment, no compression, no redirects.
type httpClient struct {
	transport *http.Transport
	template  http.Request // without header and body
}

func newHTTPClient(address string, l scenario.Load) *httpClient {
	c := &httpClient{transport: &http.Transport{
		// A connection that takes longer is of no use to the request that wanted it.
		DialContext:     (&net.Dialer{Timeout: l.Deadline}).DialContext,
		MaxConnsPerHost: l.Connections,
		// All are kept: with net/http's default of 2 an open loop opens a connection for nearly every request.
		MaxIdleConnsPerHost: maxInFlight,
		DisableCompression:  true,
	}}
	c.template = http.Request{
		Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: address, Path: "/"}, Host: address,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if !l.Retry {
		c.template.Body = unreplayable{}
	}
	return c
}

// unreplayable is an empty body that keeps net/http from resending a request: it is neither nil nor http.NoBody, and has no GetBody.
// The transport finds it empty before it writes the headers, and then sends them as without a body.
type unreplayable struct{}

func (unreplayable) Read([]byte) (int, error) { return 0, io.EOF }
func (unreplayable) Close() error             { return nil }

// connect does nothing: net/http opens a connection only for a request.
func (c *httpClient) connect(context.Context) {}

func (c *httpClient) close() { c.transport.CloseIdleConnections() }

var userAgent = []string{"trivet"}

func (c *httpClient) send(ctx context.Context, _ int, r *record.Client) {
	trace := &httptrace.ClientTrace{GetConn: func(string) { r.Attempts++ }}
	request := c.template.WithContext(httptrace.WithClientTrace(ctx, trace))
	request.Header = http.Header{"User-Agent": userAgent, "X-Request-Id": {r.ID}}
	response, err := c.transport.RoundTrip(request)
	// net/http resends only what it wrote to, or meant for, a kept connection that had ended by then.
	for range r.Attempts - 1 {
		r.MaybeUnlogged = append(r.MaybeUnlogged, record.ConnectionClosed)
	}
	if err != nil {
		c.noResponse(ctx, r, err)
		return
	}
	// From here on nginx has an entry: it has responded.
	r.Code, r.Instance = strconv.Itoa(response.StatusCode), response.Header.Get("X-Instance")
	_, err = io.Copy(io.Discard, response.Body)
	response.Body.Close()
	switch {
	case err != nil && ctx.Err() != nil:
		r.SetIncomplete(record.Deadline, err)
	case err != nil:
		r.SetIncomplete(record.Reset, err)
	case response.StatusCode/100 == 2:
		r.Outcome = record.OK
	default:
		r.SetError(response.Status)
	}
}

// noResponse fills the record of a request that nginx may or may not have read.
func (c *httpClient) noResponse(ctx context.Context, r *record.Client, err error) {
	operation := ""
	if network, ok := errors.AsType[*net.OpError](err); ok {
		operation = network.Op
	}
	reason := record.Reset
	switch {
	case ctx.Err() != nil, operation == "dial" && timedOut(err):
		reason = record.Deadline
	case operation == "dial":
		reason = record.Refused
	case operation == "write", err.Error() == "http: server closed idle connection": // The error's variable is not exported.
		reason = record.ConnectionClosed
	}
	r.SetIncomplete(reason, err)
	if r.Attempts > 0 {
		r.MaybeUnlogged = append(r.MaybeUnlogged, reason)
	}
}

// timedOut reports whether a connection was given up at the request's deadline. Package net has two errors for it: the deadline of its
// poller is sometimes noticed before the context's.
func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}
