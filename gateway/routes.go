package gateway

import (
	"net/http"

	"google.golang.org/grpc/codes"
)

// allowed is what every path of a read-only door allows.
const allowed = "GET, HEAD, OPTIONS"

// Routes serves each path by its handler, and answers for all of them as a read-only door should: HEAD as GET, OPTIONS
// with 204, other methods with 405 (both with Allow), unknown paths with 404, errors as JSON. A path matches as a
// whole, as it was sent.
//
// grpc-gateway alone says 501 to a wrong method, and http.ServeMux answers in plain text.
func Routes(paths map[string]http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, ok := paths[r.URL.Path]
		switch {
		case r.Method == http.MethodOptions && r.URL.Path == "*": // The server as a whole (RFC 9110, 9.3.7).
			w.Header().Set("Allow", allowed)
			w.WriteHeader(http.StatusNoContent)
		case !ok:
			WriteError(w, http.StatusNotFound, codes.NotFound, "no such path: "+r.URL.Path)
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			h.ServeHTTP(w, r)
		case r.Method == http.MethodOptions:
			w.Header().Set("Allow", allowed)
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Allow", allowed)
			WriteError(w, http.StatusMethodNotAllowed, codes.Unimplemented, r.Method+" is not allowed here: use "+allowed)
		}
	})
}
