package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx"
)

// watchInterval is how often a watched instance sends a message, unless the load's message says otherwise.
const watchInterval = 100 * time.Millisecond

func method(l scenario.Load) string {
	switch {
	case l.Protocol == scenario.HTTP:
		return cmp.Or(l.Request.Method, http.MethodGet) + " " + cmp.Or(l.Request.Path, "/")
	case l.Call == scenario.Watch:
		return whoamiv1.WhoAmIService_WatchWhoAmI_FullMethodName
	case l.Call == scenario.Idle:
		return reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName
	}
	return whoamiv1.WhoAmIService_WhoAmI_FullMethodName
}

// paddingField is the number of a field that no message has: the largest there is.
const paddingField = 1<<29 - 1

// grpcClient sends calls over channels of its own, each of one connection.
type grpcClient struct {
	scenario.Load
	target   string
	options  []grpc.DialOption
	channels []*grpc.ClientConn // none if each call has its own
	metadata []string           // keys and values in turn
	message  proto.Message      // a WhoAmIRequest or a WatchWhoAmIRequest
}

// newGRPCClient makes the client of a load. With trusted authorities it uses TLS.
func newGRPCClient(address string, trusted *trust, l scenario.Load) (*grpcClient, error) {
	message, err := requestMessage(l)
	if err != nil {
		return nil, fmt.Errorf("load %s: message: %w", l.Name, err)
	}
	config, err := trusted.config(address)
	if err != nil {
		return nil, err
	}
	transport := insecure.NewCredentials()
	if config != nil {
		transport = credentials.NewTLS(config)
	}
	c := &grpcClient{Load: l, target: "passthrough:///" + address, message: message, options: []grpc.DialOption{
		grpc.WithTransportCredentials(transport), grpc.WithUserAgent(userAgent), grpc.WithStatsHandler(callTracer{}),
	}}
	if l.Retry {
		c.options = append(c.options, grpc.WithDefaultServiceConfig(serviceConfig(l)))
	} else {
		// Nothing turns off transparent retries, of attempts that the server says it never processed or that were never sent. The
		// records have them.
		c.options = append(c.options, grpc.WithDisableRetry(), grpc.WithDisableServiceConfig())
	}
	for key, value := range l.Request.Metadata {
		c.metadata = append(c.metadata, key, value)
	}
	for i := range max(1, l.Channels) {
		if l.NewConnection {
			break
		}
		channel, err := c.newChannel(i)
		if err != nil {
			c.close()
			return nil, err
		}
		c.channels = append(c.channels, channel)
	}
	return c, nil
}

// retried is the code that the retry policy of a load names.
func retried(l scenario.Load) string { return cmp.Or(l.RetryCode, "UNAVAILABLE") }

// serviceConfig is the shipped service config with the code that a load retries.
func serviceConfig(l scenario.Load) string {
	return strings.Replace(nginx.ServiceConfig, `["UNAVAILABLE"]`, `["`+retried(l)+`"]`, 1)
}

// newChannel is a channel from the i-th channel's client address. It is not connected yet.
func (c *grpcClient) newChannel(i int) (*grpc.ClientConn, error) {
	dial := dialFrom(addressOf(c.Load, i), 0)
	return grpc.NewClient(c.target, append(slices.Clip(c.options), grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) {
		return dial(ctx, "tcp", to)
	}))...)
}

// requestMessage is the message that each call of a load sends.
func requestMessage(l scenario.Load) (proto.Message, error) {
	var message proto.Message = &whoamiv1.WhoAmIRequest{}
	watch := &whoamiv1.WatchWhoAmIRequest{}
	if l.Call == scenario.Watch {
		message = watch
	}
	if l.Request.Message != "" {
		if err := protojson.Unmarshal([]byte(l.Request.Message), message); err != nil {
			return nil, err
		}
	}
	if watch.Interval == nil {
		watch.Interval = durationpb.New(watchInterval)
	}
	if unary, ok := message.(*whoamiv1.WhoAmIRequest); ok && len(l.Hops) > 0 {
		unary.Hops = l.Hops
	}
	if l.Request.Padding > 0 {
		field := protowire.AppendTag(nil, paddingField, protowire.BytesType)
		message.ProtoReflect().SetUnknown(protowire.AppendBytes(field, make([]byte, l.Request.Padding)))
	}
	return message, nil
}

// connect opens the channels' connections. Where that fails, the first call does, too.
func (c *grpcClient) connect(ctx context.Context) {
	for _, channel := range c.channels {
		channel.Connect()
	}
	for _, channel := range c.channels {
		for state := channel.GetState(); state != connectivity.Ready && channel.WaitForStateChange(ctx, state); state = channel.GetState() {
		}
	}
}

func (c *grpcClient) close() {
	for _, channel := range c.channels {
		channel.Close()
	}
}

func (c *grpcClient) send(ctx context.Context, n int, r *record.Client) {
	t := &trace{}
	traced := metadata.AppendToOutgoingContext(context.WithValue(ctx, traceKey{}, t), "x-request-id", r.ID)
	traced = metadata.AppendToOutgoingContext(traced, c.metadata...)
	canceled, err := c.call(traced, n%max(1, c.Channels), r)
	if errors.Is(err, io.EOF) && strings.HasPrefix(err.Error(), "max retries exhausted") {
		// grpc-go 1.85 reports this, with the code UNKNOWN, if the last attempt's response came before the request was written. The
		// retries that were exhausted are those of the one code that the policy names. (After a transparent retry it reports EOF alone,
		// and UNKNOWN it stays.)
		var code codes.Code
		if code.UnmarshalJSON([]byte(strconv.Quote(retried(c.Load)))) != nil {
			code = codes.Unknown
		}
		err = status.Error(code, err.Error())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fill(r, err, canceled)
}

// call makes one call over the i-th channel, or over a new one from its address.
func (c *grpcClient) call(ctx context.Context, i int, r *record.Client) (canceled bool, err error) {
	r.Address = addressOf(c.Load, i)
	var channel *grpc.ClientConn
	if !c.NewConnection {
		channel = c.channels[i]
	} else if channel, err = c.newChannel(i); err != nil {
		return false, err
	} else {
		defer channel.Close()
	}
	switch c.Call {
	case scenario.Watch:
		return c.watch(ctx, channel, r)
	case scenario.Idle:
		return false, idle(ctx, channel)
	}
	_, err = whoamiv1.NewWhoAmIServiceClient(channel).WhoAmI(ctx, c.message.(*whoamiv1.WhoAmIRequest))
	return false, err
}

// watch follows a stream until the client cancels after c.Hold. Then the error is nil if any message had come.
func (c *grpcClient) watch(ctx context.Context, channel *grpc.ClientConn, r *record.Client) (canceled bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(c.Hold, cancel)
	stream, err := whoamiv1.NewWhoAmIServiceClient(channel).WatchWhoAmI(ctx, c.message.(*whoamiv1.WatchWhoAmIRequest))
	for err == nil {
		if _, err = stream.Recv(); err == nil {
			r.Messages++
		}
	}
	canceled = !timer.Stop() && status.Code(err) == codes.Canceled
	// grpc-go 1.85 reports EOF also for an error that came before the request was written again; but then no message came.
	if r.Messages > 0 && (canceled || errors.Is(err, io.EOF)) {
		err = nil
	}
	return canceled, err
}

// idle opens a stream of reflection requests and sends none.
func idle(ctx context.Context, channel *grpc.ClientConn) error {
	stream, err := reflectionv1.NewServerReflectionClient(channel).ServerReflectionInfo(ctx)
	for err == nil {
		_, err = stream.Recv()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

// fill completes the record of a call that ended with err. After the deadline the dispatcher overrides the outcome: an instance knows the
// deadline too, and its reaction can arrive before grpc-go's own timer runs, as its DEADLINE_EXCEEDED, or as nginx's UNAVAILABLE about a
// stream that the instance has reset.
func (t *trace) fill(r *record.Client, err error, canceled bool) {
	r.Attempts = len(t.attempts)
	last := &attempt{}
	for i, a := range t.attempts {
		last = a
		switch {
		case a.header || a.trailer:
		case i+1 < len(t.attempts) && t.attempts[i+1].transparent:
			r.MaybeUnlogged = append(r.MaybeUnlogged, record.TransparentRetry)
		case i+1 < len(t.attempts):
			if !notGRPC(a.err) {
				r.MaybeUnlogged = append(r.MaybeUnlogged, reason(a, a.err, false))
			}
		case !notGRPC(err):
			r.MaybeUnlogged = append(r.MaybeUnlogged, reason(a, err, canceled))
		}
	}
	r.Instance, r.Code = last.instance, status.Code(err).String()
	switch {
	case err == nil:
		r.Outcome = record.OK
	case notGRPC(err), last.trailer && !canceled:
		r.SetError(err.Error())
	default:
		r.SetIncomplete(reason(last, err, canceled), err)
	}
}

// notGRPC reports whether err is a response that is not gRPC, like the HTML of an nginx that is not configured for it. No instance sends
// one.
func notGRPC(err error) bool {
	return err != nil && strings.Contains(err.Error(), "unexpected HTTP status code received from server")
}

// reason is why an attempt that ended with err got no response, or not all of it. Where grpc-go has no code for it, its message says it;
// "draining" is the instance's own (services/whoami/drain.go).
func reason(a *attempt, err error, canceled bool) string {
	message := status.Convert(err).Message()
	switch {
	case canceled:
		return record.Canceled
	case status.Code(err) == codes.DeadlineExceeded:
		return record.Deadline
	case strings.Contains(message, "draining"), !a.sent && strings.Contains(message, "transport is closing"):
		return record.ConnectionClosed
	case !a.sent:
		return record.Refused
	}
	return record.Reset
}
