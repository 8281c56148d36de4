package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/nginx"
)

// forged are headers by which a client might claim another identity.
var forged = []string{
	"X-Forwarded-For", "6.6.6.6", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "bank.example", "X-Real-IP", "6.6.6.6",
	"Forwarded", "for=6.6.6.6", "X-Instance", "whoami-666", "Grpc-Metadata-X-Forwarded-For", "6.6.6.6",
	"Grpc-Metadata-X-Instance", "whoami-666", "Grpc-Metadata-X-Request-Id", "forged", "X-Request-Id", "not an ID",
}

func TestForgedHeadersAreReplaced(t *testing.T) {
	t.Parallel()
	f := start(t, 1)
	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+f.HTTP()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(forged); i += 2 {
		request.Header.Set(forged[i], forged[i+1])
	}
	response, err := browser(t).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	rest := &whoamiv1.WhoAmIResponse{}
	if err := protojson.Unmarshal(body, rest); err != nil {
		t.Fatal(err)
	}
	wantTrue(t, "http", rest, response.Header["X-Instance"], response.Header["X-Request-Id"])

	var header metadata.MD
	ctx := metadata.AppendToOutgoingContext(t.Context(), forged...)
	rpc, err := dial(t, f, false).WhoAmI(ctx, nil, grpc.Header(&header))
	if err != nil {
		t.Fatal(err)
	}
	wantTrue(t, "grpc", rpc, header.Get("x-instance"), header.Get("x-request-id"))
}

// wantTrue checks that a response has what nginx saw, not what the client claimed.
func wantTrue(t *testing.T, protocol string, m *whoamiv1.WhoAmIResponse, instances, ids []string) {
	t.Helper()
	if got := m.GetCaller().GetForwardedFor(); got != "127.0.0.1" {
		t.Errorf("%s: forwarded for %q, want 127.0.0.1", protocol, got)
	}
	if len(instances) != 1 || !strings.HasPrefix(instances[0], "whoami-") || instances[0] == "whoami-666" || m.GetInstance() != instances[0] {
		t.Errorf("%s: instance %q, headers %q", protocol, m.GetInstance(), instances)
	}
	if len(ids) != 1 || ids[0] != m.GetCaller().GetRequestId() || strings.Contains(ids[0], " ") || ids[0] == "forged" {
		t.Errorf("%s: id %q, headers %q", protocol, m.GetCaller().GetRequestId(), ids)
	}
}

func TestRequestIDIsTheSameAtClientNginxAndInstance(t *testing.T) {
	t.Parallel()
	f := start(t, 1)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "the-same.id_1")
	response, err := dial(t, f, false).WhoAmI(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := response.GetCaller().GetRequestId(); got != "the-same.id_1" {
		t.Errorf("the instance saw %q", got)
	}
	if _, err := f.Process("nginx").Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, line := range accessLog(t, f) {
		if line.ID == "the-same.id_1" {
			return
		}
	}
	t.Error("nginx's access log does not have the ID")
}

// A body of 3 MB is too large for the shipped nginx configuration. With a higher limit nginx buffers it on disk, in a directory
// that its workers must own, even if root started nginx; otherwise it responds with 500.
func TestLargeBodyIsRejectedUnlessLimitIsRaised(t *testing.T) {
	t.Parallel()
	larger := t.TempDir()
	if err := os.CopyFS(larger, nginx.Conf()); err != nil {
		t.Fatal(err)
	}
	listener := filepath.Join(larger, "http-locations.conf")
	text, err := os.ReadFile(listener)
	if err != nil || strings.Count(string(text), "client_max_body_size 1m;") != 1 {
		t.Fatalf("%v, or no client_max_body_size 1m", err)
	}
	text = bytes.Replace(text, []byte("client_max_body_size 1m;"), []byte("client_max_body_size 4m;"), 1)
	if err := os.WriteFile(listener, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		conf     fs.FS
		status   int
		instance bool // an instance responds
	}{
		"as shipped":   {nginx.Conf(), http.StatusRequestEntityTooLarge, false},
		"higher limit": {os.DirFS(larger), http.StatusMethodNotAllowed, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startWith(t, 1, test.conf)
			response, err := browser(t).Post("http://"+f.HTTP()+"/", "text/plain", bytes.NewReader(make([]byte, 3_000_000)))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var e struct {
				Code    codes.Code
				Message string
			}
			if err := json.NewDecoder(response.Body).Decode(&e); err != nil || response.StatusCode != test.status || e.Message == "" {
				t.Errorf("%s %+v %v, want %d and JSON", response.Status, e, err, test.status)
			}
			if got := response.Header.Get("X-Instance"); (got != "") != test.instance {
				t.Errorf("instance %q", got)
			}
		})
	}
}

// With max_fails=0 no instance is ejected, so the first request after an instance is back reaches it.
func TestAllDownThenBackServesAtOnce(t *testing.T) {
	t.Parallel()
	f := start(t, 2)
	web, api := browser(t), dial(t, f, false)
	for _, name := range f.Names() {
		if _, err := f.Process(name).Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		if _, err := get(t.Context(), web, f); err == nil || !strings.HasPrefix(err.Error(), `502 Bad Gateway: {"code":14,"message":"nginx: no instance`) {
			t.Errorf("HTTP: %v, want 502 as JSON with UNAVAILABLE", err)
		}
		_, err := api.WhoAmI(t.Context(), nil)
		if s := status.Convert(err); s.Code() != codes.Unavailable || !strings.HasPrefix(s.Message(), "nginx: no instance") {
			t.Errorf("gRPC: %v, want UNAVAILABLE with the reason", err)
		}
	}
	if err := f.Process("whoami-2").Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if instance, err := get(t.Context(), web, f); err != nil || instance != "whoami-2" {
			t.Errorf("HTTP: %q, %v", instance, err)
		}
		if response, err := api.WhoAmI(t.Context(), nil); err != nil || response.GetInstance() != "whoami-2" {
			t.Errorf("gRPC: %v, %v", response, err)
		}
	}
}

// When an instance drains, its streams through nginx end with UNAVAILABLE after a complete message, and another instance
// serves a new stream.
func TestStreamsMoveWhenInstanceDrains(t *testing.T) {
	t.Parallel()
	f := start(t, 1)
	api := dial(t, f, false)
	watch, err := api.WatchWhoAmI(t.Context(), hourly)
	if err != nil {
		t.Fatal(err)
	}
	first, err := watch.Recv()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := f.Process(first.GetAnswer().GetInstance()).Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "draining: reconnect" {
		t.Errorf("the stream ended with %v", err)
	}
	// DRAIN_TIMEOUT is 10 s; the stream must not wait for it.
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the drain took %v", took)
	}
	again, err := api.WatchWhoAmI(t.Context(), hourly)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := again.Recv(); err != nil || second.GetAnswer().GetInstance() == first.GetAnswer().GetInstance() {
		t.Errorf("%v, %v", second, err)
	}
}
