// Package collectortest is an OpenTelemetry collector for tests: it takes traces over OTLP, by gRPC and by HTTP, with the protocol's own
// messages, and keeps them.
package collectortest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // Exporters may compress.
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A Collector takes traces. Its methods may be called concurrently. The zero value is usable.
type Collector struct {
	collector.UnimplementedTraceServiceServer

	Refuse  int  // how many requests are refused as if it was busy, before the first is accepted; set it before Serve
	Rejects bool // responses say that one span was rejected; set it before Serve

	mu       sync.Mutex
	requests int
	spans    []Span
}

// A Span is one that arrived, with the attributes of its resource that are texts.
type Span struct {
	*otlp.Span
	Resource map[string]string
}

// Attribute is the text of a span's attribute; "" if it has none.
func (s Span) Attribute(key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// Spans are those that have arrived.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Requests is how many have arrived, the refused ones included.
func (c *Collector) Requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}

// Export implements [collector.TraceServiceServer].
func (c *Collector) Export(_ context.Context, m *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests++; c.requests <= c.Refuse {
		return nil, status.Error(codes.Unavailable, "busy")
	}
	for _, r := range m.ResourceSpans {
		resource := make(map[string]string)
		for _, a := range r.Resource.GetAttributes() {
			resource[a.Key] = a.Value.GetStringValue()
		}
		for _, scope := range r.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, Span{s, resource})
			}
		}
	}
	response := &collector.ExportTraceServiceResponse{}
	if c.Rejects {
		response.PartialSuccess = &collector.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "one is too old"}
	}
	return response, nil
}

// ServeHTTP implements [http.Handler]: OTLP over HTTP, at /v1/traces.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/traces" {
		http.NotFound(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	m := &collector.ExportTraceServiceRequest{}
	if err := errors.Join(err, proto.Unmarshal(body, m)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response, err := c.Export(r.Context(), m)
	if err != nil {
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	body, _ = proto.Marshal(response) // It has only numbers and valid texts.
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(body)
}

// HTTP serves it by HTTP until the test ends, and returns its URL.
func (c *Collector) HTTP(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return server.URL
}

// GRPC serves it by gRPC until the test ends, and returns its address.
func (c *Collector) GRPC(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, c)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}
