package trace

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
)

// fields are those of a record.
type fields map[string]any

// history is a trial's records, by file.
type history struct {
	record.Manifest
	files map[string][]byte
}

func newHistory() *history {
	return &history{labtest.Manifest(10), make(map[string][]byte)}
}

func (h *history) add(t *testing.T, file string, version int, f fields) {
	t.Helper()
	f["v"] = version
	line, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	h.files[file] = append(append(h.files[file], line...), '\n')
}

// at is so many milliseconds after the begin.
func (h *history) at(ms float64) time.Time {
	return h.Begin.Add(time.Duration(ms * float64(time.Millisecond)))
}

func (h *history) client(t *testing.T, id string, ms, took float64, more fields) {
	f := fields{"id": id, "protocol": "http", "method": "GET /", "planned": h.at(ms), "late_us": 0, "latency_us": int(took * 1000), "service_us": int(took * 1000), "outcome": "ok", "code": "200", "attempts": 1}
	maps.Copy(f, more)
	h.add(t, record.ClientFile, record.ClientVersion, f)
}

// entry is of attempts like "2 refused 0.000" and "1 200 0.003": the number of the instance, what became of it, its time.
func (h *history) entry(t *testing.T, id string, end, took float64, status string, attempts []string, more fields) {
	f := fields{"id": id, "end": float64(h.at(end).UnixMilli()) / 1000, "duration": took / 1000, "protocol": "HTTP/1.1", "method": "GET", "uri": "/?hops=http", "status": status}
	var addrs, statuses, headers, sent, times []string
	for _, a := range attempts {
		var instance, became, took string
		fmt.Sscan(a, &instance, &became, &took)
		state := []string{became, "0.001", "99"}
		switch became {
		case "refused":
			state = []string{"502", "-", "0"}
		case "doubt":
			state = []string{"502", "-", "99"}
		}
		addrs, times = append(addrs, "127.0.0.1:800"+instance), append(times, took)
		statuses, headers, sent = append(statuses, state[0]), append(headers, state[1]), append(sent, state[2])
	}
	join := func(list []string) string { return strings.Join(list, ", ") }
	f["upstream_addr"], f["upstream_status"], f["upstream_header_time"] = join(addrs), join(statuses), join(headers)
	f["upstream_bytes_sent"], f["upstream_response_time"] = join(sent), join(times)
	maps.Copy(f, more)
	h.add(t, record.AccessLogFile, record.AccessLogVersion, f)
}

// execution is an arrival and, if it took any time, a completion.
func (h *history) execution(t *testing.T, id string, instance, number int, ms, took float64, code string) {
	name := fmt.Sprint("whoami-", instance)
	f := fields{"event": "arrival", "time": h.at(ms), "instance": name, "pid": 1, "start": name, "call": number, "id": id, "protocol": "http", "method": "GET /"}
	h.add(t, record.InstancesFile, record.CallVersion, f)
	if took > 0 {
		f["event"], f["time"], f["code"], f["duration_us"] = "completion", h.at(ms+took), code, int(took*1000)
		h.add(t, record.InstancesFile, record.CallVersion, f)
	}
}

// outgoing is a call that an execution of an instance made.
func (h *history) outgoing(t *testing.T, id string, instance, number int, end, took float64, code string) {
	name := fmt.Sprint("whoami-", instance)
	h.add(t, record.InstancesFile, record.CallVersion, fields{"event": "outgoing", "time": h.at(end), "instance": name, "pid": 1, "start": name, "call": number, "id": id, "protocol": "http", "method": "GET /", "code": code, "duration_us": int(took * 1000), "attempts": 1})
}

func (h *history) source(t *testing.T) *Source {
	t.Helper()
	s, err := Open(labtest.TrialDir(t, h.Manifest, h.files))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// outline is a trace as text: kind, name, begin after the trial's, duration, note.
func outline(begin time.Time, t *Trace) string {
	var b strings.Builder
	for depth, s := range t.All {
		fmt.Fprintf(&b, "%s%s %s %s +%v %v %s\n", strings.Repeat("  ", depth), s.Kind, s.Process, s.Name, s.Begin.Sub(begin), s.Took(), s.Note)
	}
	return b.String()
}

// shownID is the request of shown.
const shownID = "11.http.0.3"

// shown are records, and the trace that they make.
var shown = []struct {
	name    string
	records func(*testing.T, *history)
	want    string
}{
	{"plain", func(t *testing.T, h *history) {
		h.client(t, shownID, 10, 5, nil)
		h.entry(t, shownID, 14, 3, "200", []string{"1 200 0.003"}, nil)
		h.execution(t, shownID, 1, 7, 11.5, 1.25, "200")
	}, `
client client GET / +10ms 5ms 200
  nginx nginx GET / +11ms 3ms 200
    attempt nginx attempt 1: whoami-1 +11ms 3ms 200
      instance whoami-1 GET / +11.5ms 1.25ms 200
`},
	{"refused, in doubt, retried: the attempts lie end to end, and the execution is found although its attempt has no header", func(t *testing.T, h *history) {
		h.client(t, shownID, 10, 90, nil)
		h.entry(t, shownID, 98, 86, "200", []string{"3 refused 0.001", "2 doubt 0.080", "1 200 0.005"}, nil)
		h.execution(t, shownID, 2, 4, 14, 0, "")
		h.execution(t, shownID, 1, 7, 94, 2, "200")
	}, `
client client GET / +10ms 90ms 200
  nginx nginx GET / +12ms 86ms 200
    attempt nginx attempt 1: whoami-3 +12ms 1ms refused
    attempt nginx attempt 2: whoami-2 +13ms 80ms in doubt 502
      instance whoami-2 GET / +14ms 79ms not completed
    attempt nginx attempt 3: whoami-1 +93ms 5ms 200
      instance whoami-1 GET / +94ms 2ms 200
`},
	{"a slow body: the attempt begins when it has come", func(t *testing.T, h *history) {
		h.client(t, shownID, 10, 500, nil)
		h.entry(t, shownID, 509, 499, "200", []string{"1 200 0.004"}, nil)
		h.execution(t, shownID, 1, 7, 506, 2, "200")
	}, `
client client GET / +10ms 500ms 200
  nginx nginx GET / +10ms 499ms 200
    attempt nginx attempt 1: whoami-1 +504ms 4ms 200
      instance whoami-1 GET / +506ms 2ms 200
`},
	{"hops, the second at the same instance, and one of which the killed instance recorded nothing", func(t *testing.T, h *history) {
		h.client(t, shownID, 10, 40, fields{"outcome": "instance_error", "code": "503"})
		h.entry(t, shownID, 49, 38, "503", []string{"1 503 0.038"}, nil)
		h.execution(t, shownID, 1, 7, 12, 36, "503")
		h.outgoing(t, shownID+".1", 1, 7, 30, 16, "503")
		h.entry(t, shownID+".1", 29, 14, "503", []string{"2 503 0.014"}, nil)
		h.execution(t, shownID+".1", 2, 3, 16, 12, "503")
		h.outgoing(t, shownID+".1.1", 2, 3, 27, 9, "502")
		h.entry(t, shownID+".1.1", 26, 7, "502", []string{"3 doubt 0.007"}, fields{"error": "502"})
		h.execution(t, shownID+".1.1", 3, 1, 20, 0, "")
		h.entry(t, shownID+".1.1.1", 24, 3, "200", []string{"1 200 0.003"}, nil)
		h.execution(t, shownID+".1.1.1", 1, 8, 22, 1, "200")
	}, `
client client GET / +10ms 40ms 503
  nginx nginx GET / +11ms 38ms 503
    attempt nginx attempt 1: whoami-1 +11ms 38ms 503
      instance whoami-1 GET / +12ms 36ms 503
        hop whoami-1 GET / +14ms 16ms 503
          nginx nginx GET / +15ms 14ms 503
            attempt nginx attempt 1: whoami-2 +15ms 14ms 503
              instance whoami-2 GET / +16ms 12ms 503
                hop whoami-2 GET / +18ms 9ms 502
                  nginx nginx GET / +19ms 7ms 502 by nginx
                    attempt nginx attempt 1: whoami-3 +19ms 7ms in doubt 502
                      instance whoami-3 GET / +20ms 6ms not completed
                        nginx nginx GET / +21ms 3ms 200
                          attempt nginx attempt 1: whoami-1 +21ms 3ms 200
                            instance whoami-1 GET / +22ms 1ms 200
`},
	{"executed twice: both make the call of the same ID", func(t *testing.T, h *history) {
		h.client(t, shownID, 10, 90, nil)
		h.entry(t, shownID, 99, 88, "200", []string{"2 doubt 0.040", "1 200 0.048"}, nil)
		h.execution(t, shownID, 2, 4, 12, 70, "200")
		h.execution(t, shownID, 1, 7, 55, 40, "200")
		h.outgoing(t, shownID+".1", 2, 4, 30, 10, "200")
		h.outgoing(t, shownID+".1", 1, 7, 80, 10, "200")
		h.entry(t, shownID+".1", 79, 8, "200", []string{"3 200 0.008"}, nil)
		h.entry(t, shownID+".1", 29, 8, "200", []string{"1 200 0.008"}, nil)
		h.execution(t, shownID+".1", 1, 6, 23, 5, "200")
		h.execution(t, shownID+".1", 3, 9, 73, 5, "200")
	}, `
client client GET / +10ms 90ms 200
  nginx nginx GET / +11ms 88ms 200
    attempt nginx attempt 1: whoami-2 +11ms 40ms in doubt 502
      instance whoami-2 GET / +12ms 70ms 200
        hop whoami-2 GET / +20ms 10ms 200
          nginx nginx GET / +21ms 8ms 200
            attempt nginx attempt 1: whoami-1 +21ms 8ms 200
              instance whoami-1 GET / +23ms 5ms 200
    attempt nginx attempt 2: whoami-1 +51ms 48ms 200
      instance whoami-1 GET / +55ms 40ms 200
        hop whoami-1 GET / +70ms 10ms 200
          nginx nginx GET / +71ms 8ms 200
            attempt nginx attempt 1: whoami-3 +71ms 8ms 200
              instance whoami-3 GET / +73ms 5ms 200
`},
	{"children of a client's retry are marked", func(t *testing.T, h *history) {
		h.client(t, shownID, 10, 60, fields{"attempts": 2})
		h.entry(t, shownID, 30, 18, "503", []string{"1 503 0.018"}, nil)
		h.entry(t, shownID, 60, 20, "200", []string{"2 200 0.020"}, nil)
		h.execution(t, shownID, 1, 7, 13, 16, "503")
		h.execution(t, shownID, 2, 1, 41, 18, "200")
		h.outgoing(t, shownID+".1", 1, 7, 28, 10, "502")
		h.outgoing(t, shownID+"-2.1", 2, 1, 58, 10, "200")
	}, `
client client GET / +10ms 60ms 200
  nginx nginx GET / +12ms 18ms 503
    attempt nginx attempt 1: whoami-1 +12ms 18ms 503
      instance whoami-1 GET / +13ms 16ms 503
        hop whoami-1 GET / +18ms 10ms 502
  nginx nginx GET / +40ms 20ms 200
    attempt nginx attempt 1: whoami-2 +40ms 20ms 200
      instance whoami-2 GET / +41ms 18ms 200
        hop whoami-2 GET / +48ms 10ms 200
`},
	{"never answered: nginx logged nothing", func(t *testing.T, h *history) {
		h.client(t, shownID, 10, 100, fields{"outcome": "incomplete", "code": "", "reason": "deadline", "error": "too late"})
	}, `
client client GET / +10ms 100ms deadline
`},
}

func TestTraceShowsWhatEachSourceRecorded(t *testing.T) {
	t.Parallel()
	for _, c := range shown {
		h := newHistory()
		c.records(t, h)
		got, err := h.source(t).Request(shownID)
		if err != nil || got == nil {
			t.Errorf("%s: %v, %v", c.name, got, err)
			continue
		}
		if text := "\n" + outline(h.Begin, got); text != c.want {
			t.Errorf("%s: got%s\nwant%s", c.name, text, c.want)
		}
		seen := make(map[string]bool)
		for _, s := range got.All {
			if !isID(s.ID, 16) || seen[s.ID] {
				t.Errorf("%s: %s has ID %q, which is none or another's", c.name, s.Name, s.ID)
			}
			seen[s.ID] = true
		}
	}
}

// The instance's OpenTelemetry span hangs under the attempt that reached it: that has the ID which went upstream.
func TestSpanIDsAreThoseThatNginxPassedOn(t *testing.T) {
	t.Parallel()
	const id, request, other = "11.http.0.3", "0123456789abcdeffedcba9876543210", "00112233445566778899aabbccddeeff"
	h := newHistory()
	h.client(t, id, 10, 80, fields{"attempts": 3})
	attempts := []string{"2 refused 0.001", "1 200 0.005"}
	h.entry(t, id, 20, 6, "200", attempts, fields{"trace": request, "span": request[:16], "parent_span": ""})
	h.entry(t, id, 40, 6, "200", attempts[:1], fields{"trace": other, "span": "aaaaaaaaaaaaaaaa", "parent_span": "bbbbbbbbbbbbbbbb"})
	h.entry(t, id, 60, 6, "200", attempts[:1], fields{"trace": "", "span": "", "parent_span": ""})
	got, err := h.source(t).Request(id)
	if err != nil {
		t.Fatal(err)
	}
	entries := got.Roots[0].Children
	if len(entries) != 3 || got.ID != request {
		t.Fatalf("trace %s with %d entries", got.ID, len(entries))
	}
	if s := entries[0]; s.ID != request[16:] || s.Linked != "" || s.Parent != got.Roots[0].ID || s.Children[1].ID != request[:16] || s.Children[0].ID == s.Children[1].ID {
		t.Errorf("%+v", s)
	}
	if s := entries[1]; s.Linked != other || s.Children[0].ID != "aaaaaaaaaaaaaaaa" || s.Parent != got.Roots[0].ID {
		t.Errorf("%+v", s)
	}
	if s := entries[2]; s.Linked != "" || !isID(s.ID, 16) {
		t.Errorf("%+v", s)
	}
}

// A trivet up has no client record: the parent is the span of the client's own traceparent.
func TestTraceOfTrivetUp(t *testing.T) {
	t.Parallel()
	h := newHistory()
	h.entry(t, "mine", 20, 6, "200", []string{"1 200 0.005"}, fields{"trace": "00112233445566778899aabbccddeeff", "span": "aaaaaaaaaaaaaaaa", "parent_span": "bbbbbbbbbbbbbbbb"})
	h.entry(t, "mine.1", 19, 2, "502", []string{"2 refused 0.001", "3 refused 0.000"}, nil)
	h.entry(t, "other.7", 30, 2, "200", []string{"2 200 0.001"}, nil)
	h.execution(t, "mine", 1, 1, 15, 4, "200")
	h.outgoing(t, "mine.1", 1, 1, 19, 3, "502")
	dir := labtest.TrialDir(t, h.Manifest, h.files)
	if err := os.Remove(filepath.Join(dir, record.ManifestFile)); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(dir); err == nil || !strings.Contains(err.Error(), record.FleetFile) {
		t.Errorf("%v, %v", s, err)
	}
	if err := (record.Fleet{Instances: h.Instances}).Write(dir); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Request("mine")
	if err != nil {
		t.Fatal(err)
	}
	want := `
nginx nginx GET / +14ms 6ms 200
  attempt nginx attempt 1: whoami-1 +14ms 5ms 200
    instance whoami-1 GET / +15ms 4ms 200
      hop whoami-1 GET / +16ms 3ms 502
        nginx nginx GET / +17ms 2ms 502
          attempt nginx attempt 1: whoami-2 +17ms 1ms refused
          attempt nginx attempt 2: whoami-3 +18ms 0s refused
`
	if text := "\n" + outline(h.Begin, got); text != want || got.Roots[0].Parent != "bbbbbbbbbbbbbbbb" {
		t.Errorf("parent %s of\n%s", got.Roots[0].Parent, text)
	}
	all, err := s.Survey()
	if err != nil || len(all) != 2 || all[0].Request != "mine" || all[0].Attempts != 3 || !all[0].Retried() || all[1].Request != "other.7" || all[1].Retried() {
		t.Errorf("%+v, %v", all, err)
	}
	if got, err := s.Request("nothing"); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	s.From(map[string]int64{record.AccessLogFile: int64(len(h.files[record.AccessLogFile]))})
	if got, err := s.Request("mine"); err != nil || got == nil || strings.Contains(outline(h.Begin, got), "attempt") {
		t.Errorf("%v, %v: what was logged before is in it", got, err)
	}
}

// Whatever a trial's length, what is kept is bounded, and what went wrong is kept first.
func TestChooseIsBoundedAndPrefersWhatWentWrong(t *testing.T) {
	t.Parallel()
	var all []Summary
	begin := time.Unix(0, 0)
	for n := range 100_000 {
		s := Summary{Request: fmt.Sprint(n), Begin: begin.Add(time.Duration(n) * time.Millisecond), Took: time.Millisecond, Sends: 1, Attempts: 1, Entries: 1}
		s.Failed = n%500 == 3
		if n%1000 == 7 {
			s.Attempts = 2
		}
		if n > 60_000 && n <= 60_100 {
			s.Took = time.Second
		}
		all = append(all, s)
	}
	ids := Choose(all)
	if len(ids) != 300+mostSlow+mostOthers {
		t.Errorf("%d are kept", len(ids))
	}
	for _, want := range []string{"3", "99503", "7", "99007", "60001", "60100"} {
		if !slices.Contains(ids, want) {
			t.Errorf("%s is not kept", want)
		}
	}
	for i := range all {
		all[i].Sends = 2
	}
	if ids = Choose(all); len(ids) != mostTroubled || ids[0] != "0" || ids[len(ids)-1] < "99" {
		t.Errorf("%d are kept, from %s to %s", len(ids), ids[0], ids[len(ids)-1])
	}
	if ids = Choose(all[:3]); !slices.Equal(ids, []string{"0", "1", "2"}) {
		t.Errorf("%v", ids)
	}
}

// A line that is still being written, or is no record, takes nothing from the others.
func TestTornLinesAreLeftOut(t *testing.T) {
	t.Parallel()
	const id = "11.http.0.3"
	h := newHistory()
	h.client(t, id, 10, 5, nil)
	h.client(t, "11.http.0.4", 10, 5, fields{"outcome": "dropped", "reason": "overdue", "code": ""})
	h.entry(t, id, 14, 3, "200", []string{"1 200 0.003"}, nil)
	for _, file := range []string{record.ClientFile, record.AccessLogFile, record.InstancesFile} {
		h.files[file] = append(h.files[file], `{"v":99,"id":"11.http.0.3"}`+"\n"+`not JSON`+"\n"+`{"v":1,"id":"11.http.0.3","uri":"/tor`...)
	}
	s := h.source(t)
	got, err := s.Request(id)
	if err != nil || outline(h.Begin, got) == "" || len(got.Roots[0].Children) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	all, err := s.Chosen()
	if err != nil || len(all) != 1 || all[0].Request != id {
		t.Errorf("%v, %v", all, err)
	}
}
