package main

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/protobuf/proto"

	"trivet/internal/proctest"
)

// A fakeCollector takes spans over OTLP, by gRPC and by HTTP.
type fakeCollector struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []string // name, parent, service, instance
}

func (f *fakeCollector) Export(_ context.Context, m *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range m.ResourceSpans {
		of := make(map[string]string)
		for _, a := range r.Resource.Attributes {
			of[a.Key] = a.Value.GetStringValue()
		}
		for _, scope := range r.ScopeSpans {
			for _, s := range scope.Spans {
				f.spans = append(f.spans, strings.Join([]string{s.Name, hex.EncodeToString(s.ParentSpanId), of["service.name"], of["service.instance.id"], of["deployment.environment.name"]}, " "))
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (f *fakeCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	m := &collector.ExportTraceServiceRequest{}
	if errors.Join(err, proto.Unmarshal(body, m)) != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "want traces at /v1/traces", http.StatusBadRequest)
		return
	}
	_, _ = f.Export(r.Context(), m) // It returns no error.
}

// serve serves the fake over a protocol of OTEL_EXPORTER_OTLP_PROTOCOL, and returns its endpoint.
func (f *fakeCollector) serve(t *testing.T, protocol string) string {
	t.Helper()
	if protocol != "grpc" {
		server := httptest.NewServer(f)
		t.Cleanup(server.Close)
		return server.URL
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, f)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return "http://" + listener.Addr().String()
}

// startTraced starts whoami with variables in its environment, sends it a request and ends it. It returns its log.
func startTraced(t *testing.T, environ ...string) string {
	t.Helper()
	rest, rpc := proctest.Reserve(t), proctest.Reserve(t)
	path, err := exec.LookPath("whoami")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "--port", rest, "--grpc-port", rpc, "--instance", "whoami-9")
	cmd.Env = append(append(os.Environ(), "GORACE="+proctest.QuickExit), environ...)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := poll(t.Context(), "http://127.0.0.1:"+rest+"/readyz"); err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://127.0.0.1:"+rest+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("traceparent", "00-0123456789abcdeffedcba9876543210-0011223344556677-01")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
		t.Fatalf("%v:\n%s", err, log.String())
	}
	return log.String()
}

// The spans of the last moment are exported before the process ends.
func TestSpansReachCollector(t *testing.T) {
	t.Parallel()
	for protocol, want := range map[string]string{
		"grpc":          "GET / 0011223344556677 whoami whoami-9 dev",
		"http/protobuf": "GET / 0011223344556677 renamed whoami-9 dev",
	} {
		f := &fakeCollector{}
		environ := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + f.serve(t, protocol), "OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol}
		if strings.Contains(want, "renamed") {
			environ = append(environ, "OTEL_SERVICE_NAME=renamed")
		}
		log := startTraced(t, environ...)
		if len(f.spans) != 1 || f.spans[0] != want {
			t.Errorf("%s: got %q, want %q; the log:\n%s", protocol, f.spans, want, log)
		}
	}
}

func TestCollectorThatIsNotThereIsLogged(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	if log := startTraced(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+closed.URL); !strings.Contains(log, "spans are lost") || !strings.Contains(log, "msg=drained") {
		t.Errorf("the log does not say that spans are lost:\n%s", log)
	}
}

func TestUnknownProtocolOfCollectorIsRefused(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("whoami")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "--port", proctest.Reserve(t), "--grpc-port", proctest.Reserve(t), "--traces", "otlp")
	cmd.Env = append(os.Environ(), "GORACE="+proctest.QuickExit, "OTEL_EXPORTER_OTLP_PROTOCOL=thrift")
	output, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(output), "TRACES=otlp: OTEL_EXPORTER_OTLP_PROTOCOL=thrift: want grpc, http/protobuf or http/json") {
		t.Errorf("%v: %s", err, output)
	}
}
