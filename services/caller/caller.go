// Package caller describes the client of a call, as the instance saw it, in the responses of every service.
package caller

import (
	"context"
	"net"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/durationpb"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/services/instance"
)

// Of returns the description of the client of ctx's call.
func Of(ctx context.Context) *whoamiv1.Caller {
	c := &whoamiv1.Caller{
		RequestId: instance.CallFrom(ctx).ID,
		// Several values joined as in one header.
		ForwardedFor: strings.Join(metadata.ValueFromIncomingContext(ctx, "x-forwarded-for"), ", "),
	}
	if p, ok := peer.FromContext(ctx); ok {
		c.PeerAddress = p.Addr.String()
	}
	if id := instance.CallerIdentity(ctx); id != "" {
		c.Identity = &id
	}
	if id := instance.ClientIdentity(ctx); id != "" {
		c.ClientIdentity = &id
	}
	return c
}

// Port returns the port of the listener to which the client connected; 0 if it is unknown.
func Port(ctx context.Context) uint32 {
	if p, ok := peer.FromContext(ctx); ok {
		if local, ok := p.LocalAddr.(*net.TCPAddr); ok {
			return uint32(local.Port)
		}
	}
	return 0
}

// DeadlineLeft returns the time that was left until the client's deadline when the call arrived; nil if it set none.
func DeadlineLeft(ctx context.Context) *durationpb.Duration {
	if left, has := instance.CallFrom(ctx).DeadlineLeft(); has {
		return durationpb.New(left)
	}
	return nil
}
