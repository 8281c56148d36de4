package measure

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/ledger"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// What a failure is adjusted to, by what may have caused it.
func TestFailureIsInDoubtOnlyIfAStallCouldHaveCausedIt(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, c := range []struct {
		name     string
		doubt    doubt
		service  time.Duration
		deadline bool // it passed
		want     bool
	}{
		{"idle machine", doubt{}, 5 * ms, false, false},
		{"refused at once, on an idle machine", doubt{generator: 3 * ms, late: 2 * ms}, ms / 2, false, false},
		{"stalled for a tenth", doubt{generator: 10 * ms}, 100 * ms, false, true},
		{"stalled for less than a tenth", doubt{generator: 10 * ms}, 101 * ms, false, false},
		{"stalled for longer than it took", doubt{generator: 240 * ms}, ms, false, true},
		{"starved for a tenth", doubt{starved: ms}, 10 * ms, false, true},
		{"starved for less", doubt{starved: ms}, 11 * ms, false, false},
		{"both add up", doubt{generator: 10 * ms, starved: 10 * ms}, 200 * ms, false, true},
		{"the deadline passed on an idle machine", doubt{generator: 3 * ms}, 1001 * ms, true, false},
		{"the deadline would not have passed without the stall", doubt{generator: 20 * ms}, 1001 * ms, true, true},
		{"the deadline would have passed all the same", doubt{generator: 20 * ms}, 1030 * ms, true, false},
		{"sent late, with others", doubt{late: 100 * ms}, ms, false, true},
		{"sent a little late", doubt{late: 9 * ms}, ms, false, false},
		{"not sent, on a starved machine", doubt{starved: ms}, 0, false, true},
		{"not sent, on an idle machine", doubt{}, 0, false, false},
	} {
		r := labtest.OK("11.http.0.0", time.Time{})
		r.Service, r.Outcome = c.service.Microseconds(), record.NginxError
		if c.deadline {
			r.Outcome, r.Reason = record.Incomplete, record.Deadline
		}
		if got := c.doubt.explains(&r, time.Second); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

// Both readings of a failed request whose retries were in doubt, and of one that was dropped.
func TestAdjustedRequestIsOneUndisturbedAttempt(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second)
	i := p.manifest.Instances[1]
	for n, stalled := range []int64{0, 30_000} {
		c := labtest.OK(fmt.Sprint("11.http.0.", n), p.manifest.Begin)
		c.Outcome, c.Code, c.Instance, c.Service, c.Latency, c.Late, c.Stalled = record.NginxError, "502", "", 40_000, 40_100, 100, stalled
		p.add(record.Call{Event: record.Arrival, ID: c.ID, Instance: i.Name, Protocol: scenario.HTTP},
			record.AccessLogEntry{ID: c.ID, Status: "502", Error: "upstream", Addr: i.HTTP + ", " + i.HTTP, HeaderTime: "-, -", BytesSent: "1, 0"}, c)
	}
	dropped := labtest.OK("11.http.0.2", p.manifest.Begin)
	dropped.Outcome, dropped.Reason, dropped.Attempts, dropped.Late, dropped.Stalled = record.Dropped, record.Overdue, 0, 2_000_000, 2_000_000
	dropped.Latency, dropped.Service = 0, 0
	p.add(dropped)
	result := p.finish()
	measured, _ := result.Metrics("a", "web")
	adjusted, _ := result.Adjusted("a", "web")
	for name, pair := range map[string][2]any{
		"failed":          {[]int{measured.Failed, adjusted.Failed}, []int{2, 1}},
		"ok":              {[]int{measured.OK, adjusted.OK}, []int{0, 1}},
		"dropped":         {[]int{measured.Dropped, adjusted.Dropped}, []int{1, 1}},
		"nginx_errors":    {[]int{measured.NginxErrors, adjusted.NginxErrors}, []int{2, 1}},
		"nginx_attempts":  {[]int{measured.NginxAttempts, adjusted.NginxAttempts}, []int{4, 3}},
		"failed_attempts": {[]int{measured.FailedAttempts, adjusted.FailedAttempts}, []int{4, 2}},
		"in_doubt":        {[]int{measured.InDoubt, adjusted.InDoubt}, []int{2, 1}},
		"local_replies":   {[]int{measured.LocalReplies, adjusted.LocalReplies}, []int{2, 1}},
		"first_attempts":  {[]int{measured.FirstAttempts["whoami-2"], adjusted.FirstAttempts["whoami-2"]}, []int{2, 2}},
		"ok_by_instance":  {[]int{measured.OKByInstance["whoami-2"], adjusted.OKByInstance["whoami-2"]}, []int{0, 1}},
		"codes":           {[]CodeCounts{measured.Codes, adjusted.Codes}, []CodeCounts{{"502": 2}, {"502": 1, "200": 1}}},
		"max":             {[]time.Duration{value(measured.FailedLatency.Max), value(adjusted.Latency.Max)}, []time.Duration{40_100 * time.Microsecond, 10 * time.Millisecond}},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: %v, want %v", name, pair[0], pair[1])
		}
	}
	for _, m := range []Metrics{measured, adjusted} {
		if err := m.Validate(); err != nil {
			t.Errorf("%+v\n%v", m, err)
		}
	}
}

// One SIGSTOP of 240 ms of the generator: 72 of 3000 requests wait for it, and p99 is the generator's.
func TestStallOfTheGeneratorIsInDoubt(t *testing.T) {
	t.Parallel()
	p := plan(t, 10*time.Second)
	for n := range 1000 {
		c := labtest.OK(fmt.Sprint("11.http.0.", n), p.manifest.Begin.Add(time.Duration(n)*10*time.Millisecond))
		if n >= 500 && n < 524 { // It stalled from 5 s to 5.24 s.
			c.Late = (240 - 10*int64(n-500)) * 1000
			c.Stalled, c.Latency = c.Late, c.Late+c.Service
		}
		p.add(c)
	}
	p.ended()
	result := p.finish()
	measured, _ := result.Metrics("a", scenario.HTTP)
	adjusted, _ := result.Adjusted("a", scenario.HTTP)
	if value(measured.Latency.P99) < 100*time.Millisecond || value(adjusted.Latency.P99) > time.Millisecond {
		t.Errorf("p99 is %v, adjusted %v", value(measured.Latency.P99), value(adjusted.Latency.P99))
	}
	checkReasons(t, result.Reasons, "")
}

// Without any doubt there is one reading.
func TestReadingsThatDoNotDifferAreOne(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second)
	c := labtest.OK("11.http.0.0", p.manifest.Begin)
	c.Late, c.Latency = 0, c.Service
	p.add(c)
	result := p.finish()
	if g := result.Phases[0].Groups[0]; g.Adjusted != nil {
		t.Errorf("%+v\n%+v", g.Metrics, *g.Adjusted)
	}
	if a, ok := result.Adjusted("a", scenario.HTTP); !ok || !reflect.DeepEqual(a, result.Phases[0].Groups[0].Metrics) {
		t.Errorf("%t %+v", ok, a)
	}
	if _, ok := result.Adjusted("b", scenario.HTTP); ok {
		t.Error("there is an adjusted reading of a phase that does not exist")
	}
}

// A request that met a cache, or a reply of nginx's own, is not disturbed by having no attempt.
func TestDisturbed(t *testing.T) {
	t.Parallel()
	ok := labtest.OK("", time.Time{})
	retried, failed := ok, ok
	retried.Attempts, failed.Outcome = 2, record.InstanceError
	attempt := func(f record.Fate) []ledger.Attempt { return []ledger.Attempt{{Attempt: record.Attempt{Fate: f}}} }
	for i, c := range []struct {
		q    ledger.Request
		want bool
	}{
		{ledger.Request{Client: &ok}, false},
		{ledger.Request{Client: &ok, NginxAttempts: attempt(record.GotHeader), Executions: make([]ledger.Execution, 1), Entries: make([]record.AccessLogEntry, 1)}, false},
		{ledger.Request{Client: &retried}, true},
		{ledger.Request{Client: &failed}, true},
		{ledger.Request{Client: &ok, Executions: make([]ledger.Execution, 2)}, true},
		{ledger.Request{Client: &ok, Entries: make([]record.AccessLogEntry, 2)}, true},
		{ledger.Request{Client: &ok, NginxAttempts: append(attempt(record.Unsent), attempt(record.GotHeader)...)}, true},
		{ledger.Request{Client: &ok, NginxAttempts: attempt(record.InDoubt)}, true},
	} {
		if got := disturbed(&c.q, c.q.Client); got != c.want {
			t.Errorf("%d: %t", i, got)
		}
	}
}
