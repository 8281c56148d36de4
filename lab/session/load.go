package session

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"trivet/internal/words"
	"trivet/lab/feed"
	"trivet/lab/load"
	"trivet/lab/record"
	"trivet/lab/sampler"
	"trivet/lab/scenario"
)

const (
	maxLength = time.Hour              // of a load: then it ends by itself
	lead      = 700 * time.Millisecond // from a change to the first request: a generator has to start and to connect
	stopLead  = 100 * time.Millisecond // from the request to stop to the last planned request: a generator has to read it
	grace     = 5 * time.Second        // how long a generator may take beyond the last deadline of all
	hold      = 5 * time.Second        // of each watch
	interval  = 500 * time.Millisecond // of its messages
	keptLoads = 20                     // load directories that stay, of loads that are over
	channels  = 4                      // of gRPC calls
	perStream = 50                     // streams on one channel, of those that are held open
)

// A Load is what is sent to nginx. The zero Load is none.
type Load struct {
	HTTP, GRPC float64 // requests per second
	Streams    int     // watches held open at once
	DeadlineMS int     // of each request; 0: DefaultDeadline
	Retry      bool    // as in scenario.Load
}

func (l Load) none() bool { return l.HTTP == 0 && l.GRPC == 0 && l.Streams == 0 }

func (l Load) deadline() time.Duration { return time.Duration(l.DeadlineMS) * time.Millisecond }

// Check returns an Error with all that is wrong with the load.
func (l Load) Check() error { return l.validate() }

// validate returns an Error with all that is wrong with the load. It fills in defaults.
func (l *Load) validate() error {
	if l.DeadlineMS == 0 {
		l.DeadlineMS = DefaultDeadline
	}
	var problems []string
	for _, r := range []struct {
		name  string
		value float64
	}{{"http", l.HTTP}, {"grpc", l.GRPC}} {
		if r.value != 0 && !(r.value >= MinRate && r.value <= MaxRate) { // Also of what is no number.
			problems = append(problems, fmt.Sprintf("%s is %v: want %v to %d requests/s, or 0", r.name, r.value, MinRate, MaxRate))
		}
	}
	if l.Streams < 0 || l.Streams > MaxStreams {
		problems = append(problems, fmt.Sprintf("streams is %d: want 0 to %d", l.Streams, MaxStreams))
	}
	if l.DeadlineMS < MinDeadline || l.DeadlineMS > MaxDeadline {
		problems = append(problems, fmt.Sprintf("deadline_ms is %d: want %d to %d", l.DeadlineMS, MinDeadline, MaxDeadline))
	}
	if len(problems) > 0 {
		return wrong("%s", strings.Join(problems, "; "))
	}
	return nil
}

// channels are those of the streams.
func (l Load) channels() int { return 1 + l.Streams/perStream }

// loads are the scenario's.
func (l Load) loads() (all []scenario.Load) {
	add := func(one scenario.Load, rate float64) {
		if rate > 0 {
			one.Rate, one.Retry = scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{rate}}, l.Retry
			all = append(all, one)
		}
	}
	add(scenario.Load{Name: scenario.HTTP, Protocol: scenario.HTTP, Call: scenario.Unary, Users: 1, Deadline: l.deadline()}, l.HTTP)
	add(scenario.Load{Name: scenario.GRPC, Protocol: scenario.GRPC, Call: scenario.Unary, Channels: channels, Deadline: l.deadline()}, l.GRPC)
	add(scenario.Load{
		Name: feed.Streams, Protocol: scenario.GRPC, Call: scenario.Watch, Channels: l.channels(), Hold: hold, Deadline: hold + l.deadline(),
		Request: scenario.Request{Message: fmt.Sprintf(`{"interval":"%vs"}`, interval.Seconds())},
	}, float64(l.Streams)/hold.Seconds())
	return all
}

// A running is a load that was started. Its fields change under the session's mutex.
type running struct {
	Load
	n         int
	dir       string
	manifest  record.Manifest
	generator *load.Generator
	sampler   *sampler.Sampler // nil: none
	events    *record.EventWriter
	length    time.Duration // nothing is planned so long after the manifest's Begin
	stopped   bool          // length is not the longest
	problem   string        // why the session stopped it
	lateness  int64
	over      bool // the generator has ended
}

// end is when the load stops planning.
func (l *running) end() time.Time { return l.manifest.Begin.Add(l.length) }

// endIn is a time, so far from now or a little later, at which the load can stop planning: see exact.
func (l *running) endIn(d time.Duration) time.Time {
	length := time.Now().Add(d).Sub(l.manifest.Begin)
	return l.manifest.Begin.Add(exact(max(length, 1), l.manifest.Scenario.Loads))
}

// SetLoad starts a load, or changes the one that runs: one ends, and the next begins exactly where it stops planning. Without any rate and
// stream it stops the load. A load ends by itself after an hour.
func (s *Session) SetLoad(_ context.Context, l Load) error {
	if err := l.validate(); err != nil {
		return err
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	if l.none() {
		return s.stopLoad()
	}
	s.mu.Lock()
	before := s.current
	s.mu.Unlock()
	if before != nil && before.Load == l {
		return nil
	}
	if err := checkSpace(s.dir, l); err != nil {
		return err
	}
	begin := time.Now().Add(lead)
	if before != nil {
		begin = before.endIn(lead)
	}
	s.mu.Lock()
	if before != nil && s.current == before { // Else it has just ended by itself.
		s.finish(before, begin) // At once: its generator must have read it by then.
	}
	s.problem = ""
	s.mu.Unlock()
	next, err := s.start(l, begin)
	s.mu.Lock()
	if s.current = next; err != nil {
		s.problem = "the load did not start: " + err.Error()
		s.history.end(begin.Sub(s.options.Begin))
		s.mu.Unlock()
		s.changed()
		return fmt.Errorf("start load: %w", err)
	}
	s.wanted = l
	s.history.load(begin.Sub(s.options.Begin), l)
	if next.over { // Its generator has ended meanwhile.
		s.current = nil
		s.history.end(begin.Sub(s.options.Begin))
	}
	s.mu.Unlock()
	s.say(feed.Event{Kind: "load", Tone: feed.Action, Text: "load: " + l.words()})
	s.changed()
	return nil
}

// words are the load in words.
func (l Load) words() string {
	var parts []string
	add := func(part string, is bool) {
		if is {
			parts = append(parts, part)
		}
	}
	number := func(rate float64) string { return strconv.FormatFloat(rate, 'f', -1, 64) }
	add(number(l.HTTP)+" HTTP requests/s", l.HTTP > 0)
	add(number(l.GRPC)+" gRPC calls/s", l.GRPC > 0)
	add(words.Count(l.Streams, "stream"), l.Streams > 0)
	add(fmt.Sprintf("deadline %v ms", l.deadline().Milliseconds()), true)
	add("with retries", l.Retry)
	return strings.Join(parts, ", ")
}

// StopLoad ends the load; requests in flight end by themselves. Without a load it does nothing.
func (s *Session) StopLoad(context.Context) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	return s.stopLoad()
}

func (s *Session) stopLoad() error {
	s.mu.Lock()
	l := s.current
	if l == nil {
		s.mu.Unlock()
		return nil
	}
	s.finish(l, l.endIn(stopLead))
	s.current = nil
	s.history.end(l.end().Sub(s.options.Begin))
	s.mu.Unlock()
	s.say(feed.Event{Kind: "load", Tone: feed.Action, Text: "load stopped"})
	s.changed()
	return nil
}

// finish makes a load plan nothing from a time on, or from an earlier one if it ends then anyway. A generator that cannot be reached has
// ended, or will be stopped when it is overdue.
func (s *Session) finish(l *running, end time.Time) {
	l.length, l.stopped = min(l.length, end.Sub(l.manifest.Begin)), true
	_ = l.generator.Finish(l.length)
	s.options.Feed.EndLoad(l.dir)
}

// exact is a time soon after d at which no request of a load is planned, to within what rounding might change: every reader then counts the
// same requests before it.
func exact(d time.Duration, loads []scenario.Load) time.Duration {
	for range 10_000 {
		near := false
		for _, l := range loads {
			x := l.Rate.PerSecond[0]*d.Seconds() - 0.5
			near = near || math.Abs(x-math.Round(x)) < 1e-4
		}
		if !near {
			break
		}
		d += 37 * time.Microsecond
	}
	return d
}

// start starts a generator, and what belongs to it, for a load that begins at a time.
func (s *Session) start(l Load, begin time.Time) (_ *running, err error) {
	s.mu.Lock()
	closed := s.closed
	s.numbers++
	next := &running{Load: l, n: s.numbers, dir: filepath.Join(s.dir, record.LoadsDir, strconv.Itoa(s.numbers)), length: s.longest}
	s.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	next.manifest = s.manifest(l, begin)
	if err := s.prepare(next); err != nil {
		return nil, err
	}
	if next.events, err = record.NewEventWriter(next.dir); err != nil {
		return nil, err
	}
	m := next.manifest
	next.generator, err = load.Start(s.options.Trivet, load.Plan{
		Seed: m.Scenario.Seed, HTTP: m.HTTP, GRPC: m.GRPC, Records: filepath.Join(next.dir, record.ClientFile), Begin: begin, For: s.longest, Loads: m.Scenario.Loads,
	})
	if err != nil {
		return nil, errors.Join(err, next.events.Close())
	}
	if m.Sampled {
		if next.sampler, err = sampler.Start(filepath.Join(next.dir, record.SamplesFile), begin, func() map[string]int { return s.sampled(next.generator) }); err != nil {
			return nil, errors.Join(err, next.generator.Stop(), next.events.Close())
		}
	}
	if err := s.options.Feed.AddLoad(next.dir); err != nil {
		return nil, errors.Join(err, next.generator.Stop(), next.stopSampling(), next.events.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next.events.Write(record.Event{V: record.EventVersion, Time: begin, Event: record.PhaseStarted, Phase: m.Scenario.Phases[0].Name})
	s.open = append(s.open, next)
	s.tasks.Go(func() { s.watch(next) })
	return next, nil
}

func (l *running) stopSampling() error {
	if l.sampler == nil {
		return nil
	}
	return l.sampler.Stop()
}

// sampled are the processes of which samples are taken.
func (s *Session) sampled(g *load.Generator) map[string]int {
	all := s.options.Fleet.Processes()
	all[scenario.Lab] = os.Getpid()
	select {
	case <-g.Done():
	default:
		all[scenario.Generator] = g.PID()
	}
	return all
}
