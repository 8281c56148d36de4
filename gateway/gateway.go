// Package gateway serves gRPC services over REST, in process, with grpc-gateway.
//
// The services are registered on a [Conn], which runs the interceptors of the gRPC server. [New] returns a handler for
// their REST mappings. grpc-gateway does routing, errors with details, headers, trailers and streams; this package adds
// HEAD, OPTIONS, 405 with Allow, JSON errors for every path, and server-sent events.
//
// A service sees a call as if it had come over gRPC: the peer with both addresses and TLS state, and the headers that
// docs/service.md lists as metadata.
package gateway

import (
	"context"
	"net"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// A Mapping adds routes to mux: the REST mapping of a service, which it calls through conn, or other paths with
// [runtime.ServeMux.HandlePath].
type Mapping func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error

// Options configure a gateway. The zero value is usable.
type Options struct {
	// Routed gets the route of each request that has one, like "GET /users/{id}", before it is served. nil: none.
	Routed     func(ctx context.Context, route string)
	MaxMessage int64 // maximum bytes of a message in a request's body; 0 is DefaultMaxMessage. Larger ones get 413
}

// New returns a handler that serves the mappings through conn. It returns the first error of a mapping.
//
// Responses are JSON in protobuf's mapping, with unset fields and a newline at the end. A server stream is one JSON
// object per line ({"result":…} or, at the end, {"error":…}) or, if Accept names text/event-stream, one event per
// message. Other errors are {"code":…,"message":"…","details":[…]}. Bidirectional streams need a client that reads the
// response while it sends. Metadata with a key that ends in -bin is binary and does not become a header.
func New(ctx context.Context, conn grpc.ClientConnInterface, options Options, mappings ...Mapping) (http.Handler, error) {
	if options.Routed == nil {
		options.Routed = func(context.Context, string) {}
	}
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, jsonLines{newJSON()}),
		runtime.WithMarshalerOption(eventStream, serverSentEvents{jsonLines{newJSON()}}),
		runtime.WithIncomingHeaderMatcher(metadataKey),
		runtime.WithOutgoingHeaderMatcher(headerName),
		runtime.WithOutgoingTrailerMatcher(trailerName),
		runtime.WithErrorHandler(writeError),
		runtime.WithStreamErrorHandler(func(_ context.Context, err error) *status.Status { return printable(status.Convert(err)) }),
		runtime.WithRoutingErrorHandler(writeRoutingError),
		runtime.WithMiddlewares(stopProbe, reportRoute(options.Routed)),
		runtime.WithWriteContentLength(),
		// Both turn a POST into a GET, which would bypass a load balancer that checks the method.
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
	)
	for _, add := range mappings {
		if err := add(ctx, mux, conn); err != nil {
			return nil, err
		}
	}
	if options.MaxMessage == 0 {
		options.MaxMessage = DefaultMaxMessage
	}
	return handler{mux, options.MaxMessage}, nil
}

// handler adds OPTIONS, HEAD and limits to a mux.
type handler struct {
	mux        *runtime.ServeMux
	maxMessage int64
}

// ServeHTTP implements [http.Handler].
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := newRequest(w, r, h.maxMessage)
	defer body.finish()
	if body.body != http.NoBody {
		w = lastWriter{w, body}
	}
	ctx := context.WithValue(withPeer(r), requestKey{}, body)
	in := r.WithContext(ctx)
	in.Body = body
	// Otherwise grpc-gateway appends the connection's address to X-Forwarded-For, and a direct call looks forwarded.
	in.RemoteAddr = ""
	if wantsEvents(r.Header) { // grpc-gateway compares Accept as a whole.
		in.Header = in.Header.Clone()
		in.Header.Set("Accept", eventStream)
	}
	if len(in.Header["Content-Type"]) > 0 && mediaIs(in.Header.Get("Content-Type"), eventStream) { // Not a request format.
		in.Header = in.Header.Clone()
		in.Header.Del("Content-Type")
	}
	switch r.Method {
	case http.MethodOptions:
		h.options(w, in)
	case http.MethodHead:
		h.head(w, in)
	default:
		h.mux.ServeHTTP(w, in)
	}
}

// metadataKey returns the metadata key of a request header, and whether to pass it: X-Request-Id, the trace context (traceparent,
// tracestate, baggage), and the four X-Forwarded-* headers and X-Client-Identity that nginx sets; a service must ask the peer's TLS state
// whether it is nginx that says which client it serves. grpc-gateway always passes Authorization. Others, like
// X-Forwarded-User, would let any client claim what only an authenticating proxy may assert; Grpc-Metadata-* would admit
// any name.
func metadataKey(name string) (string, bool) {
	name = strings.ToLower(name)
	switch name {
	case "x-request-id", "traceparent", "tracestate", "baggage", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-client-identity":
		return name, true
	}
	return name, false
}

// headerName returns the response header for a metadata key, and whether to send it: the key itself, as over gRPC, where
// grpc-gateway's default prefixes Grpc-Metadata-.
func headerName(key string) (string, bool) {
	return key, !strings.HasSuffix(key, "-bin") && key != "content-length"
}

// trailerName returns grpc-gateway's default name for a trailer, and whether to send it.
func trailerName(key string) (string, bool) {
	return runtime.MetadataTrailerPrefix + key, !strings.HasSuffix(key, "-bin")
}

// withPeer returns r's context with the peer that a gRPC server would add, including what its TLS credentials report.
func withPeer(r *http.Request) context.Context {
	p := &peer.Peer{Addr: address(r.RemoteAddr)}
	p.LocalAddr, _ = r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if r.TLS != nil {
		p.AuthInfo = credentials.TLSInfo{State: *r.TLS, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	}
	return peer.NewContext(r.Context(), p)
}

// address is a net.Addr with the text of net/http.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
