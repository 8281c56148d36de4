package experiment

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/expr-lang/expr/ast"
	"google.golang.org/grpc/codes"

	"trivet/internal/hop"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A plan is what is known before the run of the requests of a set.
type plan struct {
	protocol  string
	requests  int
	length    time.Duration // of the phase
	instances []string
	changes   bool // others may come
	workers   int
	whole     bool // all requests of an upstream
	most      int  // of requests, if they are calls: with all retries of those that they follow from; 0: they are not
	attempts  int  // the most of each client
}

// planned is how many requests each load plans in each phase.
func planned(s scenario.Scenario) [][]int {
	counts := make([][]int, len(s.Loads))
	for i, l := range s.Loads {
		counts[i] = make([]int, len(s.Phases))
		for offset := range l.Rate.Offsets(s.Length()) {
			counts[i][s.PhaseAt(offset)]++
		}
	}
	return counts
}

// planOf is that of a group in a phase, of what the loads plan.
func planOf(s scenario.Scenario, counts [][]int, phase, group string) plan {
	p := plan{protocol: s.GroupProtocol(group), instances: s.GroupInstances(group), changes: s.OwnNames, workers: s.Workers, length: s.Length(), whole: s.WholeUpstream(group), attempts: 2}
	_, depth := scenario.Hop(group)
	at := s.Phase(phase)
	if at >= 0 {
		p.length = s.Phases[at].For
	}
	for _, l := range s.Group(group) {
		route, _ := s.Route(l)
		for i, n := range counts[l] {
			switch {
			case at >= 0 && i != at:
			case depth == 0:
				p.requests += n
			default:
				p.requests += n * len(route.At(depth))
				p.most += n * retried(route, depth)
			}
		}
	}
	for _, c := range s.Calls(group) {
		p.attempts = max(p.attempts, c.Attempts)
	}
	return p
}

// retried is how many calls one request makes at a depth, if all calls above are retried as often as they may be.
func retried(r hop.Route, depth int) (n int) {
	if depth == 1 {
		return len(r.Calls)
	}
	for i, c := range r.Calls {
		n += c.Attempts * retried(r.Next(i), depth-1)
	}
	return n
}

// literals are what an expression compares with: the values around them are tried, too.
type literals struct {
	numbers   []float64
	durations []time.Duration
	keys      []string
}

// Visit makes literals an ast.Visitor.
func (l *literals) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IntegerNode:
		l.number(float64(n.Value))
	case *ast.FloatNode:
		l.number(n.Value)
	case *ast.StringNode:
		if d, err := time.ParseDuration(n.Value); err == nil {
			l.durations = append(l.durations, d)
		}
		l.keys = append(l.keys, n.Value)
	}
}

// number adds one, which may also be a time in seconds or milliseconds.
func (l *literals) number(n float64) {
	l.numbers = append(l.numbers, n)
	if math.Abs(n) < 1e6 {
		l.durations = append(l.durations, time.Duration(n*float64(time.Second)), time.Duration(n*float64(time.Millisecond)))
	}
}

// A generator makes metrics as a trial could have them: those of one plan keep the rules of [measure.Metrics.Validate].
type generator struct {
	*rand.Rand
	literals
	ideal bool // of all metrics: nothing fails, each instance gets its share, and no phase meets another
	calm  bool // of the metrics that are being made: nothing fails
}

// oneOf is one of some.
func oneOf[T any](g *generator, all ...T) T { return all[g.IntN(len(all))] }

// count is a number from 0 to most: an extreme one, one around a literal, or any.
func (g *generator) count(most int) int {
	n := 0
	switch kind := g.IntN(6); {
	case most <= 0:
		return 0
	case kind == 0:
		return 0
	case kind == 1:
		return most
	case kind == 2:
		n = g.IntN(min(most, 3) + 1)
	case kind < 5 && len(g.numbers) > 0:
		literal := oneOf(g, g.numbers...)
		n = int(max(-1, min(oneOf(g, literal, literal, literal*float64(most), float64(most)/max(literal, 1e-9)), 1e9))) + g.IntN(3) - 1
	default:
		n = g.IntN(most + 1)
	}
	return max(0, min(n, most))
}

// split divides a number into parts, often all of it into one.
func (g *generator) split(n, parts int) []int {
	all := make([]int, parts)
	for _, i := range g.Perm(parts) {
		all[i] = g.count(n)
		n -= all[i]
	}
	all[g.IntN(parts)] += n
	return all
}

// share is that of the first instance, as an expression may have it; 0: it is equal.
func (g *generator) share() float64 {
	if len(g.numbers) == 0 || g.IntN(2) == 0 {
		return 0
	}
	if share := oneOf(g, append(g.numbers, 1)...) / oneOf(g, append(g.numbers, 1, 1, 100)...); share > 0 && share < 1 {
		return share
	}
	return 0
}

// shares divides a number so that no two parts differ by more than one, but for the first, if it has a share of its own.
func shares(n, parts int, first float64) []int {
	all := make([]int, parts)
	if first > 0 && parts > 1 {
		all[0] = int(math.Round(first * float64(n)))
		n, parts = n-all[0], parts-1
	}
	for i := range parts {
		all[len(all)-1-i] = (n + i) / parts
	}
	return all
}

// time is one from a microsecond to an hour: around a literal, or of any magnitude.
func (g *generator) time() time.Duration {
	if len(g.durations) > 0 && g.IntN(2) == 0 {
		d := oneOf(g, g.durations...)
		return max(time.Microsecond, min(time.Hour, oneOf(g, d, d-time.Millisecond, d+time.Millisecond, d-1, d+1, d/2, d*2, d-time.Second, d+time.Second)))
	}
	return time.Duration(1000 * math.Pow(3.6e9, g.Float64()))
}

// metrics are those of one set.
func (g *generator) metrics(p plan) measure.Metrics {
	if p.most > 0 && !g.ideal {
		p.requests = oneOf(g, p.requests, p.most, g.count(p.most))
	}
	if p.changes && !g.ideal && g.IntN(2) == 0 {
		p.instances = append(slices.Clone(p.instances), scenario.InstanceName(len(p.instances)+1))
	}
	m := measure.Metrics{Requests: p.requests, Codes: measure.CodeCounts{}, Reasons: measure.ReasonCounts{}}
	g.rest(reflect.ValueOf(&m).Elem(), p)
	g.calm = g.ideal || g.IntN(3) == 0
	m.Dropped, m.Failed = 0, 0
	if !g.calm {
		m.Dropped = oneOf(g, 0, 0, g.count(m.Requests), m.Requests-g.count(m.Requests))
		sent := m.Requests - m.Dropped
		m.Failed = oneOf(g, g.count(sent), g.count(sent), sent-g.count(sent)) // That is OK may be compared, too.
	}
	m.OK = m.Requests - m.Dropped - m.Failed
	kinds := g.split(m.Failed, 3)
	m.InstanceErrors, m.NginxErrors, m.Incomplete = kinds[0], kinds[1], kinds[2]
	m.FailedLater, m.Late = g.count(m.Failed), g.count(m.Requests-m.Dropped)
	g.codes(&m, p)
	g.reasons(&m)
	g.attempts(&m, p)
	m.ServiceTime, m.Latency = g.latencies(m.OK)
	m.FailedServiceTime, m.FailedLatency = g.latencies(m.Failed - m.Reasons[record.InFlightLimit]) // Those were never sent.
	m.Lateness, _ = g.latencies(m.Requests - m.Dropped)
	g.recovery(&m, p.length)
	g.machine(&m)
	return m
}

// rest fills what no other rule does.
func (g *generator) rest(v reflect.Value, p plan) {
	switch {
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "Requests" {
				g.rest(v.Field(i), p)
			}
		}
	case v.Kind() == reflect.Int:
		v.SetInt(int64(g.count(p.requests)))
	case v.Kind() == reflect.Float64:
		v.SetFloat(g.fraction())
	case v.Kind() == reflect.Bool:
		v.SetBool(g.IntN(2) == 0)
	}
}

// machine is what the system and its machine could do.
func (g *generator) machine(m *measure.Metrics) {
	s := &m.Saturation
	s.Peak = min(s.Peak, float64(m.OK))
	if s.Saturated = s.Saturated && !g.ideal; s.Saturated {
		s.Knee = oneOf(g, nil, new(min(g.fraction(), float64(m.Requests))), new(float64(g.count(m.Requests))))
	} else {
		s.Knee = nil
	}
	m.RunDelay, m.OtherCPUs = new(min(1, g.fraction())), new(g.fraction())
	m.NginxCPUs, m.InstanceCPUs = new(g.fraction()), new(g.fraction())
}

// fraction is a number around a literal, or from 0 to 1000.
func (g *generator) fraction() float64 {
	if len(g.numbers) > 0 && g.IntN(2) == 0 {
		literal := oneOf(g, g.numbers...)
		return max(0, oneOf(g, literal, literal*0.9, literal*1.1, literal-1, literal+1))
	}
	return oneOf(g, 0, 1, g.Float64(), 1000*g.Float64())
}

// codes are how requests ended that got a response; over gRPC all have a code.
func (g *generator) codes(m *measure.Metrics, p plan) {
	good, bad := []string{"200"}, []string{"500", "502", "503", "504", "404", "429"}
	if p.protocol == scenario.GRPC {
		good, bad = []string{codes.OK.String()}, nil
		for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
			bad = append(bad, code.String())
		}
	}
	if p.protocol == "" {
		good = append(good, codes.OK.String())
		bad = append(bad, codes.Unavailable.String(), codes.DeadlineExceeded.String())
	}
	for _, key := range g.keys {
		switch _, never := unknownKey(codeCounts, key, p.protocol, nil); {
		case never || key == codes.OK.String():
		case key[0] == '2':
			good = append(good, key)
		default:
			bad = append(bad, key, key)
		}
	}
	failed := m.InstanceErrors + m.NginxErrors
	if p.protocol == scenario.GRPC {
		failed = m.Failed
	}
	add := func(n int, all []string) {
		for _, part := range g.split(n, 2) {
			if part > 0 {
				m.Codes[oneOf(g, all...)] += part
			}
		}
	}
	add(m.OK, good)
	add(failed, bad)
}

// reasons are why requests were incomplete or dropped.
func (g *generator) reasons(m *measure.Metrics) {
	if m.Dropped > 0 {
		m.Reasons[record.Overdue] = m.Dropped
	}
	all := slices.Clone(record.Reasons)
	for _, key := range g.keys {
		if slices.Contains(record.Reasons, key) {
			all = append(all, key, key, key, key)
		}
	}
	for _, part := range g.split(m.Incomplete, 2) {
		reason := oneOf(g, all...)
		if reason == record.Overdue {
			reason = record.Deadline
		}
		if part > 0 {
			m.Reasons[reason] += part
		}
	}
}

// attempts are what became of requests on the way.
func (g *generator) attempts(m *measure.Metrics, p plan) {
	sent := m.Requests - m.Dropped - m.Reasons[record.InFlightLimit]
	responses := m.OK + m.InstanceErrors + m.NginxErrors
	m.ClientAttempts, m.NginxAttempts, m.Executions, m.FailedAttempts, m.InDoubt, m.NotExecuted, m.Duplicated = sent, sent, sent, 0, 0, 0, 0
	m.NoLiveUpstreams, m.LocalReplies = 0, m.NginxErrors
	m.Cached, m.Unlogged = g.count(sent), g.count(sent)
	m.Amplification = nil
	if !g.calm || !g.ideal && g.IntN(3) == 0 {
		m.ClientAttempts = responses + g.count(p.attempts*sent)
		most := max(3, p.attempts) * sent
		m.NginxAttempts = g.count(most)
		if len(g.numbers) > 0 && g.IntN(2) == 0 {
			m.NginxAttempts = max(0, min(most, int(oneOf(g, g.numbers...)*float64(sent))+g.IntN(3)-1))
		}
		m.NotExecuted = g.count(sent)
		m.Duplicated = g.count(sent - m.NotExecuted)
		m.Executions = max(sent-m.NotExecuted+m.Duplicated, oneOf(g, 0, g.count(most)))
		m.FailedAttempts = g.count(m.NginxAttempts)
		m.InDoubt = g.count(m.FailedAttempts)
		m.NoLiveUpstreams, m.LocalReplies = g.count(sent), m.NginxErrors+g.count((p.attempts-1)*sent)
	}
	if sent > 0 {
		m.Amplification = new(float64(m.NginxAttempts) / float64(sent))
	}
	share := g.share()
	first, ok := shares(m.NginxAttempts, len(p.instances), share), shares(m.OK, len(p.instances), share)
	if !g.calm || !g.ideal && g.IntN(2) == 0 {
		first, ok = g.split(m.NginxAttempts, len(p.instances)), g.split(m.OK, len(p.instances))
	}
	m.FirstAttempts, m.OKByInstance = measure.InstanceCounts{}, measure.InstanceCounts{}
	for i, name := range p.instances {
		m.FirstAttempts[name], m.OKByInstance[name] = first[i], ok[i]
	}
	m.RoundRobin = measure.RoundRobin{
		WholeUpstream: p.whole, Spread: slices.Max(first) - slices.Min(first), Configurations: 1, Workers: p.workers, Instances: len(p.instances),
	}
	if !g.ideal && g.IntN(2) == 0 {
		m.RoundRobin.BoundaryRequests, m.RoundRobin.Configurations = g.count(m.Requests), 1+g.count(999)
		m.RoundRobin.Others = oneOf(g, 0, g.count(m.Requests))
	}
}

// latencies are two distributions of n times, no value of the first above that of the second.
func (g *generator) latencies(n int) (service, latency measure.Latency) {
	if n == 0 {
		return measure.Latency{}, measure.Latency{}
	}
	values := make([]time.Duration, 6)
	for i := range values {
		values[i] = g.time()
	}
	if g.IntN(3) == 0 { // All alike, or about so.
		for i := range values[1:] {
			values[i+1] = values[0]
		}
	}
	slices.Sort(values)
	distribution := func(values []time.Duration) measure.Latency {
		mean := values[2]
		l := measure.Latency{Count: n, Mean: &mean, Max: &values[5]}
		for i, of := range []struct {
			needs int
			value **time.Duration
		}{{2, &l.P50}, {10, &l.P90}, {100, &l.P99}, {1000, &l.P999}} {
			if n >= of.needs {
				*of.value = &values[i+1]
			}
		}
		return l
	}
	delayed := slices.Clone(values)
	if g.IntN(2) == 0 {
		more := g.time()
		for i := range delayed {
			delayed[i] = min(time.Hour, delayed[i]+more)
		}
	}
	return distribution(values), distribution(delayed)
}

// recovery is when requests failed and when that was over.
func (g *generator) recovery(m *measure.Metrics, length time.Duration) {
	m.Recovery = measure.Recovery{Failed: m.Failed > 0, FairResponses: m.Recovery.FairResponses}
	r := &m.Recovery
	within := func(d time.Duration) *time.Duration { return new(max(0, min(d, length-time.Millisecond))) }
	if r.Failed {
		r.FirstFailure, r.LastFailure = within(g.time()), within(oneOf(g, g.time(), time.Duration(g.Float64()*float64(length))))
		if *r.FirstFailure > *r.LastFailure {
			r.FirstFailure, r.LastFailure = r.LastFailure, r.FirstFailure
		}
		if after := *r.LastFailure + oneOf(g, time.Millisecond, g.time()); m.OK > 0 && after < length {
			r.Recovered, r.FirstSuccess = true, &after
		}
	}
	if r.FairAtEnd = g.calm || g.IntN(2) == 0; r.FairAtEnd {
		r.FairSince = new(within(oneOf(g, 0, g.time(), g.time())).Truncate(time.Second))
	}
}
