package instance

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"trivet/internal/buildinfo"
)

// flushTimeout bounds the export of the last spans at the end of a drain.
const flushTimeout = time.Second

// tracing makes OpenTelemetry spans: one for each request to either listener. A nil tracing makes none and costs nothing.
//
// The standard variables OTEL_* say where spans go, which are sampled, and further attributes. All of it is composition: a middleware for
// HTTP and a stats handler for gRPC, none of which knows a method. In-process calls of the gateway pass the stats handler by, so a REST
// call has one span, that of the middleware.
type tracing struct {
	provider *sdk.TracerProvider
	log      *slog.Logger
}

// newTracing returns nil if TRACES is off. What an app does in a call's context finds the provider among OpenTelemetry's globals.
func newTracing(ctx context.Context, c Config, log *slog.Logger) (*tracing, error) {
	if !c.Traces {
		return nil, nil
	}
	exporter, err := newExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("TRACES=otlp: %w", err)
	}
	of, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.namespace", "trivet"), attribute.String("service.name", c.Service), attribute.String("service.instance.id", c.Instance),
		attribute.String("service.version", buildinfo.String()), attribute.String("deployment.environment.name", c.Environment), attribute.Int("process.pid", os.Getpid()),
	), resource.WithFromEnv()) // Last, so that OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t := &tracing{provider: sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(of)), log: log}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("spans are lost", "error", err) }))
	otel.SetTracerProvider(t.provider)
	otel.SetTextMapPropagator(propagators())
	return t, nil
}

// propagators are W3C's: nginx sets and passes on traceparent.
func propagators() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

// newExporter is the one of OTEL_EXPORTER_OTLP_TRACES_PROTOCOL or OTEL_EXPORTER_OTLP_PROTOCOL; http/protobuf is the standard's default.
func newExporter(ctx context.Context) (*otlptrace.Exporter, error) {
	protocol := "http/protobuf"
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if set := os.Getenv(name); set != "" {
			protocol = set
		}
	}
	switch protocol {
	case "grpc":
		return otlptracegrpc.New(ctx)
	case "http/protobuf", "http/json":
		return otlptracehttp.New(ctx)
	}
	return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL=%s: want grpc, http/protobuf or http/json", protocol)
}

// http is the middleware that makes a span of a request. Health checks have none. The name is the method until the route is known.
func (t *tracing) http(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return otelhttp.NewHandler(next, "", otelhttp.WithTracerProvider(t.provider), otelhttp.WithMeterProvider(noop.NewMeterProvider()), otelhttp.WithPropagators(propagators()),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method }),
		otelhttp.WithFilter(func(r *http.Request) bool { return r.URL.Path != "/healthz" && r.URL.Path != "/readyz" }))
}

// grpc is the option of a server that makes a span of each call.
func (t *tracing) grpc() []grpc.ServerOption {
	if t == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(t.provider), otelgrpc.WithMeterProvider(noop.NewMeterProvider()),
		otelgrpc.WithPropagators(propagators()), otelgrpc.WithFilter(filters.Not(filters.HealthCheck()))))}
}

// name adds the request ID to the span of a call, by which records and log lines are found.
func (t *tracing) name(ctx context.Context, c *Call) {
	if t != nil {
		trace.SpanFromContext(ctx).SetAttributes(attribute.String("trivet.request_id", c.ID))
	}
}

// route names the span of a REST call after its route: a name per path would be as many as clients like.
func (t *tracing) route(ctx context.Context, route string) {
	if t != nil {
		_, path, _ := strings.Cut(route, " ")
		span := trace.SpanFromContext(ctx)
		span.SetName(route)
		span.SetAttributes(attribute.String("http.route", path))
	}
}

// shutDown exports the spans that are left.
func (t *tracing) shutDown() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Warn("the last spans are lost", "error", err)
	}
}
