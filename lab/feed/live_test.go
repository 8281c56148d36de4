package feed

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// lineOfEntry is a line as nginx/conf/access-log.conf has it: most of it is not the feed's.
const lineOfEntry = `{"v":1,"id":"%s","end":%d.%03d,"time":"2026-11-27T03:27:37+00:00","duration":0.002,"protocol":"HTTP/1.1","port":"41177","method":"GET","host":"127.0.0.1","uri":"/","status":"200","error":"","user_agent":"whoami","traceparent":"00-50cba288fe8972b2a5231f89cda66398-50cba288fe8972b2-01","trace":"50cba288fe8972b2a5231f89cda66398","span":"93e6d1f47128493e","parent_span":"50cba288fe8972b2","tls":"","client":"","grpc_status_header":"","grpc_status_trailer":"","grpc_previous_attempts":"","upstream_addr":"%s","upstream_status":"200","upstream_connect_time":"0.000","upstream_header_time":"0.002","upstream_response_time":"0.002","upstream_bytes_sent":"307","upstream_bytes_received":"481","cache":"","remote_addr":"127.0.0.1","connection":15,"connection_requests":1,"pid":4301,"bytes_received":184,"bytes_sent":520}` + "\n"

// cpu is how long this process has run, its garbage collection included: on a busy machine that says more than the time which passed.
func cpu(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// A stack is the run directory of a live stack with one load, whose files are written by a test, and its source.
type stack struct {
	*LiveSource
	dir, load           string
	manifest            record.Manifest
	clock               time.Time
	calls, log, clients *os.File
}

func newStack(t testing.TB) *stack {
	t.Helper()
	s := &stack{dir: t.TempDir(), manifest: labtest.Manifest(3)}
	s.load, s.clock = filepath.Join(s.dir, "loads", "1"), s.manifest.Begin
	s.manifest.Scenario.Phases = []scenario.Phase{{Name: "live", For: 1000 * time.Hour}}
	for _, sub := range []string{filepath.Join(s.dir, "records"), filepath.Join(s.dir, "logs"), filepath.Join(s.load, "records")} {
		if err := os.MkdirAll(sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.manifest.Write(s.load); err != nil {
		t.Fatal(err)
	}
	open := func(dir, name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	s.calls, s.log, s.clients = open(s.dir, record.InstancesFile), open(s.dir, record.AccessLogFile), open(s.load, record.ClientFile)
	s.LiveSource = newLive(LiveOptions{Dir: s.dir, Instances: s.manifest.Instances, Begin: s.manifest.Begin, Zone: time.UTC}, func() time.Time { return s.clock })
	t.Cleanup(func() { s.Close() })
	if err := s.AddLoad(s.load); err != nil {
		t.Fatal(err)
	}
	return s
}

// text is records as lines.
func text(t testing.TB, records ...any) (all []byte) {
	t.Helper()
	for _, r := range records {
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(append(all, line...), '\n')
	}
	return all
}

// request writes the records of the n-th request.
func (s *stack) request(t testing.TB, n int, at time.Time) {
	t.Helper()
	instance := s.manifest.Instances[n%3]
	client := labtest.OK(fmt.Sprintf("11.http.0.%d", n), at)
	client.Instance, client.Latency, client.Service = instance.Name, int64(1000+n%400), int64(900+n%400)
	arrival := record.Call{
		V: record.CallVersion, Event: record.Arrival, Time: at.Add(400 * time.Microsecond), Instance: instance.Name, PID: 1, Start: instance.Name, Call: uint64(n + 1), ID: client.ID, Protocol: scenario.HTTP,
	}
	completion := arrival
	completion.Event, completion.Code, completion.Duration, completion.Time = record.Completion, "200", 200, at.Add(600*time.Microsecond)
	end := at.Add(900 * time.Microsecond).UnixMilli()
	s.write(t, s.calls, text(t, arrival, completion))
	s.write(t, s.log, fmt.Appendf(nil, lineOfEntry, client.ID, end/1000, end%1000, instance.HTTP))
	s.write(t, s.clients, text(t, client))
}

func (s *stack) write(t testing.TB, to *os.File, text []byte) {
	t.Helper()
	if _, err := to.Write(text); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkRequest is what a request costs: to read its four records, to count them, and its part of the messages of a page that gets them
// four times a second at 2,000 requests per second. So 30 µs per request are 6 % of one CPU, and 3 % of two.
func BenchmarkRequest(b *testing.B) {
	const perStep = 500
	s := newStack(b)
	size, used := 0, time.Duration(0)
	b.ReportAllocs()
	for n := 0; n < b.N; {
		b.StopTimer()
		for i := range min(perStep, b.N-n) {
			s.request(b, n, s.clock.Add(time.Duration(i)*liveWidth/perStep))
			n++
		}
		s.clock = s.clock.Add(liveWidth)
		before := cpu(b)
		b.StartTimer()
		if err := s.Advance(); err != nil {
			b.Fatal(err)
		}
		for _, message := range s.Changed() {
			size += len(text(b, message))
		}
		used += cpu(b) - before
	}
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N)/1000, "cpu-µs/op")
	b.ReportMetric(100*2000*used.Seconds()/float64(b.N), "%-of-a-CPU-at-2000/s")
	b.ReportMetric(float64(size)/float64(b.N), "bytes/op")
	if counted := s.counter.bins[0].flows[0]; counted == nil || counted.OK != min(b.N, perStep) && s.counter.first == 0 {
		b.Errorf("the first bin has %+v", counted)
	}
}
