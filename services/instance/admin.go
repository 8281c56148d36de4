package instance

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
)

// Status is the JSON body of /status on the admin listener.
type Status struct {
	Instance   string `json:"instance"`
	Ready      bool   `json:"ready"`
	UnaryCalls int64  `json:"unary_calls"` // running now
	Streams    int64  `json:"streams"`     // running now
	Panics     int64  `json:"panics"`      // handlers that panicked, since the start
}

// adminHandler returns the handler of the admin listener, which is for operators: no load balancer forwards to it.
func (i *instance) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", healthz(alive))
	mux.HandleFunc("GET /readyz", healthz(i.ready.Load))
	mux.HandleFunc("GET /status", i.serveStatus)
	if i.metrics != nil {
		mux.Handle("GET /metrics", i.metrics.handler())
	}
	if i.config.PProf {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func (i *instance) serveStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Status{
		Instance: i.config.Instance, Ready: i.ready.Load(),
		UnaryCalls: i.unaryCalls.running.Load(), Streams: i.streams.running.Load(), Panics: i.panics.count.Load(),
	})
}
