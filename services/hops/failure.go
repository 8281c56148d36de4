package hops

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/anypb"

	frontv1 "trivet/gen/front/v1"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/words"
)

// maxStatus is how many bytes a status with details has: in base64 and with the other headers, it fits into the 16 KB that the load balancer
// has for the headers of a gRPC response (grpc_buffer_size).
const maxStatus = 8 << 10

// maxMessage is how many bytes of a call's error its parent repeats.
const maxMessage = 300

// A Response is one with calls in it.
type Response interface {
	proto.Message
	GetCalls() []*whoamiv1.Call
}

// Failure returns the error of a request of whose calls one has failed; nil if all succeeded. Its code is that of the first that failed,
// in the hop's order, its message that of the deepest call behind it. Its detail is the response, cut until it fits: without the responses
// of the deepest calls first, then without the messages of its own.
func Failure(response Response) error {
	n := slices.IndexFunc(response.GetCalls(), func(c *whoamiv1.Call) bool { return c.GetCode() != "OK" })
	if n < 0 {
		return nil
	}
	failed := response.GetCalls()[n]
	message := failed.GetMessage()
	if below := "call " + failed.GetRequestId(); !strings.HasPrefix(message, below+".") && !strings.HasPrefix(message, below+"-") { // Else it names the deepest call.
		message = fmt.Sprintf("%s (%s): %s", below, failed.GetHop(), message)
	}
	return attach(status.New(code(failed.GetCode()), words.Clip(message, maxMessage)), proto.Clone(response).(Response))
}

// code is the code with a name.
func code(name string) codes.Code {
	for c := codes.OK; c <= codes.Unauthenticated; c++ {
		if codeName(c) == name {
			return c
		}
	}
	return codes.Unknown
}

// attach returns s with the response as its detail, which it cuts.
func attach(s *status.Status, response Response) error {
	for _, level := range levels(response.GetCalls()) {
		for _, call := range level {
			with, err := s.WithDetails(protoadapt.MessageV1Of(response))
			if err != nil {
				return s.Err()
			}
			if proto.Size(with.Proto()) <= maxStatus {
				return with.Err()
			}
			call.Response = nil
		}
	}
	// What is left are the calls of the request itself.
	for _, call := range response.GetCalls() {
		call.Message = ""
	}
	if with, err := s.WithDetails(protoadapt.MessageV1Of(response)); err == nil && proto.Size(with.Proto()) <= maxStatus {
		return with.Err()
	}
	return s.Err()
}

// levels are the calls that have responses, the deepest first; of those equally deep the last first.
func levels(calls []*whoamiv1.Call) [][]*whoamiv1.Call {
	var all [][]*whoamiv1.Call
	for len(calls) > 0 {
		var with, below []*whoamiv1.Call
		for _, c := range calls {
			if c.GetResponse() != nil {
				with, below = append(with, c), append(below, c.GetResponse().GetCalls()...)
			}
		}
		slices.Reverse(with)
		all, calls = append(all, with), below
	}
	slices.Reverse(all)
	return all
}

// partial is the response that the details of a failed call have; nil if they have none.
func partial(s *status.Status) *whoamiv1.WhoAmIResponse {
	for _, detail := range s.Proto().GetDetails() {
		if r := responseIn(detail); r != nil {
			return r
		}
	}
	return nil
}

func responseIn(detail *anypb.Any) *whoamiv1.WhoAmIResponse {
	message, err := detail.UnmarshalNew()
	if err != nil {
		return nil // Of a type that this program does not know.
	}
	switch r := message.(type) {
	case *whoamiv1.WhoAmIResponse:
		return r
	case *frontv1.VisitResponse:
		return asWhoAmI(r)
	}
	return nil
}
