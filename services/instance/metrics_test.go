package instance

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/types/known/durationpb"

	whoamiv1 "trivet/gen/whoami/v1"
)

// scrape returns the value of each series of an instance.
func (r running) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	response, err := http.Get(r.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response.Status, err)
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		if all[line[:i]], err = strconv.ParseFloat(line[i+1:], 64); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	return all
}

// want compares series; those that must not exist have the value -1.
func want(t *testing.T, got, wanted map[string]float64) {
	t.Helper()
	for series, value := range wanted {
		if v, ok := got[series]; ok && v != value || !ok && value != -1 {
			t.Errorf("%s is %v (exists: %v), want %v", series, v, ok, value)
		}
	}
}

// Each request counts once, under its own protocol, whatever becomes of it; clients cannot make series.
func TestMetricsCountEachRequestOnce(t *testing.T) {
	t.Parallel()
	r := startApp(t, extended(t), nil)
	before := len(r.scrape(t))
	for range 3 {
		r.grpc(t, whoAmI, "authorization", token)
	}
	r.grpc(t, whoAmI)
	r.grpc(t, "/grpc.health.v1.Health/Check")
	for n := range 20 {
		r.grpc(t, fmt.Sprintf("/whoami.v1.WhoAmIService/No%d", n), "authorization", token)
		r.http(t, fmt.Sprintf("/no/%d", n))
	}
	for range 2 {
		r.http(t, "/", "Authorization", token)
	}
	r.http(t, "/")
	r.rest(t, "HEAD", "/", "", token)
	r.rest(t, "OPTIONS", "/", "", token)
	r.rest(t, "POST", "/", "", token)
	r.rest(t, "GET", "/v1/topics/f/notes/77", "", token)
	r.rest(t, "GET", "/v1/topics/g/notes/78", "", token)
	r.rest(t, "GET", "/healthz", "", "")
	got := r.scrape(t)
	want(t, got, map[string]float64{
		`service_requests_total{code="OK",protocol="grpc",route="` + whoAmI + `"}`:                         3,
		`service_requests_total{code="Unauthenticated",protocol="grpc",route="` + whoAmI + `"}`:            1,
		`service_requests_total{code="OK",protocol="grpc",route="/grpc.health.v1.Health/Check"}`:           1,
		`service_requests_total{code="Unimplemented",protocol="grpc",route="other"}`:                       20,
		`service_requests_total{code="200",protocol="http",route="GET /"}`:                                 3, // with HEAD
		`service_requests_total{code="401",protocol="http",route="GET /"}`:                                 1,
		`service_requests_total{code="404",protocol="http",route="other"}`:                                 20,
		`service_requests_total{code="405",protocol="http",route="other"}`:                                 1,
		`service_requests_total{code="204",protocol="http",route="other"}`:                                 1,
		`service_requests_total{code="404",protocol="http",route="GET /v1/topics/{topic=*}/notes/{id=*}"}`: 2,
		`service_requests_total{code="200",protocol="http",route="GET /healthz"}`:                          1,
		`service_request_duration_seconds_count{protocol="grpc",route="` + whoAmI + `"}`:                   4,
		`service_request_duration_seconds_count{protocol="http",route="GET /"}`:                            4,
		`service_request_duration_seconds_bucket{protocol="http",route="GET /",le="0.005"}`:                -1, // native alone
		`service_requests_in_flight{protocol="http"}`:                                                      0,
		`service_requests_in_flight{protocol="grpc"}`:                                                      0,
		`service_ready`: 1, `service_panics_total`: 0,
		`service_drain_state{state="serving"}`: 1, `service_drain_state{state="waiting"}`: 0,
		`service_limit{limit="unary_calls"}`: 1000, `service_limit{limit="http_connections"}`: 2000, `service_limit_in_use{limit="grpc_connections"}`: 1,
		`service_certificate_expiry_timestamp_seconds`: -1,
	})
	if len(got) > before+40 {
		t.Errorf("%d series, %d before the requests", len(got), before)
	}
}

func TestMetricsShowWhatRunsAndWhatIsRefused(t *testing.T) {
	t.Parallel()
	r := startApp(t, appOf(waiting{}), map[string]string{"MAX_CALLS": "1", "METRICS": "classic"})
	go r.grpc(t, whoAmI)
	r.awaitRunning(t, 1, 0)
	if got := r.grpc(t, whoAmI); got.code != codes.ResourceExhausted {
		t.Fatalf("a call beyond the limit: %v", got.code)
	}
	want(t, r.scrape(t), map[string]float64{
		`service_requests_in_flight{protocol="grpc"}`: 1, `service_limit_in_use{limit="unary_calls"}`: 1, `service_limit{limit="unary_calls"}`: 1,
		`service_limit_rejected_total{limit="unary_calls"}`: 1, `service_limit_rejected_total{limit="streams"}`: 0,
		`service_requests_total{code="ResourceExhausted",protocol="grpc",route="` + whoAmI + `"}`: 1,
		`service_request_duration_seconds_bucket{protocol="grpc",route="` + whoAmI + `",le="10"}`: 1, // classic
	})
	broken := start(t, panicking{})
	broken.http(t, "/")
	want(t, broken.scrape(t), map[string]float64{`service_panics_total`: 1, `service_requests_total{code="500",protocol="http",route="GET /"}`: 1})
}

func TestMetricsCanBeOff(t *testing.T) {
	t.Parallel()
	for _, environ := range []map[string]string{{"METRICS": "false"}, {"ADMIN_PORT": "off"}} {
		r := startApp(t, extended(t), environ)
		response, err := http.Get(r.admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%v: %s", environ, response.Status)
		}
		if r.http(t, "/", "Authorization", token).code != codes.OK {
			t.Error("without metrics requests fail")
		}
	}
	r := start(t, nil)
	if code, _, _ := r.rest(t, "GET", "/metrics", "", ""); code != http.StatusNotFound {
		t.Errorf("/metrics on the HTTP listener: %d, want 404", code)
	}
}

// The histogram is native, and has the trace of a request as an exemplar.
func TestDurationsAreNativeWithExemplars(t *testing.T) {
	t.Parallel()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, protocol := range []Protocol{HTTP, GRPC} {
		r := start(t, nil)
		if protocol == HTTP {
			r.http(t, "/", "Traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
		} else {
			r.grpc(t, whoAmI, "traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
		}
		h := r.histogram(t, "service_request_duration_seconds", string(protocol))
		if h.GetSampleCount() != 1 || h.GetSchema() != 3 || len(h.GetPositiveSpan()) != 1 || len(h.GetBucket()) != 1 { // the one bucket holds the exemplar
			t.Errorf("%s: %v", protocol, h)
		}
		if e := h.GetExemplars(); len(e) != 1 || e[0].GetLabel()[0].GetName() != "trace_id" || e[0].GetLabel()[0].GetValue() != trace {
			t.Errorf("%s: exemplars %v", protocol, e)
		}
	}
}

// histogram scrapes in the format that Prometheus asks for.
func (r running) histogram(t *testing.T, name, protocol string) *dto.Histogram {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.admin+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for in := strings.NewReader(string(body)); ; {
		var family dto.MetricFamily
		if err := protodelim.UnmarshalFrom(in, &family); err != nil {
			t.Fatalf("no %s of %s: %v", name, protocol, err)
		}
		for _, m := range family.GetMetric() {
			if family.GetName() == name && m.GetLabel()[0].GetValue() == protocol {
				return m.GetHistogram()
			}
		}
	}
}

func TestTraceID(t *testing.T) {
	t.Parallel()
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for traceparent, want := range map[string]string{
		"00-" + id + "-00f067aa0ba902b7-01": id, "": "", "00-" + id: "", "01-" + id + "-00f067aa0ba902b7-01": "",
		"00-" + strings.ToUpper(id) + "-00f067aa0ba902b7-01": "", "00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01": "",
		"00-" + strings.Repeat(`"`, 32) + "-00f067aa0ba902b7-01": "",
	} {
		if got := traceID(traceparent); got != want {
			t.Errorf("%q: %q, want %q", traceparent, got, want)
		}
	}
}

func TestMetricsFollowDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, map[string]string{"DRAIN_DELAY": "5s", "DRAIN_TIMEOUT": "10s"}, time.Minute, false)
		go func() { _, _ = b.client().WhoAmI(t.Context(), &whoamiv1.WhoAmIRequest{}) }()
		stream, err := b.client().WatchWhoAmI(t.Context(), &whoamiv1.WatchWhoAmIRequest{Interval: durationpb.New(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		in := func(state string, ready, streamsEnded, canceled int) {
			t.Helper()
			var text strings.Builder
			text.WriteString(fmt.Sprintf("# HELP service_ready Whether the instance accepts requests: 1 or 0.\n# TYPE service_ready gauge\nservice_ready %d\n", ready))
			text.WriteString("# HELP service_drain_state 1 for the state of the shutdown, 0 for the others.\n# TYPE service_drain_state gauge\n")
			for _, s := range drainStates {
				value := 0
				if s == state {
					value = 1
				}
				text.WriteString(fmt.Sprintf("service_drain_state{state=%q} %d\n", s, value))
			}
			text.WriteString(fmt.Sprintf("# HELP service_drain_streams_ended_total Streams that the shutdown has ended.\n# TYPE service_drain_streams_ended_total counter\nservice_drain_streams_ended_total %d\n", streamsEnded))
			text.WriteString(fmt.Sprintf("# HELP service_drain_calls_canceled_total Unary calls that outlived DRAIN_TIMEOUT.\n# TYPE service_drain_calls_canceled_total counter\nservice_drain_calls_canceled_total %d\n", canceled))
			if err := testutil.GatherAndCompare(b.metrics.registry, strings.NewReader(text.String()), "service_ready", "service_drain_state", "service_drain_streams_ended_total", "service_drain_calls_canceled_total"); err != nil {
				t.Error(state, err)
			}
		}
		in("serving", 1, 0, 0)
		b.signal()
		synctest.Wait()
		in("waiting", 0, 0, 0)
		<-time.After(6 * time.Second)
		in("closing", 0, 1, 0)
		if err := <-b.over; err != nil {
			t.Error(err)
		}
		in("canceling", 0, 1, 1)
	})
}

// TestManualListsMetrics compares docs/metrics.md with what is exposed: names, types and labels.
func TestManualListsMetrics(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	r.grpc(t, whoAmI)
	response, err := http.Get(r.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	// An instance with a certificate has one more.
	exposed := map[string]bool{"| `service_certificate_expiry_timestamp_seconds` | gauge | |": true}
	for _, found := range regexp.MustCompile(`(?m)^# TYPE (service_\w+) (\w+)\n\w+(?:\{([^}]*)\})?`).FindAllStringSubmatch(string(text), -1) {
		var labels []string
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(found[3], -1) {
			if l[1] != "le" {
				labels = append(labels, "`"+l[1]+"`")
			}
		}
		exposed[strings.ReplaceAll(fmt.Sprintf("| `%s` | %s | %s |", found[1], found[2], strings.Join(labels, ", ")), "|  |", "| |")] = true
	}
	manual, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `service_[a-z_]+` \\| [a-z]+ \\|[^|]*\\|").FindAllString(string(manual), -1) {
		if !exposed[row] {
			t.Errorf("docs/metrics.md lists what is not exposed: %s", row)
		}
		delete(exposed, row)
	}
	for row := range exposed {
		t.Errorf("docs/metrics.md lacks the row %s", row)
	}
}
