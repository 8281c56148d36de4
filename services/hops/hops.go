// Package hops makes the calls that requests state: the hops of whoami.v1. Every service that takes them uses it in the same way.
package hops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/hop"
	"trivet/services/instance"
	"trivet/services/outgoing"
)

// A Request is what a request has of hops.
type Request interface {
	GetHops() []string
	GetWork() *durationpb.Duration
}

// Caller makes the calls of the requests that one instance gets.
type Caller struct {
	service     string
	maxWork     time.Duration
	connections *outgoing.Connections
}

// New returns the caller of an instance.
func New(c instance.Config, log *slog.Logger) (*Caller, error) {
	options, err := outgoing.From(c, log)
	if err != nil {
		return nil, err
	}
	return &Caller{service: c.Service, maxWork: c.MaxWork, connections: outgoing.New(options)}, nil
}

// Close closes the connections.
func (c *Caller) Close() { c.connections.Close() }

// Handle does what r wants before it is responded to: the work, and then the calls of the first hop, all at once. It returns the calls,
// in the hop's order. Calls that fail are among them, and do not end the others; [Failure] is the error of a request with such calls.
//
// An error means that there are none: INVALID_ARGUMENT, FAILED_PRECONDITION, or that of a context that ended during the work.
func (c *Caller) Handle(ctx context.Context, r Request) ([]*whoamiv1.Call, error) {
	route, err := c.check(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := work(ctx, r.GetWork().AsDuration()); err != nil {
		return nil, err
	}
	if len(route.Calls) == 0 {
		return nil, nil
	}
	made := make([]*whoamiv1.Call, len(route.Calls))
	var running sync.WaitGroup
	for n, call := range route.Calls {
		ctx, sent, err := outgoing.Begin(ctx) // Here, so that the numbers of the request IDs are those of the hop's order.
		if err != nil {
			running.Wait()
			return nil, err
		}
		rest := route.Rest
		running.Go(func() { made[n] = c.send(ctx, sent, call, rest) })
	}
	running.Wait()
	return made, nil
}

// check returns the route of a request that is allowed.
func (c *Caller) check(ctx context.Context, r Request) (hop.Route, error) {
	route, err := hop.NewRoute(c.service, r.GetHops())
	errs := []error{err}
	if w := r.GetWork(); w != nil && (!w.IsValid() || w.AsDuration() < 0 || w.AsDuration() > c.maxWork) {
		errs = append(errs, fmt.Errorf("work is %v: want 0s to %v (MAX_WORK)", w.AsDuration(), c.maxWork))
	}
	if longest := route.LongestID(instance.CallFrom(ctx).ID); err == nil && len(route.Calls) > 0 && len(longest) > instance.MaxID {
		errs = append(errs, fmt.Errorf("request ID %s of the deepest call would be longer than %d characters: send a shorter one, or fewer hops", longest, instance.MaxID))
	}
	if err := errors.Join(errs...); err != nil {
		return hop.Route{}, status.Error(codes.InvalidArgument, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	for _, call := range route.Calls {
		if _, err := c.target(call); err != nil {
			return hop.Route{}, err
		}
	}
	return route, nil
}

// target is where a call goes; an error if the instance has no address for it.
func (c *Caller) target(call hop.Call) (target, error) {
	setting := "HOPS_HTTP"
	if call.Protocol == hop.HTTP {
		if client, url := c.connections.HTTP(); url != "" {
			return httpTarget{client, url}, nil
		}
	} else {
		setting = "HOPS_GRPC"
		conn, err := c.connections.GRPC(outgoing.Retries{Attempts: call.Attempts, Budget: call.Budget})
		if err != nil {
			return nil, status.Errorf(codes.FailedPrecondition, "hop %q: %v", call.Text, err)
		}
		if conn != nil {
			return grpcTarget{conn}, nil
		}
	}
	return nil, status.Errorf(codes.FailedPrecondition, "hop %q: %s is off: this instance does not know where to call", call.Text, setting)
}

// work takes d, unless ctx ends before.
func work(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
