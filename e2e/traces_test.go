package e2e

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"trivet/internal/collectortest"
	"trivet/lab/fleet"
	"trivet/lab/record"
	"trivet/lab/trace"
	"trivet/nginx"
)

// A request with a hop over each protocol, while one instance is down: the spans that the instances send to a collector and those that
// come from the records of nginx and of the instances make one tree.
func TestSpansOfInstancesHangUnderAttemptsOfNginx(t *testing.T) {
	t.Parallel()
	c := &collectortest.Collector{}
	records := filepath.Join(t.TempDir(), "instances.jsonl")
	f := startFleet(t, fleet.Options{
		Instances: 3, Conf: nginx.Conf(), Workers: 1, NoRestart: true,
		Env: []string{"RECORDS=" + records, "OTEL_EXPORTER_OTLP_ENDPOINT=http://" + c.GRPC(t), "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
	})
	if _, err := f.Process("whoami-2").Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	const id, client, parent = "traced", "0123456789abcdeffedcba9876543210", "0011223344556677"
	for n := range 3 { // In one of them nginx's turn is at whoami-2.
		request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+f.HTTP()+"/?hops=grpc,http&hops=grpc", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Request-Id", fmt.Sprint(id, n))
		request.Header.Set("traceparent", "00-"+client+"-"+parent+"-01")
		response, err := browser(t).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatal(response.Status)
		}
	}
	for _, name := range []string{"whoami-1", "whoami-3", "nginx"} { // nginx has logged all then, and instances have sent their last spans.
		if _, err := f.Process(name).Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	source := recordsOf(t, f, records)
	refused := 0
	var fromRecords []*trace.Span
	for n := range 3 {
		got, err := source.Request(fmt.Sprint(id, n))
		if err != nil || got == nil || got.ID != client || len(got.Roots) != 1 || got.Roots[0].Parent != parent {
			t.Fatalf("%+v, %v", got, err)
		}
		kinds := make(map[trace.Kind]int)
		for _, s := range got.All {
			kinds[s.Kind]++
			fromRecords = append(fromRecords, s)
			if s.Note == "refused" {
				refused++
			} else if s.Result != trace.OK || s.Linked != "" {
				t.Errorf("%s %s: %s, linked %q", s.Kind, s.Name, s.Note, s.Linked)
			}
		}
		if kinds[trace.Nginx] != 5 || kinds[trace.Instance] != 5 || kinds[trace.Hop] != 4 || kinds[trace.Attempt] < 5 {
			t.Errorf("%v", kinds)
		}
	}
	if refused == 0 {
		t.Error("nginx's attempts at whoami-2 are missing")
	}
	checkJoined(t, c.Spans(), fromRecords, client)
}

// recordsOf are the records of a fleet as trivet up leaves them.
func recordsOf(t *testing.T, f stack, instances string) *trace.Source {
	t.Helper()
	dir := f.Dir()
	if err := os.MkdirAll(filepath.Join(dir, "records"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(instances, filepath.Join(dir, record.InstancesFile)); err != nil {
		t.Fatal(err)
	}
	if err := (record.Fleet{Instances: f.Instances()}).Write(dir); err != nil {
		t.Fatal(err)
	}
	source, err := trace.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// checkJoined checks that each span of an instance is below an attempt of nginx's, the last, and that each of a hop is above nginx's span.
func checkJoined(t *testing.T, sent []collectortest.Span, fromRecords []*trace.Span, traceID string) {
	t.Helper()
	servers, hops := 0, 0
	for _, s := range sent {
		if s.Attribute("trivet.request_id") == "" && s.Kind == otlp.Span_SPAN_KIND_SERVER || hex.EncodeToString(s.TraceId) != traceID {
			continue // Of a probe.
		}
		id, above := hex.EncodeToString(s.SpanId), hex.EncodeToString(s.ParentSpanId)
		switch s.Kind {
		case otlp.Span_SPAN_KIND_SERVER:
			servers++
			if !slices.ContainsFunc(fromRecords, func(a *trace.Span) bool {
				return a.Kind == trace.Attempt && a.ID == above && strings.HasSuffix(a.Name, s.Resource["service.instance.id"]) && a.Request == s.Attribute("trivet.request_id")
			}) {
				t.Errorf("%s of %s is below %s, which is no attempt at it", s.Name, s.Resource["service.instance.id"], above)
			}
		case otlp.Span_SPAN_KIND_CLIENT:
			hops++
			if !slices.ContainsFunc(sent, func(server collectortest.Span) bool { return hex.EncodeToString(server.SpanId) == above }) {
				t.Errorf("hop %s is below %s, which is no span of an instance", s.Name, above)
			}
			if !slices.ContainsFunc(fromRecords, func(n *trace.Span) bool { return n.Kind == trace.Nginx && n.Caller == id }) {
				t.Errorf("hop %s (%s) is above no span of nginx", s.Name, id)
			}
		}
	}
	if servers != 15 || hops != 12 {
		t.Errorf("the collector has %d spans of requests and %d of hops, want 15 and 12", servers, hops)
	}
}
