//go:build slow

// Package otlp sends traces to the OpenTelemetry collector's own receiver. It is a module of its own: the collector's modules must not get
// into go.mod.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	messages "go.opentelemetry.io/proto/otlp/collector/trace/v1"

	"trivet/lab/labtest"
	"trivet/lab/otlp"
)

// requests are those of the trial whose traces are sent.
const requests = 300

// The collector accepts what trivet traces sends, over both protocols and in several batches, and its reader reads traces.jsonl.
func TestCollectorTakesTraces(t *testing.T) {
	t.Parallel()
	h := labtest.History{Manifest: labtest.Manifest(requests)}
	for i := range requests {
		h.Records = append(h.Records, labtest.Ordinary(h.Manifest, i)...)
	}
	dir := labtest.TrialDir(t, h.Manifest, h.Files(t))
	if err := otlp.Write(dir); err != nil {
		t.Fatal(err)
	}
	sink := &consumertest.TracesSink{}
	grpc, http := receive(t, sink)
	for _, endpoint := range []string{"grpc://" + grpc, "http://" + http} {
		sink.Reset()
		s, err := otlp.NewSender(t.Context(), endpoint)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(otlp.Read(dir, func(m *messages.ExportTraceServiceRequest) error { return s.Add(t.Context(), m) }), s.Flush(t.Context()), s.Close())
		if err != nil || s.Spans != 4*requests || sink.SpanCount() != s.Spans || s.Batches < 2 {
			t.Errorf("%s: %d spans sent in %d batches, %d arrived: %v", endpoint, s.Spans, s.Batches, sink.SpanCount(), err)
		}
		for _, traces := range sink.AllTraces() {
			checkTrees(t, traces)
		}
	}
}

// TestCollectorReadsFile reads a line as the collector's receivers of files do.
func TestCollectorReadsFile(t *testing.T) {
	t.Parallel()
	h := labtest.History{Manifest: labtest.Manifest(3)}
	h.Records = labtest.Ordinary(h.Manifest, 0)
	dir := labtest.TrialDir(t, h.Manifest, h.Files(t))
	if err := otlp.Write(dir); err != nil {
		t.Fatal(err)
	}
	lines := 0
	err := otlp.Read(dir, func(m *messages.ExportTraceServiceRequest) error {
		line, err := otlp.Marshal(m)
		if err != nil {
			return err
		}
		lines++
		traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(line)
		if err == nil && traces.SpanCount() != 4 {
			err = fmt.Errorf("%d spans", traces.SpanCount())
		}
		checkTrees(t, traces)
		return err
	})
	if err != nil || lines != 1 {
		t.Errorf("%d lines, %v", lines, err)
	}
}

// receive runs the collector's OTLP receiver until the test ends.
func receive(t *testing.T, sink *consumertest.TracesSink) (grpc, http string) {
	t.Helper()
	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig().(*otlpreceiver.Config)
	grpc, http = free(t), free(t)
	config.Protocols.GRPC.GetOrInsertDefault().NetAddr.Endpoint = grpc
	config.Protocols.HTTP.GetOrInsertDefault().ServerConfig.NetAddr.Endpoint = http
	receiver, err := factory.CreateTraces(t.Context(), receivertest.NewNopSettings(factory.Type()), config, sink)
	if err != nil {
		t.Fatal(err)
	}
	if err := receiver.Start(t.Context(), componenttest.NewNopHost()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := receiver.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return grpc, http
}

// free is an address with a free port.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// checkTrees checks that each span but a client's has its parent in the same trace.
func checkTrees(t *testing.T, traces ptrace.Traces) {
	t.Helper()
	of := make(map[string]bool)
	each(traces, func(s ptrace.Span) { of[s.TraceID().String()+s.SpanID().String()] = true })
	each(traces, func(s ptrace.Span) {
		if kind, _ := s.Attributes().Get("trivet.kind"); s.ParentSpanID().IsEmpty() != (kind.Str() == "client") {
			t.Errorf("%s is a %s span, and its parent is %q", s.Name(), kind.Str(), s.ParentSpanID())
		}
		if !s.ParentSpanID().IsEmpty() && !of[s.TraceID().String()+s.ParentSpanID().String()] {
			t.Errorf("the parent of %s is missing", s.Name())
		}
		if s.EndTimestamp() < s.StartTimestamp() {
			t.Errorf("%s ends before it begins", s.Name())
		}
	})
}

func each(traces ptrace.Traces, do func(ptrace.Span)) {
	for _, r := range traces.ResourceSpans().All() {
		for _, scope := range r.ScopeSpans().All() {
			for _, s := range scope.Spans().All() {
				do(s)
			}
		}
	}
}
