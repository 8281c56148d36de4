package main

import (
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"trivet/internal/collectortest"
	"trivet/internal/proctest"
)

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
		c := &collectortest.Collector{}
		endpoint := ""
		if protocol == "grpc" {
			endpoint = "http://" + c.GRPC(t)
		} else {
			endpoint = c.HTTP(t)
		}
		environ := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol}
		if strings.Contains(want, "renamed") {
			environ = append(environ, "OTEL_SERVICE_NAME=renamed")
		}
		log := startTraced(t, environ...)
		var got []string
		for _, s := range c.Spans() {
			got = append(got, strings.Join([]string{s.Name, hex.EncodeToString(s.ParentSpanId), s.Resource["service.name"], s.Resource["service.instance.id"], s.Resource["deployment.environment.name"]}, " "))
		}
		if !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %q; the log:\n%s", protocol, got, want, log)
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
