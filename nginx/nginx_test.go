package nginx

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
)

// testNginx is a real nginx that runs the installed configuration.
type testNginx struct {
	HTTP, GRPC, Admin string // host:port
	dir               string
	cmd               *exec.Cmd
	stderr            bytes.Buffer
	done              chan struct{} // closed when nginx has ended
}

// edit changes one place of an installed file; the test fails unless old occurs exactly once.
type edit struct{ file, old, new string }

// startNginx starts nginx with one worker in front of servers, and stops it when the test ends.
func startNginx(t *testing.T, servers []Server, edits ...edit) *testNginx {
	t.Helper()
	return startSite(t, Site{Servers: servers, Workers: 1, Diagnostics: true}, edits...)
}

// startSite starts nginx for site, on free addresses.
func startSite(t testing.TB, site Site, edits ...edit) *testNginx {
	t.Helper()
	nginx := findNginx(t)
	b := &testNginx{HTTP: free(t), GRPC: free(t), Admin: free(t), dir: proctest.Passable(t), done: make(chan struct{})}
	site.HTTP, site.GRPC, site.Admin = b.HTTP, b.GRPC, b.Admin
	if err := site.Install(b.dir, Conf(), nginx.Version); err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		e.apply(t, b.dir)
	}
	if err := nginx.Test(t.Context(), b.dir); err != nil {
		t.Fatal(err)
	}
	if !b.start(t, nginx) {
		t.Fatalf("nginx does not start: %s", b.stderr.String())
	}
	return b
}

func (e edit) apply(t testing.TB, dir string) {
	t.Helper()
	name := filepath.Join(dir, "conf", e.file)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte(e.old)); n != 1 {
		t.Fatalf("%q occurs %d times in %s, want once", e.old, n, e.file)
	}
	if err := os.WriteFile(name, bytes.Replace(text, []byte(e.old), []byte(e.new), 1), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start starts nginx, and reports whether it accepts connections before it ends.
func (b *testNginx) start(t testing.TB, nginx Binary) bool {
	t.Helper()
	b.cmd = exec.Command(nginx.Path, nginx.Args(b.dir)...)
	return b.run(t)
}

// run runs b.cmd as start does.
func (b *testNginx) run(t testing.TB) bool {
	t.Helper()
	b.cmd.Stderr = &b.stderr
	b.cmd.SysProcAttr = endWithTests()
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(b.done)
		_ = b.cmd.Wait() // what it printed says how it ended
	}()
	t.Cleanup(func() { b.signal(t, syscall.SIGTERM) })
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-b.done:
			return false
		case <-t.Context().Done():
			t.Fatal("nginx accepts no connections")
		case <-tick.C:
			conn, err := net.Dial("tcp", b.Admin) // the last address that it listens on
			if err != nil {
				continue
			}
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			return true
		}
	}
}

// signal sends s to nginx and waits until it has ended.
func (b *testNginx) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	select {
	case <-b.done:
	case <-time.After(20 * time.Second):
		t.Error("nginx does not end")
	}
}

// line is one entry of the access log.
type line struct {
	V                     int
	ID                    string
	End, Duration         float64
	Time                  time.Time
	Protocol, Port        string
	Method, URI, Status   string
	Host, Traceparent     string
	Trace, Span           string
	ParentSpan            string `json:"parent_span"`
	TLS, Client           string
	UserAgent             string `json:"user_agent"`
	Error                 string
	HeaderStatus          string `json:"grpc_status_header"`
	TrailerStatus         string `json:"grpc_status_trailer"`
	PreviousAttempts      string `json:"grpc_previous_attempts"`
	UpstreamAddr          string `json:"upstream_addr"`
	UpstreamStatus        string `json:"upstream_status"`
	UpstreamConnectTime   string `json:"upstream_connect_time"`
	UpstreamHeaderTime    string `json:"upstream_header_time"`
	UpstreamResponseTime  string `json:"upstream_response_time"`
	UpstreamBytesSent     string `json:"upstream_bytes_sent"`
	UpstreamBytesReceived string `json:"upstream_bytes_received"`
	Cache                 string `json:"cache"`
	RemoteAddr            string `json:"remote_addr"`
	Connection            int
	ConnectionRequests    int `json:"connection_requests"`
	PID                   int
	BytesReceived         int `json:"bytes_received"`
	BytesSent             int `json:"bytes_sent"`
}

// log ends nginx, so that it writes the last entries, and returns the access log.
func (b *testNginx) log(t *testing.T) []line {
	t.Helper()
	b.signal(t, syscall.SIGQUIT)
	text, err := os.ReadFile(filepath.Join(b.dir, "logs", "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	var all []line
	for raw := range strings.Lines(string(text)) {
		var l line
		d := json.NewDecoder(strings.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			t.Fatalf("%v in %s", err, raw)
		}
		all = append(all, l)
	}
	return all
}

// only ends nginx and returns the entry of the request with the ID, of which there must be exactly one.
func (b *testNginx) only(t *testing.T, id string) line {
	t.Helper()
	var found []line
	for _, l := range b.log(t) {
		if l.ID == id {
			found = append(found, l)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d access-log entries of %q, want 1: %+v", len(found), id, found)
	}
	return found[0]
}

// free returns an address that nothing listens on, reserved for the test.
func free(t testing.TB) string {
	t.Helper()
	return "127.0.0.1:" + proctest.Reserve(t)
}

// noInstances returns endpoints of three instances that do not run.
func noInstances(t *testing.T) []Server {
	return []Server{{free(t), free(t)}, {free(t), free(t)}, {free(t), free(t)}}
}

// errorBody is the JSON of an error, as instances and nginx write it.
type errorBody struct {
	Code    int
	Message string
	Details []any
}

func decode(t *testing.T, body []byte) errorBody {
	t.Helper()
	var a errorBody
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil || a.Details == nil || !bytes.HasSuffix(body, []byte("}\n")) {
		t.Errorf("%q is not {code, message, details} and a newline: %v", body, err)
	}
	return a
}

// sameID fails unless the response has the request ID exactly once.
func sameID(t *testing.T, h http.Header, id string) {
	t.Helper()
	if got := h.Values("X-Request-Id"); len(got) != 1 || got[0] != id {
		t.Errorf("X-Request-Id: %q, want %q once", got, id)
	}
}
