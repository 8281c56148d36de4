package whoami

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"trivet/gateway"
	whoamiv1 "trivet/gen/whoami/v1"
)

// door is what the two doors of an instance share: what belongs to a request at the door, not to a call of the
// service. gRPC interceptors do not run for REST, which calls the service in process, so each door says it by its own
// means: one HTTP middleware; one unary and one stream interceptor.
type door struct {
	instance string
	log      *slog.Logger
	records  *recorder
	life     *life
}

// httpHandler is the REST door: the mapping, health and the OpenAPI file.
func (d *door) httpHandler(service whoamiv1.WhoAmIServiceServer, ready func() bool) (http.Handler, error) {
	rest, err := gateway.New(service)
	if err != nil {
		return nil, err
	}
	return d.middleware(gateway.Routes(map[string]http.Handler{
		"/":             rest,
		"/openapi.json": gateway.OpenAPI(),
		// A process that can answer is alive: restarting one because it drains would cut what it drains.
		"/healthz": healthz(func() bool { return true }),
		"/readyz":  healthz(ready),
	})), nil
}

// healthz answers as grpc.health.v1 does over gRPC: SERVING, or an error while not.
func healthz(serving func() bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !serving() {
			gateway.WriteError(w, http.StatusServiceUnavailable, codes.Unavailable, "NOT_SERVING")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(w, `{"status":"SERVING"}`)
	})
}

// middleware does at the HTTP door what unary and stream do at the gRPC door.
func (d *door) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := call{requestID(r.Header.Get(requestIDHeader)), protocolHTTP}
		method := r.Method + " " + r.URL.Path
		began := time.Now()
		complete := d.records.arrive(c, method, "")
		w.Header().Set(instanceHeader, d.instance)
		w.Header().Set(requestIDHeader, c.id)
		answer := &statusWriter{ResponseWriter: w}
		defer func() {
			p := recover()
			broken := p != nil && !answer.failed()
			complete(strconv.Itoa(answer.status))
			if d.log.Enabled(r.Context(), slog.LevelDebug) {
				d.log.Debug("call", "protocol", c.protocol, "method", method, "status", answer.status, "id", c.id, "took_us", time.Since(began).Microseconds())
			}
			if p != nil {
				d.panicked(p, c, method)
			}
			if broken {
				panic(http.ErrAbortHandler) // Half an answer must not look whole: this breaks the connection off.
			}
		}()
		// The id that holds goes inwards, whatever the caller wrote.
		r = r.WithContext(withCall(r.Context(), c))
		r.Header[requestIDHeader] = []string{c.id}
		next.ServeHTTP(answer, r)
	})
}

func (d *door) panicked(p any, c call, method string) {
	d.log.Error("panic", "panic", p, "protocol", c.protocol, "method", method, "id", c.id, "stack", string(debug.Stack()))
}

// internal is what the caller of a call that panicked is told, whichever door it came through.
const internal = "the instance failed on this call: its log tells more under the request id"

// statusWriter keeps the status that was sent.
type statusWriter struct {
	http.ResponseWriter
	status int // 0 until something was sent
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find what the writer can do.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// failed answers INTERNAL, and tells whether it could: not where an answer had already begun.
func (w *statusWriter) failed() bool {
	if w.status != 0 {
		return false
	}
	gateway.WriteError(w, http.StatusInternalServerError, codes.Internal, internal)
	return true
}
