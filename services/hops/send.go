package hops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	frontv1 "trivet/gen/front/v1"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/hop"
	"trivet/services/outgoing"
)

// A target makes a call, and returns the response or an error with a status.
type target interface {
	call(ctx context.Context, c hop.Call, rest []string) (*whoamiv1.WhoAmIResponse, error)
}

// send makes a call, and describes it and its end.
func (c *Caller) send(ctx context.Context, sent *outgoing.Call, call hop.Call, rest []string) *whoamiv1.Call {
	began := time.Now()
	to, err := c.target(call)
	made := &whoamiv1.Call{Hop: call.Text, RequestId: sent.ID}
	if err == nil {
		made.Response, err = to.call(ctx, call, rest)
	}
	s := status.Convert(err)
	made.Code, made.Message = codeName(s.Code()), s.Message()
	made.Attempts, made.Duration = uint32(sent.Attempts()), durationpb.New(time.Since(began))
	if err != nil {
		made.Response = partial(s)
	}
	return made
}

// codeName is a code's name as gRPC documents it, like DEADLINE_EXCEEDED.
func codeName(c codes.Code) string {
	if c == codes.OK {
		return "OK"
	}
	var name strings.Builder
	for i, r := range c.String() {
		if i > 0 && unicode.IsUpper(r) {
			name.WriteByte('_')
		}
		name.WriteRune(unicode.ToUpper(r))
	}
	return name.String()
}

// grpcTarget calls over gRPC.
type grpcTarget struct{ conn grpc.ClientConnInterface }

func (t grpcTarget) call(ctx context.Context, c hop.Call, rest []string) (*whoamiv1.WhoAmIResponse, error) {
	if c.Service == hop.Front {
		visit, err := frontv1.NewFrontServiceClient(t.conn).Visit(ctx, &frontv1.VisitRequest{Hops: rest, Work: workOf(c)})
		if err != nil {
			return nil, err
		}
		return asWhoAmI(visit), nil
	}
	return whoamiv1.NewWhoAmIServiceClient(t.conn).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{Hops: rest, Work: workOf(c)})
}

// workOf is the receiver's work; nil for none.
func workOf(c hop.Call) *durationpb.Duration {
	if c.Work == 0 {
		return nil
	}
	return durationpb.New(c.Work)
}

// asWhoAmI is a response of front in the form in which a tree of calls has every response.
func asWhoAmI(r *frontv1.VisitResponse) *whoamiv1.WhoAmIResponse {
	return &whoamiv1.WhoAmIResponse{
		Instance: r.GetInstance(), Port: r.GetPort(), Protocol: r.GetProtocol(), Caller: r.GetCaller(), DeadlineLeft: r.GetDeadlineLeft(), Calls: r.GetCalls(),
	}
}

// httpTarget calls over HTTP.
type httpTarget struct {
	client *http.Client
	url    string // without a slash at its end
}

// maxBody is the largest response that is read: more than 64 calls take.
const maxBody = 1 << 20

func (t httpTarget) call(ctx context.Context, c hop.Call, rest []string) (*whoamiv1.WhoAmIResponse, error) {
	query := url.Values{"hops": rest}
	path := "/"
	if c.Service == hop.Front {
		path = "/front"
	}
	if c.Work > 0 {
		query.Set("work", c.Work.String())
	}
	target := t.url + path
	if encoded := query.Encode(); encoded != "" {
		target += "?" + encoded
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "hop %q: %v", c.Text, err)
	}
	response, err := t.client.Do(request)
	if err != nil {
		return nil, httpError(ctx, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return nil, httpError(ctx, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, bodyError(response.StatusCode, body)
	}
	return read(c.Service, body)
}

// read is a response of the service.
func read(service string, body []byte) (*whoamiv1.WhoAmIResponse, error) {
	visit, response := &frontv1.VisitResponse{}, &whoamiv1.WhoAmIResponse{}
	var to proto.Message = response
	if service == hop.Front {
		to = visit
	}
	if err := lenient.Unmarshal(body, to); err != nil {
		return nil, status.Errorf(codes.Internal, "response is no %s: %v", to.ProtoReflect().Descriptor().Name(), err)
	}
	if service == hop.Front {
		return asWhoAmI(visit), nil
	}
	return response, nil
}

// lenient reads messages of newer versions too.
var lenient = protojson.UnmarshalOptions{DiscardUnknown: true}

// httpError is the status of a call without a response, or without all of it.
func httpError(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the deadline passed before the response")
	case ctx.Err() != nil:
		return status.Error(codes.Canceled, "the call was canceled before the response")
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // Without method and URL.
	}
	return status.Error(codes.Unavailable, err.Error())
}

// bodyError is the status that an error response states in its body, else the one that stands for its HTTP status.
func bodyError(httpStatus int, body []byte) error {
	s := &rpcstatus.Status{}
	if err := lenient.Unmarshal(body, s); err != nil {
		var known struct { // Without the details, if this program does not know the type of one.
			Code    int32
			Message string
		}
		_ = json.Unmarshal(body, &known)
		s = &rpcstatus.Status{Code: known.Code, Message: known.Message}
	}
	if s.GetCode() == 0 {
		s = &rpcstatus.Status{Code: int32(codeOf(httpStatus)), Message: fmt.Sprintf("HTTP status %d", httpStatus)}
	}
	return status.ErrorProto(s)
}

// codeOf is the gRPC code that stands for an HTTP status, as gRPC defines it for clients.
func codeOf(httpStatus int) codes.Code {
	switch httpStatus {
	case http.StatusBadRequest:
		return codes.Internal
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound:
		return codes.Unimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return codes.Unavailable
	}
	return codes.Unknown
}
