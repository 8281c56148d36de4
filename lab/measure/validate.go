package measure

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"trivet/lab/record"
)

// Validate returns an error for each rule that the metrics of a valid trial cannot break, measured or adjusted. Metrics that are made
// up, to try expressions with, keep them too.
func (m Metrics) Validate() error {
	var broken []error
	rule := func(holds bool, what string, args ...any) {
		if !holds {
			broken = append(broken, fmt.Errorf(what, args...))
		}
	}
	m.checkCounts(rule)
	m.checkAttempts(rule)
	m.checkTimes(rule)
	m.checkRecovery(rule)
	return errors.Join(broken...)
}

// A rulebook takes whether a rule holds, and what is wrong if it does not.
type rulebook = func(holds bool, what string, args ...any)

// sent are the requests that the generator sent.
func (m Metrics) sent() int { return m.Requests - m.Dropped - m.Reasons[record.InFlightLimit] }

func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}

func (m Metrics) checkCounts(rule rulebook) {
	rule(m.Requests == m.OK+m.Failed+m.Dropped, "requests is %d: ok %d, failed %d, dropped %d", m.Requests, m.OK, m.Failed, m.Dropped)
	rule(m.Failed == m.InstanceErrors+m.NginxErrors+m.Incomplete, "failed is %d: instance_errors %d, nginx_errors %d, incomplete %d", m.Failed, m.InstanceErrors, m.NginxErrors, m.Incomplete)
	rule(m.FailedLater >= 0 && m.FailedLater <= m.Failed, "failed_later is %d, failed %d", m.FailedLater, m.Failed)
	rule(m.Late <= m.Requests-m.Dropped, "late is %d of %d requests, %d of them dropped", m.Late, m.Requests, m.Dropped)
	codes, reasons := sum(m.Codes), sum(m.Reasons)
	rule(codes >= m.OK && codes <= m.OK+m.Failed, "codes are of %d requests: ok %d, failed %d", codes, m.OK, m.Failed)
	rule(reasons == m.Dropped+m.Incomplete, "reasons are of %d requests: dropped %d, incomplete %d", reasons, m.Dropped, m.Incomplete)
	rule(m.Reasons[record.Overdue] <= m.Dropped && m.Reasons[record.InFlightLimit] <= m.Incomplete, "reasons are %v: dropped %d, incomplete %d", m.Reasons, m.Dropped, m.Incomplete)
	rule(sum(m.OKByInstance) <= m.OK, "ok_by_instance is %v, ok %d", m.OKByInstance, m.OK)
	for name, n := range map[string]int{
		"requests": m.Requests, "dropped": m.Dropped, "late": m.Late, "ok": m.OK, "instance_errors": m.InstanceErrors, "nginx_errors": m.NginxErrors, "incomplete": m.Incomplete,
		"client_attempts": m.ClientAttempts, "nginx_attempts": m.NginxAttempts, "executions": m.Executions, "duplicated": m.Duplicated, "not_executed": m.NotExecuted,
		"in_doubt": m.InDoubt, "no_live_upstreams": m.NoLiveUpstreams, "local_replies": m.LocalReplies,
	} {
		rule(n >= 0, "%s is %d", name, n)
	}
}

func (m Metrics) checkAttempts(all rulebook) {
	sent := m.sent()
	rule := all
	of := func(metric string) { // What is unknown breaks no rule.
		rule = func(holds bool, what string, args ...any) { all(holds || m.Unknown(metric) != "", what, args...) }
	}
	rule(m.ClientAttempts >= m.OK+m.InstanceErrors+m.NginxErrors, "client_attempts is %d: of %d requests a response came", m.ClientAttempts, m.OK+m.InstanceErrors+m.NginxErrors)
	of("nginx_attempts")
	rule((m.Amplification == nil) == (sent == 0), "amplification is %v of %d sent requests", m.Amplification, sent)
	if m.Amplification != nil && sent > 0 {
		rule(*m.Amplification == float64(m.NginxAttempts)/float64(sent), "amplification is %g: %d attempts for %d requests", *m.Amplification, m.NginxAttempts, sent)
	}
	of("executions")
	rule(m.NotExecuted+m.Duplicated <= sent, "not_executed is %d, duplicated %d, of %d sent requests", m.NotExecuted, m.Duplicated, sent)
	rule(m.Executions >= sent-m.NotExecuted+m.Duplicated, "executions is %d: %d sent requests, not_executed %d, duplicated %d", m.Executions, sent, m.NotExecuted, m.Duplicated)
	rule(m.Cached >= 0 && m.Cached <= sent && m.Unlogged >= 0 && m.Unlogged <= sent, "cached is %d, unlogged %d, of %d sent requests", m.Cached, m.Unlogged, sent)
	rule(m.InDoubt <= m.FailedAttempts && m.FailedAttempts <= m.NginxAttempts, "in_doubt is %d, failed_attempts %d, nginx_attempts %d", m.InDoubt, m.FailedAttempts, m.NginxAttempts)
	rule(sum(m.FirstAttempts) <= m.NginxAttempts, "first_attempts is %v, nginx_attempts %d", m.FirstAttempts, m.NginxAttempts)
	of("round_robin.spread")
	r := m.RoundRobin
	rule(r.Configurations >= 1 && r.Workers >= 1 && r.Instances >= 0 && r.BoundaryRequests >= 0, "round_robin is %+v", r)
	counts := slices.Collect(maps.Values(m.FirstAttempts))
	for len(counts) < r.Instances {
		counts = append(counts, 0)
	}
	if len(counts) > 0 {
		rule(r.Spread == slices.Max(counts)-slices.Min(counts), "round_robin.spread is %d of first_attempts %v", r.Spread, m.FirstAttempts)
	}
}

// apart is by how much two values of a histogram may be in the wrong order: they have three digits, and records are cut to microseconds.
func apart(d time.Duration) time.Duration { return d/1000 + 3*time.Microsecond }

func (m Metrics) checkTimes(rule rulebook) {
	failed := m.Failed - m.Reasons[record.InFlightLimit] // What was never sent took no time.
	for _, of := range []struct {
		name  string
		count int
		Latency
	}{
		{"latency", m.OK, m.Latency}, {"service_time", m.OK, m.ServiceTime}, {"failed_latency", failed, m.FailedLatency},
		{"failed_service_time", failed, m.FailedServiceTime}, {"lateness", m.Requests - m.Dropped, m.Lateness},
	} {
		rule(of.Count == of.count, "%s.count is %d of %d requests", of.name, of.Count, of.count)
		of.Latency.check(of.name, rule)
	}
	for _, pair := range [][2]Latency{{m.ServiceTime, m.Latency}, {m.FailedServiceTime, m.FailedLatency}} {
		part, whole := pair[0].values(), pair[1].values()
		for i, name := range latencyNames {
			if part[i] != nil && whole[i] != nil {
				rule(*part[i] <= *whole[i]+apart(*whole[i]), "%s of the service time is %v, of the latency %v", name, *part[i], *whole[i])
			}
		}
	}
}

// latencyNames are those of Latency.values.
var latencyNames = []string{"mean", "p50", "p90", "p99", "p999", "max"}

func (l Latency) values() []*time.Duration {
	return []*time.Duration{l.Mean, l.P50, l.P90, l.P99, l.P999, l.Max}
}

func (l Latency) check(name string, rule rulebook) {
	rule((l.Mean != nil) == (l.Count > 0) && (l.Max != nil) == (l.Count > 0), "%s has %d samples, mean %v and max %v", name, l.Count, l.Mean, l.Max)
	for _, p := range percentiles {
		rule((*p.of(&l) != nil) == (l.Count >= p.needs), "%s has %d samples, and %d ‰ has the value %v", name, l.Count, p.mille, *p.of(&l))
	}
	before := time.Duration(0)
	for i, value := range l.values()[1:] { // The mean may be anywhere below the maximum.
		if value != nil {
			rule(*value >= before, "%s.%s is %v, and less than that before it, %v", name, latencyNames[i+1], *value, before)
			before = *value
		}
	}
	if l.Mean != nil && l.Max != nil {
		rule(*l.Mean >= 0 && *l.Mean <= *l.Max, "%s.mean is %v, max %v", name, *l.Mean, *l.Max)
	}
}

func (m Metrics) checkRecovery(rule rulebook) {
	r := m.Recovery
	rule(r.Failed == (m.Failed > 0) && r.Failed == (r.FirstFailure != nil) && r.Failed == (r.LastFailure != nil), "recovery is %+v, failed %d", r, m.Failed)
	rule(r.Recovered == (r.FirstSuccess != nil) && (!r.Recovered || r.Failed && m.OK > 0), "recovery is %+v, failed %d, ok %d", r, m.Failed, m.OK)
	if r.FirstFailure != nil && r.LastFailure != nil {
		rule(*r.FirstFailure <= *r.LastFailure, "recovery.first_failure is %v, last_failure %v", *r.FirstFailure, *r.LastFailure)
	}
	if r.FirstSuccess != nil && r.LastFailure != nil {
		rule(*r.FirstSuccess > *r.LastFailure, "recovery.first_success is %v, last_failure %v", *r.FirstSuccess, *r.LastFailure)
	}
	rule(m.Unknown("recovery.fair_at_end") != "" || r.FairAtEnd == (r.FairSince != nil), "recovery.fair_at_end is %t, fair_since %v", r.FairAtEnd, r.FairSince)
	s := m.Saturation
	rule(s.Peak >= 0 && s.Peak <= float64(m.OK) && (s.Knee == nil || s.Saturated && *s.Knee >= 0 && *s.Knee <= float64(m.Requests)), "saturation is %t, knee %v, peak %g; ok %d", s.Saturated, s.Knee, s.Peak, m.OK)
	rule((m.RunDelay == nil) == (m.OtherCPUs == nil), "run_delay is %v, other_cpus %v", m.RunDelay, m.OtherCPUs)
	rule((m.RunDelay == nil) == (m.NginxCPUs == nil) && (m.RunDelay == nil) == (m.InstanceCPUs == nil), "run_delay is %v, nginx_cpus %v, instance_cpus %v", m.RunDelay, m.NginxCPUs, m.InstanceCPUs)
	if m.NginxCPUs != nil && m.InstanceCPUs != nil {
		rule(*m.NginxCPUs >= 0 && *m.InstanceCPUs >= 0, "nginx_cpus is %g, instance_cpus %g", *m.NginxCPUs, *m.InstanceCPUs)
	}
	if m.RunDelay != nil && m.OtherCPUs != nil {
		rule(*m.RunDelay >= 0 && *m.RunDelay <= 1 && *m.OtherCPUs >= 0, "run_delay is %g, other_cpus %g", *m.RunDelay, *m.OtherCPUs)
	}
}
