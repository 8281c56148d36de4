// Package otlp writes traces as OpenTelemetry does: as OTLP/JSON into a file, and by OTLP over gRPC or HTTP to a collector.
package otlp

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"trivet/internal/buildinfo"
	"trivet/lab/trace"
)

// File is the file of a trial directory with the traces of some of its requests: an ExportTraceServiceRequest per trace and line, as
// OTLP/JSON.
const File = "traces.jsonl"

// scope is the instrumentation scope of all spans.
const scope = "trivet/records"

// Message is a trace as OTLP: a resource per process.
func Message(t *trace.Trace) *collector.ExportTraceServiceRequest {
	m := &collector.ExportTraceServiceRequest{}
	of := make(map[string]*otlp.ScopeSpans) // by process
	for _, s := range t.All {
		spans := of[s.Process]
		if spans == nil {
			spans = &otlp.ScopeSpans{Scope: &common.InstrumentationScope{Name: scope, Version: buildinfo.String()}}
			of[s.Process] = spans
			m.ResourceSpans = append(m.ResourceSpans, &otlp.ResourceSpans{
				Resource: &resource.Resource{Attributes: []*common.KeyValue{
					attribute("service.namespace", "trivet"), attribute("service.name", s.Service), attribute("service.instance.id", s.Process),
				}},
				ScopeSpans: []*otlp.ScopeSpans{spans},
			})
		}
		spans.Spans = append(spans.Spans, span(t.ID, s))
	}
	return m
}

var kinds = map[trace.Kind]otlp.Span_SpanKind{
	trace.Client: otlp.Span_SPAN_KIND_CLIENT, trace.Nginx: otlp.Span_SPAN_KIND_SERVER, trace.Attempt: otlp.Span_SPAN_KIND_CLIENT,
	trace.Instance: otlp.Span_SPAN_KIND_SERVER, trace.Hop: otlp.Span_SPAN_KIND_CLIENT,
}

func span(traceID string, s *trace.Span) *otlp.Span {
	out := &otlp.Span{
		TraceId: id(traceID), SpanId: id(s.ID), ParentSpanId: id(s.Parent), Name: s.Name, Kind: kinds[s.Kind], Flags: 1,
		StartTimeUnixNano: uint64(s.Begin.UnixNano()), EndTimeUnixNano: uint64(max(s.Begin.UnixNano(), s.End.UnixNano())),
		Attributes: []*common.KeyValue{
			attribute("trivet.kind", string(s.Kind)), attribute("trivet.request_id", s.Request), attribute("trivet.result", string(s.Result)),
		},
		Status: &otlp.Status{},
	}
	for _, a := range s.Attributes {
		out.Attributes = append(out.Attributes, attribute(a.Key, a.Value))
	}
	if s.Unfinished {
		out.Attributes = append(out.Attributes, attribute("trivet.unfinished", true))
	}
	if s.Result != trace.OK {
		out.Status = &otlp.Status{Code: otlp.Status_STATUS_CODE_ERROR, Message: s.Note}
	}
	if s.Linked != "" { // Its span there has the same ID.
		out.Links = []*otlp.Span_Link{{TraceId: id(s.Linked), SpanId: id(s.ID)}}
	}
	return out
}

// id is an ID of hex digits as bytes; "" is none.
func id(digits string) []byte {
	b, _ := hex.DecodeString(digits) // Package trace makes no others.
	return b
}

func attribute(key string, value any) *common.KeyValue {
	v := &common.AnyValue{}
	switch value := value.(type) {
	case string:
		v.Value = &common.AnyValue_StringValue{StringValue: value}
	case int64:
		v.Value = &common.AnyValue_IntValue{IntValue: value}
	case bool:
		v.Value = &common.AnyValue_BoolValue{BoolValue: value}
	}
	return &common.KeyValue{Key: key, Value: v}
}

// Marshal is a message as OTLP/JSON, in one line. That differs from Protobuf's JSON: enumerations are numbers, and the IDs of traces and
// spans are hex digits instead of base64.
func Marshal(m *collector.ExportTraceServiceRequest) ([]byte, error) {
	m = proto.CloneOf(m)
	// Bytes are written in base64, so these become bytes whose base64 are the hex digits. It has no padding: there are 16 or 32 digits.
	exchangeIDs(m, func(id []byte) []byte {
		b, _ := base64.StdEncoding.DecodeString(hex.EncodeToString(id)) // Hex digits are base64 digits.
		return b
	})
	return protojson.MarshalOptions{UseEnumNumbers: true}.Marshal(m)
}

// Unmarshal reads what Marshal wrote. Fields that it does not know are left out, as OTLP wants it.
func Unmarshal(line []byte) (*collector.ExportTraceServiceRequest, error) {
	m := &collector.ExportTraceServiceRequest{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(line, m); err != nil {
		return nil, err
	}
	var err error
	exchangeIDs(m, func(id []byte) []byte {
		b, wrong := hex.DecodeString(base64.StdEncoding.EncodeToString(id))
		err = errors.Join(err, wrong)
		return b
	})
	return m, err
}

func exchangeIDs(m *collector.ExportTraceServiceRequest, exchange func([]byte) []byte) {
	for _, r := range m.ResourceSpans {
		for _, scope := range r.ScopeSpans {
			for _, s := range scope.Spans {
				s.TraceId, s.SpanId, s.ParentSpanId = exchange(s.TraceId), exchange(s.SpanId), exchange(s.ParentSpanId)
				for _, l := range s.Links {
					l.TraceId, l.SpanId = exchange(l.TraceId), exchange(l.SpanId)
				}
			}
		}
	}
}

// Write writes the traces of a trial that [trace.Choose] takes into its directory. Without records it writes no file.
func Write(dir string) (err error) {
	source, err := trace.Open(dir)
	if err != nil {
		return err
	}
	traces, err := source.Chosen()
	if err != nil || len(traces) == 0 {
		return err
	}
	path := filepath.Join(dir, File)
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	for _, t := range traces {
		line, marshalErr := Marshal(Message(t))
		err = errors.Join(err, marshalErr)
		_, _ = out.Write(append(line, '\n')) // Flush returns the error.
	}
	if err := errors.Join(err, out.Flush(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write traces: %w", err), os.Remove(path+".new"))
	}
	return os.Rename(path+".new", path)
}

// Read reads the traces of a trial directory, and passes on each.
func Read(dir string, take func(*collector.ExportTraceServiceRequest) error) error {
	f, err := os.Open(filepath.Join(dir, File))
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	for number := 1; ; number++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // Each line has an end: the file was renamed when it was whole.
		}
		if err != nil {
			return err
		}
		m, err := Unmarshal(line)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", f.Name(), number, err)
		}
		if err := take(m); err != nil {
			return err
		}
	}
}
