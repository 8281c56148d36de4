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
)

// httpCaller sends a stream of GET /, over connections of its own. Nothing from the environment (proxies), no compression, no redirect.
type httpCaller struct {
	transport *http.Transport
	template  http.Request // without header and body
}

func newHTTPCaller(address string, s Stream) *httpCaller {
	c := &httpCaller{transport: &http.Transport{
		// A connection that cannot be made in this time is of no use to the request that wanted it.
		DialContext:     (&net.Dialer{Timeout: s.Deadline}).DialContext,
		MaxConnsPerHost: s.Connections,
		// All are kept: with net/http's default of 2 an open loop makes a connection for nearly every request.
		MaxIdleConnsPerHost: mostInFlight,
		DisableCompression:  true,
	}}
	c.template = http.Request{
		Method: http.MethodGet, URL: &url.URL{Scheme: "http", Host: address, Path: "/"}, Host: address,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if !s.Retry {
		c.template.Body = nothing{}
	}
	return c
}

// nothing is an empty body. With one that is neither nil nor http.NoBody, and no GetBody to make it anew, a request is not replayable
// for net/http; the transport finds it empty before it writes the headers, and then sends them as without any body.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }
func (nothing) Close() error             { return nil }

// connect does nothing: net/http makes a connection only for a request.
func (c *httpCaller) connect(context.Context) {}

func (c *httpCaller) close() { c.transport.CloseIdleConnections() }

var userAgent = []string{"trivet"}

func (c *httpCaller) call(ctx context.Context, _ int, r *Record) {
	trace := &httptrace.ClientTrace{GetConn: func(string) { r.Attempts++ }}
	request := c.template.WithContext(httptrace.WithClientTrace(ctx, trace))
	request.Header = http.Header{"User-Agent": userAgent, "X-Request-Id": {r.ID}}
	answer, err := c.transport.RoundTrip(request)
	// net/http sends again only what was sent into, or meant for, a kept connection that had ended by then.
	for range r.Attempts - 1 {
		r.Own = append(r.Own, Lost)
	}
	if err != nil {
		c.unanswered(ctx, r, err)
		return
	}
	// From here on nginx has a line: it has answered.
	r.Code, r.Instance = strconv.Itoa(answer.StatusCode), answer.Header.Get("X-Instance")
	_, err = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	switch {
	case err != nil && ctx.Err() != nil:
		r.fail(Deadline, err)
	case err != nil:
		r.fail(Reset, err)
	case answer.StatusCode/100 == 2:
		r.Outcome = OK
	default:
		r.answered(answer.Status)
	}
}

// unanswered is for requests of which nobody knows whether nginx read them.
func (c *httpCaller) unanswered(ctx context.Context, r *Record, err error) {
	operation := ""
	if network, ok := errors.AsType[*net.OpError](err); ok {
		operation = network.Op
	}
	reason := Reset
	switch {
	case ctx.Err() != nil, operation == "dial" && tookTooLong(err):
		reason = Deadline
	case operation == "dial":
		reason = Refused
	case operation == "write", err.Error() == "http: server closed idle connection": // The error's variable is not exported.
		reason = Lost
	}
	r.fail(reason, err)
	if r.Attempts > 0 {
		r.Own = append(r.Own, reason)
	}
}

// tookTooLong tells whether a connection was given up at the request's deadline. Package net has two words for it: its poller's deadline is now and
// then seen before the context's.
func tookTooLong(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}
