package measure

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

func open(t testing.TB, dir string) *Trial {
	t.Helper()
	trial, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return trial
}

func closed(t testing.TB, trial *Trial) Result {
	t.Helper()
	r, err := trial.Close()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// write appends.
func write(t testing.TB, dir, name string, text []byte) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func emptyDir(t testing.TB, m record.Manifest) string {
	t.Helper()
	dir := labtest.TrialDir(t, m, nil)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "logs"), 0o755), os.Mkdir(filepath.Join(dir, "records"), 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Streams that still run have an arrival and nothing else: their shares are known all the same.
func TestProgressCountsRunningStreams(t *testing.T) {
	t.Parallel()
	const streams = 240
	m := labtest.Manifest(streams)
	dir := emptyDir(t, m)
	trial := open(t, dir)
	if p := trial.Progress(); p.Phase != "" || p.Protocols[scenario.GRPC] != (Counts{}) || len(p.Executions[scenario.GRPC]) != 0 {
		t.Errorf("%+v", p)
	}
	h := labtest.History{Manifest: m}
	add := func(r any) { h.Records = append(h.Records, r) }
	add(record.Event{V: record.EventVersion, Event: record.PhaseStarted, Phase: "before", Time: m.Begin})
	for n := range streams {
		instance := m.Instances[n%3].Name
		c := record.Call{V: record.CallVersion, Event: record.Arrival, Time: m.Begin, Instance: instance, PID: 1, Start: instance, Call: uint64(n + 1), ID: fmt.Sprint("11.grpc.1.", n), Protocol: scenario.GRPC}
		add(c)
		if c.ID = record.ProbeIDPrefix + "fleet"; n == 0 { // Probes are no load.
			c.Call = streams + 1
			add(c)
		}
	}
	for name, text := range h.Files(t) {
		write(t, dir, name, text)
	}
	if err := trial.Advance(); err != nil {
		t.Fatal(err)
	}
	running := trial.Progress()
	want := map[string]int{"whoami-1": 80, "whoami-2": 80, "whoami-3": 80}
	if running.Phase != "before" || !maps.Equal(running.Executions[scenario.GRPC], want) || running.Protocols[scenario.GRPC] != (Counts{}) {
		t.Errorf("%+v", running)
	}
	// One ends. A snapshot does not change.
	h.Records = nil
	add(record.Client{
		V: record.ClientVersion, ID: "11.grpc.1.0", Load: 1, Protocol: scenario.GRPC, Planned: m.Begin, Latency: 1000, Service: 1000, Outcome: record.Incomplete,
		Reason: record.Reset, Code: "Internal", Instance: "whoami-1", Attempts: 1,
	})
	write(t, dir, record.ClientFile, h.Files(t)[record.ClientFile])
	if err := trial.Advance(); err != nil {
		t.Fatal(err)
	}
	add(record.Event{V: record.EventVersion, Event: record.ActionStarted, Phase: "during", Action: scenario.Kill, Process: "whoami-2", Time: m.Begin.Add(time.Second)})
	add(record.Event{V: record.EventVersion, Event: record.ActionStarted, Phase: "during", Action: scenario.Wait, Time: m.Begin.Add(2 * time.Second)})
	write(t, dir, record.EventsFile, h.Files(t)[record.EventsFile])
	if err := trial.Advance(); err != nil {
		t.Fatal(err)
	}
	if o := trial.Progress().Operation; o == nil || *o != (Operation{Name: "kill whoami-2", At: time.Second}) {
		t.Errorf("operation %+v", o)
	}
	if got := trial.Progress().Protocols[scenario.GRPC]; got != (Counts{Failed: 1}) || running.Protocols[scenario.GRPC] != (Counts{}) {
		t.Errorf("%+v, and before %+v", got, running)
	}
	closed(t, trial)
}

// What is wrong with the files, and what they say, are reasons.
func TestProblemsOfFilesAreReasons(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(50)
	files := labtest.History{Manifest: m, Records: labtest.Ordinary(m, 0)}.Files(t)
	delete(files, record.AccessLogFile)
	files[record.EventsFile] = []byte("{}\n")
	got := strings.Join(closed(t, open(t, labtest.TrialDir(t, m, files))).Reasons, "\n")
	for _, want := range []string{"contradict each other", record.AccessLogFile + " does not exist", record.EventsFile + " has 1 record of another version"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

func TestDirectoryWithoutManifestIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// BenchmarkTrial is what a request costs, from the files of a trial directory: four lines each.
func BenchmarkTrial(b *testing.B) {
	const requests = 50_000
	h := labtest.History{Manifest: labtest.Manifest(requests)}
	h.Scenario.Loads, h.Planned, h.Scenario.Phases = h.Scenario.Loads[:1], h.Planned[:1], []scenario.Phase{{Name: "all", For: time.Hour}}
	for n := range requests {
		h.Records = append(h.Records, labtest.Ordinary(h.Manifest, n)...)
	}
	files := h.Files(b)
	files[record.AccessLogFile] = nil
	for n := range requests {
		// As long as nginx writes it.
		files[record.AccessLogFile] = fmt.Appendf(files[record.AccessLogFile], `{"v":1,"id":"11.http.0.%d","end":%.3f,"time":"2026-11-24T09:00:00+00:00","duration":0.100,"protocol":"HTTP/1.1","port":"35391",`+
			`"method":"GET","uri":"/","status":"200","error":"","grpc_status_header":"","grpc_status_trailer":"","grpc_previous_attempts":"","upstream_addr":"127.0.0.1:%d",`+
			`"upstream_status":"200","upstream_connect_time":"0.000","upstream_header_time":"0.001","upstream_response_time":"0.001","upstream_bytes_sent":"218",`+
			`"upstream_bytes_received":"412","remote_addr":"127.0.0.1","connection":16,"connection_requests":300,"pid":31046,"bytes_received":89,"bytes_sent":451}`+"\n",
			n, float64(h.Begin.UnixMilli()+int64(n))/1000, 8001+n%3)
	}
	dir := labtest.TrialDir(b, h.Manifest, files)
	for b.Loop() {
		if r := closed(b, open(b, dir)); r.DiscrepancyCount > 0 {
			b.Fatal(r.Discrepancies)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*requests), "ns/request")
}

// What progress counts of a whole trial is what its result has.
func TestProgressAgreesWithResult(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(60)
	h := labtest.History{Manifest: m}
	for n := range 60 {
		h.Records = append(h.Records, labtest.Ordinary(m, n)...)
	}
	trial := open(t, labtest.TrialDir(t, m, h.Files(t)))
	if err := trial.Advance(); err != nil {
		t.Fatal(err)
	}
	progress, result := trial.Progress(), closed(t, trial)
	total, _ := result.Metrics(scenario.Total, scenario.HTTP)
	if got, want := progress.Protocols[scenario.HTTP], (Counts{total.OK, total.Failed, total.Dropped}); got != want || want.OK != 60 {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := progress.OKByInstance[scenario.HTTP]; !maps.Equal(got, map[string]int(total.OKByInstance)) {
		t.Errorf("OK by instance %v, want %v", got, total.OKByInstance)
	}
	if got := progress.NginxAttempts[scenario.HTTP]; got != total.NginxAttempts || got != 60 {
		t.Errorf("%d attempts, want %d", got, total.NginxAttempts)
	}
}
