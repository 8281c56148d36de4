// Package gateway puts REST in front of an implementation of the WhoAmI service, by grpc-gateway, in process.
//
// The implementation is called directly, without a gRPC connection: that costs a third of a loopback dial. The price is
// that no gRPC interceptor runs and that the library leaves some things out which a gRPC server gives; this package
// puts them back, so that an implementation reads the same from its context whichever way a call came:
//
//   - the peer, with the local address;
//   - the metadata: X-Request-Id, traceparent and X-Forwarded-* as they arrived, and nothing else of the caller's.
//
// Server streams have no REST mapping: the in-process way cannot stream.
package gateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/peer"

	whoamiv1 "trivet/gen/whoami/v1"
)

// New is the REST mapping of impl: `GET /` is WhoAmI. Requests that the mapping does not know get an error as JSON; use
// Routes to put other paths beside it and to answer HEAD, OPTIONS and wrong methods.
//
// Answers are JSON in protobuf's mapping, unset fields shown, with a newline at the end.
func New(impl whoamiv1.WhoAmIServiceServer) (http.Handler, error) {
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, lines{newJSON()}),
		runtime.WithIncomingHeaderMatcher(func(name string) (string, bool) { return strings.ToLower(name), passes(name) }),
		// What an implementation sets by grpc.SetHeader leaves under its own name, as it does over gRPC: the
		// library would put Grpc-Metadata- before it.
		runtime.WithOutgoingHeaderMatcher(func(name string) (string, bool) { return name, true }),
		runtime.WithErrorHandler(writeStatus),
		runtime.WithWriteContentLength(),
		// A POST that says it is a GET would get past the method check that a balancer makes.
		runtime.WithDisableHTTPMethodOverride(),
	)
	if err := whoamiv1.RegisterWhoAmIServiceHandlerServer(context.Background(), mux, impl); err != nil {
		return nil, fmt.Errorf("registering the REST mapping: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { mux.ServeHTTP(w, inward(r)) }), nil
}

// passes tells whether a header of the caller goes inwards. The library's own matcher would let every Grpc-Metadata-*
// header in under the name behind the prefix, X-Instance among them.
func passes(name string) bool {
	return strings.EqualFold(name, "X-Request-Id") || strings.EqualFold(name, "Traceparent") ||
		len(name) >= 12 && strings.EqualFold(name[:12], "X-Forwarded-")
}

// inward is the request as the library should see it.
//
// The library acts on headers that the matcher never sees: it passes Authorization on, takes a deadline from
// Grpc-Timeout and sends trailers to who says TE. It also appends the connection's address to X-Forwarded-For, which
// would make a direct call look like a forwarded one; without a RemoteAddr it leaves the header as it arrived.
func inward(r *http.Request) *http.Request {
	in := r.WithContext(withPeer(r))
	in.Header = make(http.Header, 4)
	for name, values := range r.Header {
		if passes(name) {
			in.Header[name] = values
		}
	}
	in.RemoteAddr = ""
	if in.Method == http.MethodHead {
		in.Method = http.MethodGet // The library knows no HEAD; net/http drops the body.
	}
	return in
}

// withPeer is r's context with the peer that a gRPC server would put there.
func withPeer(r *http.Request) context.Context {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return peer.NewContext(r.Context(), &peer.Peer{Addr: remote(r.RemoteAddr), LocalAddr: local})
}

// remote is an address as net/http gives it, text.
type remote string

func (remote) Network() string  { return "tcp" }
func (a remote) String() string { return string(a) }
