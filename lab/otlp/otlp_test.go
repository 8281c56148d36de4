package otlp

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"trivet/internal/collectortest"
	"trivet/lab/labtest"
	"trivet/lab/trace"
)

// example is a trace of three processes, with every kind of attribute, a link and an execution that did not end.
func example() *trace.Trace {
	begin := time.Date(2026, 11, 26, 15, 10, 0, 123456789, time.UTC)
	execution := &trace.Span{ID: "000000000000000c", Parent: "000000000000000b", Kind: trace.Instance, Service: "whoami", Process: "whoami-1", Name: "GET /", Request: "1.http.0.7",
		Begin: begin.Add(2 * time.Millisecond), End: begin.Add(2 * time.Millisecond), Result: trace.InDoubt, Note: "not completed", Unfinished: true}
	attempt := &trace.Span{ID: "000000000000000b", Parent: "000000000000000a", Kind: trace.Attempt, Service: "nginx", Process: "nginx", Name: "attempt 1: whoami-1", Request: "1.http.0.7",
		Begin: begin, End: begin.Add(3 * time.Millisecond), Result: trace.InDoubt, Note: "in doubt 502", Linked: "00112233445566778899aabbccddeeff", Children: []*trace.Span{execution}}
	return &trace.Trace{ID: "ffeeddccbbaa99887766554433221100", Request: "1.http.0.7", Roots: []*trace.Span{{
		ID: "000000000000000a", Kind: trace.Client, Service: "client", Process: "client", Name: "GET /", Request: "1.http.0.7", Begin: begin, End: begin.Add(4 * time.Millisecond), Result: trace.OK, Note: "200",
		Attributes: []trace.Attribute{{Key: "text", Value: "a\"b"}, {Key: "number", Value: int64(1) << 60}, {Key: "flag", Value: true}}, Children: []*trace.Span{attempt},
	}}}
}

// OTLP/JSON has IDs in hex, enumerations as numbers and 64-bit numbers as text; see opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding.
func TestJSONIsThatOfTheProtocol(t *testing.T) {
	t.Parallel()
	line, err := Marshal(Message(example()))
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		ResourceSpans []struct {
			ScopeSpans []struct {
				Spans []struct {
					TraceID, SpanID, ParentSpanID, StartTimeUnixNano string
					Kind                                             int
					Status                                           struct{ Code int }
					Links                                            []struct{ TraceID string }
					Attributes                                       []struct {
						Key   string
						Value map[string]any
					}
				}
			}
		}
	}
	if err := json.Unmarshal(line, &m); err != nil || bytes.ContainsRune(line, '\n') || len(m.ResourceSpans) != 3 {
		t.Fatalf("%v: %s", err, line)
	}
	client, attempt := m.ResourceSpans[0].ScopeSpans[0].Spans[0], m.ResourceSpans[1].ScopeSpans[0].Spans[0]
	if client.TraceID != "ffeeddccbbaa99887766554433221100" || client.SpanID != "000000000000000a" || client.ParentSpanID != "" || client.Kind != 3 || client.StartTimeUnixNano != "1795705800123456789" {
		t.Errorf("%+v", client)
	}
	if attempt.ParentSpanID != client.SpanID || attempt.Status.Code != 2 || attempt.Links[0].TraceID != "00112233445566778899aabbccddeeff" {
		t.Errorf("%+v", attempt)
	}
	var values []any
	for _, a := range client.Attributes {
		for kind, v := range a.Value {
			values = append(values, a.Key, kind, v)
		}
	}
	if want := []any{"text", "stringValue", "a\"b", "number", "intValue", "1152921504606846976", "flag", "boolValue", true}; !slices.Equal(values[len(values)-len(want):], want) {
		t.Errorf("%v", values)
	}
}

func TestJSONIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	want := Message(example())
	line, err := Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Unmarshal(line)
	if err != nil || !proto.Equal(got, want) {
		t.Errorf("%v, %v\nwant %v", got, err, want)
	}
	if _, err := Unmarshal(bytes.Replace(line, []byte("ffeeddccbbaa99887766554433221100"), []byte("zzzz"), 1)); err == nil {
		t.Error("no hex digits, and no error")
	}
}

// trialDir is the directory of a trial with n requests.
func trialDir(t *testing.T, n int) string {
	t.Helper()
	h := labtest.History{Manifest: labtest.Manifest(n)}
	for i := range n {
		h.Records = append(h.Records, labtest.Ordinary(h.Manifest, i)...)
	}
	return labtest.TrialDir(t, h.Manifest, h.Files(t))
}

func TestFileHasChosenTracesOfTrial(t *testing.T) {
	t.Parallel()
	dir := trialDir(t, 400)
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	traces, spans := 0, 0
	err := Read(dir, func(m *collector.ExportTraceServiceRequest) error {
		traces++
		spans += len(spansOf(m))
		return nil
	})
	if err != nil || traces != 300 || spans != 4*traces {
		t.Errorf("%d traces, %d spans, %v", traces, spans, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new")); len(left) > 0 {
		t.Errorf("%v", left)
	}
	enough := errors.New("enough")
	if err := Read(dir, func(*collector.ExportTraceServiceRequest) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v", err)
	}
}

func TestTrialWithoutRecordsHasNoFile(t *testing.T) {
	t.Parallel()
	dir := labtest.TrialDir(t, labtest.Manifest(3), nil)
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, File)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func spansOf(m *collector.ExportTraceServiceRequest) (all []*otlp.Span) {
	for _, r := range m.ResourceSpans {
		for _, scope := range r.ScopeSpans {
			all = append(all, scope.Spans...)
		}
	}
	return all
}

// serve serves a collector over a scheme, and returns its endpoint.
func serve(t *testing.T, c *collectortest.Collector, scheme string) string {
	t.Helper()
	if scheme == "http" {
		return c.HTTP(t)
	}
	return "grpc://" + c.GRPC(t)
}

func TestSenderSendsAllInBatchesAndAgainWhereRefused(t *testing.T) {
	t.Parallel()
	dir := trialDir(t, 300)
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"http", "grpc"} {
		c := &collectortest.Collector{Refuse: 1}
		s, err := NewSender(t.Context(), serve(t, c, scheme))
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(Read(dir, func(m *collector.ExportTraceServiceRequest) error { return s.Add(t.Context(), m) }), s.Flush(t.Context()), s.Close())
		if err != nil || s.Traces != 300 || s.Spans != 1200 || s.Batches != 3 || c.Requests() != 4 || len(c.Spans()) != 1200 {
			t.Errorf("%s: %d traces, %d spans, %d batches in %d requests, %d arrived: %v", scheme, s.Traces, s.Spans, s.Batches, c.Requests(), len(c.Spans()), err)
		}
	}
}

func TestSenderReportsWhatCollectorRejects(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "grpc"} {
		endpoint := serve(t, &collectortest.Collector{Rejects: true}, scheme)
		s, err := NewSender(t.Context(), endpoint)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(s.Add(t.Context(), Message(example())), s.Flush(t.Context()))
		if err == nil || !strings.Contains(err.Error(), "one is too old") || !strings.Contains(err.Error(), endpoint) || s.Traces != 0 {
			t.Errorf("%s: %d traces, %v", scheme, s.Traces, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestEndpointsSayTheProtocol(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]string{
		"http://localhost:4318": "", "https://example.org/otlp/v1/traces": "", "grpc://[::1]:4317": "", "grpcs://example.org": "",
		"localhost:4317": "unknown scheme", "ftp://localhost": "unknown scheme", "http://": "no host", "grpc://localhost/v1/traces": "no path", "http://a b": "invalid character",
	} {
		_, err := Parse(endpoint)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "grpc://HOST:PORT")) {
			t.Errorf("%s: %v, want %q", endpoint, err, want)
		}
	}
}
