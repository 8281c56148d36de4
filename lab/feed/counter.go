package feed

import (
	"slices"
	"time"

	"trivet/internal/hop"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

const flows = 3 // len(Flows)

// A counter counts records into bins, each when it is read, in any order.
type counter struct {
	begin time.Time
	width time.Duration
	keep  int // how many of the newest bins; 0: all
	last  int // the largest number of a bin: what is later counts in it

	first     int    // number of bins[0]
	bins      []*bin // without gaps
	loads     map[string]*planned
	endpoints map[string]endpoint // by address
	instances []Instance
	index     map[string]int // by name
	starts    map[string]*start
	open      [][flows]int // executions in flight before the first bin, by instance
	gauge     int          // from this bin on, what is in flight has changed
}

// A bin is what was counted of a part of the time.
type bin struct {
	changed   bool
	flows     [flows]*Flow
	instances [][flows]*instant // by index; shorter if the last have nothing
	generator *Generator
	machine   samples
}

type instant struct {
	Instant
	opened int // arrivals minus completions
}

// samples are sums over the parts of windows that are in a bin.
type samples struct {
	time           time.Duration
	other, waiting float64 // weighted with the time, in seconds
	starved        bool
}

// An endpoint is where an instance accepts a protocol.
type endpoint struct{ instance, flow int }

// A start is an instance's from its start to its end.
type start struct {
	instance int
	open     [flows]int
	ended    bool
	end      time.Duration
}

func newCounter(begin time.Time, width time.Duration, keep, last int) *counter {
	return &counter{
		begin: begin, width: width, keep: keep, last: last,
		loads: make(map[string]*planned), endpoints: make(map[string]endpoint), index: make(map[string]int), starts: make(map[string]*start),
	}
}

// addLoads makes the requests of a manifest's loads known.
func (c *counter) addLoads(m record.Manifest) {
	for i, l := range m.Scenario.Loads {
		c.loads[record.IDPrefix(m.Scenario.Seed, l.Protocol, i)] = &planned{flowOf(l), m.Scenario.Service(i)}
	}
}

func (c *counter) removeLoads(m record.Manifest) {
	for i, l := range m.Scenario.Loads {
		delete(c.loads, record.IDPrefix(m.Scenario.Seed, l.Protocol, i))
	}
}

// addInstance makes an instance known, or that it has other addresses now.
func (c *counter) addInstance(i record.Instance) int {
	n, known := c.index[i.Name]
	if !known {
		n = len(c.instances)
		c.index[i.Name] = n
		service := hop.Whoami
		if scenario.IsFront(i.Name) {
			service = hop.Front
		}
		c.instances = append(c.instances, Instance{Name: i.Name, Service: service})
		c.open = append(c.open, [flows]int{})
	}
	if i.HTTP != "" {
		c.instances[n].HTTP = i.HTTP
		c.endpoints[i.HTTP] = endpoint{n, 0}
	}
	if i.GRPC != "" {
		c.instances[n].GRPC = i.GRPC
		c.endpoints[i.GRPC] = endpoint{n, 1}
	}
	return n
}

func (c *counter) instance(name string) int {
	if n, ok := c.index[name]; ok {
		return n
	}
	return c.addInstance(record.Instance{Name: name})
}

// load is the load that planned the request of an ID, nil if none did, and whether the ID is of a call that was made for a request.
func (c *counter) load(id string) (l *planned, call bool) {
	prefix, call := splitID(id)
	return c.loads[prefix], call
}

// number is that of the bin of a time since the begin.
func (c *counter) number(at time.Duration) int {
	if at < 0 {
		return 0
	}
	return min(int(at/c.width), c.last)
}

// reach makes the bins up to a number exist, and forgets what is too old.
func (c *counter) reach(n int) {
	for c.first+len(c.bins) <= n {
		c.bins = append(c.bins, &bin{changed: true})
	}
	if old := len(c.bins) - c.keep; c.keep > 0 && old > 0 {
		for _, b := range c.bins[:old] {
			c.carry(b)
		}
		c.bins = append(c.bins[:0], c.bins[old:]...)
		c.first += old
	}
}

// carry adds what is in flight at the end of a bin that is forgotten.
func (c *counter) carry(b *bin) {
	for i, of := range b.instances {
		for f, one := range of {
			if one != nil {
				c.open[i][f] += one.opened
			}
		}
	}
}

// bin is that of a time, which changes; nil if it is forgotten.
func (c *counter) bin(at time.Duration) *bin {
	n := c.number(at)
	c.reach(n)
	if n < c.first {
		return nil
	}
	b := c.bins[n-c.first]
	b.changed = true
	return b
}

func (b *bin) flow(f int) *Flow {
	if b.flows[f] == nil {
		b.flows[f] = &Flow{}
	}
	return b.flows[f]
}

func (b *bin) instance(i, f int) *instant {
	for len(b.instances) <= i {
		b.instances = append(b.instances, [flows]*instant{})
	}
	if b.instances[i][f] == nil {
		b.instances[i][f] = &instant{}
	}
	return b.instances[i][f]
}

// client counts a client record, in the bin of its planned start.
func (c *counter) client(r *record.Client) (flow int, counted bool) {
	l, call := c.load(r.ID)
	if l == nil || call {
		return 0, false
	}
	b := c.bin(r.Planned.Sub(c.begin))
	if b == nil {
		return l.flow, true
	}
	b.flow(l.flow).client(r)
	if r.Outcome == record.OK && r.Instance != "" {
		b.instance(c.instance(r.Instance), l.flow).OK++
	}
	if r.Outcome != record.Dropped {
		if b.generator == nil {
			b.generator = &Generator{}
		}
		late := measure.Lateness(*r)
		if late > measure.MaxLateness {
			b.generator.Late++
		}
		b.generator.Max = max(b.generator.Max, late.Microseconds())
	}
	return l.flow, true
}

func (f *Flow) client(r *record.Client) {
	f.Requests++
	f.ClientAttempts += r.Attempts
	switch r.Outcome {
	case record.OK:
		f.OK++
		f.Latency.add(r.Latency)
	case record.InstanceError:
		f.InstanceErrors++
	case record.NginxError:
		f.NginxErrors++
	case record.Incomplete:
		f.Incomplete++
	case record.Dropped:
		f.Dropped++
	}
	if r.Outcome != record.OK && r.Sent() {
		f.FailedLatency.add(r.Latency)
	}
}

// entry counts an access-log entry, in the bin in which it began. It returns the flow, and the service that received it, "" if that is not known.
func (c *counter) entry(e *record.AccessLogEntry, attempts []record.Attempt) (flow int, service string) {
	l, call := c.load(e.ID)
	at := e.Begin().Sub(c.begin)
	if flow = c.flowOfEntry(e, attempts); l != nil && !call {
		flow, service = l.flow, l.service
	}
	if l == nil && (at < -time.Second || probe(e.ID)) {
		return flow, service
	}
	b := c.bin(at)
	if b == nil {
		return flow, service
	}
	if l == nil {
		if !call {
			b.flow(flow).Others++
		}
		return flow, service
	}
	for _, a := range attempts {
		of, known := c.endpoints[a.Addr]
		if !call {
			b.flow(l.flow).attempt(a)
			of.flow = l.flow
		}
		if known && a.Fate != record.NoLive {
			b.instance(of.instance, of.flow).attempt(a)
		}
	}
	if e.Error != "" && !call {
		b.flow(l.flow).LocalReplies++
	}
	return flow, service
}

// flowOfEntry is that of a call between instances, or of a request that no load planned.
func (c *counter) flowOfEntry(e *record.AccessLogEntry, attempts []record.Attempt) int {
	for _, a := range attempts {
		if of, known := c.endpoints[a.Addr]; known {
			return of.flow
		}
	}
	if e.HeaderStatus != "" || e.Trailer != "" {
		return 1
	}
	return 0
}

func (f *Flow) attempt(a record.Attempt) {
	if a.Fate == record.NoLive {
		f.NoLiveUpstreams++
		return
	}
	f.NginxAttempts++
	if a.Fate == record.InDoubt {
		f.InDoubt++
	}
	if withoutHeader(a) {
		f.FailedAttempts++
	}
}

func (i *instant) attempt(a record.Attempt) {
	i.Attempts++
	if a.First {
		i.First++
	}
	if withoutHeader(a) {
		i.Failed++
	}
}

// withoutHeader reports whether an attempt got no response header.
func withoutHeader(a record.Attempt) bool { return a.Fate == record.InDoubt || a.Fate == record.Unsent }

// call counts what an instance recorded, in the bin of its time.
func (c *counter) call(r *record.Call) (instance, flow int) {
	l, call := c.load(r.ID)
	flow = flowOfProtocol(r.Protocol)
	if l != nil && !call {
		flow = l.flow
	}
	n, at := c.instance(r.Instance), r.Time.Sub(c.begin)
	s := c.start(r.Start, n)
	if r.Event == record.Completion {
		c.opened(s, at, flow, -1)
		return n, flow
	}
	c.opened(s, at, flow, 1)
	if l == nil && (probe(r.ID) || at < -time.Second) {
		return n, flow
	}
	b := c.bin(at)
	if b == nil {
		return n, flow
	}
	switch one := b.instance(n, flow); {
	case call:
		one.Hops++
		one.Arrivals++
	case l == nil:
		one.Others++
	default:
		one.Arrivals++
	}
	return n, flow
}

// outgoing counts a call that an instance made, in the bin in which that began.
func (c *counter) outgoing(r *record.Outgoing) {
	at := r.Time.Add(-time.Duration(r.Duration) * time.Microsecond).Sub(c.begin)
	if l, _ := c.load(r.ID); l == nil && (probe(r.ID) || at < -time.Second) {
		return
	}
	if b := c.bin(at); b != nil {
		b.instance(c.instance(r.Instance), flowOfProtocol(r.Protocol)).Calls++
	}
}

func (c *counter) start(id string, instance int) *start {
	s := c.starts[id]
	if s == nil {
		s = &start{instance: instance}
		c.starts[id] = s
	}
	return s
}

// opened adds executions of a start to what is in flight. If the start has ended by then, they are in flight no longer than to its end.
func (c *counter) opened(s *start, at time.Duration, flow, n int) {
	s.open[flow] += n
	c.inFlight(s.instance, at, flow, n)
	if s.ended {
		c.inFlight(s.instance, s.end, flow, -n)
	}
}

// end is that a start of an instance has ended: what it left open is gone. Its other records may come later.
func (c *counter) end(id, instance string, at time.Duration) {
	s := c.start(id, c.instance(instance))
	if s.ended {
		return
	}
	s.ended, s.end = true, at
	for flow, n := range s.open {
		if n != 0 {
			c.inFlight(s.instance, at, flow, -n)
		}
	}
}

// inFlight adds to what is in flight from a time on.
func (c *counter) inFlight(instance int, at time.Duration, flow, n int) {
	number := c.number(at)
	c.reach(number)
	if number < c.first {
		c.open[instance][flow] += n
		c.gauge = c.first
		return
	}
	c.bins[number-c.first].instance(instance, flow).opened += n
	c.gauge = min(c.gauge, number)
}

// sample counts a sample of the processes, in each bin that it is of a part of.
func (c *counter) sample(s *record.Sample) {
	to := s.Time.Sub(c.begin)
	window := time.Duration(s.Window) * time.Microsecond
	waited, starved := measure.Waited(*s)
	for n := c.number(to - window); n <= c.number(to) && to > 0; n++ {
		from, until := time.Duration(n)*c.width, time.Duration(n+1)*c.width
		part := min(until, to) - max(from, to-window, 0)
		if n < c.first || part <= 0 {
			continue
		}
		b := c.bin(from)
		b.machine.time += part
		b.machine.other += s.Outside * part.Seconds()
		b.machine.waiting += min(1, waited.Seconds()/window.Seconds()) * part.Seconds()
		b.machine.starved = b.machine.starved || starved
	}
}

// message is a bin as messages have it, given what was in flight before it, which is then what was at its end. It shares nothing.
func (c *counter) message(n int, open [][flows]int, wanted bool) Bin {
	b := c.bins[n-c.first]
	m := Bin{N: n, Flows: make(map[string]*Flow)}
	for i := range open {
		for f := range flows {
			var one Instant
			if i < len(b.instances) && b.instances[i][f] != nil {
				one = b.instances[i][f].Instant
				open[i][f] += b.instances[i][f].opened
			}
			one.Open = max(0, open[i][f])
			if !wanted || one == (Instant{}) {
				continue
			}
			if m.Instances == nil {
				m.Instances = make(map[string]map[string]*Instant)
			}
			name := c.instances[i].Name
			if m.Instances[name] == nil {
				m.Instances[name] = make(map[string]*Instant)
			}
			m.Instances[name][Flows[f]] = &one
		}
	}
	if !wanted {
		return m
	}
	for f, one := range b.flows {
		if one != nil {
			of := *one
			of.Latency, of.FailedLatency = slices.Clone(of.Latency), slices.Clone(of.FailedLatency)
			m.Flows[Flows[f]] = &of
		}
	}
	if b.generator != nil {
		of := *b.generator
		m.Generator = &of
	}
	m.Machine = b.machine.message()
	return m
}

func (s samples) message() *Machine {
	if s.time == 0 {
		return nil
	}
	return &Machine{Other: round3(s.other / s.time.Seconds()), RunDelay: round3(s.waiting / s.time.Seconds()), Starved: s.starved}
}

// round3 keeps three digits: more say nothing, and take room.
func round3(x float64) float64 { return float64(int(x*1000+0.5)) / 1000 }

// changed are the bins that have changed since the last call; all are all that there are.
func (c *counter) changed(all bool) []Bin {
	bins := []Bin{}
	open := slices.Clone(c.open)
	for i, b := range c.bins {
		n := c.first + i
		wanted := all || b.changed || n >= c.gauge
		if m := c.message(n, open, wanted); wanted {
			bins = append(bins, m)
		}
	}
	return bins
}

// seen is that changed was called: what follows has not been sent.
func (c *counter) seen() {
	for _, b := range c.bins {
		b.changed = false
	}
	c.gauge = c.first + len(c.bins)
}

// maxStarts is how many starts of instances are kept, and those that have ended within the last minute.
const maxStarts = 1000

// forgetStarts forgets starts that ended long ago, if there are too many: their records have come.
func (c *counter) forgetStarts() {
	if len(c.starts) <= maxStarts {
		return
	}
	for id, s := range c.starts {
		if s.ended && s.end < time.Duration(c.last)*c.width-time.Minute {
			delete(c.starts, id)
		}
	}
}
