package whoami

import (
	"context"
	"crypto/rand"
)

// A protocol is a door's name, as answers, logs and records tell it.
type protocol string

const (
	protocolHTTP protocol = "http"
	protocolGRPC protocol = "grpc"
)

// Headers that every answer carries, as HTTP writes them, and the same as metadata of gRPC.
const (
	instanceHeader  = "X-Instance"
	instanceKey     = "x-instance"
	requestIDHeader = "X-Request-Id"
	requestIDKey    = "x-request-id"
)

// A call is what a door knows of a request, whichever door it is.
type call struct {
	id       string // [A-Za-z0-9._-]{1,64}
	protocol protocol
}

type callKey struct{}

func withCall(ctx context.Context, c call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// callFrom is the call that a door put into ctx; the zero call outside a door.
func callFrom(ctx context.Context) call {
	c, _ := ctx.Value(callKey{}).(call)
	return c
}

// requestID is the caller's id if it is one, else a new one: an id goes into logs, records and headers, so nobody may
// choose freely what it holds.
func requestID(callers string) string {
	if isID(callers) {
		return callers
	}
	return rand.Text()
}

// isID tells whether s matches [A-Za-z0-9._-]{1,64}.
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
