package instance

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"trivet/gateway"
)

// httpHandler returns the handler of the HTTP listener: the services' REST mappings, health and the OpenAPI file. It calls
// the services through the interceptors of the gRPC server.
func (i *instance) httpHandler() (http.Handler, error) {
	conn := gateway.NewConn(i.unaryInterceptors(), i.streamInterceptors())
	i.app.Register(early{conn, i.calls, &i.unaryCalls, i.config.ReadTimeout})
	rest, err := gateway.New(context.Background(), conn, gateway.Options{MaxMessage: maxMessageBytes, Routed: i.routed}, append([]gateway.Mapping{i.paths}, i.app.Mappings...)...)
	if err != nil {
		return nil, err
	}
	return i.calls.traces.http(i.calls.http(i.panics.http(i.drain.bodies(rest)))), nil
}

// routed notes the route of a REST call for its metrics and its span.
func (i *instance) routed(ctx context.Context, route string) {
	if c := callFrom(ctx); c != nil {
		c.route = route
	}
	i.calls.traces.route(ctx, route)
}

// paths adds the paths that are not RPCs.
func (i *instance) paths(_ context.Context, mux *runtime.ServeMux, _ grpc.ClientConnInterface) error {
	for path, handler := range map[string]http.HandlerFunc{
		"/openapi.json": i.app.OpenAPI,
		"/healthz":      healthz(alive),
		"/readyz":       healthz(i.ready.Load),
	} {
		serve := func(w http.ResponseWriter, r *http.Request, _ map[string]string) { handler(w, r) }
		if err := mux.HandlePath(http.MethodGet, path, serve); err != nil {
			return err
		}
	}
	return nil
}

// alive reports true: a process that responds is alive. It stays true in a drain, because a restart would end the calls
// that the drain waits for.
func alive() bool { return true }

// healthz responds like grpc.health.v1: SERVING, or an error.
func healthz(serving func() bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if !serving() {
			gateway.WriteError(w, http.StatusServiceUnavailable, codes.Unavailable, "NOT_SERVING")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(w, `{"status":"SERVING"}`)
	}
}

// http is the middleware that observes every request to the HTTP listener, including those that reach no service.
func (w *calls) http(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ctx, c := w.begin(r.Context(), HTTP, r.Method+" "+r.URL.Path, r.Header.Get(requestIDHeader), "")
		w.metrics.begin(c, func() string { return r.Header.Get(traceparentKey) })
		rw.Header().Set(instanceHeader, w.instance)
		rw.Header().Set(requestIDHeader, c.ID)
		response := &statusWriter{ResponseWriter: rw}
		defer func() { w.end(ctx, c, strconv.Itoa(response.status)) }() // Also on http.ErrAbortHandler's panic.
		r = r.WithContext(ctx)
		r.Header[requestIDHeader] = []string{c.ID} // The service sees the assigned ID, not what the client sent.
		next.ServeHTTP(response, r)
		if response.status == 0 {
			response.status = http.StatusOK // net/http sends it for a handler that wrote nothing.
		}
	})
}

// http is the middleware that turns a panic outside a service into status 500. It passes http.ErrAbortHandler on, by which
// handlers abort a response.
func (p *panics) http(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v)
			}
			_ = p.report(r.Context(), v)
			if response, ok := w.(*statusWriter); ok && response.status != 0 {
				panic(http.ErrAbortHandler) // Closes the connection, so that the client sees the response as incomplete.
			}
			gateway.WriteError(w, http.StatusInternalServerError, codes.Internal, failed)
		}()
		next.ServeHTTP(w, r)
	})
}

// statusWriter records the final status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int // 0 until it is sent
}

// WriteHeader implements [http.ResponseWriter]. An informational status (1xx except 101) is not final.
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap gives [http.ResponseController] access to the wrapped writer.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
