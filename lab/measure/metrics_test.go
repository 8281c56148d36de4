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

// A planner measures single HTTP requests, each with one attempt at an instance.
type planner struct {
	*Trial
	t      *testing.T
	n      int
	result Result // after finish
}

func plan(t *testing.T, phases ...time.Duration) *planner {
	m := labtest.Manifest(1000)
	m.Scenario.Loads, m.Planned, m.Scenario.Phases = m.Scenario.Loads[:1], m.Planned[:1], nil
	m.Scenario.Loads[0].Deadline = time.Second
	for i, length := range phases {
		m.Scenario.Phases = append(m.Scenario.Phases, scenario.Phase{Name: string(rune('a' + i)), For: length})
	}
	return &planner{Trial: newTrial(m), t: t}
}

// change is the plan with another manifest.
func (p *planner) change(to func(*record.Manifest)) *planner {
	to(&p.manifest)
	p.Trial = newTrial(p.manifest)
	return p
}

// add adds records.
func (p *planner) add(all ...any) {
	p.t.Helper()
	for _, one := range all {
		if err := p.Trial.add(one); err != nil {
			p.t.Fatal(err)
		}
	}
}

// request plans one at a time, for so long, with an outcome, at an instance (from 1; 0: none).
func (p *planner) request(at, took time.Duration, outcome string, instance int) {
	p.t.Helper()
	c := labtest.OK(fmt.Sprint("11.http.0.", p.n), p.manifest.Begin.Add(at))
	c.Latency, c.Outcome, c.Instance, c.Reason = took.Microseconds(), outcome, scenario.InstanceName(instance), record.Deadline
	p.n++
	l := record.AccessLogEntry{ID: c.ID}
	if instance > 0 {
		i := p.manifest.Instances[instance-1]
		l.Addr, l.HeaderTime, l.BytesSent = i.HTTP, "0.001", "1"
		p.add(record.Call{Event: record.Arrival, ID: c.ID, Instance: i.Name, Protocol: scenario.HTTP})
	}
	p.add(c, l)
}

func (p *planner) finish() Result {
	p.result = p.Trial.result(p.reconciler.Finish())
	return p.result
}

func (p *planner) metrics(phase string) Metrics {
	p.t.Helper()
	m, ok := p.result.Metrics(phase, scenario.HTTP)
	if !ok {
		p.t.Fatalf("no metrics of %q", phase)
	}
	return m
}

func value(d *time.Duration) time.Duration {
	if d == nil {
		return -1
	}
	return *d
}

func TestBoundaryRequests(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second, time.Second, time.Second)
	p.request(0, 999*time.Millisecond, record.OK, 1)                     // within a
	p.request(500*time.Millisecond, 600*time.Millisecond, record.OK, 1)  // over the boundary of a and b
	p.request(900*time.Millisecond, 1500*time.Millisecond, record.OK, 2) // over both
	p.request(1900*time.Millisecond, 200*time.Millisecond, record.OK, 3) // of b and c
	p.request(2500*time.Millisecond, time.Minute, record.OK, 1)          // beyond the end
	p.request(-100*time.Millisecond, 50*time.Millisecond, record.OK, 2)  // before the start
	p.finish()
	for phase, want := range map[string]RoundRobin{
		"a": {true, 2, 2, 1, 2, 3, 0}, "b": {true, 1, 3, 1, 2, 3, 0}, "c": {true, 1, 2, 1, 2, 3, 0}, "": {true, 2, 0, 1, 2, 3, 0},
	} {
		if got := p.metrics(phase).RoundRobin; got != want {
			t.Errorf("%q: %+v, want %+v", phase, got, want)
		}
	}
	if a := p.metrics("a"); a.Requests != 4 || *a.Latency.Max != 1500*time.Millisecond {
		t.Errorf("%+v", a)
	}
}

// A request counts in the phase in which it was planned, also if it fails in a later one.
func TestFailuresThatEndLaterAreCounted(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second, time.Second)
	p.request(0, 900*time.Millisecond, record.Incomplete, 0)
	p.request(500*time.Millisecond, 600*time.Millisecond, record.Incomplete, 0)
	p.request(600*time.Millisecond, time.Second, record.NginxError, 0)
	p.request(700*time.Millisecond, time.Second, record.OK, 1)
	p.request(1500*time.Millisecond, time.Minute, record.Incomplete, 0)
	p.finish()
	for phase, want := range map[string]int{"a": 2, "b": 0, "": 0} {
		if got := p.metrics(phase).FailedLater; got != want {
			t.Errorf("%q: %d failed later, want %d", phase, got, want)
		}
	}
}

func TestConfigurationsAreReloadsAndStarts(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second, time.Second, time.Second).change(func(m *record.Manifest) {
		m.Scenario.Phases[0].Do = []scenario.Action{do(scenario.Reload, scenario.Nginx, scenario.Nginx)}
	})
	event := func(at time.Duration, e record.Event) {
		e.Time = p.manifest.Begin.Add(at)
		p.add(e)
	}
	started := record.Event{Event: record.ProcessEvent, Kind: record.Started, Process: scenario.Nginx}
	event(-time.Second, started)
	for n, at := range []time.Duration{300, 950} { // The second one ends in b.
		event(at*time.Millisecond, record.Event{Event: record.ActionStarted, Phase: "a", Operation: n, Action: scenario.Reload, Process: scenario.Nginx})
		event((at+100)*time.Millisecond, record.Event{Event: record.ActionDone, Phase: "a", Operation: n, Action: scenario.Reload, Process: scenario.Nginx})
	}
	event(2500*time.Millisecond, started)
	p.finish()
	for phase, want := range map[string]int{"a": 3, "b": 2, "c": 2, "": 4} {
		if got := p.metrics(phase).RoundRobin.Configurations; got != want {
			t.Errorf("%q: %d configurations, want %d", phase, got, want)
		}
	}
}

func TestWholeUpstreamIsAllLoadsOfAProtocol(t *testing.T) {
	t.Parallel()
	trial := newTrial(labtest.Manifest(1))
	r := trial.result(trial.reconciler.Finish())
	for group, want := range map[string]bool{"web": false, "more": false, scenario.HTTP: true, scenario.GRPC: true, "calls": true} {
		if m, ok := r.Metrics("", group); !ok || m.RoundRobin.WholeUpstream != want {
			t.Errorf("%s: %t", group, m.RoundRobin.WholeUpstream)
		}
	}
	for _, wrong := range [][2]string{{"", "unknown"}, {"never", "web"}} {
		if _, ok := r.Metrics(wrong[0], wrong[1]); ok {
			t.Errorf("there are metrics of %v", wrong)
		}
	}
}

// A trial of one phase has no second one of the same requests.
func TestOnlyPhaseIsTheTotal(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second)
	p.request(0, 1000, record.OK, 1)
	p.finish()
	if phases := p.result.Phases; len(phases) != 1 || phases[0].Name != "a" || phases[0].For != time.Second || p.metrics("a").OK != 1 || p.metrics(scenario.Total).OK != 1 {
		t.Errorf("%+v", phases)
	}
}

func TestMetricsWithoutAValueAreNil(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second)
	p.finish()
	m := p.metrics("")
	if m.Amplification != nil || m.Latency != (Latency{}) || m.Lateness != (Latency{}) || m.Recovery.FirstFailure != nil || m.Recovery.LastFailure != nil || m.Recovery.FirstSuccess != nil {
		t.Errorf("%+v", m)
	}
	// A time without requests is fair: FairSince has a value.
	if !m.Recovery.FairAtEnd || value(m.Recovery.FairSince) != 0 {
		t.Errorf("%+v", m.Recovery)
	}
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second, 6500*time.Millisecond)
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	during := func(n int, outcome string, instance int) { p.request(ms(1000+n), ms(1), outcome, instance) }
	p.request(ms(500), ms(1), record.OK, 1)
	// Requests that end later are recorded later: the last failure comes first.
	during(1700, record.Incomplete, 0)
	during(1699, record.OK, 1)
	during(200, record.NginxError, 0)
	during(2100, record.OK, 2)
	during(1800, record.OK, 1)
	during(900, record.Incomplete, 0)
	// Second 3 is just fair (3, 4 and 3 of 10: 90 % of a third are 3), second 4 is just unfair (5, 4 and 3 of 12), from 5 on it is fair;
	// the half second at the end belongs to it.
	for i, instance := range []int{1, 2, 3, 1, 2, 3, 1, 2, 3, 2} {
		during(3000+i, record.OK, instance)
	}
	for i, instance := range []int{1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 1} {
		during(4000+i, record.OK, instance)
	}
	for i, instance := range []int{1, 2, 3, 1, 2, 3} {
		during(5000+i, record.OK, instance)
	}
	for i, instance := range []int{3, 1, 2} {
		during(6000+i, record.OK, instance)
	}
	p.finish()
	want := Recovery{Failed: true, FirstFailure: new(ms(200)), LastFailure: new(ms(1700)), Recovered: true, FirstSuccess: new(ms(1800)), FairAtEnd: true, FairSince: new(ms(5000)), FairResponses: 9}
	if got := p.metrics("b").Recovery; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	// One second later since the start of the trial; there the last second is the half one and half of the one before.
	want = Recovery{Failed: true, FirstFailure: new(ms(1200)), LastFailure: new(ms(2700)), Recovered: true, FirstSuccess: new(ms(2800)), FairAtEnd: true, FairSince: new(ms(6000)), FairResponses: 9}
	if got := p.metrics("").Recovery; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	// One response in a second is one choice.
	if got := p.metrics("a").Recovery; !reflect.DeepEqual(got, Recovery{FairAtEnd: true, FairSince: new(time.Duration(0)), FairResponses: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestTrialThatDoesNotRecover(t *testing.T) {
	t.Parallel()
	for _, last := range []time.Duration{0, 1001 * time.Millisecond} {
		p := plan(t, 2*time.Second)
		p.request(0, 1000, record.OK, 1)
		p.request(time.Second, 1000, record.Incomplete, 0)
		want := Recovery{Failed: true, FirstFailure: new(time.Second), LastFailure: new(time.Second)}
		if last > 0 { // It does recover, a millisecond later.
			p.request(last, 1000, record.OK, 1)
			want.Recovered, want.FirstSuccess = true, new(last)
			want.FairAtEnd, want.FairSince, want.FairResponses = true, new(time.Duration(0)), 1
		}
		p.finish()
		if got := p.metrics("a").Recovery; !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

func TestLatenciesHaveThreeDigits(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Minute)
	for n := range 1000 {
		c := labtest.OK(fmt.Sprint("11.http.0.", n), p.manifest.Begin)
		c.Latency, c.Service = int64(n+1)*1000, 5
		if n >= 900 {
			c.Outcome = record.InstanceError
		}
		if n == 999 {
			c.Latency = 2 * longest
		}
		p.add(c)
	}
	p.finish()
	m := p.metrics("a")
	near := func(what string, got *time.Duration, want time.Duration) {
		if *got < want*9995/10000-time.Microsecond || *got > want*10005/10000+time.Microsecond {
			t.Errorf("%s: %v, want %v", what, *got, want)
		}
	}
	near("p50", m.Latency.P50, 450*time.Millisecond)
	near("p90", m.Latency.P90, 810*time.Millisecond)
	near("p99", m.Latency.P99, 891*time.Millisecond)
	near("failed, p50", m.FailedLatency.P50, 950*time.Millisecond)
	if m.Latency.Count != 900 || m.FailedLatency.Count != 100 || *m.Latency.Max != 900*time.Millisecond || *m.FailedLatency.Max != time.Hour || *m.Latency.Mean != 450500*time.Microsecond ||
		*m.ServiceTime.Max != 5*time.Microsecond || *m.ServiceTime.P50 != 5*time.Microsecond {
		t.Errorf("%+v", m)
	}
}

// What nginx's cache responded, and what a killed nginx did not log, is counted; the latter may have been the turn of any instance.
func TestCachedAndUnloggedRequests(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second)
	for n := range 3 {
		c := labtest.OK(fmt.Sprint("11.http.0.", n), p.manifest.Begin)
		q := &ledger.Request{ID: c.ID, N: int64(n), Client: &c, Unlogged: n == 2}
		if n == 1 {
			q.Entries = []record.AccessLogEntry{{ID: c.ID, Status: "200", Cache: "HIT"}}
		}
		p.count(q)
	}
	p.finish()
	if m := p.metrics("a"); m.Cached != 1 || m.Unlogged != 1 || m.RoundRobin.BoundaryRequests != 1 || m.NotExecuted != 3 {
		t.Errorf("%+v", m)
	}
}
