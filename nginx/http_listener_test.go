package nginx

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// web starts a test instance's HTTP listener: it returns the request's headers as JSON, and misbehaves on request.
func web(t testing.TB) string {
	t.Helper()
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Instance", "whoami-1")
		w.Header().Set("X-Request-Id", r.Header.Get("X-Request-Id"))
		body, err := io.Copy(io.Discard, r.Body)
		switch {
		case err != nil:
			panic(http.ErrAbortHandler)
		case r.URL.Path == "/drop":
			panic(http.ErrAbortHandler)
		case r.URL.Path == "/hang":
			select {
			case <-gone:
			case <-r.Context().Done():
			}
		case strings.HasPrefix(r.URL.Path, "/status/"):
			status, _ := strconv.Atoi(r.URL.Path[len("/status/"):])
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			fmt.Fprintf(w, "{\"code\":5,\"message\":\"instance's own %d\",\"details\":[]}\n", status)
		default:
			h := r.Header.Clone()
			h.Set("Host", r.Host)
			h.Set("Body", strconv.FormatInt(body, 10))
			if err := json.NewEncoder(w).Encode(h); err != nil {
				panic(err)
			}
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(gone) })
	return server.Listener.Addr().String()
}

// raw sends text unchanged and reads one response; err reports what arrived instead.
func raw(t *testing.T, addr, text string) (status int, h http.Header, body []byte, err error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, nil, nil, err
	}
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, body, err
}

// get returns a GET request with a request ID and further header lines.
func get(id, path string, lines ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: lab\r\nX-Request-Id: " + id + "\r\n" + strings.Join(append(lines, "\r\n"), "\r\n")
}

// wantLocalReply checks the headers of a local reply.
func wantLocalReply(t *testing.T, h http.Header, status int) {
	t.Helper()
	if got := h.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
	if got := h.Get("Server"); got != "nginx" {
		t.Errorf("Server: %q reveals the version", got)
	}
	if got := h.Get("Allow"); (got == "GET, HEAD, OPTIONS") != (status == 405) {
		t.Errorf("Allow: %q", got)
	}
}

// TestHTTPErrors provokes each local reply of the HTTP listener. Where no request provokes it, the configuration returns it.
func TestHTTPErrors(t *testing.T) {
	up := func(t *testing.T) []Server { return []Server{{web(t), free(t)}} }
	returns := func(status int) []edit {
		return []edit{{"http-locations.conf", "location / {", fmt.Sprintf("location / {\nreturn %d;", status)}}
	}
	limited := []edit{
		{"limits.conf", `default "";`, "default $binary_remote_addr;"},
		{"limits.conf", "rate=100r/s", "rate=1r/m"},
		{"limits.conf", " burst=200 nodelay", ""},
	}
	for _, c := range []struct {
		name         string
		servers      func(*testing.T) []Server
		edits        []edit
		warmUp       bool
		request      string
		status, code int
		message      string
	}{
		{"400, host of two words", up, nil, false, "GET / HTTP/1.1\r\nX-Request-Id: e\r\nHost: a b\r\n\r\n", 400, 13, "malformed"},
		{"400, malformed request line", up, nil, false, "GET\x01 / HTTP/1.1\r\nHost: lab\r\n\r\n", 400, 13, "malformed"},
		{"401", up, returns(401), false, get("e", "/"), 401, 16, "want a valid credential"},
		{"403", up, []edit{{"http-locations.conf", "location / {", "location / {\ndeny all;"}}, false, get("e", "/"), 403, 7, "not allowed"},
		{"404, path of local replies", up, nil, false, get("e", "/.nginx-error"), 404, 12, "nothing at this path"},
		{"405, TRACE", up, nil, false, strings.Replace(get("e", "/"), "GET", "TRACE", 1), 405, 12, "method"},
		{"413, more than 1m", up, nil, false, strings.Replace(get("e", "/", "Content-Length: 1048577"), "GET", "POST", 1), 413, 8, "body is too large"},
		{"414, line of 9 KB", up, nil, false, get("e", "/"+strings.Repeat("p", 9000)), 414, 8, "path is too long"},
		{"415", up, returns(415), false, get("e", "/"), 415, 13, "want content-type"},
		{"429, second request in a minute", up, limited, true, get("e", "/"), 429, 8, "too many requests"},
		{"431, one header of 9 KB", up, nil, false, get("e", "/", "X-Large: "+strings.Repeat("h", 9000)), 431, 8, "headers are too large"},
		{"431, five headers of 7 KB", up, nil, false, get("e", "/", strings.Repeat("X-Large: "+strings.Repeat("h", 7000)+"\r\n", 5)+"X: y"), 431, 8, "headers are too large"},
		{"500", up, returns(500), false, get("e", "/"), 500, 13, "error log"},
		{"501, unknown transfer encoding", up, nil, false, get("e", "/", "Transfer-Encoding: brotli"), 501, 12, "transfer encoding"},
		{"502, no instance runs", noInstances, nil, false, get("e", "/"), 502, 14, "no instance can be reached; the request was not handled"},
		{"502, instance breaks off", up, nil, false, strings.Replace(get("e", "/drop", "Content-Length: 0"), "GET", "POST", 1), 502, 14, "may have been handled"},
		{"503", up, returns(503), false, get("e", "/"), 503, 14, "out of service"},
		{"504, instance hangs", up, []edit{{"http-locations.conf", "proxy_read_timeout 10s", "proxy_read_timeout 100ms"}}, false, get("e", "/hang"), 504, 14, "in time"},
		{"505, HTTP/3.0 in plain text", up, nil, false, "GET / HTTP/3.0\r\nHost: lab\r\nX-Request-Id: e\r\n\r\n", 505, 13, "version of HTTP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := startNginx(t, c.servers(t), c.edits...)
			if c.warmUp {
				if status, _, body, err := raw(t, b.HTTP, get("first", "/")); status != 200 || err != nil {
					t.Fatalf("first request: %d, %s, %v", status, body, err)
				}
			}
			status, h, body, err := raw(t, b.HTTP, c.request)
			if err != nil || status != c.status {
				t.Fatalf("status %d, error %v, want %d; body %s", status, err, c.status, body)
			}
			if a := decode(t, body); a.Code != c.code || !strings.Contains(a.Message, c.message) {
				t.Errorf("%+v, want code %d and a message with %q", a, c.code, c.message)
			}
			wantLocalReply(t, h, c.status)
			id := h.Get("X-Request-Id")
			sameID(t, h, id)
			l := b.only(t, id)
			if l.Status != strconv.Itoa(c.status) || l.Error != l.Status {
				t.Errorf("access log: status %q, error %q", l.Status, l.Error)
			}
			if id == "e" && (!strings.HasPrefix(c.request, l.Method+" ") || l.URI != strings.Fields(c.request)[1]) {
				t.Errorf("access log: %q %q for %.60q", l.Method, l.URI, c.request)
			}
			if strings.Contains(c.request, "X-Request-Id: e") && c.status != 414 && c.status != 431 && c.status != 505 && id != "e" {
				t.Errorf("request ID became %q", id)
			}
		})
	}
}

// TestLargeBodyGets500WithoutTempDirectory checks that a body above the buffer gets 500 where temp/ cannot be written.
func TestLargeBodyGets500WithoutTempDirectory(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}})
	temp := filepath.Join(b.dir, "temp")
	if err := os.Chmod(temp, 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(temp, 0o711)
	status, _, body, err := raw(t, b.HTTP, post("e", 100_000))
	if err != nil || status != 500 {
		t.Fatalf("%d, %v: %s", status, err, body)
	}
	if a := decode(t, body); a.Code != 13 {
		t.Errorf("%+v", a)
	}
}

func post(id string, bytes int) string {
	return strings.Replace(get(id, "/", "Content-Length: "+strconv.Itoa(bytes)), "GET", "POST", 1) + strings.Repeat("b", bytes)
}

// TestLargeBodiesReachInstance fails as root if the workers cannot pass through the run directory or do not own the temp directories.
func TestLargeBodiesReachInstance(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}}, edit{"http-locations.conf", "client_max_body_size 1m;", "client_max_body_size 4m;"})
	status, _, body, err := raw(t, b.HTTP, post("large", 3<<20))
	if err != nil || status != 200 || !bytes.Contains(body, []byte(`"Body":["3145728"]`)) {
		t.Errorf("3 MB: %d, %v: %.300s", status, err, body)
	}
}

func TestBodiesUpToTheLimitPass(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}})
	for size, want := range map[int]int{1 << 20: 200, 1<<20 + 1: 413} {
		if status, _, body, err := raw(t, b.HTTP, post("limit", size)); err != nil || status != want {
			t.Errorf("%d bytes: %d, %v: %.300s", size, status, err, body)
		}
	}
}

// TestHTTP408IsOnlyLogged checks that nginx closes the connection and only logs 408. If this fails, nginx has learned to send it: update
// docs/nginx.md.
func TestHTTP408IsOnlyLogged(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}},
		edit{"limits.conf", "client_body_timeout 30s", "client_body_timeout 100ms"})
	status, _, body, err := raw(t, b.HTTP, strings.Replace(get("slow", "/", "Content-Length: 9"), "GET", "POST", 1))
	if err == nil {
		t.Errorf("status %d: %s", status, body)
	}
	if l := b.only(t, "slow"); l.Status != "408" {
		t.Errorf("access log: status %q", l.Status)
	}
}

func TestHTTPResponsesPassUnchanged(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}})
	for _, want := range []int{400, 404, 405, 413, 429, 500, 502, 503, 504} {
		status, h, body, err := raw(t, b.HTTP, get(fmt.Sprint("own-", want), fmt.Sprint("/status/", want)))
		if err != nil || status != want {
			t.Fatalf("status %d, %v, want %d", status, err, want)
		}
		if a := decode(t, body); a.Message != fmt.Sprintf("instance's own %d", want) {
			t.Errorf("%d: %+v", want, a)
		}
		sameID(t, h, fmt.Sprint("own-", want))
		if h.Get("X-Instance") != "whoami-1" {
			t.Errorf("%d: X-Instance: %q", want, h.Get("X-Instance"))
		}
	}
	for _, l := range b.log(t) {
		if l.Error != "" || l.Status != l.UpstreamStatus {
			t.Errorf("access log reports the instance's error as nginx's: %+v", l)
		}
	}
}

func TestForgedHTTPHeadersAreRemoved(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}})
	forged := append(slices.Clone(forgeries), "X-Forwarded-Host: evil", "X-Forwarded-For: 6.6.6.6") // also twice
	for _, name := range []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X-Client-Identity"} {
		forged = append(forged, name+": evil", "Grpc-Metadata-"+name+": evil")
	}
	forged = append(forged, "Grpc-Metadata-X-Forwarded-Server: evil", "Grpc-Metadata-X-Forwarded-Prefix: evil", "Grpc-Metadata-Baggage: evil")
	kept := []string{"Traceparent: " + sentTrace, "Tracestate: kept", "Baggage: kept", "Authorization: kept", "Cookie: kept"}
	status, _, body, err := raw(t, b.HTTP, get("forger", "/", append(forged, kept...)...))
	if err != nil || status != 200 {
		t.Fatalf("%d, %v", status, err)
	}
	if bytes.Contains(body, []byte("evil")) || bytes.Contains(body, []byte("6.6.6.6")) {
		t.Errorf("forged headers arrived: %s", body)
	}
	var h http.Header
	if err := json.Unmarshal(body, &h); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(b.HTTP)
	for name, want := range map[string]string{
		"X-Request-Id": "forger", "X-Real-Ip": "127.0.0.1", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http",
		"X-Forwarded-Host": "lab", "X-Forwarded-Port": port, "Host": "lab",
		"Tracestate": "kept", "Baggage": "kept", "Authorization": "kept", "Cookie": "kept",
	} {
		if got := h.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q arrived, want %q", name, got, want)
		}
	}
}

// forgeries are headers that clients must not set.
var forgeries = []string{
	"X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: evil", "X-Forwarded-Port: evil", "X-Forwarded-Server: evil",
	"X-Forwarded-Prefix: evil", "X-Real-IP: 6.6.6.6", "Forwarded: for=6.6.6.6;by=evil", "X-Instance: evil", "x-instance: evil",
	"Grpc-Metadata-X-Forwarded-For: 6.6.6.6", "Grpc-Metadata-X-Forwarded-Proto: evil", "Grpc-Metadata-X-Forwarded-Host: evil",
	"Grpc-Metadata-X-Forwarded-Port: evil", "Grpc-Metadata-X-Real-Ip: 6.6.6.6", "grpc-metadata-forwarded: evil",
	"Grpc-Metadata-X-Instance: evil", "Grpc-Metadata-X-Request-Id: evil", "Grpc-Metadata-Traceparent: evil",
	"Grpc-Metadata-Tracestate: evil", "Grpc-Metadata-Authorization: evil", "Grpc-Metadata-Grpc-Previous-Rpc-Attempts: evil",
}

func TestRequestIDs(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}})
	for _, c := range []struct{ name, id, want string }{ // want "": a new one
		{"kept", "Order-7.b_C", "Order-7.b_C"},
		{"64 bytes are kept", strings.Repeat("i", 64), strings.Repeat("i", 64)},
		{"65 bytes are replaced", strings.Repeat("i", 65), ""},
		{"none", "", ""},
		{"space", "a b", ""},
		{"quotation mark", `a"b`, ""},
		{"non-ASCII byte", "a\xffb", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, h, body, err := raw(t, b.HTTP, get(c.id, "/"))
			if err != nil || status != 200 {
				t.Fatalf("%d, %v", status, err)
			}
			var arrived http.Header
			if err := json.Unmarshal(body, &arrived); err != nil {
				t.Fatal(err)
			}
			id := h.Get("X-Request-Id")
			sameID(t, h, id)
			sameID(t, arrived, id)
			if c.want != "" && id != c.want || c.want == "" && len(id) != 32 {
				t.Errorf("%q became %q", c.id, id)
			}
		})
	}
}

// TestTwoRequestIDsBecomeOne checks that one ID arrives and comes back. nginx 1.22 takes the first of two; newer nginx joins them to an
// invalid ID and replaces it.
func TestTwoRequestIDsBecomeOne(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}})
	_, h, body, err := raw(t, b.HTTP, get("a", "/", "X-Request-Id: b"))
	var arrived http.Header
	if err := errors.Join(err, json.Unmarshal(body, &arrived)); err != nil {
		t.Fatal(err)
	}
	id := h.Get("X-Request-Id")
	sameID(t, h, id)
	sameID(t, arrived, id)
	if id != "a" && len(id) != 32 {
		t.Errorf("request ID %q", id)
	}
}

func TestAccessLogOfRetriedRequest(t *testing.T) {
	before := time.Now()
	up := web(t)
	servers := append(noInstances(t)[:2], Server{up, free(t)})
	b := startNginx(t, servers)
	status, _, body, err := raw(t, b.HTTP, get("retried", `/a%20b?q="x"`))
	if err != nil || status != 200 {
		t.Fatalf("%d, %v: %s", status, err, body)
	}
	l := b.only(t, "retried")
	for name, c := range map[string]struct{ got, want string }{
		"upstream_addr":           {l.UpstreamAddr, servers[0].HTTP + ", " + servers[1].HTTP + ", " + up},
		"upstream_status":         {l.UpstreamStatus, "502, 502, 200"},
		"method, uri, protocol":   {l.Method + l.URI + l.Protocol, `GET/a%20b?q="x"HTTP/1.1`},
		"status, error":           {l.Status + l.Error, "200"},
		"remote_addr":             {l.RemoteAddr, "127.0.0.1"},
		"grpc_previous_attempts":  {l.PreviousAttempts, ""},
		"port":                    {"127.0.0.1:" + l.Port, b.HTTP},
		"grpc_status_*":           {l.HeaderStatus + l.TrailerStatus, ""},
		"upstream_header_time":    {fmt.Sprint(strings.Count(l.UpstreamHeaderTime, ",")), "2"},
		"upstream_connect_time":   {fmt.Sprint(strings.Count(l.UpstreamConnectTime, ",")), "2"},
		"upstream_response_time":  {fmt.Sprint(strings.Count(l.UpstreamResponseTime, ",")), "2"},
		"upstream_bytes_received": {fmt.Sprint(strings.Count(l.UpstreamBytesReceived, ",")), "2"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", name, c.got, c.want)
		}
	}
	if sent := strings.Split(l.UpstreamBytesSent, ", "); len(sent) != 3 || sent[0] != "0" || sent[1] != "0" || sent[2] == "0" {
		t.Errorf("upstream_bytes_sent: %q", l.UpstreamBytesSent)
	}
	end := time.UnixMilli(int64(l.End * 1000))
	if l.V != 1 || end.Before(before.Truncate(time.Millisecond)) || end.After(time.Now()) || l.Duration < 0 || l.Time.IsZero() {
		t.Errorf("v, end, duration or time: %+v", l)
	}
	if l.Connection == 0 || l.ConnectionRequests != 1 || l.PID == 0 || l.BytesSent == 0 || l.BytesReceived == 0 {
		t.Errorf("connection, requests, pid or bytes: %+v", l)
	}
}

// TestRequestWithoutHostIsServed sends what old health checks send. $host is then server_name; if it were empty, instances would refuse
// the request.
func TestRequestWithoutHostIsServed(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}})
	status, _, body, err := raw(t, b.HTTP, "GET / HTTP/1.0\r\n\r\n")
	if err != nil || status != 200 {
		t.Errorf("%d %s, %v", status, body, err)
	}
}
