package gateway

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
)

// probeMethods are the methods that a mapping may have, in the order in which Allow names them.
var probeMethods = []string{
	http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
}

// A probe determines whether the mux has a route for a request, without serving it.
type probe struct{ matched bool }

type probeKey struct{}

// stopProbe is a middleware of the mux that stops a probe before the route's handler.
func stopProbe(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, pathParams map[string]string) {
		if p, ok := r.Context().Value(probeKey{}).(*probe); ok {
			p.matched = true
			return
		}
		next(w, r, pathParams)
	}
}

// reportRoute is a middleware of the mux that passes the route to routed. There is one for each route, and its text is made once.
func reportRoute(routed func(context.Context, string)) runtime.Middleware {
	return func(next runtime.HandlerFunc) runtime.HandlerFunc {
		var route atomic.Pointer[string]
		return func(w http.ResponseWriter, r *http.Request, pathParams map[string]string) {
			text := route.Load()
			if text == nil {
				if pattern, ok := runtime.HTTPPattern(r.Context()); ok {
					text = new(r.Method + " " + pattern.String())
					route.Store(text)
				}
			}
			if text != nil {
				routed(r.Context(), *text)
			}
			next(w, r, pathParams)
		}
	}
}

// allowed returns the Allow header of r's path, or "" if the path is unknown.
func allowed(mux *runtime.ServeMux, r *http.Request) string {
	var all []string
	for _, method := range probeMethods {
		p := &probe{}
		request := r.WithContext(context.WithValue(r.Context(), probeKey{}, p))
		request.Method = method
		if mux.ServeHTTP(discard{}, request); !p.matched {
			continue
		}
		all = append(all, method)
		if method == http.MethodGet {
			all = append(all, http.MethodHead)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return strings.Join(append(all, http.MethodOptions), ", ")
}

// discard drops the mux's response to a probe that no route matches.
type discard struct{}

func (discard) Header() http.Header         { return make(http.Header) }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// options responds to OPTIONS with the methods of the path; "*" is the server as a whole (RFC 9110, 9.3.7).
func (h handler) options(w http.ResponseWriter, r *http.Request) {
	allow := "GET, HEAD, OPTIONS"
	if r.URL.Path != "*" {
		allow = allowed(h.mux, r)
	}
	if allow == "" {
		WriteError(w, http.StatusNotFound, codes.NotFound, "no such path: "+r.URL.Path)
		return
	}
	w.Header().Set("Allow", allow)
	w.WriteHeader(http.StatusNoContent)
}

// head serves HEAD, which grpc-gateway lacks, as GET; net/http drops the body. A stream ends at its first message.
func (h handler) head(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	r.Method = http.MethodGet
	h.mux.ServeHTTP(headWriter{w, cancel}, r)
}

// headWriter ends the call once there is a body to drop.
type headWriter struct {
	http.ResponseWriter
	end context.CancelFunc
}

func (w headWriter) Write(b []byte) (int, error) {
	defer w.end()
	return w.ResponseWriter.Write(b)
}

// Unwrap gives [http.ResponseController] access to the wrapped writer.
func (w headWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeRoutingError responds to a request without a route: 404, or 405 with the methods of its path.
func writeRoutingError(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, httpStatus int) {
	if ctx.Value(probeKey{}) != nil {
		return
	}
	if httpStatus == http.StatusMethodNotAllowed {
		if allow := allowed(mux, r); allow != "" {
			w.Header().Set("Allow", allow)
			WriteError(w, httpStatus, codes.Unimplemented, r.Method+" is not allowed here: use "+allow)
			return
		}
		httpStatus = http.StatusNotFound
	}
	if httpStatus == http.StatusNotFound {
		WriteError(w, httpStatus, codes.NotFound, "no such path: "+r.URL.Path)
		return
	}
	runtime.DefaultRoutingErrorHandler(ctx, mux, m, w, r, httpStatus)
}
