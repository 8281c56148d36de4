package measure

import (
	"strings"
	"testing"
	"time"

	"trivet/lab/record"
)

// lawful are metrics of a valid trial.
func lawful(t *testing.T) Metrics {
	t.Helper()
	p := plan(t, time.Second)
	for n := range 300 {
		p.request(time.Duration(n)*time.Millisecond, time.Duration(n+1)*time.Millisecond, record.OK, 1+n%3)
	}
	p.finish()
	m := p.metrics("a")
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	return m
}

// Metrics that break one rule are refused for that.
func TestValidateRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	zero, hour := time.Duration(0), time.Hour
	for want, change := range map[string]func(*Metrics){
		"requests is 301":                func(m *Metrics) { m.Requests++ },
		"failed is 1":                    func(m *Metrics) { m.OK, m.Failed = m.OK-1, 1 },
		"late is 301":                    func(m *Metrics) { m.Late = 301 },
		"codes are of 299":               func(m *Metrics) { m.Codes["200"]-- },
		"reasons are of 1":               func(m *Metrics) { m.Reasons[record.Deadline]++ },
		"ok_by_instance is":              func(m *Metrics) { m.OKByInstance["whoami-1"]++ },
		"in_doubt is -1":                 func(m *Metrics) { m.InDoubt = -1 },
		"client_attempts is 299":         func(m *Metrics) { m.ClientAttempts-- },
		"amplification is 2":             func(m *Metrics) { m.Amplification = new(2.0) },
		"amplification is <nil>":         func(m *Metrics) { m.Amplification = nil },
		"not_executed is 301":            func(m *Metrics) { m.NotExecuted = 301 },
		"executions is 299":              func(m *Metrics) { m.Executions-- },
		"in_doubt is 1, failed_attempts": func(m *Metrics) { m.InDoubt = 1 },
		"first_attempts is":              func(m *Metrics) { m.FirstAttempts["whoami-1"]++ },
		"round_robin.spread is 7":        func(m *Metrics) { m.RoundRobin.Spread = 7 },
		"round_robin is":                 func(m *Metrics) { m.RoundRobin.Configurations = 0 },
		"latency.count is 299":           func(m *Metrics) { m.Latency.Count-- },
		"latency has 300 samples, and 990 ‰ has the value <nil>": func(m *Metrics) { m.Latency.P99 = nil },
		"latency has 300 samples, and 999 ‰":                     func(m *Metrics) { m.Latency.P999 = &hour },
		"latency.p90 is 0s":                                      func(m *Metrics) { m.Latency.P90 = &zero },
		"latency.mean is 1h0m0s":                                 func(m *Metrics) { m.Latency.Mean = &hour },
		"latency has 300 samples, mean 150":                      func(m *Metrics) { m.Latency.Max = nil },
		"p99 of the service time is 1h0m0s":                      func(m *Metrics) { m.ServiceTime.P99 = &hour },
		"recovery is":                                            func(m *Metrics) { m.Recovery.Failed = true },
		"recovery is {Failed:false FirstFailure:<nil>":           func(m *Metrics) { m.Recovery.Recovered = true },
		"cached is 301":                                          func(m *Metrics) { m.Cached = 301 },
		"unlogged 301":                                           func(m *Metrics) { m.Unlogged = 301 },
		"failed_later is 1":                                      func(m *Metrics) { m.FailedLater = 1 },
		"saturation is false, knee 0x":                           func(m *Metrics) { m.Saturation.Knee = new(1.0) },
		"peak 301":                                               func(m *Metrics) { m.Saturation.Peak = 301 },
		"run_delay is 2": func(m *Metrics) {
			m.RunDelay, m.OtherCPUs, m.NginxCPUs, m.InstanceCPUs = new(2.0), new(0.0), new(0.0), new(0.0)
		},
		"other_cpus <nil>":              func(m *Metrics) { m.RunDelay = new(0.0) },
		"recovery.fair_at_end is false": func(m *Metrics) { m.Recovery.FairAtEnd = false },
	} {
		m := lawful(t)
		if change(&m); m.Validate() == nil || !strings.Contains(m.Validate().Error(), want) {
			t.Errorf("%v, want %q", m.Validate(), want)
		}
	}
}
