package instance

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"trivet/internal/hop"
)

// Protocol names a listener in responses, logs and records.
type Protocol string

// The protocols of the two listeners; REST is HTTP.
const (
	HTTP Protocol = "http"
	GRPC Protocol = "grpc"
)

// Headers of every response, in HTTP spelling and as gRPC metadata keys.
const (
	instanceHeader  = "X-Instance"
	instanceKey     = "x-instance"
	requestIDHeader = "X-Request-Id"
	requestIDKey    = "x-request-id"
	traceparentKey  = "traceparent" // W3C Trace Context
)

// attemptsKey is the metadata in which a gRPC client says which retry a call is.
const attemptsKey = "grpc-previous-rpc-attempts"

// Call is one request to either listener, from arrival to end.
type Call struct {
	ID       string // request ID, [A-Za-z0-9._-]{1,64}: the client's if it sent a valid one
	Protocol Protocol
	Method   string // "GET /" or "/whoami.v1.WhoAmIService/WhoAmI"
	Began    time.Time
	route    string    // of metrics; "" until it is known
	trace    string    // ID of the trace that the request belongs to; "" without metrics, or if it belongs to none
	Deadline time.Time // the client's; zero if it set none
	number   uint64    // of the arrival in this start; 0 without a recorder
	record   []byte    // JSON of a record; nil without a recorder
	records  *recorder
	children atomic.Uint32 // calls made for it
}

type callKey struct{}

// CallFrom returns the call that ctx belongs to; outside a call, one without an ID. A service finds the request ID there.
func CallFrom(ctx context.Context) *Call {
	if c := callFrom(ctx); c != nil {
		return c
	}
	return &Call{}
}

// DeadlineLeft returns the time that was left until the client's deadline when the call arrived, and whether the client set one.
func (c *Call) DeadlineLeft() (time.Duration, bool) {
	return c.Deadline.Sub(c.Began), !c.Deadline.IsZero()
}

// NextChild returns the request ID of the next call that a service makes for the call of ctx: the call's own with a number. It returns an
// error if that ID would be too long for a request ID. Outside a call it returns a new ID.
func NextChild(ctx context.Context) (string, error) {
	c := callFrom(ctx)
	if c == nil {
		return requestID(""), nil
	}
	previous, _ := strconv.Atoi(first(ctx, attemptsKey)) // Anything can stand there.
	id := hop.ChildID(c.ID, previous, int(c.children.Add(1)))
	if !isID(id) {
		return "", fmt.Errorf("request ID %s would be longer than %d characters: send a shorter one", id, MaxID)
	}
	return id, nil
}

// callFrom returns the call that ctx belongs to, or nil outside a call.
func callFrom(ctx context.Context) *Call {
	c, _ := ctx.Value(callKey{}).(*Call)
	return c
}

// calls observes every call of an instance: it assigns the request ID and writes the records and the log line.
type calls struct {
	instance string
	log      *slog.Logger
	level    slog.Level // of a call's log line
	records  *recorder
	metrics  *metrics
	traces   *tracing
}

// begin returns ctx with a new call. id and attempts are the client's x-request-id and grpc-previous-rpc-attempts, ""
// where it sent none.
func (w *calls) begin(ctx context.Context, p Protocol, method, id, attempts string) (context.Context, *Call) {
	c := &Call{ID: requestID(id), Protocol: p, Method: method, Began: time.Now(), records: w.records}
	w.records.arrive(c, attempts)
	w.traces.name(ctx, c)
	return context.WithValue(ctx, callKey{}, c), c
}

// end ends c. code is the name of the gRPC code, or the number of the HTTP status.
func (w *calls) end(ctx context.Context, c *Call, code string) {
	w.records.complete(c, code)
	w.metrics.end(c, code)
	if w.log.Enabled(ctx, w.level) { // Saves allocating the arguments.
		w.log.LogAttrs(ctx, w.level, "request", slog.String("protocol", string(c.Protocol)), slog.String("method", c.Method),
			slog.String("code", code), slog.String("id", c.ID), slog.Int64("took_us", time.Since(c.Began).Microseconds()))
	}
}

// requestID returns the client's ID if it is valid, otherwise a new one. IDs go into logs, records and headers, so
// their characters are restricted.
func requestID(clients string) string {
	if isID(clients) {
		return clients
	}
	return rand.Text()
}

// MaxID is the length of the longest request ID.
const MaxID = 64

// isID reports whether s matches [A-Za-z0-9._-]{1,64}.
func isID(s string) bool { return isWord(s, MaxID) }

// isWord reports whether s is 1 to most of A-Z a-z 0-9 . _ -.
func isWord(s string, most int) bool {
	if len(s) == 0 || len(s) > most {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
