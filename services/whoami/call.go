package whoami

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"
)

// protocol names a listener in responses, logs and records.
type protocol string

const (
	protocolHTTP protocol = "http"
	protocolGRPC protocol = "grpc"
)

// Headers of every response, in HTTP spelling and as gRPC metadata keys.
const (
	instanceHeader  = "X-Instance"
	instanceKey     = "x-instance"
	requestIDHeader = "X-Request-Id"
	requestIDKey    = "x-request-id"
)

// call is one request to either listener, from arrival to end.
type call struct {
	id       string // [A-Za-z0-9._-]{1,64}
	protocol protocol
	method   string // "GET /" or "/whoami.v1.WhoAmIService/WhoAmI"
	began    time.Time
	record   []byte // JSON of a record; nil without a recorder
}

type callKey struct{}

// callFrom returns the call that ctx belongs to, or nil outside a call.
func callFrom(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// calls observes every call of an instance: it assigns the request ID and writes the records and the log line.
type calls struct {
	instance string
	log      *slog.Logger
	level    slog.Level // of a call's log line
	records  *recorder
}

// begin returns ctx with a new call. id and attempts are the client's x-request-id and grpc-previous-rpc-attempts, ""
// where it sent none.
func (w *calls) begin(ctx context.Context, p protocol, method, id, attempts string) (context.Context, *call) {
	c := &call{id: requestID(id), protocol: p, method: method, began: time.Now()}
	w.records.arrive(c, attempts)
	return context.WithValue(ctx, callKey{}, c), c
}

// end ends c. code is the name of the gRPC code, or the number of the HTTP status.
func (w *calls) end(ctx context.Context, c *call, code string) {
	w.records.complete(c, code)
	if w.log.Enabled(ctx, w.level) { // Saves allocating the arguments.
		w.log.LogAttrs(ctx, w.level, "request", slog.String("protocol", string(c.protocol)), slog.String("method", c.method),
			slog.String("code", code), slog.String("id", c.id), slog.Int64("took_us", time.Since(c.began).Microseconds()))
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

// isID reports whether s matches [A-Za-z0-9._-]{1,64}.
func isID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
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
