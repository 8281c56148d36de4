package feed

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A played stack gets observations without records.
type played struct {
	*narrator
	at time.Duration
}

func newPlayed() *played {
	c := newCounter(time.Time{}, liveWidth, 0, 1<<20)
	for _, i := range labtest.Manifest(1).Instances {
		c.addInstance(i)
	}
	v := newView(0, c, wallClock(time.Date(2026, 11, 24, 14, 3, 0, 0, time.UTC), time.UTC))
	v.narrator.maxEvents, v.narrator.maxStates, v.narrator.delay = 100, 100, 3*time.Second
	return &played{narrator: v.narrator}
}

// What became of the attempts at whoami-2, whose turn is the second of three.
const (
	ok      = "ok"
	refused = "refused" // no header, and whoami-3 gets the next attempt
	passed  = "passed"  // it is not chosen
	slow    = "slow"    // it was chosen, and has not responded yet
	silent  = "silent"  // the same, and it has no record of it
	second  = "second"  // whoami-1 is tried first, then whoami-2, and then whoami-3: the first two are down
	old     = "old"     // refused, and then a long response ends that began a minute ago
)

// requests are so many per second for some time, in turn.
func (p *played) requests(flow int, length time.Duration, perSecond int, of string) {
	end := p.at + length
	for i := 0; p.at < end; i++ {
		instance, became := i%3, ok
		if instance == 1 || of == second {
			became = of
		}
		took := p.at + time.Millisecond
		switch became {
		case ok:
			p.take(observation{at: p.at, kind: arrived, instance: instance, flow: flow})
			p.take(observation{at: took, kind: attempted, instance: instance, flow: flow, chosen: p.at, first: true, header: true, headerAt: took})
		case second:
			p.take(observation{at: took, kind: attempted, instance: 0, flow: flow, chosen: p.at, first: true})
			p.take(observation{at: took, kind: attempted, instance: 1, flow: flow, chosen: p.at})
			p.take(observation{at: took, kind: attempted, instance: 2, flow: flow, chosen: p.at, header: true, headerAt: took})
		case refused, old:
			p.take(observation{at: took, kind: attempted, instance: instance, flow: flow, chosen: p.at, first: true})
			p.take(observation{at: took, kind: attempted, instance: 2, flow: flow, chosen: p.at, header: true, headerAt: took})
			if became == old {
				p.take(observation{at: took, kind: attempted, instance: instance, flow: flow, chosen: took - time.Minute, first: true, header: true, headerAt: took - time.Minute})
			}
		case slow:
			p.take(observation{at: p.at, kind: arrived, instance: instance, flow: flow})
		case passed:
			p.take(observation{at: took, kind: attempted, instance: 2, flow: flow, chosen: p.at, first: true, header: true, headerAt: took})
		}
		p.at += time.Second / time.Duration(perSecond)
	}
	p.reach(p.at)
}

func (p *played) event(e record.Event) {
	p.take(observation{at: p.at, kind: happened, instance: -1, event: &e})
}

func (p *played) action(kind string) {
	p.event(record.Event{Event: record.ActionStarted, Action: kind, Process: "whoami-2"})
	p.event(record.Event{Event: record.ActionDone, Action: kind, Process: "whoami-2"})
}

// states are an instance's in nginx, one after the other, and what the last but the first was inferred from.
func (p *played) nginx(instance int) (all []string, why string) {
	for _, s := range p.all[instance].states {
		all = append(all, s.Nginx)
		why = s.Why
	}
	return slices.Compact(all), why
}

func TestStateInNginxIsInferred(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		play func(*played)
		want string
		why  string
	}{
		"it responds":                 {func(p *played) { p.requests(0, 3*time.Second, 60, ok) }, "serving", "the last attempt over HTTP got a response header"},
		"over gRPC":                   {func(p *played) { p.requests(1, 3*time.Second, 60, ok) }, "serving", "the last attempt over gRPC got a response header"},
		"it is down and still chosen": {func(p *played) { p.requests(0, time.Second, 60, ok); p.requests(0, time.Second, 60, refused) }, "serving failing", "the last 7 attempts over HTTP got no response header"},
		"two attempts say little":     {func(p *played) { p.requests(0, time.Second, 60, ok); p.requests(0, 100*time.Millisecond, 60, refused) }, "serving", "the last attempt over HTTP got a response header"},
		"an old response ends":        {func(p *played) { p.requests(0, time.Second, 60, ok); p.requests(0, time.Second, 60, old) }, "serving failing", "the last 7 attempts over HTTP got no response header"},
		"it responds again": {func(p *played) {
			p.requests(0, time.Second, 60, ok)
			p.requests(0, time.Second, 60, refused)
			p.requests(0, time.Second, 60, ok)
		}, "serving failing serving", ""},
		"it is ejected": {func(p *played) {
			p.requests(0, time.Second, 60, ok)
			p.requests(0, time.Second, 60, passed)
			p.requests(0, time.Second, 60, passed)
		}, "serving not_chosen", "0 of the last 61 first attempts over HTTP, since 14:03:00"},
		"it is chosen again": {func(p *played) {
			p.requests(0, time.Second, 60, ok)
			p.requests(0, 2*time.Second, 60, passed)
			p.requests(0, time.Second, 60, ok)
		}, "serving not_chosen serving", ""},
		"others got too few":        {func(p *played) { p.requests(0, time.Second, 60, ok); p.requests(0, 3*time.Second, 9, passed) }, "serving", ""},
		"it was too short":          {func(p *played) { p.requests(0, time.Second, 60, ok); p.requests(0, 700*time.Millisecond, 300, passed) }, "serving", ""},
		"it was never chosen":       {func(p *played) { p.requests(0, 3*time.Second, 60, passed) }, "not_chosen", ""},
		"there is no load any more": {func(p *played) { p.requests(0, time.Second, 60, ok); p.reach(12 * time.Second) }, "serving unknown", ""},
		"no load after an ejection": {func(p *played) { p.requests(0, 3*time.Second, 60, passed); p.reach(15 * time.Second) }, "not_chosen unknown", ""},
		"it is slow":                {func(p *played) { p.requests(0, time.Second, 60, ok); p.requests(0, 3*time.Second, 60, slow) }, "serving", ""},
		"it is paused": {func(p *played) {
			p.requests(0, time.Second, 60, ok)
			p.action(scenario.Pause)
			p.requests(0, 2*time.Second, 60, silent)
		}, "serving", ""},
		"it is paused for a long time": {func(p *played) {
			p.requests(0, time.Second, 60, ok)
			p.action(scenario.Pause)
			p.requests(0, 4*time.Second, 60, silent)
		}, "serving not_chosen", ""},
		"only gRPC fails": {func(p *played) { p.requests(0, time.Second, 60, ok); p.requests(1, time.Second, 60, refused) }, "serving failing", "the last 7 attempts over gRPC got no response header"},
		"nginx finds no live instance": {func(p *played) {
			p.requests(0, time.Second, 60, ok)
			for range 60 {
				p.at += 50 * time.Millisecond
				p.take(observation{at: p.at, kind: noLive, instance: -1, chosen: p.at, service: "whoami"})
			}
		}, "serving not_chosen", ""},
	} {
		p := newPlayed()
		row.play(p)
		got, why := p.nginx(1)
		if got := strings.TrimPrefix(strings.Join(got, " "), "unknown "); got != row.want || row.why != "" && why != row.why {
			t.Errorf("%s: %s, because %s; want %s, because %s", name, got, why, row.want, row.why)
		}
		if others, _ := p.nginx(0); slices.Contains(others, Failing) || slices.Contains(others, Ejected) != (name == "nginx finds no live instance") {
			t.Errorf("%s: whoami-1 was %q", name, others)
		}
	}
}

// An instance that is only ever tried second is chosen, and fails.
func TestLaterAttemptsAreChosenToo(t *testing.T) {
	t.Parallel()
	p := newPlayed()
	p.requests(0, time.Second, 60, ok)
	p.requests(0, 3*time.Second, 60, second)
	for i, want := range []string{"unknown serving failing", "unknown serving failing", "unknown serving"} {
		if got, why := p.nginx(i); strings.Join(got, " ") != want {
			t.Errorf("instance %d: %q, because %s; want %q", i, got, why, want)
		}
	}
}

// What is true over one protocol is not said of both, and when an instance is tried again, not of the time before.
func TestConsequencesAreExact(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		play func(*played)
		want []string
		over string
	}{
		"over one protocol": {func(p *played) {
			for range 30 {
				p.requests(0, 100*time.Millisecond, 60, ok)
				p.requests(1, 100*time.Millisecond, 60, passed)
			}
		}, []string{"nginx has not chosen whoami-2 over gRPC since 14:03:00"}, GRPC},
		"over both, one after the other": {func(p *played) {
			for i := range 40 {
				p.requests(0, 50*time.Millisecond, 60, passed)
				p.requests(1, 50*time.Millisecond, 60, map[bool]string{true: ok, false: passed}[i < 20])
			}
		}, []string{"nginx has not chosen whoami-2 since 14:03:02"}, ""},
		"tried again in vain": {func(p *played) {
			p.requests(0, 200*time.Millisecond, 60, ok)
			for range 3 {
				p.requests(0, 100*time.Millisecond, 10, refused)
				p.requests(0, 50*time.Millisecond, 60, refused)
				p.requests(0, 3*time.Second, 60, passed)
			}
		}, []string{
			"nginx has not chosen whoami-2 since 14:03:00", "nginx has not chosen it since 14:03:03",
			"nginx tries it again, without a response header, since 14:03:06", "nginx has not chosen it since 14:03:06",
		}, ""},
	} {
		p := newPlayed()
		row.play(p)
		var got []string
		for _, e := range p.events {
			if e.Process == "whoami-2" {
				got = append(append(got, e.Text), e.Since...)
			}
		}
		if !slices.Equal(got, row.want) || p.all[1].states[len(p.all[1].states)-1].Over != row.over {
			t.Errorf("%s: got %q, over %q", name, got, p.all[1].states[len(p.all[1].states)-1].Over)
		}
	}
}

// What is not clear yet over one protocol says nothing of the other.
func TestFirstAttemptsOverTheOtherProtocolAreNotClear(t *testing.T) {
	t.Parallel()
	p := newPlayed()
	p.requests(1, 50*time.Millisecond, 60, refused)
	p.requests(0, time.Second, 60, ok)
	p.requests(1, time.Second, 60, ok)
	if got, _ := p.nginx(1); !slices.Equal(got, []string{Unknown, Serving}) || len(p.events) > 0 {
		t.Errorf("%q, %d events", got, len(p.events))
	}
}

// What follows from an action is said of it, and what has no action is said by itself.
func TestConsequencesAreSaid(t *testing.T) {
	t.Parallel()
	p := newPlayed()
	p.requests(0, 2*time.Second, 60, ok)
	p.take(observation{at: p.at, kind: failed, flow: 2})
	p.at += 3 * time.Second
	p.action(scenario.Kill)
	p.event(record.Event{Event: record.ProcessEvent, Kind: record.Died, Process: "whoami-2", Exit: &record.Exit{Signal: "SIGKILL"}})
	for range 3 {
		p.take(observation{at: p.at, kind: failed, flow: 1})
	}
	p.take(observation{at: p.at, kind: failed, flow: 0})
	p.take(observation{at: p.at, kind: failed, flow: 2})
	p.requests(0, time.Second, 60, refused)
	p.requests(0, 2*time.Second, 60, passed)
	p.action(scenario.Start)
	p.event(record.Event{Event: record.ProcessEvent, Kind: record.Ready, Process: "whoami-2"})
	p.event(record.Event{Event: record.HealthEvent, Kind: record.NotServing, Process: "whoami-2"})
	p.requests(0, time.Second, 60, ok)
	p.event(record.Event{Event: record.ProcessEvent, Kind: record.Died, Process: "whoami-3", Exit: &record.Exit{Code: 2}})
	p.event(record.Event{Event: record.NginxEvent, Kind: record.WorkerEnded, Process: scenario.Nginx, Exit: &record.Exit{Signal: "SIGSEGV"}})
	p.event(record.Event{Event: record.ActionStarted, Action: scenario.Drain, Process: "whoami-1"})
	p.event(record.Event{Event: record.ActionDone, Action: scenario.Drain, Process: "whoami-1", Error: "it is down"})
	var got []string
	for _, m := range p.messages(nil, true) {
		if e := m.Event; e != nil {
			got = append(got, e.Tone+" "+e.Kind+": "+strings.Join(append([]string{e.Text}, e.Since...), "; "))
		}
	}
	want := []string{
		"bad request: 1 stream failed",
		"action action: whoami-2 killed; 1 HTTP request, 3 gRPC calls and 1 stream failed; attempts at it get no response header, since 14:03:05; nginx has not chosen it since 14:03:05",
		"action action: whoami-2 started; it is ready, since 14:03:08; its health says not serving, since 14:03:08; nginx gets responses from it again, since 14:03:08",
		"bad process: whoami-3 died: exit code 2",
		"bad nginx: a worker of nginx ended: signal SIGSEGV",
		"bad action: drain whoami-1 failed: it is down",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Requests that fail while an instance is paused are not those of a later kill whose instance runs again.
func TestFailuresBelongToWhatLasts(t *testing.T) {
	t.Parallel()
	p := newPlayed()
	p.requests(0, time.Second, 60, ok)
	p.event(record.Event{Event: record.ActionStarted, Action: scenario.Pause, Process: "whoami-3"})
	p.event(record.Event{Event: record.ActionDone, Action: scenario.Pause, Process: "whoami-3"})
	p.take(observation{at: p.at, kind: failed, flow: 0})
	p.at += 3 * time.Second
	p.action(scenario.Kill)
	p.event(record.Event{Event: record.ProcessEvent, Kind: record.Died, Process: "whoami-2"})
	p.take(observation{at: p.at, kind: failed, flow: 1})
	p.event(record.Event{Event: record.ProcessEvent, Kind: record.Ready, Process: "whoami-2"})
	p.event(record.Event{Event: record.ActionStarted, Action: scenario.Reload, Process: scenario.Nginx})
	p.event(record.Event{Event: record.ActionDone, Action: scenario.Reload, Process: scenario.Nginx, Error: "refused"})
	p.take(observation{at: p.at, kind: failed, flow: 1})
	for range 4 {
		p.at += 2 * time.Second
		p.take(observation{at: p.at, kind: failed, flow: 0})
	}
	var got []string
	for _, e := range p.events {
		got = append(got, e.Text+": "+failedWords(e.failed))
	}
	if want := []string{"whoami-3 paused: 5 HTTP requests failed", "whoami-2 killed: 2 gRPC calls failed", "reload nginx failed: refused:  failed"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Requests that fail after a death that no action asked for are not those of an action before it.
func TestFailuresBelongToTheLastDeath(t *testing.T) {
	t.Parallel()
	for name, death := range map[string]record.Event{
		"nginx died: signal SIGKILL":           {Event: record.ProcessEvent, Kind: record.Died, Process: scenario.Nginx, Exit: &record.Exit{Signal: "SIGKILL"}},
		"whoami-3 died: exit code 2":           {Event: record.ProcessEvent, Kind: record.Died, Process: "whoami-3", Exit: &record.Exit{Code: 2}},
		"a worker of nginx ended: exit code 0": {Event: record.NginxEvent, Kind: record.WorkerEnded, Process: scenario.Nginx, Exit: &record.Exit{}},
	} {
		p := newPlayed()
		p.action(scenario.Kill)
		p.event(record.Event{Event: record.ProcessEvent, Kind: record.Died, Process: "whoami-2"})
		p.event(record.Event{Event: record.ProcessEvent, Kind: record.Ready, Process: "whoami-2"})
		p.at += 10 * time.Second
		p.event(death)
		p.at += 2 * time.Second
		p.take(observation{at: p.at, kind: failed, flow: 1})
		var got []string
		for _, e := range p.events {
			got = append(got, e.Text+": "+failedWords(e.failed))
		}
		if want := []string{"whoami-2 killed:  failed", name + ": 1 gRPC call failed"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A request that waited for a paused instance fails because of the pause, also when it ends after that.
func TestResumedInstanceExplainsNoOldFailures(t *testing.T) {
	t.Parallel()
	p := newPlayed()
	p.action(scenario.Pause)
	p.at += 2 * time.Second
	p.action(scenario.Resume)
	p.take(observation{at: p.at + time.Millisecond, kind: failed, flow: 1, chosen: p.at - time.Second})
	p.take(observation{at: p.at + time.Second, kind: failed, flow: 0, chosen: p.at + time.Millisecond})
	if paused, resumed := p.events[0], p.events[1]; failedWords(paused.failed) != "1 gRPC call failed" || failedWords(resumed.failed) != "1 HTTP request failed" {
		t.Errorf("%q, %q", paused.Since, resumed.Since)
	}
}

// Health that comes and goes on a busy machine makes one event in half a minute.
func TestHealthThatComesAndGoesMakesOneEvent(t *testing.T) {
	t.Parallel()
	p := newPlayed()
	for i := range 30 {
		p.at += time.Second
		p.event(record.Event{Event: record.HealthEvent, Kind: []string{record.Serving, record.NoResponse}[i%2], Process: "whoami-2"})
	}
	if e := p.events; len(e) != 1 || e[0].Text != "whoami-2: its health check gets no response" || len(e[0].Since) != maxNotes || e[0].Since[3] != "its health check gets no response, since 14:03:30" {
		t.Errorf("%d events, %+v", len(e), e[0].Event)
	}
}

// An instance that comes and goes by itself makes one event, whose consequences are bounded.
func TestInstanceThatComesAndGoesMakesOneEvent(t *testing.T) {
	t.Parallel()
	p := newPlayed()
	for range 10 {
		p.requests(0, time.Second, 60, ok)
		p.requests(0, time.Second, 60, refused)
	}
	if e := p.events; len(e) != 1 || e[0].Text != "attempts at whoami-2 get no response header, since 14:03:01" || len(e[0].Since) != maxNotes || e[0].Since[3] != "attempts at it get no response header, since 14:03:19" {
		t.Errorf("%d events, %+v", len(e), e[0].Event)
	}
}

// Health is said on change only: an instance that is killed and soon started again says nothing new.
func TestHealthIsKnownAgainAfterARestart(t *testing.T) {
	t.Parallel()
	p := newPlayed()
	for _, e := range []record.Event{
		{Event: record.HealthEvent, Kind: record.Serving}, {Event: record.ProcessEvent, Kind: record.Died}, {Event: record.ProcessEvent, Kind: record.Started}, {Event: record.ProcessEvent, Kind: record.Ready},
		{Event: record.HealthEvent, Kind: record.NotServing}, {Event: record.ProcessEvent, Kind: record.Died}, {Event: record.HealthEvent, Kind: record.NoResponse}, {Event: record.HealthEvent, Kind: record.Serving}, {Event: record.HealthEvent, Kind: record.NoResponse},
		{Event: record.ProcessEvent, Kind: record.Died},
	} {
		e.Process = "whoami-2"
		p.at += time.Second
		p.event(e)
	}
	var got []string
	for _, s := range p.all[1].states {
		got = append(got, s.Process+" "+s.Health)
	}
	want := []string{"running unknown", "running serving", "gone unknown", "starting unknown", "running serving", "running not_serving", "gone unknown", "gone no_response", "gone serving", "gone no_response"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Of a manifest without a begin, which another person may have written, each time is the largest that there is.
func TestLargestTimeIsReached(t *testing.T) {
	t.Parallel()
	p := newPlayed()
	p.take(observation{at: math.MaxInt64, kind: noLive, instance: -1})
	p.reach(math.MaxInt64)
	if p.now != math.MaxInt64 {
		t.Errorf("it is %v", p.now)
	}
}
