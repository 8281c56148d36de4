package load

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/nginx"
)

// watchInterval is how often a watched instance speaks.
const watchInterval = 100 * time.Millisecond

func method(s Stream) string {
	switch {
	case s.Protocol == HTTP:
		return "GET /"
	case s.Call == Watch:
		return whoamiv1.WhoAmIService_WatchWhoAmI_FullMethodName
	case s.Call == Silent:
		return reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName
	}
	return whoamiv1.WhoAmIService_WhoAmI_FullMethodName
}

// grpcCaller sends a stream of calls, over channels of its own, each of one connection.
type grpcCaller struct {
	Stream
	channels []*grpc.ClientConn
}

func newGRPCCaller(address string, s Stream) (*grpcCaller, error) {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent(userAgent[0]), grpc.WithNoProxy(),
		grpc.WithStatsHandler(witness{}),
	}
	if s.Retry {
		options = append(options, grpc.WithDefaultServiceConfig(nginx.ServiceConfig))
	} else {
		// This does not turn off what grpc-go calls transparent retries, of attempts that the other side says it never processed, or
		// that were never sent. Nothing can; they are in the records.
		options = append(options, grpc.WithDisableRetry(), grpc.WithDisableServiceConfig())
	}
	c := &grpcCaller{Stream: s}
	for range max(1, s.Channels) {
		channel, err := grpc.NewClient("passthrough:///"+address, options...)
		if err != nil {
			c.close()
			return nil, err
		}
		c.channels = append(c.channels, channel)
	}
	return c, nil
}

// connect opens the channels' connections. A channel that never becomes ready waits for its first call's failure.
func (c *grpcCaller) connect(ctx context.Context) {
	for _, channel := range c.channels {
		channel.Connect()
	}
	for _, channel := range c.channels {
		for state := channel.GetState(); state != connectivity.Ready && channel.WaitForStateChange(ctx, state); state = channel.GetState() {
		}
	}
}

func (c *grpcCaller) close() {
	for _, channel := range c.channels {
		channel.Close()
	}
}

func (c *grpcCaller) call(ctx context.Context, n int, r *Record) {
	seen := &sighting{}
	marked := metadata.AppendToOutgoingContext(context.WithValue(ctx, sightingKey{}, seen), "x-request-id", r.ID)
	channel := c.channels[n%len(c.channels)]
	var err error
	hungUp := false
	switch c.Call {
	case Watch:
		hungUp, err = c.watch(marked, channel, r)
	case Silent:
		err = silence(marked, channel)
	default:
		_, err = whoamiv1.NewWhoAmIServiceClient(channel).WhoAmI(marked, &whoamiv1.WhoAmIRequest{})
	}
	deadline, _ := ctx.Deadline()
	expired := err != nil && !hungUp && !time.Now().Before(deadline)
	switch {
	case expired && status.Code(err) != codes.DeadlineExceeded:
		err = status.Errorf(codes.DeadlineExceeded, "%v; at the deadline: %s", context.DeadlineExceeded, status.Convert(err).Message())
	case errors.Is(err, io.EOF) && strings.HasPrefix(err.Error(), "max retries exhausted"):
		// So says grpc-go 1.85, by the code UNKNOWN, where the answer to the last attempt came before the request was written. What was
		// exhausted are the retries of the one code that the policy names. (After a transparent retry it says EOF alone, and UNKNOWN
		// it stays.)
		err = status.Error(codes.Unavailable, err.Error())
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	seen.judge(r, err, hungUp, expired)
}

// watch follows a stream until the caller hangs up after c.Hold. Then the error is nil if any message had come.
func (c *grpcCaller) watch(ctx context.Context, channel *grpc.ClientConn, r *Record) (hungUp bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(c.Hold, cancel)
	stream, err := whoamiv1.NewWhoAmIServiceClient(channel).WatchWhoAmI(ctx, &whoamiv1.WatchWhoAmIRequest{Interval: durationpb.New(watchInterval)})
	for err == nil {
		if _, err = stream.Recv(); err == nil {
			r.Messages++
		}
	}
	hungUp = !timer.Stop() && status.Code(err) == codes.Canceled
	// EOF is also what grpc-go 1.85 says of an error that came before the request was written again; but then no message came.
	if r.Messages > 0 && (hungUp || errors.Is(err, io.EOF)) {
		err = nil
	}
	return hungUp, err
}

// silence opens a stream of questions and asks none.
func silence(ctx context.Context, channel *grpc.ClientConn) error {
	stream, err := reflectionv1.NewServerReflectionClient(channel).ServerReflectionInfo(ctx)
	for err == nil {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

// judge fills in the record, for a call that ended with err. At the deadline (expired) the caller leaves, whoever else says so too: an
// instance knows the deadline, and what it does then now and then arrives before grpc-go's own timer runs, as its DEADLINE_EXCEEDED, or
// as nginx's UNAVAILABLE about a stream that the instance has reset.
func (s *sighting) judge(r *Record, err error, hungUp, expired bool) {
	r.Attempts = len(s.attempts)
	last := &attempt{}
	for i, a := range s.attempts {
		last = a
		switch {
		case a.header || a.trailer:
		case i+1 < len(s.attempts) && s.attempts[i+1].transparent:
			r.Own = append(r.Own, Transparent)
		case i+1 < len(s.attempts):
			if !foreign(a.err) {
				r.Own = append(r.Own, reason(a, a.err, false))
			}
		case !foreign(err):
			r.Own = append(r.Own, reason(a, err, hungUp))
		}
	}
	r.Instance, r.Code = last.instance, status.Code(err).String()
	switch {
	case err == nil:
		r.Outcome = OK
	case foreign(err), last.trailer && !hungUp && !expired:
		r.answered(err.Error())
	default:
		r.fail(reason(last, err, hungUp), err)
	}
}

// foreign tells whether err is an answer in another language than gRPC, like a page of HTML from an nginx that was not told otherwise.
// An instance has none.
func foreign(err error) bool {
	return err != nil && strings.Contains(err.Error(), "unexpected HTTP status code received from server")
}

// reason is why an attempt that ended with err got no answer, or not all of it. What grpc-go does not say by a code, it says in words.
func reason(a *attempt, err error, hungUp bool) string {
	words := status.Convert(err).Message()
	switch {
	case hungUp:
		return HungUp
	case status.Code(err) == codes.DeadlineExceeded:
		return Deadline
	case strings.Contains(words, "draining"), !a.sent && strings.Contains(words, "transport is closing"):
		return Lost
	case !a.sent:
		return Refused
	}
	return Reset
}
