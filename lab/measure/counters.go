package measure

import (
	"math"
	"reflect"
	"slices"
	"time"

	"trivet/lab/ledger"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A reading is the requests of one load in one phase, in both readings.
type reading struct{ measured, adjusted *counters }

func newReading(length time.Duration, instances []string) reading {
	return reading{newCounters(length, instances), newCounters(length, instances)}
}

// counters count requests in one reading.
type counters struct {
	Metrics                                        // without what counters.metrics makes of the rest: Amplification, latencies, Recovery, RoundRobin
	latency, service, failedLatency, failedService histogram
	lateness                                       histogram
	over                                           [len(startLimits)]int // requests that were sent later than each limit
	stalled                                        int                   // requests during which the generator stalled for more than a tenth of their time
	expired                                        int                   // OK responses after the request's deadline
	boundary                                       int
	timeline                                       *timeline
}

func newCounters(length time.Duration, instances []string) *counters {
	return &counters{timeline: newTimeline(length, instances), Metrics: Metrics{
		Codes: make(map[string]int), Reasons: make(map[string]int), FirstAttempts: make(map[string]int), OKByInstance: make(map[string]int),
	}}
}

// request counts a request whose client has a record, planned at a time since the start of the timeline. adjusted says what remains of
// it without its doubtful time.
func (r reading) request(q *ledger.Request, adjusted adjustment, at time.Duration, l scenario.Load) {
	for _, c := range []*counters{r.measured, r.adjusted} {
		client := q.Client
		if c == r.adjusted {
			client = &adjusted.client
		}
		if q.FromCache() { // No instance responded to it.
			unnamed := *client
			unnamed.Instance, client = "", &unnamed
		}
		c.countLate(q.Client, l.Deadline)
		c.client(client)
		if q.Unlogged { // What nginx chose for it first is unknown.
			c.Unlogged++
			c.boundary++
		}
		c.path(q, c == r.adjusted && adjusted.inDoubt)
		c.timeline.request(at, time.Duration(client.Latency)*time.Microsecond, held(l), client.Outcome, client.Instance)
	}
}

// call counts a call that was made for a request, once for each that made it. The time since the start of the timeline is that of the
// request's planned start; adjusted are the callers' records without their doubtful time.
func (r reading) call(q *ledger.Request, adjusted []adjustment, at time.Duration) {
	clients := q.Clients()
	for _, c := range []*counters{r.measured, r.adjusted} {
		inDoubt := false
		for i := range clients {
			client := &clients[i]
			if c == r.adjusted {
				client = &adjusted[i].client
				inDoubt = inDoubt || adjusted[i].inDoubt
			}
			c.lateness.record(0) // No generator sent it.
			c.client(client)
			c.timeline.request(at, time.Duration(client.Latency)*time.Microsecond, 0, client.Outcome, client.Instance)
		}
		if q.Unlogged {
			c.Unlogged += min(1, len(clients))
		}
		c.path(q, inDoubt)
	}
}

// held is for how long a request of a load is open, however fast the system is.
func held(l scenario.Load) time.Duration {
	if l.Call == scenario.Idle {
		return l.Deadline
	}
	return l.Hold // 0 but of a watch
}

// client counts what the client recorded.
func (c *counters) client(r *record.Client) {
	c.Requests++
	c.ClientAttempts += r.Attempts
	if r.Outcome == record.Dropped {
		c.Dropped++
		c.Reasons[r.Reason]++
		return
	}
	if r.Code != "" {
		c.Codes[r.Code]++
	}
	if r.Outcome == record.OK {
		c.OK++
		if r.Instance != "" {
			c.OKByInstance[r.Instance]++
		}
		c.latency.record(r.Latency)
		c.service.record(r.Service)
		return
	}
	c.Failed++
	if r.Sent() {
		c.failedLatency.record(r.Latency)
		c.failedService.record(r.Service)
	}
	switch r.Outcome {
	case record.InstanceError:
		c.InstanceErrors++
	case record.NginxError:
		c.NginxErrors++
	case record.Incomplete:
		c.Incomplete++
		c.Reasons[r.Reason]++
	}
}

// later counts a request that ended after the phase.
func (c *counters) later(outcome string) {
	if outcome != record.OK && outcome != record.Dropped {
		c.FailedLater++
	}
}

// Lateness is how late the generator was with a request: see [Metrics.Lateness].
func Lateness(r record.Client) time.Duration {
	late := r.Late
	if r.Stalled > r.Latency/harmless {
		late = max(late, r.Stalled)
	}
	return time.Duration(late) * time.Microsecond
}

// countLate counts how late the generator was.
func (c *counters) countLate(r *record.Client, deadline time.Duration) {
	if r.Outcome == record.Dropped {
		return
	}
	if r.Stalled > r.Latency/harmless && time.Duration(r.Stalled)*time.Microsecond >= noticeable {
		c.stalled++
	}
	late := Lateness(*r)
	c.lateness.record(late.Microseconds())
	if late > MaxLateness {
		c.Late++
	}
	for i, l := range startLimits {
		if time.Duration(r.Late)*time.Microsecond > l.bound {
			c.over[i]++
		}
	}
	if r.Outcome == record.OK && time.Duration(r.Service)*time.Microsecond > deadline {
		c.expired++
	}
}

// path counts what nginx and the instances recorded; in doubt, as if each access-log entry had one attempt that was executed once.
func (c *counters) path(q *ledger.Request, inDoubt bool) {
	if inDoubt {
		c.undoubted(q)
		return
	}
	for _, a := range q.NginxAttempts {
		if a.Fate == record.NoLive {
			c.NoLiveUpstreams++
			continue
		}
		c.NginxAttempts++
		if a.First && a.Instance != "" {
			c.FirstAttempts[a.Instance]++
		}
		switch a.Fate {
		case record.InDoubt:
			c.InDoubt++
			c.FailedAttempts++
		case record.Unsent:
			c.FailedAttempts++
		}
	}
	for _, e := range q.Entries {
		if e.Error != "" {
			c.LocalReplies++
		}
	}
	if q.FromCache() {
		c.Cached += min(1, sent(q))
	}
	// A call may have several callers, each of which wants one execution; of a caller that was killed nothing is counted but these.
	executions := len(q.Executions)
	c.Executions += executions
	switch wanted := sent(q); {
	case executions > wanted && wanted > 0:
		c.Duplicated++
	case executions < wanted:
		c.NotExecuted += wanted - executions
	}
}

// sent is how many requests or calls a request is that were sent: one, or one of each caller.
func sent(q *ledger.Request) (n int) {
	for _, c := range q.Clients() {
		if c.Sent() {
			n++
		}
	}
	return n
}

// undoubted counts a request in doubt as one that nothing disturbed. Which instance nginx chose first remains.
func (c *counters) undoubted(q *ledger.Request) {
	first := 0
	for _, a := range q.NginxAttempts {
		if a.First && a.Instance != "" && a.Fate != record.NoLive {
			c.FirstAttempts[a.Instance]++
			first++
		}
	}
	c.NginxAttempts += max(1, sent(q), first)
	c.Executions += max(1, sent(q))
}

// add adds other. Of Metrics that is all numbers and maps; metrics makes the rest.
func (c *counters) add(other *counters) {
	sum, of := reflect.ValueOf(&c.Metrics).Elem(), reflect.ValueOf(other.Metrics)
	for i := range sum.NumField() {
		if !sum.Type().Field(i).IsExported() {
			continue
		}
		switch field := sum.Field(i); field.Kind() {
		case reflect.Int:
			field.SetInt(field.Int() + of.Field(i).Int())
		case reflect.Map:
			all := field.Convert(reflect.TypeFor[map[string]int]()).Interface().(map[string]int)
			for name, n := range of.Field(i).Seq2() {
				all[name.String()] += int(n.Int())
			}
		}
	}
	for i, n := range other.over {
		c.over[i] += n
	}
	c.stalled += other.stalled
	c.expired += other.expired
	c.boundary += other.boundary
	c.latency.add(other.latency)
	c.service.add(other.service)
	c.failedLatency.add(other.failedLatency)
	c.failedService.add(other.failedService)
	c.lateness.add(other.lateness)
	c.timeline.add(other.timeline)
}

// group measures a group in one phase, or in the whole trial.
func (t *Trial) group(name string, phase int) Group {
	s := t.manifest.Scenario
	loads := s.Group(name)
	_, depth := scenario.Hop(name)
	sum := newReading(t.readings[loads[0]][0][phase].measured.timeline.length, t.instancesOf(name))
	for _, l := range loads {
		if depth < len(t.readings[l]) {
			sum.measured.add(t.readings[l][depth][phase].measured)
			sum.adjusted.add(t.readings[l][depth][phase].adjusted)
		}
	}
	g := Group{Name: name, Protocol: s.GroupProtocol(name), Metrics: t.metrics(sum.measured, name, phase)}
	if adjusted := t.metrics(sum.adjusted, name, phase); !reflect.DeepEqual(adjusted, g.Metrics) {
		g.Adjusted = &adjusted
	}
	return g
}

// metrics are those of what was counted of a group in one phase, or in the whole trial.
func (t *Trial) metrics(sum *counters, group string, phase int) Metrics {
	s := t.manifest.Scenario
	from, to := time.Duration(math.MinInt64), time.Duration(math.MaxInt64)
	if phase < len(s.Phases) {
		from, to = s.Bounds(phase)
	}
	m := sum.Metrics.Without(t.missing)
	if sent := m.sent(); sent > 0 {
		amplification := float64(m.NginxAttempts) / float64(sent)
		m.Amplification = &amplification
	}
	m.Latency, m.ServiceTime = sum.latency.latency(), sum.service.latency()
	m.FailedLatency, m.FailedServiceTime = sum.failedLatency.latency(), sum.failedService.latency()
	m.Lateness = sum.lateness.latency()
	m.Recovery, m.Saturation = sum.timeline.recovery(), sum.timeline.saturation()
	t.machine.usage[phase].metrics(&m)
	m.RoundRobin = RoundRobin{
		WholeUpstream: s.WholeUpstream(group) && t.others == 0, Others: t.others, Spread: spread(m.FirstAttempts, sum.timeline.instances), BoundaryRequests: sum.boundary,
		Configurations: 1 + t.events.resetsWithin(from, to), Workers: s.Workers, Instances: len(sum.timeline.instances),
	}
	if t.manifest.Target != nil {
		t.complete(&m)
	}
	return m
}

// complete adds the instances of a target that got nothing.
func (t *Trial) complete(m *Metrics) {
	for _, name := range t.known {
		m.FirstAttempts[name] += 0
		m.OKByInstance[name] += 0
	}
}

// instancesOf are those that can receive a group's requests. Those of a target that may change are not known.
func (t *Trial) instancesOf(group string) []string {
	if t.manifest.Target != nil {
		return t.instances
	}
	can := t.manifest.Scenario.GroupInstances(group)
	return slices.DeleteFunc(slices.Clone(t.instances), func(name string) bool { return !slices.Contains(can, name) })
}

func spread(first map[string]int, instances []string) int {
	least, most := math.MaxInt, 0
	for _, name := range instances {
		least, most = min(least, first[name]), max(most, first[name])
	}
	return max(0, most-least) // without instances 0
}
