package exporter

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func newMetrics(t *testing.T) (*logMetrics, *prometheus.Registry) {
	t.Helper()
	r, err := newRouter(Routes())
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	return newLogMetrics(r, registry), registry
}

// TestEntriesAreCounted has one entry for each thing that differs.
func TestEntriesAreCounted(t *testing.T) {
	t.Parallel()
	const whoami = "/whoami.v1.WhoAmIService/WhoAmI"
	for _, c := range []struct{ name, fields, protocol, route, code string }{
		{"REST", `"method":"GET","uri":"/?x","protocol":"HTTP/1.1","status":"200"`, "http", "/", "200"},
		{"REST over HTTP/2", `"method":"GET","uri":"/","protocol":"HTTP/2.0","status":"200"`, "http", "/", "200"},
		{"no status", `"method":"GET","uri":"/","protocol":"HTTP/1.1","status":"000"`, "http", "/", "000"},
		{"a status of an instance's invention", `"method":"GET","uri":"/","protocol":"HTTP/1.1","status":"777"`, "http", "/", "000"},
		{"gRPC", `"method":"POST","uri":"` + whoami + `","protocol":"HTTP/2.0","status":"200","grpc_status_trailer":"0"`, "grpc", whoami, "OK"},
		{"gRPC status in the headers", `"method":"POST","uri":"/a.B/C","protocol":"HTTP/2.0","status":"200","grpc_status_header":"12"`, "grpc", "other", "Unimplemented"},
		{"gRPC status of an instance's invention", `"method":"POST","uri":"/a.B/C","protocol":"HTTP/2.0","status":"200","grpc_status_header":"17"`, "grpc", "other", "Unknown"},
		{"gRPC client left", `"method":"POST","uri":"` + whoami + `","protocol":"HTTP/2.0","status":"499"`, "grpc", whoami, "Canceled"},
		{"gRPC stream broke off", `"method":"POST","uri":"/whoami.v1.WhoAmIService/WatchWhoAmI","protocol":"HTTP/2.0","status":"200"`, "grpc", "/whoami.v1.WhoAmIService/WatchWhoAmI", "none"},
		{"not gRPC on the gRPC listener", `"method":"GET","uri":"/","protocol":"HTTP/2.0","status":"405","error":"405","grpc_status_header":"12"`, "grpc", "/", "Unimplemented"},
		{"no request", `"method":"","uri":"","protocol":"","status":"400","error":"400"`, "http", "other", "400"},
	} {
		m, _ := newMetrics(t)
		m.observe([]byte(`{"v":1,"end":1,"duration":0.01,` + c.fields + `}`))
		if got := testutil.ToFloat64(m.requests.WithLabelValues(c.protocol, c.route, c.code)); got != 1 {
			t.Errorf("%s: no request %s %s %s", c.name, c.protocol, c.route, c.code)
		}
	}
}

func TestAttemptsHaveOutcomes(t *testing.T) {
	t.Parallel()
	m, _ := newMetrics(t)
	for _, lists := range [][5]string{ // addresses, status, header times, bytes sent, response times
		{"a:1, b:1, c:1", "502, 504, 200", "-, -, 0.002", "0, 0, 10", "0.000, 1.000, 0.250"},
		{"b:1", "504", "-", "10", "10.000"},
		{"a:1", "499", "-", "0", "0.100"},
		{"a:1", "", "-", "0", "0.100"},
		{"whoami_http", "502", "-", "0", "0.000"},
		{" : c:1", "500 : 200", "- : 0.001", "0 : 5", "0.000 : 0.250"}, // an empty address is no attempt
	} {
		m.observe(fmt.Appendf(nil, `{"v":1,"method":"GET","uri":"/","protocol":"HTTP/1.1","upstream_addr":%q,"upstream_status":%q,"upstream_header_time":%q,"upstream_bytes_sent":%q,"upstream_response_time":%q}`,
			lists[0], lists[1], lists[2], lists[3], lists[4]))
	}
	for _, c := range []struct {
		server, outcome string
		want            float64
	}{
		{"a:1", "refused", 1}, {"b:1", "connect_timeout", 1}, {"c:1", "response", 2}, {"b:1", "in_doubt", 1},
		{"a:1", "canceled", 2}, {"whoami_http", "no_live", 1},
	} {
		if got := testutil.ToFloat64(m.attempts.WithLabelValues("http", c.server, c.outcome)); got != c.want {
			t.Errorf("%s %s: %v, want %v", c.server, c.outcome, got, c.want)
		}
	}
	if got := testutil.ToFloat64(m.retries.WithLabelValues("http")); got != 2 {
		t.Errorf("%v retries, want 2", got)
	}
	const want = `
# HELP nginx_upstream_duration_seconds Time of an attempt that got a response header, to the end of the response, to the millisecond.
# TYPE nginx_upstream_duration_seconds histogram
nginx_upstream_duration_seconds_bucket{protocol="http",server="c:1",le="+Inf"} 2
nginx_upstream_duration_seconds_sum{protocol="http",server="c:1"} 0.5
nginx_upstream_duration_seconds_count{protocol="http",server="c:1"} 2
`
	if err := testutil.CollectAndCompare(m.upstream, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestLinesThatAreNoEntriesAreRejected(t *testing.T) {
	t.Parallel()
	m, _ := newMetrics(t)
	for _, line := range []string{
		``, `x`, `{"v":1`, `[]`, `{"v":1,"end":"x"}`, `{"v":1,"upstream_addr":"a:1, b:1","upstream_header_time":"-","upstream_bytes_sent":"0"}`,
		`{}`, `{"v":2}`,
	} {
		m.observe([]byte(line))
	}
	malformed, version := testutil.ToFloat64(m.rejected.WithLabelValues(reasonMalformed)), testutil.ToFloat64(m.rejected.WithLabelValues(reasonVersion))
	if lines := testutil.ToFloat64(m.lines); malformed != 6 || version != 2 || lines != 8 || testutil.CollectAndCount(m.requests) != 0 {
		t.Errorf("%v lines malformed and %v of another version, of %v", malformed, version, lines)
	}
}

func TestServersAreBounded(t *testing.T) {
	t.Parallel()
	m, _ := newMetrics(t)
	for i := range maxServers + 50 {
		m.observe(fmt.Appendf(nil, `{"v":1,"method":"GET","uri":"/","upstream_addr":"10.0.%d.%d:80","upstream_status":"200","upstream_header_time":"0.001","upstream_bytes_sent":"1"}`, i>>8, i&255))
	}
	if series, others := testutil.CollectAndCount(m.attempts), testutil.ToFloat64(m.attempts.WithLabelValues("http", other, outcomeResponse)); series != 5*(maxServers+1) || others != 50 {
		t.Errorf("%d series, %v attempts at other servers", series, others)
	}
}

func TestStatusOfNginx(t *testing.T) {
	t.Parallel()
	text, code := "Active connections: 291 \nserver accepts handled requests\n 16630948 16630946 31070465 \nReading: 6 Writing: 179 Waiting: 106 \n", http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, text)
	}))
	defer server.Close()
	c := newStatusCollector(server.URL)
	const want = `
# HELP nginx_connections Connections of clients, by state.
# TYPE nginx_connections gauge
nginx_connections{state="active"} 291
nginx_connections{state="reading"} 6
nginx_connections{state="waiting"} 106
nginx_connections{state="writing"} 179
# HELP nginx_connections_accepted_total Accepted connections of clients.
# TYPE nginx_connections_accepted_total counter
nginx_connections_accepted_total 1.6630948e+07
# HELP nginx_connections_handled_total Handled connections of clients: less than accepted if nginx ran out of them.
# TYPE nginx_connections_handled_total counter
nginx_connections_handled_total 1.6630946e+07
# HELP nginx_http_requests_total Requests by nginx's own count, which includes those that it does not log.
# TYPE nginx_http_requests_total counter
nginx_http_requests_total 3.1070465e+07
# HELP nginx_up Whether nginx sent its status (stub_status): 1 or 0.
# TYPE nginx_up gauge
nginx_up 1
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	const down = "# HELP nginx_up Whether nginx sent its status (stub_status): 1 or 0.\n# TYPE nginx_up gauge\nnginx_up 0\n"
	for _, broken := range []func(){
		func() { code = http.StatusNotFound }, func() { code, text = http.StatusOK, "Active connections: many" }, server.Close,
	} {
		broken()
		if err := testutil.CollectAndCompare(c, strings.NewReader(down)); err != nil {
			t.Error(err)
		}
	}
}

func TestExpiryIsOfTheCertificateInUse(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // The collector hangs up after the handshake.
	server.StartTLS()
	c := newCertificateCollector(server.Listener.Addr().String())
	if got, want := testutil.ToFloat64(c), float64(server.Certificate().NotAfter.Unix()); got != want {
		t.Errorf("expiry %v, want %v", got, want)
	}
	server.Close()
	if n := testutil.CollectAndCount(c); n != 0 {
		t.Errorf("%d series of a listener that is closed", n)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := New(Options{Status: "127.0.0.1:7080", TLS: "8443", Routes: []string{"x"}})
	for _, want := range []string{"access log is missing", "status: want a URL", `TLS listener "8443": want host:port`, `route "x"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

// TestManualListsMetrics compares docs/metrics.md with what is exposed: names, types and labels.
func TestManualListsMetrics(t *testing.T) {
	t.Parallel()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	e, err := New(Options{AccessLog: "none", Status: "http://127.0.0.1:1/", TLS: secure.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	e.registry.Unregister(newStatusCollector(""))
	e.registry.MustRegister(responding{newStatusCollector("")})
	e.metrics.observe([]byte(`{"v":1,"method":"GET","uri":"/","protocol":"HTTP/1.1","status":"502","error":"502","upstream_addr":"a:1","upstream_status":"200","upstream_header_time":"0.001","upstream_bytes_sent":"1","upstream_response_time":"0.001"}`))
	problems, err := testutil.GatherAndLint(e.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := e.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	exposed := map[string]bool{}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "nginx_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		exposed[fmt.Sprintf("| `%s` | %s | %s |", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "))] = true
	}
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^(\\| `nginx_[a-z_]+` \\| [a-z]+ \\| [^|]*\\|)").FindAllString(string(text), -1) {
		listed[strings.ReplaceAll(row, "|  |", "| |")] = true
	}
	for row := range exposed {
		if row = strings.ReplaceAll(row, "|  |", "| |"); !listed[row] {
			t.Errorf("docs/metrics.md lacks the row %s", row)
		}
		delete(listed, row)
	}
	for row := range listed {
		t.Errorf("docs/metrics.md lists what is not exposed: %s", row)
	}
}

// A responding collector has all metrics of a status.
type responding struct{ *statusCollector }

// Collect implements [prometheus.Collector].
func (c responding) Collect(to chan<- prometheus.Metric) { c.send(to, stubStatus{}) }
