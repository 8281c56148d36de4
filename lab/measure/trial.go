package measure

import (
	"errors"
	"maps"
	"slices"
	"time"

	"trivet/lab/ledger"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A Trial measures a trial from its directory, also while it runs: progress and report are one code path over the same records. It is
// not safe for concurrent use. Each reader of a trial opens one of its own: records are files, so a reader that is slow, or stops
// reading, delays neither the trial nor another reader. What Progress and Close return may be kept: it does not change.
//
// In memory are the requests that wait for a record (see [ledger.Reconciler]) or for a sample (at most 40,000), and for each load and each depth of calls that
// are made for its requests, in each phase and in the whole trial, in both readings, a timeline of 125 bytes per second, and up to five histograms (latency and service time of OK and of failed requests,
// lateness). A histogram takes about 45 KB for a million requests of about 1 ms, and at most 180 KB. A Result keeps none of it.
type Trial struct {
	manifest   record.Manifest
	instances  []string
	reader     *record.Reader
	reconciler *ledger.Reconciler
	events     eventLog
	machine    *machine
	waiting    []*ledger.Request // complete, the oldest first, until the samples say all about their times
	readings   [][][]reading     // by load, depth (0: its own requests) and phase; the last of a depth are of the whole trial
	known      []string          // instances: those of the manifest, and those that have come since
	others     int               // requests of others
	missing    map[string]string // metrics without a source
	unrecorded int               // planned requests without a client record
	progress   Progress
}

// Progress counts the requests that have ended so far.
type Progress struct {
	Phase     string            // the last that has started; "" before the first
	Protocols map[string]Counts // by protocol: requests that are over
	// Executions are the arrivals at instances, by protocol and instance, those of requests that still run included.
	Executions map[string]map[string]int
	// OKByInstance are the OK requests, by protocol and instance.
	OKByInstance map[string]map[string]int
	// NginxAttempts are nginx's attempts for planned requests, by protocol, as far as it has logged them.
	NginxAttempts map[string]int
	Instances     []string   // that are known
	Operation     *Operation // the one that was started last, waits left out; nil before the first
}

// An Operation is one of a phase that was started.
type Operation struct {
	Name string        // "kill whoami-2"
	At   time.Duration // since the begin of the trial
	Done bool
}

// Counts are how requests ended, so far.
type Counts struct{ OK, Failed, Dropped int }

// A Result holds a trial's metrics, and the reasons why it is invalid.
type Result struct {
	Manifest         record.Manifest
	Ending           record.Event         // record.Ended, LabError or Interrupted; zero if the event log has none of them
	Reasons          []string             // why the trial is invalid, a sentence each
	Discrepancies    []ledger.Discrepancy // the first ledger.MaxDiscrepancies
	DiscrepancyCount int
	Kinds            []ledger.Kind // of discrepancies, the most frequent first
	Others           int           // requests of others that a target got
	Phases           []Phase       // each phase, then scenario.Total if there is more than one
}

// A Phase is what was measured of the requests that were planned in a phase.
type Phase struct {
	Name   string        `json:"name"`
	For    time.Duration `json:"for"`
	Groups []Group       `json:"groups"` // in the order of scenario.Scenario.Groups
	// Processes are what the processes used of the machine, by name; none if the trial has no samples.
	Processes []Process `json:"processes"`
}

// A Group is what was measured of a load, or of all loads of a protocol, or of the calls that were made for their requests.
type Group struct {
	Name     string  `json:"name"`
	Protocol string  `json:"protocol"` // "": calls over both
	Metrics  Metrics `json:"metrics"`  // as recorded
	// Adjusted are the metrics without what a machine that was too busy may have caused; see [Result.Adjusted]. nil: they are Metrics.
	Adjusted *Metrics `json:"adjusted,omitempty"`
}

// Open opens a trial directory, whose manifest must exist. The files of records may come later. Close the Trial in any case.
func Open(dir string) (*Trial, error) {
	m, err := record.ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	t := newTrial(m)
	t.reader = record.NewReader(dir, m)
	return t, nil
}

func newTrial(m record.Manifest) *Trial {
	t := &Trial{manifest: m, events: newEventLog(m), machine: newMachine(m), progress: Progress{
		Protocols: make(map[string]Counts), Executions: make(map[string]map[string]int), OKByInstance: make(map[string]map[string]int), NginxAttempts: make(map[string]int),
	}}
	t.reconciler = ledger.NewReconciler(m, t.wait)
	t.missing = Missing(m.Target, m.Scenario.Through)
	for _, i := range m.Instances {
		if m.Target == nil || !scenario.IsFront(i.Name) { // Front of a target is not measured.
			t.known = append(t.known, i.Name)
		}
	}
	if m.Target == nil || !m.Target.Changes {
		t.instances = t.known
	}
	for i, l := range m.Scenario.Loads {
		t.progress.Protocols[l.Protocol] = Counts{}
		t.progress.Executions[l.Protocol] = make(map[string]int)
		t.progress.OKByInstance[l.Protocol] = make(map[string]int)
		route, _ := m.Scenario.Route(i)
		depths := make([][]reading, 1+route.Depth())
		for depth := range depths {
			instances := t.instancesOf(l.Name)
			if depth > 0 {
				instances = t.instancesOf(scenario.HopGroup(l.Name, depth))
			}
			for _, p := range m.Scenario.Phases {
				depths[depth] = append(depths[depth], newReading(p.For, instances))
			}
			depths[depth] = append(depths[depth], newReading(m.Scenario.Length(), instances))
		}
		t.readings = append(t.readings, depths)
	}
	return t
}

// Manifest is the trial's.
func (t *Trial) Manifest() record.Manifest { return t.manifest }

// Advance reads what has been written since. The error is one of reading a file; what is wrong with the records is among the reasons of
// the Result.
func (t *Trial) Advance() error {
	for {
		next, err := t.reader.Next()
		if next == nil || err != nil {
			return err
		}
		if err := t.add(next); err != nil {
			return err
		}
	}
}

func (t *Trial) add(next any) error {
	switch r := next.(type) {
	case record.Event:
		t.events.add(r)
		if i := r.Instance; i != nil && t.manifest.Target != nil && !scenario.IsFront(i.Name) && !slices.Contains(t.known, i.Name) {
			t.known = append(t.known, i.Name)
		}
		t.reconciler.AddEvent(r)
	case record.Sample:
		t.machine.add(r)
		t.countWaiting(false)
	case record.Call:
		if r.Event == record.Arrival && t.reconciler.Planned(r.ID) && t.progress.Executions[r.Protocol] != nil {
			t.progress.Executions[r.Protocol][r.Instance]++
		}
		t.reconciler.AddCall(r)
	case record.Outgoing:
		t.reconciler.AddOutgoing(r)
	case record.AccessLogEntry:
		if load, planned := t.reconciler.Load(r.ID); planned {
			t.countAttempts(load, r)
		}
		return t.reconciler.AddAccessLogEntry(r)
	case record.Client:
		if t.reconciler.Planned(r.ID) {
			c := t.progress.Protocols[r.Protocol]
			switch r.Outcome {
			case record.OK:
				c.OK++
				if ok := t.progress.OKByInstance[r.Protocol]; ok != nil {
					ok[r.Instance]++
				}
			case record.Dropped:
				c.Dropped++
			default:
				c.Failed++
			}
			t.progress.Protocols[r.Protocol] = c
		}
		t.reconciler.AddClientRecord(r)
	}
	return nil
}

// countAttempts counts an entry's attempts for progress.
func (t *Trial) countAttempts(load int, entry record.AccessLogEntry) {
	attempts, _ := entry.Attempts() // The reconciler reports the error.
	for _, a := range attempts {
		if a.Fate != record.NoLive {
			t.progress.NginxAttempts[t.manifest.Scenario.Loads[load].Protocol]++
		}
	}
}

// maxWaiting bounds the requests that wait for samples. Of 20,000 per second, more than what a load generator on one machine makes, they
// come in two seconds: if the samples are as late, they are missing, and the trial is invalid.
const maxWaiting = 40_000

// wait takes a request whose records are complete, or come no more. It is counted when the samples have passed
// its end for long enough.
func (t *Trial) wait(q *ledger.Request) {
	if !t.manifest.Sampled || q.Client == nil {
		t.count(q)
		return
	}
	t.waiting = append(t.waiting, q)
	t.countWaiting(false)
}

// countWaiting counts the requests that wait for samples and need not, or all.
func (t *Trial) countWaiting(all bool) {
	n := 0
	for ; n < len(t.waiting); n++ {
		if q := t.waiting[n]; !all && len(t.waiting)-n <= maxWaiting && t.times(q.Client).to+lag > t.machine.until {
			break
		}
		t.count(t.waiting[n])
		t.waiting[n] = nil
	}
	t.waiting = t.waiting[n:]
}

// times are when a request was sent and when it ended.
func (t *Trial) times(c *record.Client) span {
	planned := c.Planned.Sub(t.manifest.Begin)
	return span{planned + time.Duration(c.Late)*time.Microsecond, planned + time.Duration(max(c.Latency, c.Late))*time.Microsecond}
}

// count counts a request.
func (t *Trial) count(q *ledger.Request) {
	c := q.Client
	if c == nil {
		t.unrecorded++
		return
	}
	t.machine.last = max(t.machine.last, t.times(c).to)
	s := t.manifest.Scenario
	start := min(max(c.Planned.Sub(t.manifest.Begin), 0), s.Length()-1)
	phase := s.PhaseAt(start)
	from, _ := s.Bounds(phase)
	adjusted := adjust(q, *c, s.Loads[q.Load].Deadline, t.doubt(c))
	readings := t.readings[q.Load][0]
	readings[phase].request(q, adjusted, start-from, s.Loads[q.Load])
	readings[len(s.Phases)].request(q, adjusted, start, s.Loads[q.Load])
	for call := range q.All {
		if call.Depth > 0 {
			t.countCall(call, adjusted.inDoubt, phase, start)
		}
	}
	// Over a boundary of phases, each attempt that it made may have been the turn of either side. The whole trial has none: nothing was
	// before, and all that came has been waited for.
	if last := s.PhaseAt(start + time.Duration(c.Latency)*time.Microsecond); last > phase {
		readings[phase].measured.later(c.Outcome)
		readings[phase].adjusted.later(adjusted.client.Outcome)
		for p := phase; p <= last; p++ {
			readings[p].measured.boundary += max(len(q.Entries), 1)
			readings[p].adjusted.boundary += max(len(q.Entries), 1)
		}
	}
}

// countCall counts a call that was made for a request, in the phase in which that was planned: at this time since the trial began.
func (t *Trial) countCall(q *ledger.Request, inDoubt bool, phase int, start time.Duration) {
	s := t.manifest.Scenario
	from, _ := s.Bounds(phase)
	readings := t.readings[q.Load][q.Depth]
	readings[phase].call(q, t.adjustCall(q, inDoubt), start-from)
	readings[len(s.Phases)].call(q, t.adjustCall(q, inDoubt), start)
	for _, c := range q.Clients() {
		if s.PhaseAt(t.times(&c).to) > phase {
			readings[phase].measured.later(c.Outcome)
			if !inDoubt {
				readings[phase].adjusted.later(c.Outcome)
			}
		}
	}
}

// Progress is what has been read up to now. It is cheap: it can be asked for a few times per second.
func (t *Trial) Progress() Progress {
	p := Progress{
		Phase: t.events.phase, Protocols: maps.Clone(t.progress.Protocols), Executions: cloneAll(t.progress.Executions), OKByInstance: cloneAll(t.progress.OKByInstance),
		NginxAttempts: maps.Clone(t.progress.NginxAttempts), Instances: slices.Clone(t.known),
	}
	if t.events.latest != nil {
		latest := *t.events.latest
		p.Operation = &latest
	}
	return p
}

func cloneAll(counts map[string]map[string]int) map[string]map[string]int {
	all := make(map[string]map[string]int, len(counts))
	for protocol, instances := range counts {
		all[protocol] = maps.Clone(instances)
	}
	return all
}

// Close is for when everything has been written: it reads to the end, judges what is open, and closes the files.
func (t *Trial) Close() (Result, error) {
	err := t.Advance()
	result := t.result(t.reconciler.Finish())
	result.Reasons = append(result.Reasons, t.reader.Problems()...)
	return result, errors.Join(err, t.reader.Close())
}

func (t *Trial) result(rec ledger.Reconciliation) Result {
	t.countWaiting(true)
	t.others = rec.Others
	s := t.manifest.Scenario
	result := Result{Manifest: t.manifest, Ending: t.events.ending, Reasons: t.reasons(rec), Discrepancies: rec.Discrepancies, DiscrepancyCount: rec.Count, Kinds: rec.Kinds, Others: rec.Others}
	phases, first := s.Phases, 1 // One phase is the whole trial.
	if len(phases) > 1 {
		phases, first = append(slices.Clone(phases), scenario.Phase{Name: scenario.Total, For: s.Length()}), 0
	}
	for i, phase := range phases {
		p := Phase{Name: phase.Name, For: phase.For, Processes: t.machine.usage[first+i].list()}
		for _, group := range s.Groups() {
			p.Groups = append(p.Groups, t.group(group, first+i))
		}
		result.Phases = append(result.Phases, p)
	}
	return result
}

// Metrics are those of a group in a phase, or in the whole trial if phase is "" or scenario.Total, as the records say. It returns false
// if there is no such phase or group.
func (r Result) Metrics(phase, group string) (Metrics, bool) {
	g, ok := r.group(phase, group)
	return g.Metrics, ok
}

// Adjusted are the other reading of Metrics: without what the generator, or a machine too busy for the system, could have caused. Each
// request's times are reduced by its doubtful time, and a failure that this may have caused is OK. What is measured lies between the two
// readings: an expectation that one of them passes and the other fails is inconclusive.
func (r Result) Adjusted(phase, group string) (Metrics, bool) {
	g, ok := r.group(phase, group)
	if g.Adjusted != nil {
		return *g.Adjusted, ok
	}
	return g.Metrics, ok
}

func (r Result) group(phase, group string) (Group, bool) {
	for i, p := range r.Phases {
		total := i == len(r.Phases)-1 && (phase == "" || phase == scenario.Total)
		if p.Name != phase && !total {
			continue
		}
		for _, g := range p.Groups {
			if g.Name == group {
				return g, true
			}
		}
	}
	return Group{}, false
}
