package feed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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

func (s *stack) shown(t *testing.T, to *shown) *shown {
	t.Helper()
	advanced(t, s)
	return to.apply(t, s.Changed())
}

// step lets time pass.
func (s *stack) step(n int) { s.clock = s.clock.Add(time.Duration(n) * liveWidth) }

func TestLiveStackCountsLoadsOthersAndWhatIsInFlight(t *testing.T) {
	t.Parallel()
	s, all := newStack(t), newShown()
	begin := s.manifest.Begin
	for n := range 9 {
		s.request(t, n, begin.Add(time.Duration(n)*time.Millisecond))
	}
	// The next line is torn, and has its end later.
	client := text(t, labtest.OK("11.http.0.9", begin))
	s.write(t, s.clients, client[:50])
	// Others call, too, and the lab probes. One of whoami-1's calls goes on.
	call := record.Call{V: record.CallVersion, Event: record.Arrival, Time: begin, Instance: "whoami-1", PID: 1, Start: "a", Call: 100, ID: "mine", Protocol: scenario.GRPC}
	probe := call
	probe.ID, probe.Call = "trivet-1", 101
	answered := probe
	answered.Event, answered.Code = record.Completion, "OK"
	s.write(t, s.calls, text(t, call, probe, answered))
	s.write(t, s.log, fmt.Appendf(nil, lineOfEntry, "mine", begin.Unix(), 0, "127.0.0.1:9001"))
	// For the other's request an instance calls another one.
	called := call
	called.ID, called.Instance, called.Start, called.Call = "mine.1", "whoami-2", "b", 102
	responded := called
	responded.Event, responded.Code = record.Completion, "OK"
	made := record.Outgoing{Call: responded, Attempts: 1}
	made.Event, made.Instance, made.Start, made.Call.Call = record.OutgoingCall, "whoami-1", "a", 103
	s.write(t, s.calls, text(t, called, responded, made))
	s.write(t, s.log, fmt.Appendf(nil, lineOfEntry, "mine.1", begin.Unix(), 0, "127.0.0.1:9002"))
	s.write(t, s.log, fmt.Appendf(nil, lineOfEntry, "trivet-1", begin.Unix(), 0, "127.0.0.1:9001"))
	s.shown(t, all)
	if sum := all.sums(); sum.at("whoami-1", func(i Instant) int { return i.Calls }) != 1 || sum.at("whoami-2", func(i Instant) int { return i.Hops*10 + i.Arrivals - i.Others }) != 14 {
		t.Errorf("calls of instances: %s", text(t, sum.instances))
	}
	if sum := all.sums(); sum.flows[HTTP].OK != 9 || sum.flows[HTTP].Others != 0 || sum.flows[GRPC].Others != 1 || sum.at("whoami-1", func(i Instant) int { return i.Others }) != 1 || sum.at("whoami-1", func(i Instant) int { return i.First }) != 3 {
		t.Errorf("%s", text(t, sum.flows, sum.instances))
	}
	s.write(t, s.clients, client[50:])
	s.step(3)
	s.shown(t, all)
	if sum := all.sums(); sum.flows[HTTP].OK != 10 || sum.open != 1 || len(all.bins) != 4 {
		t.Errorf("%d OK, %d open, %d bins", sum.flows[HTTP].OK, sum.open, len(all.bins))
	}
	// Its start ends: what it had open is gone. Another one's completion comes late.
	s.Event(record.Event{Event: record.ProcessEvent, Kind: record.Died, Time: s.clock, Process: "whoami-1", Start: "a", Exit: &record.Exit{Signal: "SIGKILL"}})
	call.Event, call.Code, call.Time = record.Completion, "OK", s.clock.Add(-time.Millisecond)
	s.write(t, s.calls, text(t, call))
	s.step(1)
	s.shown(t, all)
	for n, open := range []int{1, 1, 0, 0, 0} {
		got := 0
		if one := all.bins[n].Instances["whoami-1"][GRPC]; one != nil {
			got = one.Open
		}
		if got != open {
			t.Errorf("bin %d: %d open, want %d", n, got, open)
		}
	}
	if all.sums().open != 0 || all.processes("whoami-1")[1] != Gone {
		t.Errorf("%d open, %q", all.sums().open, all.processes("whoami-1"))
	}
	all.equal(t, "applied", newShown().apply(t, s.Snapshot()), "snapshot")
}

func TestLiveStackTakesLoadsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	s, all := newStack(t), newShown()
	if err := s.AddLoad(s.load); err == nil || !strings.Contains(err.Error(), "seed of its own") {
		t.Errorf("a load with the IDs of another: %v", err)
	}
	if err := s.AddLoad(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a load without a manifest: %v", err)
	}
	next := s.manifest
	next.Scenario.Seed, next.Scenario.Loads = 12, next.Scenario.Loads[:1]
	next.Planned = next.Planned[:1]
	dir := labtest.TrialDir(t, next, map[string][]byte{record.ClientFile: text(t, labtest.OK("12.http.0.0", next.Begin))})
	if err := s.AddLoad(dir); err != nil {
		t.Fatal(err)
	}
	s.EndLoad(s.load)
	s.request(t, 0, s.clock) // It was open.
	s.shown(t, all)
	if all.sums().flows[HTTP].OK != 2 || len(all.trial.Loads) != 1 {
		t.Errorf("%+v, %+v", all.sums().flows[HTTP], all.trial.Loads)
	}
	s.step(40)
	s.shown(t, all)
	s.request(t, 1, s.clock)
	s.shown(t, all)
	if sum := all.sums(); sum.flows[HTTP].OK != 2 || sum.flows[HTTP].Others != 1 || len(s.loads) != 1 {
		t.Errorf("%+v, %d loads", sum.flows[HTTP], len(s.loads))
	}
	s.Say(Event{Kind: "setting", Tone: Action, Text: "balancing: random"})
	failed := labtest.OK("12.http.0.1", s.clock)
	failed.Outcome, failed.Code, failed.Reason, failed.Instance = record.Incomplete, "", record.Reset, ""
	s.add(failed)
	s.shown(t, all)
	if e := all.events[0]; e.Text != "balancing: random" || e.At != 10_000 || len(e.Since) != 1 || e.Since[0] != "1 HTTP request failed" || len(all.failures) != 1 {
		t.Errorf("%+v, %+v", e, all.failures)
	}
}

// The heap does not grow with the time for which a stack runs: not with requests, failures, or starts of instances.
// While a machine sleeps, its monotonic clock stands still: what is recorded after that is in bins of its own time.
func TestLiveStackFollowsTheWallClock(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	l := newLive(LiveOptions{Dir: t.TempDir(), Begin: begin}, func() time.Time { return labtest.SetForward(t, begin, time.Hour) })
	defer l.Close()
	if err := l.Advance(); err != nil {
		t.Fatal(err)
	}
	l.Say(Event{Kind: "load", Text: "load"})
	all := l.Snapshot()
	bins, said := all[len(all)-2].Bins.Bins, all[len(all)-1].Event
	if last := bins[len(bins)-1].N; time.Duration(last)*liveWidth != time.Hour || said.At != time.Hour.Milliseconds() {
		t.Errorf("bin %d, event at %d ms", last, said.At)
	}
}

// A file that could not be read for a while, as when too many are open, is no problem afterwards.
func TestLiveStackReadsAgainAfterAnError(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	path := s.clients.Name()
	if err := errors.Join(os.Remove(path), os.Symlink(path, path)); err != nil {
		t.Fatal(err)
	}
	if err := s.Advance(); !errors.Is(err, unix.ELOOP) || !strings.Contains(s.Snapshot()[0].Trial.Problem, path) {
		t.Fatalf("%v, %+v", err, s.Snapshot()[0].Trial)
	}
	if err := errors.Join(os.Remove(path), os.WriteFile(path, text(t, labtest.OK("11.http.0.0", s.clock)), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.Advance(); err != nil || s.Snapshot()[0].Trial.Problem != "" {
		t.Errorf("%v, %+v", err, s.Snapshot()[0].Trial)
	}
	if http := newShown().apply(t, s.Snapshot()).sums().flows[HTTP]; http == nil || http.OK != 1 {
		t.Errorf("%+v", http)
	}
}

func TestLiveStackHasBoundedMemory(t *testing.T) { // Not parallel: other tests use the heap, too.
	s := newStack(t)
	n := 0
	heap := func(until time.Duration) float64 {
		for ; s.clock.Before(s.manifest.Begin.Add(until)); n++ {
			at := s.clock
			instance := s.manifest.Instances[n%3]
			start := fmt.Sprint(instance.Name, n/500)
			client := labtest.OK(fmt.Sprintf("11.http.0.%d", n), at)
			if client.Latency = int64(1000 + n%900); n%20 == 0 {
				client.Outcome, client.Code, client.Instance = record.NginxError, "502", ""
			}
			call := record.Call{Event: record.Arrival, Time: at, Instance: instance.Name, Start: start, ID: client.ID, Protocol: scenario.HTTP}
			s.add(call)
			if call.Event = record.Completion; n%100 > 0 {
				s.add(call)
			}
			s.add(record.AccessLogEntry{ID: client.ID, End: float64(at.UnixMilli()) / 1000, Status: "200", Addr: instance.HTTP, HeaderTime: "0.001", BytesSent: "254"})
			s.add(client)
			if n%500 >= 497 {
				s.Event(record.Event{Event: record.ActionStarted, Action: scenario.Restart, Time: at, Process: instance.Name})
				s.Event(record.Event{Event: record.ProcessEvent, Kind: record.Died, Time: at, Process: instance.Name, Start: start})
				s.Event(record.Event{Event: record.ProcessEvent, Kind: record.Ready, Time: at, Process: instance.Name})
			}
			if s.clock = at.Add(20 * time.Millisecond); n%12 == 0 {
				advanced(t, s)
				_ = s.Changed()
			}
		}
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return float64(stats.HeapAlloc)
	}
	two, ten := heap(2*time.Minute), heap(10*time.Minute)
	if ten > 1.1*two || len(s.counter.bins) != liveKeep || len(s.failures) != liveFailures || len(s.narrator.events) > liveEvents {
		t.Errorf("the heap has %.0f bytes after two minutes, %.0f after ten; %d bins, %d failures, %d events", two, ten, len(s.counter.bins), len(s.failures), len(s.narrator.events))
	}
	runtime.KeepAlive(s)
}
