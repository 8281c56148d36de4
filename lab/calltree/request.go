// Package calltree sends one request that makes services call each other, and draws the tree of calls that it made.
package calltree

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	frontv1 "trivet/gen/front/v1"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/hop"
)

// A Request is one request to a service behind a load balancer.
type Request struct {
	Address  string // host:port
	TLS      *tls.Config
	Protocol string // hop.HTTP or hop.GRPC
	Service  string // hop.Whoami or hop.Front
	ID       string // request ID
	Hops     []string
	Work     time.Duration
}

// A Tree is what came of a request.
type Tree struct {
	Request  Request
	Response *whoamiv1.WhoAmIResponse // of a request that failed, what its details have of it; nil if they have none
	Status   *status.Status
	Took     time.Duration
	message  proto.Message // as it came, or a status
}

// Send sends the request once, and returns what came of it before ctx ended.
func (r Request) Send(ctx context.Context) Tree {
	t := Tree{Request: r}
	began := time.Now()
	if r.Protocol == hop.HTTP {
		t.message, t.Status = r.overHTTP(ctx)
	} else {
		t.message, t.Status = r.overGRPC(ctx)
	}
	t.Took = time.Since(began)
	if t.Status.Code() == codes.OK {
		t.Response = asWhoAmI(t.message)
		return t
	}
	t.message = t.Status.Proto()
	for _, detail := range t.Status.Details() {
		if m, ok := detail.(proto.Message); ok && t.Response == nil {
			t.Response = asWhoAmI(m)
		}
	}
	return t
}

// asWhoAmI is a response of either service; nil if m is none.
func asWhoAmI(m proto.Message) *whoamiv1.WhoAmIResponse {
	switch r := m.(type) {
	case *whoamiv1.WhoAmIResponse:
		return r
	case *frontv1.VisitResponse:
		return &whoamiv1.WhoAmIResponse{
			Instance: r.GetInstance(), Port: r.GetPort(), Protocol: r.GetProtocol(), Caller: r.GetCaller(), DeadlineLeft: r.GetDeadlineLeft(), Calls: r.GetCalls(),
		}
	}
	return nil
}

// JSON is the response, or the error, as JSON.
func (t Tree) JSON() ([]byte, error) {
	text, err := protojson.Marshal(t.message)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer // protojson adds white space at random.
	err = json.Compact(&compact, text)
	return compact.Bytes(), err
}

func (r Request) overGRPC(ctx context.Context) (proto.Message, *status.Status) {
	creds := insecure.NewCredentials()
	if r.TLS != nil {
		creds = credentials.NewTLS(r.TLS)
	}
	connection, err := grpc.NewClient("dns:///"+r.Address, grpc.WithTransportCredentials(creds), grpc.WithNoProxy(), grpc.WithDisableRetry())
	if err != nil {
		return nil, status.New(codes.Internal, err.Error())
	}
	defer connection.Close()
	ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", r.ID)
	var m proto.Message
	if r.Service == hop.Front {
		m, err = frontv1.NewFrontServiceClient(connection).Visit(ctx, &frontv1.VisitRequest{Hops: r.Hops, Work: r.work()})
	} else {
		m, err = whoamiv1.NewWhoAmIServiceClient(connection).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{Hops: r.Hops, Work: r.work()})
	}
	return m, status.Convert(err)
}

func (r Request) work() *durationpb.Duration {
	if r.Work == 0 {
		return nil
	}
	return durationpb.New(r.Work)
}

// maxBody is the most that is read of a response.
const maxBody = 4 << 20

func (r Request) overHTTP(ctx context.Context) (proto.Message, *status.Status) {
	transport := &http.Transport{TLSClientConfig: r.TLS, DisableKeepAlives: true}
	query := url.Values{"hops": r.Hops}
	if r.Work > 0 {
		query.Set("work", r.Work.String())
	}
	u := url.URL{Scheme: "http", Host: r.Address, Path: "/", RawQuery: query.Encode()}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	var m proto.Message = &whoamiv1.WhoAmIResponse{}
	if r.Service == hop.Front {
		u.Path, m = "/front", &frontv1.VisitResponse{}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, status.New(codes.Internal, err.Error())
	}
	request.Header.Set("X-Request-Id", r.ID)
	if end, has := ctx.Deadline(); has {
		request.Header.Set("Grpc-Timeout", fmt.Sprintf("%dm", max(time.Until(end).Milliseconds(), 1)))
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, noResponse(ctx, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return nil, noResponse(ctx, err)
	}
	read := protojson.UnmarshalOptions{DiscardUnknown: true}
	if response.StatusCode != http.StatusOK {
		s := &rpcstatus.Status{}
		if err := read.Unmarshal(body, s); err != nil || s.GetCode() == 0 {
			return nil, status.Newf(codes.Unknown, "HTTP status %s", response.Status)
		}
		return nil, status.FromProto(s)
	}
	if err := read.Unmarshal(body, m); err != nil {
		return nil, status.Newf(codes.Internal, "the response is none of %s: %v", cmp.Or(r.Service, hop.Whoami), err)
	}
	return m, status.New(codes.OK, "")
}

func noResponse(ctx context.Context, err error) *status.Status {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, "no response before the deadline")
	case ctx.Err() != nil:
		return status.New(codes.Canceled, "canceled before the response")
	}
	return status.New(codes.Unavailable, err.Error())
}
