package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"trivet/internal/collectortest"
)

// collecting starts a collector, and sets $COLLECTOR to its endpoint.
func collecting(ts *testscript.TestScript, _ bool, _ []string) {
	c := &collectortest.Collector{}
	mux := http.NewServeMux()
	mux.Handle("/", c)
	mux.HandleFunc("/collected", func(w http.ResponseWriter, _ *http.Request) {
		traces := make(map[string]bool)
		for _, s := range c.Spans() {
			traces[string(s.TraceId)] = true
		}
		_, _ = io.WriteString(w, strconv.Itoa(len(traces)))
	})
	server := httptest.NewServer(mux)
	ts.Defer(server.Close)
	ts.Setenv("COLLECTOR", server.URL)
}

// collected checks how many traces the collector has.
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
