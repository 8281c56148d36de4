package hops

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	whoamiv1 "trivet/gen/whoami/v1"
)

// grow returns calls of which each has as many below it, down to a depth; the last call of each level has failed.
func grow(width, depth int, message string) (calls []*whoamiv1.Call) {
	for n := range width {
		c := &whoamiv1.Call{Hop: "grpc", RequestId: fmt.Sprintf("%060d.%d", depth, n+1), Code: "OK", Response: &whoamiv1.WhoAmIResponse{Instance: "whoami-1"}}
		if depth > 1 {
			c.Response.Calls = grow(width, depth-1, message)
		}
		if n+1 == width {
			c.Code, c.Message = "UNAVAILABLE", message
		}
		calls = append(calls, c)
	}
	return calls
}

// depth is how many calls, one below the other, a response has.
func depth(r *whoamiv1.WhoAmIResponse) (deepest int) {
	for _, c := range r.GetCalls() {
		deepest = max(deepest, 1+depth(c.GetResponse()))
	}
	return deepest
}

// Of a tree that is too large the deepest responses are dropped, and what is above them stays.
func TestFailureFitsIntoAStatus(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("m", 5000)
	for _, test := range []struct {
		width, depth int
		message      string
		least        int // of the depth that is left
	}{
		{1, 1, "x", 1}, {2, 5, "x", 3}, {64, 1, "x", 1}, {64, 1, long, 1}, {1, 8, long, 1}, {4, 3, "x", 2},
	} {
		r := &whoamiv1.WhoAmIResponse{Instance: "whoami-1", Calls: grow(test.width, test.depth, test.message)}
		whole := proto.Clone(r)
		s := status.Convert(Failure(r))
		if !proto.Equal(r, whole) {
			t.Error("the response was changed")
		}
		left := partial(s)
		if size := proto.Size(s.Proto()); s.Code() != codes.Unavailable || size > maxStatus || len(left.GetCalls()) != test.width || depth(left) < test.least {
			t.Errorf("%+v: %v, %d bytes, %d calls, depth %d", test, s.Code(), size, len(left.GetCalls()), depth(left))
		}
	}
}

// The message names the deepest call that failed, once, and the code is that of the first of the request's own.
func TestFailureNamesTheDeepestCall(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"full":                       "call a.2 (http): full",
		"call a.2.1 (grpc): full":    "call a.2.1 (grpc): full",
		"call a.2-3.1 (grpc): full":  "call a.2-3.1 (grpc): full",
		"call a.20 (grpc) is a name": "call a.2 (http): call a.20 (grpc) is a name",
	} {
		err := Failure(&whoamiv1.WhoAmIResponse{Calls: []*whoamiv1.Call{
			{Hop: "grpc", RequestId: "a.1", Code: "OK"}, {Hop: "http", RequestId: "a.2", Code: "RESOURCE_EXHAUSTED", Message: message}, {Hop: "grpc", RequestId: "a.3", Code: "UNAVAILABLE"},
		}})
		if s := status.Convert(err); s.Code() != codes.ResourceExhausted || s.Message() != want {
			t.Errorf("%v, want RESOURCE_EXHAUSTED: %s", err, want)
		}
	}
	if err := Failure(&whoamiv1.WhoAmIResponse{Calls: []*whoamiv1.Call{{Code: "OK"}}}); err != nil {
		t.Error(err)
	}
}

func TestCodesHaveTheirNames(t *testing.T) {
	t.Parallel()
	for c, want := range map[codes.Code]string{codes.OK: "OK", codes.Canceled: "CANCELED", codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.Unavailable: "UNAVAILABLE"} {
		if got := codeName(c); got != want || code(got) != c {
			t.Errorf("%v is %s, want %s", c, got, want)
		}
	}
}
