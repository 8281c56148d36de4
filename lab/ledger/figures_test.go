package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/load"
)

// A planner feeds a book single requests over HTTP, each with an attempt at an instance.
type planner struct {
	*Book
	t *testing.T
	n int
}

func plannerOf(t *testing.T, phases ...Phase) *planner {
	s := stage(1000)
	s.Phases, s.Loads = phases, s.Loads[:1]
	s.Loads[0].Deadline = time.Second
	return &planner{NewBook(s), t, 0}
}

// request plans one at a time, for so long, with an outcome, at an instance (from 1; 0: it reaches none).
func (p *planner) request(at, took time.Duration, outcome string, instance int) {
	p.t.Helper()
	r := okay(fmt.Sprint("11.http.0.", p.n), p.scene.Begin.Add(at))
	r.Latency, r.Outcome, r.Instance, r.Reason = took.Microseconds(), outcome, fmt.Sprint("whoami-", instance), "deadline"
	p.n++
	l := NginxLine{ID: r.ID}
	if instance > 0 {
		i := p.scene.Instances[instance-1]
		l.Addr, l.HeaderTime, l.BytesSent = i.HTTP, "0.001", "1"
		if err := p.Call(Call{Event: Arrival, ID: r.ID, Instance: i.Name, Protocol: load.HTTP}); err != nil {
			p.t.Fatal(err)
		}
	}
	for _, err := range []error{p.Client(r), p.Nginx(l)} {
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *planner) figures(phase string) Figures {
	p.t.Helper()
	f, ok := p.Figures(phase, load.HTTP)
	if !ok {
		p.t.Fatalf("no figures of %q", phase)
	}
	return f
}

func TestBorder(t *testing.T) {
	t.Parallel()
	p := plannerOf(t, Phase{"a", time.Second}, Phase{"b", time.Second}, Phase{"c", time.Second})
	p.request(0, 999*time.Millisecond, load.OK, 1)                     // within a
	p.request(500*time.Millisecond, 600*time.Millisecond, load.OK, 1)  // over the border of a and b
	p.request(900*time.Millisecond, 1500*time.Millisecond, load.OK, 2) // over both
	p.request(1900*time.Millisecond, 200*time.Millisecond, load.OK, 3) // of b and c
	p.request(2500*time.Millisecond, time.Minute, load.OK, 1)          // beyond the end
	p.request(-100*time.Millisecond, 50*time.Millisecond, load.OK, 2)  // before the beginning
	p.Settle()
	for phase, want := range map[string]Turn{
		"a": {true, 2 - 0, 2, 1, 2, 3}, "b": {true, 1, 3, 1, 2, 3}, "c": {true, 1, 2, 1, 2, 3}, "": {true, 2, 0, 1, 2, 3},
	} {
		if got := p.figures(phase).Turn; got != want {
			t.Errorf("%q: %+v, want %+v", phase, got, want)
		}
	}
	if a := p.figures("a"); a.Requests != 4 || a.Latency.Max < 1499*time.Millisecond || a.Latency.Max > 1501*time.Millisecond {
		t.Errorf("%+v", a)
	}
}

func TestGenerations(t *testing.T) {
	t.Parallel()
	p := plannerOf(t, Phase{"a", time.Second}, Phase{"b", time.Second}, Phase{"c", time.Second})
	event := func(at time.Duration, e Event) {
		e.Time = p.scene.Begin.Add(at)
		p.Event(e)
	}
	event(-time.Second, Event{Event: ProcessIs, Kind: "started", Name: "nginx"})
	for _, at := range []time.Duration{300, 950} { // the second one's end is late
		event(at*time.Millisecond, Event{Event: ActionBegan, Phase: "a", Verb: "reload", Target: "nginx"})
		event((at+100)*time.Millisecond, Event{Event: ActionDone, Phase: "a", Verb: "reload", Target: "nginx"})
	}
	event(2500*time.Millisecond, Event{Event: ProcessIs, Kind: "started", Name: "nginx"})
	for phase, want := range map[string]int{"a": 3, "b": 2, "c": 2, "": 4} {
		if got := p.figures(phase).Turn.Generations; got != want {
			t.Errorf("%q: %d generations, want %d", phase, got, want)
		}
	}
}

func TestUpstreamIsAllOfAProtocol(t *testing.T) {
	t.Parallel()
	b := NewBook(stage(1))
	for name, want := range map[string]bool{"web": false, "more": false, load.HTTP: true, load.GRPC: true, "calls": true} {
		if f, _ := b.Figures("", name); f.Turn.Upstream != want {
			t.Errorf("%s: %t", name, f.Turn.Upstream)
		}
	}
	for _, wrong := range [][2]string{{"", "nobody"}, {"never", "web"}} {
		if _, ok := b.Figures(wrong[0], wrong[1]); ok {
			t.Errorf("there are figures of %v", wrong)
		}
	}
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	p := plannerOf(t, Phase{"before", time.Second}, Phase{"during", 6500 * time.Millisecond})
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	during := func(n int, outcome string, instance int) { p.request(ms(1000+n), ms(1), outcome, instance) }
	p.request(ms(500), ms(1), load.OK, 1)
	// Whoever ends later tells later: the last failure comes first.
	during(1700, load.AtClient, 0)
	during(1699, load.OK, 1)
	during(200, load.ByNginx, 0)
	during(2100, load.OK, 2)
	during(1800, load.OK, 1)
	during(900, load.AtClient, 0)
	// Second 3 is fair by a hair (3, 4 and 3 of 10: 90 % of a third are 3), second 4 is not by a hair (5, 4 and 3 of 12), from 5 on it is;
	// the half second at the end belongs to it.
	for i, instance := range []int{1, 2, 3, 1, 2, 3, 1, 2, 3, 2} {
		during(3000+i, load.OK, instance)
	}
	for i, instance := range []int{1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 1} {
		during(4000+i, load.OK, instance)
	}
	for i, instance := range []int{1, 2, 3, 1, 2, 3} {
		during(5000+i, load.OK, instance)
	}
	for i, instance := range []int{3, 1, 2} {
		during(6000+i, load.OK, instance)
	}
	p.Settle()
	want := Recovery{Failed: true, FirstFailure: ms(200), LastFailure: ms(1700), Recovered: true, FirstSuccess: ms(1800), FairAtEnd: true, FairAgain: ms(5000)}
	if got := p.figures("during").Recovery; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	// One second later from the run's begin; there the last second is the half one and half of the one before.
	if got := p.figures("").Recovery; !got.Failed || got.FirstFailure != ms(1200) || got.LastFailure != ms(2700) || got.FirstSuccess != ms(2800) || got.FairAgain != ms(6000) || !got.FairAtEnd {
		t.Errorf("%+v", got)
	}
	if got := p.figures("before").Recovery; got.Failed || got.Recovered || got.FirstFailure != 0 || !got.FairAtEnd {
		t.Errorf("one answer in a second is one turn: %+v", got)
	}
}

// Exact turns are fair at any rate; without one of the instances they are not, once there was a turn for each.
func TestExactTurnsAreFair(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 5} {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprint("whoami-", i+1))
		}
		for rate := 1; rate <= 60; rate++ {
			turns, without := newCourse(4*time.Second), newCourse(4*time.Second)
			for i := range 4 * rate {
				at := (2*time.Duration(i) + 1) * time.Second / time.Duration(2*rate)
				turns.request(at, load.OK, names[i%n])
				without.request(at, load.OK, names[i%(n-1)])
			}
			if r := turns.recovery(names); !r.FairAtEnd || r.FairAgain != 0 {
				t.Errorf("%d answers a second of %d instances: %+v", rate, n, r)
			}
			if r := without.recovery(names); rate > n && r.FairAtEnd {
				t.Errorf("%d answers a second of %d instances, one of which gives none: %+v", rate, n, r)
			}
		}
	}
}

// A phase ends when it ends, and not with its last whole second.
func TestTheLastPartOfASecondCounts(t *testing.T) {
	t.Parallel()
	names := []string{"whoami-1", "whoami-2", "whoami-3"}
	for _, c := range []struct {
		length, gone time.Duration // when whoami-2 is gone
		fair         bool
		again        time.Duration
	}{
		{900 * time.Millisecond, time.Hour, true, 0},
		{900 * time.Millisecond, 0, false, 0},
		{1900 * time.Millisecond, time.Second, false, 0},
		{1900 * time.Millisecond, time.Hour, true, 0},
		{2 * time.Second, time.Second, false, 0},
	} {
		course := newCourse(c.length)
		for i := 0; time.Duration(i)*5*time.Millisecond < c.length; i++ {
			at, name := time.Duration(i)*5*time.Millisecond, names[i%3]
			if name == "whoami-2" && at >= c.gone {
				name = "whoami-1"
			}
			course.request(at, load.OK, name)
		}
		if r := course.recovery(names); r.FairAtEnd != c.fair || r.FairAgain != c.again {
			t.Errorf("%v, whoami-2 gone after %v: %+v", c.length, c.gone, r)
		}
	}
}

func TestARunThatDoesNotRecover(t *testing.T) {
	t.Parallel()
	p := plannerOf(t, Phase{"a", 2 * time.Second})
	p.request(0, 1000, load.OK, 1)
	p.request(time.Second, 1000, load.AtClient, 0)
	if got, want := p.figures("a").Recovery, (Recovery{Failed: true, FirstFailure: time.Second, LastFailure: time.Second}); got != want {
		t.Errorf("%+v", got)
	}
	// It does after all, a millisecond later.
	p.request(1001*time.Millisecond, 1000, load.OK, 1)
	if got := p.figures("a").Recovery; !got.Recovered || got.FirstSuccess != 1001*time.Millisecond {
		t.Errorf("%+v", got)
	}
}

func TestLatencies(t *testing.T) {
	t.Parallel()
	p := plannerOf(t, Phase{"a", time.Minute})
	for n := range 1000 {
		r := okay(fmt.Sprint("11.http.0.", n), p.scene.Begin)
		r.Latency, r.Service = int64(n+1)*1000, 5
		if n >= 900 {
			r.Outcome = load.ByInstance
		}
		if n == 999 {
			r.Latency = 2 * longest
		}
		if err := p.Client(r); err != nil {
			t.Fatal(err)
		}
	}
	f := p.figures("a")
	near := func(what string, got, want time.Duration) {
		if got < want*999/1000 || got > want*1001/1000 {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	near("p50", f.Latency.P50, 450*time.Millisecond)
	near("p90", f.Latency.P90, 810*time.Millisecond)
	near("p99", f.Latency.P99, 891*time.Millisecond)
	near("max", f.Latency.Max, 900*time.Millisecond)
	near("mean", f.Latency.Mean, 450500*time.Microsecond)
	near("failed, p50", f.FailedLatency.P50, 950*time.Millisecond)
	near("failed, max", f.FailedLatency.Max, time.Hour)
	if f.Latency.Count != 900 || f.FailedLatency.Count != 100 || f.Service.Max != 5*time.Microsecond {
		t.Errorf("%+v", f)
	}
}

// What makes a run invalid beside breaches, each with a sentence of its own.
func TestReasons(t *testing.T) {
	t.Parallel()
	at := func(d time.Duration, e Event) Event {
		e.Time = stage(1).Begin.Add(d)
		return e
	}
	end := Event{Event: Ended}
	records := func(late int64, outcome string) func(*Book) {
		return func(b *Book) {
			for n := range 100 {
				r := okay(fmt.Sprint("11.http.0.", n), b.scene.Begin)
				if n < 2 {
					r.Late, r.Outcome = late, outcome
					r.Attempts = map[bool]int{true: 1}[outcome == load.OK]
					r.Reason = load.Overdue
				}
				if err := b.Client(r); err != nil {
					panic(err)
				}
			}
			b.Event(end)
		}
	}
	events := func(all ...Event) func(*Book) {
		return func(b *Book) {
			for _, e := range all {
				b.Event(e)
			}
		}
	}
	kill := Event{Event: ActionBegan, Phase: "before", Verb: "kill", Target: "whoami-1"}
	died := Event{Event: ProcessIs, Kind: "died", Name: "whoami-1", Exit: "signal SIGKILL"}
	for _, c := range []struct {
		tell func(*Book)
		want string // "": nothing of the kind
	}{
		{records(250_000, load.OK), ""},
		{records(250_001, load.OK), "load web, phase before: the generator was late, or stood still: 2 of 100 requests by more than 250ms, where 1 % may be; plan fewer"},
		{records(0, load.NotStarted), "load web: the generator did not send 2 of 100 requests (2 because their time had passed, 0 because too many"},
		{events(end), "there is no record of any request"},
		{events(), `has no event "end"`},
		{events(end, Event{Event: Broke, Error: "no room"}), "the laboratory broke: no room"},
		{events(end, at(0, kill), at(1, died)), ""},
		{events(end, at(0, kill), at(1, died), at(2, died)), "whoami-1 died (signal SIGKILL) 0s after the load began, and no action killed it"},
		{events(end, at(0, kill), at(1, Event{Event: ProcessIs, Kind: "started", Name: "whoami-1"}), at(time.Second, died)), "whoami-1 died (signal SIGKILL) 1s after"},
		{events(end, at(-1, died)), "before the load began"},
		{events(end, at(time.Second, Event{Event: ProcessIs, Kind: "died", Name: "nginx", Exit: "exit code 1"})), "nginx died (exit code 1) 1s after the load began: it did not write down"},
		{events(end, Event{Event: ProcessIs, Kind: "stopped", Name: "whoami-2"}), ""},
		{events(end, Event{Event: ProcessIs, Kind: "stopped", Name: "nginx", Exit: "exit code 0"}), ""},
		{events(end, Event{Event: ProcessIs, Kind: "stopped", Name: "nginx", Exit: "signal SIGKILL"}), "nginx did not end when it was asked to"},
		{events(end, at(0, kill), at(3500*time.Millisecond, Event{Event: ActionDone, Phase: "before", Verb: "kill", Target: "whoami-1"})), ""},
		{events(end, at(time.Second, kill), at(3501*time.Millisecond, Event{Event: ActionDone, Phase: "before", Verb: "kill", Target: "whoami-1"})), "phase before: kill whoami-1 was still running when the phase ended, and took 2.501s"},
		{events(end, at(0, kill), at(1, Event{Event: ActionDone, Phase: "before", Verb: "kill", Target: "whoami-1", Error: "no"})), "phase before: kill whoami-1 failed: no"},
		{events(end, at(0, kill)), "phase before: kill whoami-1 did not come to an end"},
	} {
		s := stage(100)
		s.Loads = s.Loads[:1]
		book := NewBook(s)
		c.tell(book)
		checkReasons(t, book.Settle().Reasons, c.want)
	}
}

// The generator is judged in each phase and for each load by itself: how late it was, and for how long it stood still.
func TestAGeneratorThatWasOff(t *testing.T) {
	t.Parallel()
	const short = 900 // µs
	ms := func(n int64) int64 { return n * 1000 }
	for _, c := range []struct {
		name          string
		late, stalled []int64 // µs; of so many of the phase's 100 requests
		service       int64   // µs; of all of them, beside what they are late
		want          string  // "": nothing of the kind
	}{
		{"in time", nil, nil, short, ""},
		{"one is late", []int64{ms(900)}, nil, short, ""},
		{"two are late", []int64{ms(900), ms(251)}, nil, short, "2 of 100 requests by more than 250ms, where 1 % may be"},
		{"one is late, and one lived through a stall", []int64{ms(900)}, []int64{0, ms(251)}, short, "2 of 100 requests by more than 250ms"},
		{"one request is both", []int64{ms(900)}, []int64{ms(900)}, short, ""},
		{"a fifth is late", slices.Repeat([]int64{ms(101)}, 20), nil, short, ""},
		{"more than a fifth is late", slices.Repeat([]int64{ms(101)}, 21), nil, short, "21 of 100 requests by more than 100ms, where 20 % may be"},
		{"stutter", nil, slices.Repeat([]int64{ms(225)}, 80), short, "80 of 100 requests by more than 100ms"},
		{"half is late", slices.Repeat([]int64{ms(51)}, 50), nil, short, ""},
		{"most are late", slices.Repeat([]int64{ms(51)}, 51), nil, short, "51 of 100 requests by more than 50ms, where 50 % may be"},
		{"stutter that long streams live through", nil, slices.Repeat([]int64{ms(100)}, 80), ms(1000), ""},
		{"and that shorter ones do not", nil, slices.Repeat([]int64{ms(101)}, 80), ms(1000), "80 of 100 requests by more than 100ms"},
		{"ok at the deadline, on a busy machine", nil, nil, ms(1250), ""},
		{"ok long after the deadline", nil, nil, ms(1251), "100 of 100 requests were ok long after the deadline of 1s"},
	} {
		// What is diluted over the run is told: phase b has a tenth of the requests.
		p := plannerOf(t, Phase{"a", time.Second}, Phase{"b", time.Second})
		for n := range 1000 {
			at := time.Duration(n%900) * time.Millisecond
			r := okay(fmt.Sprint("11.http.0.", n), p.scene.Begin.Add(at))
			if n >= 900 {
				r.Service = c.service
				r.Planned = r.Planned.Add(time.Second)
				if i := n - 900; i < len(c.late) {
					r.Late = c.late[i]
				}
				if i := n - 900; i < len(c.stalled) {
					r.Stalled = c.stalled[i]
				}
				r.Latency = r.Late + max(r.Service, r.Stalled)
			}
			if err := p.Client(r); err != nil {
				t.Fatal(err)
			}
		}
		p.Event(Event{Event: Ended})
		want := c.want
		if want != "" {
			want = "load web, phase b: the generator was late, or stood still: " + want
		}
		checkReasons(t, p.Settle().Reasons, want)
		if c.name == "stutter" {
			if f := p.figures("b").Lateness; f.Count != 100 || f.P50 < 224*time.Millisecond || p.figures("").Lateness.P50 > time.Millisecond {
				t.Errorf("%+v", f)
			}
		}
	}
}

// checkReasons wants a reason with the text; if that is "", none but those that every short story here has.
func checkReasons(t *testing.T, reasons []string, want string) {
	t.Helper()
	told := func(what string) bool {
		return slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(r, what) })
	}
	usual := func(r string) bool {
		return strings.Contains(r, "does not balance") || strings.Contains(r, "there is no record of any request") || strings.Contains(r, "did not come to an end") ||
			strings.Contains(r, "never began")
	}
	if want != "" && !told(want) {
		t.Errorf("%q, want %q", reasons, want)
	}
	if want == "" && slices.ContainsFunc(reasons, func(r string) bool { return !usual(r) }) {
		t.Errorf("%q, want only the usual", reasons)
	}
}

func TestAPhaseInWhichNothingWasSent(t *testing.T) {
	t.Parallel()
	p := plannerOf(t, Phase{"a", time.Second}, Phase{"b", time.Second})
	p.request(0, time.Millisecond, load.OK, 1)
	r := okay("11.http.0.1", p.scene.Begin.Add(time.Second))
	r.Outcome, r.Attempts = load.NotStarted, 0
	if err := p.Client(r); err != nil {
		t.Fatal(err)
	}
	if reasons := p.Settle().Reasons; !slices.Contains(reasons, "load web, phase b: none of 1 requests was sent") {
		t.Errorf("%q", reasons)
	}
}

// A run of which the diary does not tell that each phase began is none.
func TestAPhaseThatNeverBegan(t *testing.T) {
	t.Parallel()
	p := plannerOf(t, Phase{"a", time.Second}, Phase{"b", time.Second})
	p.request(0, time.Millisecond, load.OK, 1)
	p.Event(Event{Event: PhaseBegan, Phase: "a"})
	p.Event(Event{Event: Ended})
	want := "phase b never began: records/events.jsonl has no event of it"
	if reasons := p.Settle().Reasons; !slices.Contains(reasons, want) || strings.Contains(strings.Join(reasons, "\n"), "phase a") {
		t.Errorf("%q", reasons)
	}
}

func TestLive(t *testing.T) {
	t.Parallel()
	p := plannerOf(t, Phase{"a", time.Second}, Phase{"b", time.Second})
	if live := p.Live(); live.Phase != "" || live.Protocols[load.HTTP] != (Count{}) {
		t.Errorf("%+v", live)
	}
	p.Event(Event{Event: PhaseBegan, Phase: "a"})
	p.Event(Event{Event: PhaseBegan, Phase: "b"})
	p.request(0, 1, load.OK, 1)
	p.request(time.Second, 1, load.AtClient, 1)
	p.request(time.Second, 1, load.OK, 1)
	if live := p.Live(); live.Phase != "b" || live.Protocols[load.HTTP] != (Count{OK: 2, Failed: 1}) {
		t.Errorf("%+v", live)
	}
}
