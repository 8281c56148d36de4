package instance

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	whoamiv1 "trivet/gen/whoami/v1"
)

const (
	traceparent = "00-0123456789abcdeffedcba9876543210-0011223344556677-01"
	parentSpan  = "0011223344556677"
)

// Each request has one span, also a REST call, which passes through the gateway to the interceptors of gRPC.
func TestEachRequestHasOneSpan(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	a, err := fixture.New(Config{Instance: "whoami-7"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	traces := &tracing{provider: sdk.NewTracerProvider(sdk.WithSyncer(exporter)), log: slog.New(slog.DiscardHandler)}
	r := startTraced(t, a, nil, traces)
	client := whoamiv1.NewWhoAmIServiceClient(r.connection)
	get := func(path string) func() {
		return func() { r.http(t, path, "X-Request-Id", "mine", "traceparent", traceparent) }
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "mine", "traceparent", traceparent)
	for _, c := range []struct {
		what string
		do   func()
		want string // name, route
	}{
		{"a REST call", get("/"), "GET / /"},
		{"an unknown path", get("/one/of/many"), "GET "},
		{"a gRPC call", func() {
			if _, err := client.WhoAmI(ctx, &whoamiv1.WhoAmIRequest{}); err != nil {
				t.Fatal(err)
			}
		}, "whoami.v1.WhoAmIService/WhoAmI "},
		{"a gRPC stream", func() {
			ctx, cancel := context.WithCancel(ctx)
			stream, err := client.WatchWhoAmI(ctx, &whoamiv1.WatchWhoAmIRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			cancel()
		}, "whoami.v1.WhoAmIService/WatchWhoAmI "},
		{"health over HTTP", get("/readyz"), ""},
		{"health over gRPC", func() {
			if _, err := healthv1.NewHealthClient(r.connection).Check(ctx, &healthv1.HealthCheckRequest{}); err != nil {
				t.Fatal(err)
			}
		}, ""},
	} {
		exporter.Reset()
		c.do()
		got := spansOf(t, exporter, c.want != "")
		if c.want == "" && len(got) == 0 {
			continue
		}
		if len(got) != 1 {
			t.Errorf("%s: %d spans", c.what, len(got))
			continue
		}
		s := got[0]
		attributes := make(map[string]string)
		for _, a := range s.Attributes {
			attributes[string(a.Key)] = a.Value.String()
		}
		if name := s.Name + " " + attributes["http.route"]; name != c.want || s.SpanKind != trace.SpanKindServer {
			t.Errorf("%s: %s span %q, want %q", c.what, s.SpanKind, name, c.want)
		}
		if s.Parent.SpanID().String() != parentSpan || !strings.Contains(traceparent, s.SpanContext.TraceID().String()) || attributes["trivet.request_id"] != "mine" {
			t.Errorf("%s: parent %s, trace %s, %v", c.what, s.Parent.SpanID(), s.SpanContext.TraceID(), attributes)
		}
	}
}

// spansOf returns the spans. Those of a response that the client has may end a moment later.
func spansOf(t *testing.T, exporter *tracetest.InMemoryExporter, wanted bool) tracetest.SpanStubs {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Second)
	for wanted && len(exporter.GetSpans()) == 0 {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("no span in 10 s")
		}
	}
	return exporter.GetSpans()
}

// A stream reaches its client message by message, and a body of a request is read, also through the middleware.
func TestTracedResponsesAreTheSame(t *testing.T) {
	t.Parallel()
	a, err := fixture.New(Config{Instance: "whoami-7"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	traces := &tracing{provider: sdk.NewTracerProvider(), log: slog.New(slog.DiscardHandler)}
	r := startTraced(t, a, nil, traces)
	request, err := http.NewRequestWithContext(t.Context(), "GET", r.base+"/watch?interval=3600s", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(response.Body, first); err != nil || first[0] != '{' {
		t.Errorf("%q, %v", first, err)
	}
	body, err := http.Post(r.base+"/", "text/plain", strings.NewReader("body"))
	if err != nil || body.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("%v, %v", body, err)
	}
	body.Body.Close()
}

func TestStandardVariablesTurnTracesOn(t *testing.T) {
	t.Parallel()
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, c := range []struct {
		environ map[string]string
		want    string
	}{
		{nil, "off"},
		{map[string]string{endpoint: "http://localhost:4318"}, "otlp"},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, "otlp"},
		{map[string]string{endpoint: "http://localhost:4318", "TRACES": "off"}, "off"},
		{map[string]string{endpoint: "http://localhost:4318", "OTEL_TRACES_EXPORTER": "none"}, "off"},
		{map[string]string{endpoint: "http://localhost:4318", "OTEL_SDK_DISABLED": "true"}, "off"},
		{map[string]string{"TRACES": "otlp"}, "otlp"},
		{map[string]string{"TRACES": "jaeger"}, "TRACES=jaeger (environment): want otlp or off"},
	} {
		config, values, err := fixture.Load(t.Context(), Sources{Environ: envconfig.MapLookuper(c.environ)})
		got := ""
		for _, v := range values {
			if v.Name == "TRACES" {
				got = v.Value
			}
		}
		if err != nil {
			got = err.Error()
		}
		if got != c.want || err == nil && config.Traces != (got == "otlp") {
			t.Errorf("%v: %s, want %s", c.environ, got, c.want)
		}
	}
}

// A collector that is not there delays a shutdown by flushTimeout at most, and the log says that spans are lost.
func TestLostSpansAreLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	traces := &tracing{provider: sdk.NewTracerProvider(sdk.WithBatcher(stuck{})), log: slog.New(slog.NewTextHandler(&log, nil))}
	_, span := traces.provider.Tracer("test").Start(t.Context(), "span")
	span.End()
	began := time.Now()
	traces.shutDown()
	if took := time.Since(began); took > flushTimeout+5*time.Second || !strings.Contains(log.String(), "the last spans are lost") {
		t.Errorf("after %v: %s", took, log.String())
	}
}

// A stuck exporter exports nothing until its context ends.
type stuck struct{}

func (stuck) ExportSpans(ctx context.Context, _ []sdk.ReadOnlySpan) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func (stuck) Shutdown(context.Context) error { return nil }
