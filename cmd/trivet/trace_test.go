package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A collectorServer takes traces over OTLP/HTTP at /v1/traces, and counts them.
type collectorServer struct {
	mu     sync.Mutex
	traces map[string]bool
}

func (c *collectorServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	m := &collector.ExportTraceServiceRequest{}
	if err != nil || proto.Unmarshal(body, m) != nil {
		http.Error(w, "want traces", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range m.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				c.traces[string(s.TraceId)] = true
			}
		}
	}
}

// collecting starts a collectorServer, and sets $COLLECTOR to its endpoint.
func collecting(ts *testscript.TestScript, _ bool, _ []string) {
	c := &collectorServer{traces: make(map[string]bool)}
	mux := http.NewServeMux()
	mux.Handle("/v1/traces", c)
	mux.HandleFunc("/collected", func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, _ = io.WriteString(w, strconv.Itoa(len(c.traces)))
	})
	server := httptest.NewServer(mux)
	ts.Defer(server.Close)
	ts.Setenv("COLLECTOR", server.URL)
}

// collected checks how many traces the collectorServer has.
func collected(ts *testscript.TestScript, _ bool, args []string) {
	response, err := http.Get(ts.Getenv("COLLECTOR") + "/collected")
	ts.Check(err)
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	ts.Check(err)
	if string(got) != args[0] {
		ts.Fatalf("the collector has %s traces, want %s", got, args[0])
	}
}
