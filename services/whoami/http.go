package whoami

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

// httpHandler returns the handler of the REST listener: the mappings of the services, health and the OpenAPI file.
// The services are called through the interceptors of the gRPC server.
func (i *instance) httpHandler() (http.Handler, error) {
	conn := gateway.NewConn(i.unaryInterceptors(), i.streamInterceptors())
	i.app.register(early{conn, i.calls, &i.unaryCalls, i.config.ReadTimeout})
	rest, err := gateway.New(context.Background(), conn, gateway.Options{MaxMessage: maxMessageBytes}, append([]gateway.Mapping{i.paths}, i.app.mappings...)...)
	if err != nil {
		return nil, err
	}
	return i.calls.http(i.panics.http(i.drain.bodies(rest))), nil
}

// paths adds what is no RPC.
func (i *instance) paths(_ context.Context, mux *runtime.ServeMux, _ grpc.ClientConnInterface) error {
	for path, handler := range map[string]http.HandlerFunc{
		"/openapi.json": gateway.OpenAPI().ServeHTTP,
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

// alive: a process that can respond is alive. One that drains must not be restarted: that would cut what it drains.
func alive() bool { return true }

// healthz responds as grpc.health.v1 does over gRPC: SERVING, or an error while not.
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

// http is the middleware that watches every request of the REST listener, also those that reach no service.
func (w *calls) http(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ctx, c := w.begin(r.Context(), protocolHTTP, r.Method+" "+r.URL.Path, r.Header.Get(requestIDHeader), "")
		rw.Header().Set(instanceHeader, w.instance)
		rw.Header().Set(requestIDHeader, c.id)
		response := &statusWriter{ResponseWriter: rw}
		defer func() { w.end(ctx, c, strconv.Itoa(response.status)) }() // Also while http.ErrAbortHandler passes.
		r = r.WithContext(ctx)
		r.Header[requestIDHeader] = []string{c.id} // The service sees the ID that counts, whatever the client sent.
		next.ServeHTTP(response, r)
		if response.status == 0 {
			response.status = http.StatusOK // What net/http sends for a handler that wrote nothing.
		}
	})
}

// http is the middleware that turns a panic outside a service into 500. http.ErrAbortHandler is no error: it is how a
// handler breaks off a response.
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
				panic(http.ErrAbortHandler) // Half a response must not look whole: this breaks the connection off.
			}
			gateway.WriteError(w, http.StatusInternalServerError, codes.Internal, failed)
		}()
		next.ServeHTTP(w, r)
	})
}

// statusWriter keeps the final status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int // 0 until it is sent
}

// WriteHeader implements [http.ResponseWriter]. An informational status (1xx, but for 101) is not the final one.
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

// Unwrap lets [http.ResponseController] find what the writer can do.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
