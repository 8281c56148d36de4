// Package gateway puts REST in front of gRPC services, by grpc-gateway, in process.
//
// The services are registered on a [Conn], which runs the interceptors of the gRPC server. [New] makes a handler of
// their REST mappings. Routing, errors with details, headers, trailers and streams are grpc-gateway's; added are HEAD,
// OPTIONS, 405 with Allow, errors as JSON for every path, and server-sent events.
//
// A service sees a call as if it had come over gRPC: the peer with both addresses and its TLS state, and as metadata
// the headers that [Passes] lets in.
package gateway

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// A Mapping adds routes to mux: the REST mapping of a service, called through conn, or a path of its own by
// [runtime.ServeMux.HandlePath].
type Mapping func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error

// Options say what a gateway does beyond its mappings. The zero value is usable.
type Options struct {
	MaxMessage int64 // bytes of a message in a request's body; 0 is DefaultMaxMessage. Larger ones get 413
}

// New returns the handler that serves the mappings through conn. An error is a mapping's own.
//
// Responses are JSON in protobuf's mapping, unset fields shown, with a newline at the end. A server stream is one
// JSON object per line ({"result":…} or, at the end, {"error":…}) or, where Accept names text/event-stream, one event
// per message. Every other error is {"code":…,"message":"…","details":[…]}. A bidirectional stream needs a client that
// reads the response while it sends. Metadata whose key ends in -bin is no text, and does not become a header.
func New(ctx context.Context, conn grpc.ClientConnInterface, options Options, mappings ...Mapping) (http.Handler, error) {
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, jsonLines{newJSON()}),
		runtime.WithMarshalerOption(eventStream, serverSentEvents{jsonLines{newJSON()}}),
		runtime.WithIncomingHeaderMatcher(metadataKey),
		runtime.WithOutgoingHeaderMatcher(headerName),
		runtime.WithOutgoingTrailerMatcher(trailerName),
		runtime.WithErrorHandler(writeError),
		runtime.WithStreamErrorHandler(func(_ context.Context, err error) *status.Status { return printable(status.Convert(err)) }),
		runtime.WithRoutingErrorHandler(writeRoutingError),
		runtime.WithMiddlewares(answerProbe),
		runtime.WithWriteContentLength(),
		// Both let a POST pass for a GET, and so pass a check of the method that a load balancer makes.
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

// handler is a mux with what HTTP expects of every resource.
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
	// grpc-gateway would append the connection's address to X-Forwarded-For, and so make a direct call look forwarded.
	in.RemoteAddr = ""
	if r.Header.Get("Grpc-Timeout") != "" { // A deadline of the client's, which grpc-gateway would take beside the matcher.
		in.Header = in.Header.Clone()
		in.Header.Del("Grpc-Timeout")
	}
	if wantsEvents(r.Header) { // grpc-gateway compares Accept as a whole.
		in.Header = in.Header.Clone()
		in.Header.Set("Accept", eventStream)
	}
	if len(in.Header["Content-Type"]) > 0 && mediaIs(in.Header.Get("Content-Type"), eventStream) { // No format of requests.
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

// Passes reports whether a request's header becomes metadata of the call: X-Request-Id, the trace context
// (traceparent, tracestate, baggage), Authorization, and the four X-Forwarded-* that nginx sets. Other X-Forwarded-*,
// like X-Forwarded-User, would let any client claim what only an authenticating proxy may say; Grpc-Metadata-* would
// be a second way in for every name.
func Passes(name string) bool {
	switch strings.ToLower(name) {
	case "x-request-id", "traceparent", "tracestate", "baggage", "authorization",
		"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port":
		return true
	}
	return false
}

// metadataKey is the key under which a header goes to the service. Authorization goes there without being asked for:
// grpc-gateway always passes it.
func metadataKey(name string) (string, bool) {
	name = strings.ToLower(name)
	return name, Passes(name) && name != "authorization"
}

// headerName is the name under which a service's metadata leaves: its own, as over gRPC. grpc-gateway's default puts
// Grpc-Metadata- before it.
func headerName(key string) (string, bool) {
	return key, !strings.HasSuffix(key, "-bin") && key != "content-length"
}

// trailerName is grpc-gateway's own name for a trailer.
func trailerName(key string) (string, bool) {
	return runtime.MetadataTrailerPrefix + key, !strings.HasSuffix(key, "-bin")
}

// withPeer is r's context with the peer that a gRPC server would put there.
func withPeer(r *http.Request) context.Context {
	p := &peer.Peer{Addr: address(r.RemoteAddr)}
	p.LocalAddr, _ = r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if r.TLS != nil {
		p.AuthInfo = authInfo(*r.TLS)
	}
	return peer.NewContext(r.Context(), p)
}

// authInfo is what the gRPC server's TLS credentials would say of a connection.
func authInfo(state tls.ConnectionState) credentials.AuthInfo {
	return credentials.TLSInfo{State: state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
}

// address is an address as net/http gives it, text.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
