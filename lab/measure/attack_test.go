package measure

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// history is a directory of 2000 requests in 4 s with samples: what a trial wrote, which no other program disturbed.
func history(t *testing.T) labtest.History {
	t.Helper()
	const requests = 2000
	m := labtest.Manifest(requests)
	m.Scenario.Loads, m.Planned, m.Sampled, m.CPUs = m.Scenario.Loads[:1], m.Planned[:1], true, 2
	m.Scenario.Loads[0].Deadline = time.Second
	m.Scenario.Phases = []scenario.Phase{{Name: "a", For: 2 * time.Second}, {Name: "b", For: 2 * time.Second, Do: []scenario.Action{do(scenario.Pause, "whoami-2"), do(scenario.Resume, "whoami-2")}}}
	m.Scenario.Loads[0].Rate.PerSecond = []float64{requests / 4}
	h := labtest.History{Manifest: m}
	event := func(at time.Duration, e record.Event) {
		e.V, e.Time = record.EventVersion, m.Begin.Add(at)
		h.Records = append(h.Records, e)
	}
	for _, i := range m.Instances {
		event(-time.Second, record.Event{Event: record.ProcessEvent, Kind: record.Started, Process: i.Name, Start: i.Name, PID: 1})
	}
	event(0, record.Event{Event: record.PhaseStarted, Phase: "a"})
	event(2*time.Second, record.Event{Event: record.PhaseStarted, Phase: "b"})
	for i, o := range m.Scenario.Phases[1].Operations() {
		e := record.Event{Phase: "b", Operation: i, Action: o.Kind, Process: o.Process}
		for k, kind := range []string{record.ActionStarted, record.ActionDone} {
			e.Event = kind
			event(2*time.Second+time.Duration(10*i+5*k)*time.Millisecond, e)
		}
	}
	event(5*time.Second, record.Event{Event: record.Ended})
	n := 0
	for offset := range m.Scenario.Loads[0].Rate.Offsets(m.Scenario.Length()) {
		for _, r := range labtest.Ordinary(m, 0) {
			h.Records = append(h.Records, moved(m, r, n, offset))
		}
		n++
	}
	for at := usualWindow; at <= m.Scenario.Length()+time.Second; at += usualWindow {
		p := planner{Trial: &Trial{manifest: m}}
		h.Records = append(h.Records, p.window(at, 0, "whoami-1", time.Millisecond))
	}
	return h
}

// moved is a record of the load's first request, as the n-th has it.
func moved(m record.Manifest, r any, n int, offset time.Duration) any {
	id, by := fmt.Sprint("11.http.0.", n), m.Instances[n%3]
	first := time.Duration(0)
	for first = range m.Scenario.Loads[0].Rate.Offsets(m.Scenario.Length()) {
		break
	}
	switch r := r.(type) {
	case record.Call:
		r.ID, r.Instance, r.Start, r.Call, r.Time = id, by.Name, by.Name, uint64(n/3+1), r.Time.Add(offset-first)
		return r
	case record.AccessLogEntry:
		r.ID, r.Addr, r.End = id, by.HTTP, r.End+(offset-first).Seconds()
		return r
	case record.Client:
		r.ID, r.Instance, r.Planned = id, by.Name, m.Begin.Add(offset)
		return r
	}
	return r
}

// An attack edits the lines of a run directory.
type attack struct {
	edit  func(record.Manifest, any) any // nil: the line is removed
	want  string                         // a reason; "": none
	doubt bool                           // p99 of phase a is above 100 ms, and may be less than 10 ms
}

func attacks() map[string]attack {
	const ms = time.Millisecond
	at := func(m record.Manifest, t time.Time, from, to time.Duration) bool {
		return t.After(m.Begin.Add(from)) && !t.After(m.Begin.Add(to))
	}
	return map[string]attack{
		"none": {func(_ record.Manifest, r any) any { return r }, "", false},
		"a stall of 240 ms": {func(m record.Manifest, r any) any {
			if c, ok := r.(record.Client); ok && at(m, c.Planned, 1000*ms, 1240*ms) {
				c.Late = m.Begin.Add(1240 * ms).Sub(c.Planned).Microseconds()
				c.Stalled, c.Latency = c.Late, c.Late+c.Service
				return c
			}
			return r
		}, "", true},
		"busy loops for 300 ms": {func(m record.Manifest, r any) any {
			if c, ok := r.(record.Client); ok && at(m, c.Planned, 1000*ms, 1200*ms) {
				c.Service, c.Latency = 150_000, 150_000+c.Late
				return c
			}
			if s, ok := r.(record.Sample); ok && at(m, s.Time, 1000*ms, 1300*ms) {
				s.Outside, s.Processes[0].Delay = 1.4, 30_000
				return s
			}
			return r
		}, "", true},
		"busy loops for 1.1 s": {func(m record.Manifest, r any) any {
			if s, ok := r.(record.Sample); ok && at(m, s.Time, 500*ms, 1600*ms) {
				s.Outside, s.Processes[0].Delay = 1.4, 30_000
				return s
			}
			return r
		}, "phase a: for 55 % of the time other programs used 1.4 of 2 CPUs, and nginx waited for a CPU 30 % of that", false},
		"an instance paused by hand": {func(m record.Manifest, r any) any {
			if s, ok := r.(record.Sample); ok && at(m, s.Time, 1000*ms, 1200*ms) {
				s.Processes[1].Stopped = true
				return s
			}
			return r
		}, "whoami-1 was stopped (SIGSTOP) 1s after the load began, for about 200ms", false},
		"no samples": {func(_ record.Manifest, r any) any {
			if _, ok := r.(record.Sample); ok {
				return nil
			}
			return r
		}, "records/processes.jsonl has no sample", false},
		"no actions": {func(_ record.Manifest, r any) any {
			if e, ok := r.(record.Event); ok && e.Action != "" {
				return nil
			}
			return r
		}, "phase b: pause whoami-2 was not done: records/events.jsonl has no event of it", false},
	}
}

// What is edited makes an expectation inconclusive, or the trial invalid.
func TestAttacksOnARunDirectory(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range attacks() {
		h := history(t)
		var edited []any
		for _, r := range h.Records {
			if r = c.edit(h.Manifest, r); r != nil {
				edited = append(edited, r)
			}
		}
		h.Records = edited
		result := closed(t, open(t, labtest.TrialDir(t, h.Manifest, h.Files(t))))
		if reasons := strings.Join(result.Reasons, "\n"); !strings.Contains(reasons, c.want) || c.want == "" && reasons != "" {
			t.Errorf("%s: %q %v, want %q", name, result.Reasons, result.Discrepancies, c.want)
		}
		measured, _ := result.Metrics("a", scenario.HTTP)
		adjusted, _ := result.Adjusted("a", scenario.HTTP)
		if got := value(measured.Latency.P99) > 100*ms && value(adjusted.Latency.P99) < 10*ms; got != c.doubt {
			t.Errorf("%s: p99 %v, adjusted %v", name, value(measured.Latency.P99), value(adjusted.Latency.P99))
		}
	}
}
