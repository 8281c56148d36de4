package load

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"strings"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// httpClient sends requests over connections of its own: no proxy from the environment, no compression, no redirects.
type httpClient struct {
	users    []httpUser
	template http.Request // without the header
	header   http.Header
	body     string
	replay   bool // net/http may resend a request
}

// An httpUser is a virtual user, with connections of its own.
type httpUser struct {
	transport *http.Transport
	address   string // the client's; "": the kernel chooses
}

// newHTTPClient makes the client of a load. With trusted authorities it uses TLS, and HTTP/1.1 all the same.
func newHTTPClient(address string, trusted *trust, l scenario.Load) (*httpClient, error) {
	target, err := url.ParseRequestURI(cmp.Or(l.Request.Path, "/"))
	if err != nil {
		return nil, fmt.Errorf("load %s: path: %w", l.Name, err)
	}
	config, err := trusted.config(address)
	if err != nil {
		return nil, err
	}
	if len(l.Hops) > 0 {
		hops := url.Values{"hops": l.Hops}.Encode()
		target.RawQuery = strings.Trim(target.RawQuery+"&"+hops, "&")
	}
	target.Scheme, target.Host = "http", address
	if config != nil {
		target.Scheme = "https"
	}
	c := &httpClient{header: http.Header{"User-Agent": {userAgent}}, body: l.Request.Body, replay: l.Retry}
	for i := range max(1, l.Users) {
		c.users = append(c.users, newHTTPUser(config, l, i))
	}
	if l.Request.BodySize > 0 {
		c.body = strings.Repeat("x", int(l.Request.BodySize))
	}
	c.template = http.Request{
		Method: cmp.Or(l.Request.Method, http.MethodGet), URL: target, Host: address, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		ContentLength: int64(len(c.body)),
	}
	for name, value := range l.Request.Headers {
		if c.header.Set(name, value); http.CanonicalHeaderKey(name) == "Host" {
			c.template.Host = value
		}
	}
	if c.body == "" && !c.replay {
		// Identity, because net/http announces a body of unknown length as chunked, or starts a goroutine to see whether it is empty.
		c.template.Body, c.template.TransferEncoding = unreplayable{}, []string{"identity"}
	}
	return c, nil
}

func newHTTPUser(config *tls.Config, l scenario.Load, i int) httpUser {
	u := httpUser{address: addressOf(l, i)}
	u.transport = &http.Transport{
		// A connection that takes longer is of no use to the request that wanted it.
		DialContext:     dialFrom(u.address, l.Deadline),
		TLSClientConfig: config,
		MaxConnsPerHost: l.Connections,
		// All are kept: with net/http's default of 2 an open loop opens a connection for nearly every request.
		MaxIdleConnsPerHost: maxInFlight,
		DisableKeepAlives:   l.NewConnection,
		DisableCompression:  true,
	}
	return u
}

// addressOf is the client address of the load's i-th user or channel.
func addressOf(l scenario.Load, i int) string {
	if len(l.Addresses) == 0 {
		return ""
	}
	return l.Addresses[i%len(l.Addresses)]
}

// unreplayable is an empty body that keeps net/http from resending a request: it is neither nil nor http.NoBody, and has no GetBody.
type unreplayable struct{}

func (unreplayable) Read([]byte) (int, error) { return 0, io.EOF }
func (unreplayable) Close() error             { return nil }

// connect does nothing: net/http opens a connection only for a request.
func (c *httpClient) connect(context.Context) {}

func (c *httpClient) close() {
	for _, u := range c.users {
		u.transport.CloseIdleConnections()
	}
}

const userAgent = "trivet"

// request is one under an ID.
func (c *httpClient) request(ctx context.Context, id string) *http.Request {
	r := c.template.WithContext(ctx)
	r.Header = make(http.Header, len(c.header)+1)
	maps.Copy(r.Header, c.header)
	r.Header["X-Request-Id"] = []string{id}
	if c.body != "" {
		// A type that net/http knows to be in memory: it leaves with the header, in one write.
		body := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(c.body)), nil }
		if r.Body, _ = body(); c.replay {
			r.GetBody = body
		}
	}
	return r
}

func (c *httpClient) send(ctx context.Context, n int, r *record.Client) {
	r.User = n % len(c.users)
	user := c.users[r.User]
	r.Address = user.address
	trace := &httptrace.ClientTrace{GetConn: func(string) { r.Attempts++ }}
	response, err := user.transport.RoundTrip(c.request(httptrace.WithClientTrace(ctx, trace), r.ID))
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
