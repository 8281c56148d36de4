package measure

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/ledger"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// window is a sample of 100 ms that ends at a time, in which other programs used so many CPUs and a process waited for so long.
func (p *planner) window(to time.Duration, outside float64, process string, delay time.Duration) record.Sample {
	return record.Sample{
		V: record.SampleVersion, Time: p.manifest.Begin.Add(to), Window: usualWindow.Microseconds(), Outside: outside,
		Processes: []record.ProcessSample{
			{Process: scenario.Nginx, PID: 1}, {Process: process, PID: 2, Run: 5000, Delay: delay.Microseconds()}, {Process: scenario.Lab, PID: 3, Delay: 90_000},
		},
	}
}

// sampled is a plan of a trial with samples.
func sampled(t *testing.T, phases ...time.Duration) *planner {
	return plan(t, phases...).change(func(m *record.Manifest) { m.Sampled, m.CPUs = true, 2 })
}

// samples adds those of the whole trial, some of which are changed.
func (p *planner) samples(change func(at time.Duration, s *record.Sample)) {
	p.t.Helper()
	for at := usualWindow; at <= p.manifest.Scenario.Length(); at += usualWindow {
		s := p.window(at, 0, scenario.WorkerName(1), time.Millisecond)
		if change != nil {
			change(at, &s)
		}
		if s.Window > 0 {
			p.add(s)
		}
	}
}

// ended adds the events of a trial without actions.
func (p *planner) ended() {
	p.t.Helper()
	for i, phase := range p.manifest.Scenario.Phases {
		from, _ := p.manifest.Scenario.Bounds(i)
		p.add(record.Event{Event: record.PhaseStarted, Phase: phase.Name, Time: p.manifest.Begin.Add(from)})
	}
	p.add(record.Event{Event: record.Ended})
}

// A window is starved if other programs used the CPUs and a process of nginx, an instance or the generator waited; neither is enough alone.
func TestStarvedWindows(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, c := range []struct {
		outside float64
		process string
		delay   time.Duration
		window  time.Duration
		want    bool
	}{
		{0.3, scenario.WorkerName(1), 10 * ms, 100 * ms, true},
		{0.29, scenario.WorkerName(1), 50 * ms, 100 * ms, false},
		{2, scenario.WorkerName(1), 9 * ms, 100 * ms, false},
		{1, "whoami-3", 10 * ms, 100 * ms, true},
		{1, scenario.Generator, 10 * ms, 100 * ms, true},
		{1, scenario.Lab, 90 * ms, 100 * ms, false},
		{1, "whoami-1", 10 * ms, 500 * ms, true},
		{1, "whoami-1", 9 * ms, 500 * ms, false},
		{1, "whoami-1", 5 * ms, 50 * ms, true},
	} {
		p := sampled(t, time.Second)
		s := p.window(700*ms, c.outside, c.process, c.delay)
		s.Window = c.window.Microseconds()
		p.add(s)
		want := time.Duration(0)
		if c.want {
			want = c.window + usualWindow
		}
		if got := p.machine.overlap(span{0, 2 * time.Second}); got != want {
			t.Errorf("%+v: %v starved", c, got)
		}
	}
}

func TestOverlapWithStarvedWindows(t *testing.T) {
	t.Parallel()
	p := sampled(t, 10*time.Second)
	p.samples(func(at time.Duration, s *record.Sample) {
		if at > 2*time.Second && at <= 3*time.Second || at > 5*time.Second && at <= 6*time.Second {
			s.Outside, s.Processes[1].Delay = 1, 30_000
		}
	})
	if len(p.machine.starved) != 2 {
		t.Errorf("%v", p.machine.starved)
	}
	const s, after = time.Second, usualWindow
	for _, c := range []struct{ from, to, want time.Duration }{
		{0, 2 * s, 0}, {0, 2*s + 1, 1}, {2 * s, 3 * s, s}, {s, 4 * s, s + after}, {0, 10 * s, 2*s + 2*after}, {2*s + s/2, 5*s + s/2, s + after}, {3*s + after, 5 * s, 0},
		{6*s + after, 7 * s, 0}, {5*s + 7, 5*s + 7, 0},
	} {
		if got := p.machine.overlap(span{c.from, c.to}); got != c.want {
			t.Errorf("%v to %v: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

// A wait is counted when it is over: it may have begun before its window, but not longer ago than the sampler's longest one.
func TestWaitsBeforeTheirWindow(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for delay, want := range map[time.Duration]span{
		90 * ms: {900 * ms, 1100 * ms}, 250 * ms: {750 * ms, 1100 * ms}, 2 * time.Second: {500 * ms, 1100 * ms},
	} {
		p := sampled(t, 2*time.Second)
		for _, at := range []time.Duration{600, 700} { // Shorter ones before it are in it.
			p.add(p.window(at*ms, 1, "whoami-1", 20*ms))
		}
		p.add(p.window(1000*ms, 1, "whoami-1", delay))
		if delay < 200*ms {
			p.machine.starved = p.machine.starved[1:]
		} else {
			want.from = 500 * ms
		}
		if !slices.Equal(p.machine.starved, []span{want}) {
			t.Errorf("a wait of %v: %v, want %v", delay, p.machine.starved, want)
		}
	}
}

// Two variants that are the same, of which the second was starved for a tenth of its time: its p99 is in doubt, and so are its failures.
func TestStarvedVariantIsInDoubt(t *testing.T) {
	t.Parallel()
	for _, starved := range []bool{false, true} {
		p := sampled(t, 10*time.Second)
		for n := range 1000 {
			at := time.Duration(n) * 10 * time.Millisecond
			c := labtest.OK(fmt.Sprint("11.http.0.", n), p.manifest.Begin.Add(at))
			if at >= 5*time.Second && at < 6*time.Second {
				c.Service = 300_000
				if n%2 == 0 {
					c.Outcome, c.Code, c.Instance = record.NginxError, "504", ""
				}
			}
			c.Latency = c.Service + c.Late
			p.add(c)
		}
		// Samples come after the client's records of the same time.
		p.samples(func(at time.Duration, s *record.Sample) {
			if starved && at > 5*time.Second && at <= 6300*time.Millisecond {
				s.Outside, s.Processes[1].Delay = 1.1, 27_000
			}
		})
		p.ended()
		result := p.finish()
		measured, _ := result.Metrics("a", scenario.HTTP)
		adjusted, _ := result.Adjusted("a", scenario.HTTP)
		if measured.Failed != 50 || value(measured.ServiceTime.P99) < 290*time.Millisecond {
			t.Errorf("%+v", measured)
		}
		if got := adjusted.Failed == 0 && value(adjusted.ServiceTime.P99) < time.Millisecond; got != starved || adjusted.Validate() != nil {
			t.Errorf("starved %t: failed %d, p99 %v, %v", starved, adjusted.Failed, value(adjusted.ServiceTime.P99), adjusted.Validate())
		}
		checkReasons(t, result.Reasons, "")
		wantDelay, wantCPUs, wantInstances := 0.01, 0.0, 0.0
		if starved {
			wantDelay, wantCPUs = 0.01+0.26*0.13, 1.1*0.13
		}
		if d, c := *measured.RunDelay-wantDelay, *measured.OtherCPUs-wantCPUs; max(d, -d, c, -c) > 1e-6 {
			t.Errorf("run_delay %g, other_cpus %g", *measured.RunDelay, *measured.OtherCPUs)
		}
		if n, i := *measured.NginxCPUs-0.05, *measured.InstanceCPUs-wantInstances; max(n, -n, i, -i) > 1e-6 {
			t.Errorf("nginx_cpus %g, instance_cpus %g", *measured.NginxCPUs, *measured.InstanceCPUs)
		}
		if all := result.Phases[0].Processes; len(all) != 3 || all[1].Name != scenario.WorkerName(1) || all[1].Run != 500*time.Millisecond || all[0].Delay != 0 {
			t.Errorf("%+v", all)
		}
	}
}

// A stall and a starved window that both overlap a request take no more than its service time.
func TestDoubtfulTimeIsAtMostTheServiceTime(t *testing.T) {
	t.Parallel()
	p := sampled(t, time.Second)
	p.samples(func(_ time.Duration, s *record.Sample) { s.Outside, s.Processes[1].Delay = 1, 50_000 })
	c := labtest.OK("11.http.0.0", p.manifest.Begin)
	c.Late, c.Service, c.Latency, c.Stalled = 0, 50_000, 50_000, 30_000
	p.add(c)
	p.finish()
	if a, _ := p.result.Adjusted("a", scenario.HTTP); value(a.ServiceTime.Max) != 0 || value(a.Latency.Max) != 0 || value(p.metrics("a").ServiceTime.Max) != 50*time.Millisecond {
		t.Errorf("%+v", a)
	}
}

// What makes a trial invalid, and what to do.
func TestMachineThatMakesATrialInvalid(t *testing.T) {
	t.Parallel()
	const ms, s = time.Millisecond, time.Second
	busy := func(from, to time.Duration) func(time.Duration, *record.Sample) {
		return func(at time.Duration, s *record.Sample) {
			if at > from && at <= to {
				s.Outside, s.Processes[1].Delay = 1.1, 27_000
			}
		}
	}
	gone := func(from, to time.Duration) func(time.Duration, *record.Sample) {
		return func(at time.Duration, s *record.Sample) {
			if at > from && at <= to {
				s.Window = 0
			}
		}
	}
	stop := func(process string, from, to time.Duration) func(time.Duration, *record.Sample) {
		return func(at time.Duration, s *record.Sample) {
			if at > from && at <= to {
				s.Processes = append(s.Processes, record.ProcessSample{Process: process, Stopped: true})
			}
		}
	}
	for name, c := range map[string]struct {
		change func(time.Duration, *record.Sample)
		want   string // "": none
	}{
		"idle":                           {nil, ""},
		"half starved":                   {busy(6*s, 8*s), ""},
		"more than half":                 {busy(6*s, 8100*ms), "phase b: for 52 % of the time other programs used 1.1 of 2 CPUs, and nginx-worker-1 waited for a CPU 27 % of that; stop them and run again"},
		"none":                           {gone(0, 10*s), "records/processes.jsonl has no sample: whether"},
		"a sample is missing":            {gone(5*s, 5100*ms), "has a sample too few or too many 5s after the load began"},
		"a gap of a second":              {gone(5*s, 5900*ms), "has a sample too few or too many 5s after the load began"},
		"twice the same time":            {func(at time.Duration, s *record.Sample) { s.Window += int64(at/(5*time.Second)) * 50_000 }, "has a sample too few or too many 4.9s after"},
		"a longer gap":                   {gone(5*s, 6*s), "records/processes.jsonl has no sample for 1.1s, from 5s after the load began: the machine was too busy for the sampler"},
		"late start":                     {gone(0, s), "has no sample for 1.1s, from 0s after the load began"},
		"early end":                      {gone(9600*ms, 10*s), "records/processes.jsonl ends 9.6s after the load began, and the last request 301ms later"},
		"an end without load":            {gone(9900*ms, 10*s), ""},
		"paused by hand":                 {stop("whoami-3", 2*s, 2300*ms), "whoami-3 was stopped (SIGSTOP) 2s after the load began, for about 300ms, and no action had paused it; let nothing else"},
		"paused by an action":            {stop("whoami-2", s, 3*s), ""},
		"paused by an action, and again": {stop("whoami-2", 6*s, 6100*ms), "whoami-2 was stopped (SIGSTOP) 6s after"},
		"paused by an action and longer": {stop("whoami-2", s, 3500*ms), "whoami-2 was stopped (SIGSTOP) 1s after"},
		"the generator":                  {stop(scenario.Generator, 6*s, 6200*ms), "generator was stopped (SIGSTOP) 6s after"},
	} {
		p := sampled(t, 6*s, 4*s).change(func(m *record.Manifest) {
			m.Scenario.Phases[0].Do = []scenario.Action{waitFor(s), do(scenario.Pause, "whoami-2"), waitFor(2 * s), do(scenario.Resume, "whoami-2")}
		})
		p.samples(c.change)
		for i, at := range []time.Duration{0, s, s, 3 * s} {
			o := p.manifest.Scenario.Phases[0].Operations()[i]
			e := record.Event{Event: record.ActionStarted, Phase: "a", Operation: i, Action: o.Kind, Process: o.Process, Time: p.manifest.Begin.Add(at), Wait: o.Wait.Microseconds()}
			p.add(e)
			e.Event, e.Time = record.ActionDone, e.Time.Add(o.Wait)
			p.add(e)
		}
		p.add(labtest.OK("11.http.0.0", p.manifest.Begin), labtest.OK("11.http.0.1", p.manifest.Begin.Add(9900*ms)))
		p.ended()
		reasons := slices.DeleteFunc(p.finish().Reasons, func(r string) bool { return strings.Contains(r, "contradict each other") })
		if got := strings.Join(reasons, "\n"); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A trial is over when its last request and its last action are: in a last phase without load there is nothing to sample.
func TestSamplesEndWithTheLoad(t *testing.T) {
	t.Parallel()
	p := sampled(t, 6*time.Second, 4*time.Second)
	p.samples(func(at time.Duration, s *record.Sample) {
		if at > 6*time.Second {
			s.Window = 0
		}
	})
	p.add(labtest.OK("11.http.0.0", p.manifest.Begin))
	p.ended()
	checkReasons(t, p.finish().Reasons, "")
}

// Without samples nothing is said about the machine.
func TestTrialWithoutSamples(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second)
	p.add(labtest.OK("11.http.0.0", p.manifest.Begin))
	p.ended()
	result := p.finish()
	checkReasons(t, result.Reasons, "")
	if m := p.metrics("a"); m.RunDelay != nil || m.OtherCPUs != nil || len(result.Phases[0].Processes) != 0 || result.Phases[0].Processes == nil {
		t.Errorf("%+v %v", m, result.Phases[0].Processes)
	}
}

// Requests wait for samples in bounded memory, and all are counted at the end.
func TestRequestsThatWaitForSamplesAreBounded(t *testing.T) {
	t.Parallel()
	const step = time.Millisecond
	p := sampled(t, 2*maxWaiting*step)
	add := func(from, to int) {
		for n := from; n < to; n++ {
			c := labtest.OK(fmt.Sprint("11.http.0.", n), p.manifest.Begin.Add(time.Duration(n)*step))
			p.wait(&ledger.Request{ID: c.ID, N: int64(n), Client: &c})
		}
	}
	add(0, maxWaiting+500)
	if len(p.waiting) != maxWaiting {
		t.Errorf("%d wait", len(p.waiting))
	}
	p.add(p.window(maxWaiting/2*step, 0, "whoami-1", 0))
	if n, want := len(p.waiting), maxWaiting/2+500+int(lag/step); n < want || n > want+2 {
		t.Errorf("%d wait after a sample of the middle, want %d", n, want)
	}
	p.finish()
	if m := p.metrics("a"); m.OK != maxWaiting+500 {
		t.Errorf("%d counted", m.OK)
	}
}
