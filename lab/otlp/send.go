package otlp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
)

// A Sender sends traces to a collector, in batches. It is not safe for concurrent use.
type Sender struct {
	client        otlptrace.Client
	endpoint      string
	batch         []*otlp.ResourceSpans
	traces, spans int // in the batch
	Traces, Spans int // that the collector accepted
	Batches       int // that the collector accepted
}

// batchedSpans is from how many spans on a batch is sent: some 300 KB, where collectors accept 4 MB.
const batchedSpans = 500

// Retries are of batches: a collector may be busy for a moment, and one that is not there after that is an error. Retried is what the
// protocol permits: UNAVAILABLE and other codes, and the HTTP statuses 429, 502, 503 and 504.
const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 5 * time.Second // between two retries
	retryFor   = 20 * time.Second
)

// Parse checks an endpoint: http://HOST:PORT or https:// for OTLP over HTTP, where /v1/traces follows unless there is a path;
// grpc://HOST:PORT or, over TLS, grpcs:// for OTLP over gRPC.
func Parse(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "grpc" && u.Scheme != "grpcs":
		err = errors.New("unknown scheme")
	case u.Hostname() == "":
		err = errors.New("no host")
	case strings.HasPrefix(u.Scheme, "grpc") && strings.Trim(u.Path, "/") != "":
		err = errors.New("OTLP over gRPC has no path")
	}
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w: want http://HOST:PORT or https://HOST:PORT (OTLP over HTTP), grpc://HOST:PORT or grpcs://HOST:PORT (OTLP over gRPC)", endpoint, err)
	}
	return u, nil
}

// NewSender returns a Sender to an endpoint, see Parse. OTEL_EXPORTER_OTLP_HEADERS, _CERTIFICATE and the like apply. Close it.
func NewSender(ctx context.Context, endpoint string) (*Sender, error) {
	u, err := Parse(endpoint)
	if err != nil {
		return nil, err
	}
	s := &Sender{endpoint: endpoint}
	switch u.Scheme {
	case "grpc", "grpcs":
		options := []otlptracegrpc.Option{
			otlptracegrpc.WithEndpoint(withPort(u, "4317")),
			otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: firstRetry, MaxInterval: lastRetry, MaxElapsedTime: retryFor}),
			otlptracegrpc.WithTimeout(2 * retryFor), // It includes the retries.
		}
		if u.Scheme == "grpc" {
			options = append(options, otlptracegrpc.WithInsecure())
		}
		s.client = otlptracegrpc.NewClient(options...)
	default:
		if strings.Trim(u.Path, "/") == "" {
			u.Path = "/v1/traces"
		}
		u.Host = withPort(u, "4318")
		s.client = otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(u.String()),
			otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: firstRetry, MaxInterval: lastRetry, MaxElapsedTime: retryFor}))
	}
	return s, s.client.Start(ctx)
}

func withPort(u *url.URL, port string) string {
	if u.Port() != "" {
		return u.Host
	}
	return u.Host + ":" + port
}

// Add adds a trace, and sends a batch if there are enough.
func (s *Sender) Add(ctx context.Context, m *collector.ExportTraceServiceRequest) error {
	s.batch = append(s.batch, m.ResourceSpans...)
	s.traces++
	for _, r := range m.ResourceSpans {
		for _, scope := range r.ScopeSpans {
			s.spans += len(scope.Spans)
		}
	}
	if s.spans < batchedSpans {
		return nil
	}
	return s.Flush(ctx)
}

// Flush sends what was added.
func (s *Sender) Flush(ctx context.Context) error {
	if len(s.batch) == 0 {
		return nil
	}
	if err := s.client.UploadTraces(ctx, s.batch); err != nil {
		return fmt.Errorf("send traces to %s: %w", s.endpoint, err)
	}
	s.Traces, s.Spans, s.Batches = s.Traces+s.traces, s.Spans+s.spans, s.Batches+1
	s.batch, s.traces, s.spans = nil, 0, 0
	return nil
}

// Close ends the connection.
func (s *Sender) Close() error { return s.client.Stop(context.Background()) }
