package feed

import (
	"fmt"
	"slices"
	"time"

	"trivet/lab/record"
)

const (
	// liveWidth is the width of a live stack's bins, and liveKeep how many of the newest are kept: two minutes.
	liveWidth = 250 * time.Millisecond
	liveKeep  = 480
	// liveFailures, liveEvents and liveStates are how many of the newest are kept: of the states, for each instance.
	liveFailures = 200
	liveEvents   = 500
	liveStates   = 200
	// afterEnd is how long after the last of its requests could end a load is read that has ended.
	afterEnd = 5 * time.Second
)

// LiveOptions are those of a fleet that trivet up started.
type LiveOptions struct {
	Dir       string            // run directory
	Instances []record.Instance //
	Begin     time.Time         // time 0: nothing before it is counted
	Workers   int               // of nginx
	HTTP      string            // nginx's listeners
	GRPC      string            //
	TLS       bool              //
	MTLS      bool              //
	Lacks     []string          // see Trial.Lacks
	Zone      *time.Location    // of wall-clock times in texts; nil: the local one
}

// A LiveSource is the feed of a fleet that runs: it reads the records in the run directory, and those of the loads. It is not safe for
// concurrent use.
//
// Its memory is bounded: it keeps the bins of the last two minutes, the newest 200 failures, and the newest 500 events.
type LiveSource struct {
	options LiveOptions
	now     func() time.Time
	reader  *record.Reader
	loads   []*liveLoad
	*view
}

// A liveLoad is a load directory.
type liveLoad struct {
	dir      string
	manifest record.Manifest
	ended    bool
	until    time.Time // of one that has ended: it is read until then
}

// NewLive is the source of a fleet that runs. Close it in any case.
func NewLive(o LiveOptions) *LiveSource { return newLive(o, time.Now) }

func newLive(o LiveOptions, now func() time.Time) *LiveSource {
	if o.Zone == nil {
		o.Zone = time.Local
	}
	o.Begin = o.Begin.Round(0) // By the wall clock, as records are: while a machine sleeps the other one stands still.
	l := &LiveSource{options: o, now: now, reader: record.NewFleetReader(o.Dir)}
	l.view = newView(0, newCounter(o.Begin, liveWidth, liveKeep, 0), wallClock(o.Begin, o.Zone))
	for _, i := range o.Instances {
		l.counter.addInstance(i)
	}
	l.maxFailures, l.newest = liveFailures, true
	l.info = l.trialMessage
	l.narrator.blind = slices.Contains(o.Lacks, "instances")
	l.narrator.maxEvents, l.narrator.maxStates = liveEvents, liveStates
	l.narrator.phaseFrom = func(string) (from, to time.Duration, ok bool) { return 0, 0, false }
	l.setNow()
	return l
}

func (l *LiveSource) trialMessage() Trial {
	one := Trial{
		Begin: l.options.Begin, Number: 1, Width: liveWidth.Milliseconds(), Keep: liveKeep, Instances: l.counter.instances, Workers: l.options.Workers,
		HTTP: l.options.HTTP, GRPC: l.options.GRPC, TLS: l.options.TLS, MTLS: l.options.MTLS, Loads: []Load{}, Phases: []Phase{}, Lacks: l.options.Lacks, Problem: l.problem,
	}
	for _, load := range l.loads {
		if !load.ended {
			one.Loads = append(one.Loads, loadsOf(load.manifest.Scenario)...)
		}
	}
	return one
}

// AddLoad adds a load by its directory, whose manifest must be there. Several may overlap.
func (l *LiveSource) AddLoad(dir string) error {
	m, err := record.ReadManifest(dir)
	if err != nil {
		return err
	}
	for i, load := range m.Scenario.Loads {
		if prefix := record.IDPrefix(m.Scenario.Seed, load.Protocol, i); l.counter.loads[prefix] != nil {
			return fmt.Errorf("add load %s: another load has requests %sN, too; give each a seed of its own", dir, prefix)
		}
	}
	l.counter.addLoads(m)
	l.loads = append(l.loads, &liveLoad{dir: dir, manifest: m})
	l.reader.AddLoad(dir, m)
	l.setDelay()
	return nil
}

// EndLoad says that a load plans no more requests. Those that are open still count.
func (l *LiveSource) EndLoad(dir string) {
	for _, load := range l.loads {
		if load.dir == dir && !load.ended {
			load.ended, load.until = true, l.now().Add(load.manifest.Settle()+afterEnd)
		}
	}
}

// setDelay sets for how long it may not be known what nginx sent to an instance that is paused: until the deadlines of the requests.
func (l *LiveSource) setDelay() {
	l.narrator.delay = 0
	for _, load := range l.loads {
		l.narrator.delay = max(l.narrator.delay, load.manifest.Settle())
	}
}

// removeLoads ends the reading of loads of which nothing comes any more.
func (l *LiveSource) removeLoads(now time.Time) (err error) {
	kept := l.loads[:0]
	for _, load := range l.loads {
		if !load.ended || now.Before(load.until) {
			kept = append(kept, load)
			continue
		}
		l.counter.removeLoads(load.manifest)
		if closing := l.reader.RemoveLoad(load.dir); err == nil {
			err = closing
		}
	}
	clear(l.loads[len(kept):])
	l.loads = kept
	l.setDelay()
	return err
}

// Event takes an event of the fleet, of an action, or of an instance's health.
func (l *LiveSource) Event(e record.Event) { l.add(e) }

// Say adds an event that no record has: a load that began, a setting that has changed. Its time is now if it has none.
func (l *LiveSource) Say(e Event) {
	at := time.Duration(e.At) * time.Millisecond
	if e.At == 0 {
		at = l.now().Sub(l.options.Begin)
	}
	one := l.narrator.say(at, e)
	if e.Kind == "setting" || e.Kind == "action" {
		l.narrator.addCause(one)
	}
}

// setNow makes the bins up to now exist.
func (l *LiveSource) setNow() time.Time {
	now := l.now()
	l.counter.last = max(l.counter.last, int(now.Sub(l.options.Begin)/liveWidth))
	l.counter.reach(l.counter.last)
	return now
}

// Advance reads what has been written since. The error is one of reading a file, and the trial's problem until that can be read again.
func (l *LiveSource) Advance() error {
	now := l.setNow()
	for {
		next, err := l.reader.Next()
		if err != nil {
			l.problem = err.Error()
			return err
		}
		if next == nil {
			break
		}
		l.add(next)
	}
	l.problem = ""
	l.narrator.reach(now.Sub(l.options.Begin))
	l.counter.forgetStarts()
	return l.removeLoads(now)
}

// Close closes the files.
func (l *LiveSource) Close() error { return l.reader.Close() }
