package outgoing

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"trivet/services/instance"
)

// A Call is one call to another service.
type Call struct {
	ID       string // request ID
	began    time.Time
	mutex    sync.Mutex
	attempts []*attempt
}

// An attempt is what grpc-go, or net/http, reports of one attempt of a call.
type attempt struct {
	call        *Call
	transparent bool // grpc-go knows that the attempt before was processed by no server, or never sent
	sent        bool // its headers were given to a connection
	header      bool // response headers came
	trailer     bool // response trailers came
	ended       bool
	err         error
}

type callKey struct{}

// Begin returns a context for one call to another service, which belongs to the call of ctx, with the next request ID. Calls made at the
// same time have numbers in the order of their Begin; a call without one begins when it is sent. An error means that the request ID would
// be too long.
func Begin(ctx context.Context) (context.Context, *Call, error) {
	id, err := instance.NextChild(ctx)
	if err != nil {
		return ctx, nil, status.Error(codes.InvalidArgument, err.Error())
	}
	c := &Call{ID: id}
	return context.WithValue(ctx, callKey{}, c), c, nil
}

// from returns the call that ctx was made for, or begins one.
func from(ctx context.Context) (context.Context, *Call, error) {
	c, _ := ctx.Value(callKey{}).(*Call)
	if c != nil {
		c.began = time.Now()
		return ctx, c, nil
	}
	ctx, c, err := Begin(ctx)
	if err == nil {
		c.began = time.Now()
	}
	return ctx, c, err
}

// Attempts returns how often the call has been sent.
func (c *Call) Attempts() int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return len(c.made())
}

// made are the attempts that were made. Where there is no connection, grpc-go 1.85 begins two attempts for each retry, and forgets one:
// that one neither sends anything nor ends. The caller holds the lock.
func (c *Call) made() (all []*attempt) {
	for i, a := range c.attempts {
		if a.sent || a.ended || i+1 == len(c.attempts) {
			all = append(all, a)
		}
	}
	return all
}

func (c *Call) add(a *attempt) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.attempts = append(c.attempts, a)
}

// traceContext are the metadata keys, and in HTTP the headers, of the trace context. What traces the instance itself replaces them.
var traceContext = []string{"traceparent", "tracestate", "baggage"}

// inherited calls set with each value of the trace context of the call of ctx.
func inherited(ctx context.Context, set func(key, value string)) {
	for _, key := range traceContext {
		for _, value := range metadata.ValueFromIncomingContext(ctx, key) {
			set(key, value)
		}
	}
}

// Why an attempt got no response, or not all of it, in the words of docs/records.md.
const (
	deadline         = "deadline"
	refused          = "refused"
	reset            = "reset"
	connectionClosed = "connection_closed"
	transparentRetry = "transparent_retry"
	canceled         = "canceled"
)

// recordGRPC records the end of a call over gRPC.
func (c *Call) recordGRPC(ctx context.Context, method string, err error) {
	o := instance.Outgoing{ID: c.ID, Protocol: instance.GRPC, Method: method, Code: status.Code(err).String(), Began: c.began}
	c.mutex.Lock()
	last := &attempt{}
	attempts := c.made()
	o.Attempts = len(attempts)
	for i, a := range attempts {
		last = a
		over := i+1 == len(attempts)
		switch {
		case a.header || a.trailer:
		case !over && attempts[i+1].transparent:
			o.MaybeUnlogged = append(o.MaybeUnlogged, transparentRetry)
		case !over && !notGRPC(a.err):
			o.MaybeUnlogged = append(o.MaybeUnlogged, last.reason(a.err))
		case over && !notGRPC(err):
			o.MaybeUnlogged = append(o.MaybeUnlogged, last.reason(err))
		}
	}
	if err != nil && !last.trailer && !notGRPC(err) {
		o.Reason = last.reason(err)
	}
	c.mutex.Unlock()
	o.Record(ctx)
}

// notGRPC reports whether err is a response that is not gRPC, like HTML of a load balancer that is not configured for it.
func notGRPC(err error) bool {
	return err != nil && strings.Contains(err.Error(), "unexpected HTTP status code received from server")
}

// reason is why the attempt that ended with err got no response, or not all of it. Where grpc-go has no code for it, its message says it.
func (a *attempt) reason(err error) string {
	switch message := status.Convert(err).Message(); {
	case status.Code(err) == codes.Canceled:
		return canceled
	case status.Code(err) == codes.DeadlineExceeded:
		return deadline
	case strings.Contains(message, "draining"), !a.sent && strings.Contains(message, "transport is closing"):
		return connectionClosed
	case !a.sent:
		return refused
	}
	return reset
}

// recordHTTP records the end of a call over HTTP. code is its status; "" without a response. err says that it has none, or not all of it.
func (c *Call) recordHTTP(ctx context.Context, method, code string, err error) {
	o := instance.Outgoing{ID: c.ID, Protocol: instance.HTTP, Method: method, Code: code, Attempts: c.Attempts(), Began: c.began}
	if err != nil {
		o.Reason = httpReason(ctx, err)
	}
	// net/http sends again only what it wrote to, or meant for, a kept connection that had ended by then.
	for range o.Attempts - 1 {
		o.MaybeUnlogged = append(o.MaybeUnlogged, connectionClosed)
	}
	if code == "" {
		o.Code = httpCode(ctx, err)
		if o.Attempts > 0 {
			o.MaybeUnlogged = append(o.MaybeUnlogged, o.Reason)
		}
	}
	o.Record(ctx)
}

// httpCode is the code of a call over HTTP that ended with err, without a response.
func httpCode(ctx context.Context, err error) string {
	switch httpReason(ctx, err) {
	case canceled:
		return "CANCELED"
	case deadline:
		return "DEADLINE_EXCEEDED"
	}
	return "UNAVAILABLE"
}

func httpReason(ctx context.Context, err error) string {
	operation := ""
	network, ok := errors.AsType[*net.OpError](err)
	if ok {
		operation = network.Op
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return deadline
	case ctx.Err() != nil, errors.Is(err, context.Canceled):
		return canceled
	case operation == "dial":
		return refused
	case operation == "write", strings.Contains(err.Error(), "server closed idle connection"): // The error's variable is not exported.
		return connectionClosed
	}
	return reset
}
