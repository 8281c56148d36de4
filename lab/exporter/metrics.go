package exporter

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trivet/lab/record"
)

// maxServers bounds the label server: an nginx that resolves names of clients' choice could have any number of upstream servers.
const maxServers = 1000

// Reasons for which a line of the access log is rejected.
const (
	reasonMalformed = "malformed"
	reasonVersion   = "version"
	reasonTooLong   = "too_long"
)

// logMetrics are the metrics that come from the access log.
type logMetrics struct {
	router  router
	servers map[string]bool

	requests, attempts, retries, clientRetries, local, received, sent, rejected *prometheus.CounterVec
	lines, rotations, truncations                                               prometheus.Counter
	newest                                                                      prometheus.Gauge
	durations, upstream                                                         *prometheus.HistogramVec
}

func newLogMetrics(r router, to prometheus.Registerer) *logMetrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		to.MustRegister(c)
		return c
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(native(name, help), labels)
		to.MustRegister(h)
		return h
	}
	m := &logMetrics{
		router: r, servers: make(map[string]bool),
		requests:      counter("nginx_requests_total", "Requests, by the HTTP status or the gRPC code that nginx sent.", "protocol", "route", "code"),
		durations:     histogram("nginx_request_duration_seconds", "Time from the first byte of a request to the last of its response, to the millisecond.", "protocol", "route"),
		attempts:      counter("nginx_upstream_attempts_total", "Attempts at upstream servers, by what became of them.", "protocol", "server", "outcome"),
		upstream:      histogram("nginx_upstream_duration_seconds", "Time of an attempt that got a response header, to the end of the response, to the millisecond.", "protocol", "server"),
		retries:       counter("nginx_retries_total", "Attempts beyond the first of a request.", "protocol"),
		clientRetries: counter("nginx_client_retries_total", "Requests that a client marked as a retry (grpc-previous-rpc-attempts).", "protocol"),
		local:         counter("nginx_local_replies_total", "Responses that nginx generated itself, by the HTTP status that stands for the reason.", "protocol", "status"),
		received:      counter("nginx_received_bytes_total", "Bytes received from clients.", "protocol"),
		sent:          counter("nginx_sent_bytes_total", "Bytes sent to clients.", "protocol"),
		rejected:      counter("nginx_log_rejected_lines_total", "Lines of the access log that are no entries.", "reason"),
		lines:         prometheus.NewCounter(prometheus.CounterOpts{Name: "nginx_log_lines_total", Help: "Lines read from the access log."}),
		rotations:     prometheus.NewCounter(prometheus.CounterOpts{Name: "nginx_log_rotations_total", Help: "Times that another file took the name of the access log."}),
		truncations:   prometheus.NewCounter(prometheus.CounterOpts{Name: "nginx_log_truncations_total", Help: "Times that the access log became shorter."}),
		newest:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "nginx_log_newest_timestamp_seconds", Help: "End of the newest request that was read from the access log."}),
	}
	to.MustRegister(m.lines, m.rotations, m.truncations, m.newest)
	m.preset()
	return m
}

// preset makes series that alerts and ratios need before their first event: a rate does not see the step from no series to 1.
func (m *logMetrics) preset() {
	for _, reason := range []string{reasonMalformed, reasonVersion, reasonTooLong} {
		m.rejected.WithLabelValues(reason)
	}
	for _, protocol := range []string{protocolHTTP, protocolGRPC} {
		for _, c := range []*prometheus.CounterVec{m.retries, m.clientRetries, m.received, m.sent} {
			c.WithLabelValues(protocol)
		}
	}
}

// native returns the options of a native histogram: buckets 10 % wide, at most 160 of them.
func native(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}
}

// observe counts a line of the access log.
func (m *logMetrics) observe(line []byte) {
	defer m.lines.Inc() // Last, so that a line that is counted is counted everywhere.
	e, err := parse(line)
	if errors.Is(err, errVersion) {
		m.rejected.WithLabelValues(reasonVersion).Inc()
		return
	} else if err != nil {
		m.rejected.WithLabelValues(reasonMalformed).Inc()
		return
	}
	protocol := e.protocol()
	route := m.router.route(e.Method, e.URI)
	m.requests.WithLabelValues(protocol, route, e.code(protocol)).Inc()
	m.durations.WithLabelValues(protocol, route).Observe(max(0, e.Duration))
	m.received.WithLabelValues(protocol).Add(float64(e.Received))
	m.sent.WithLabelValues(protocol).Add(float64(e.Sent))
	m.newest.Set(e.End)
	if e.PreviousAttempts != "" {
		m.clientRetries.WithLabelValues(protocol).Inc()
	}
	if e.Error != "" {
		m.local.WithLabelValues(protocol, httpStatus(e.Error)).Inc()
	}
	made := 0
	for _, a := range e.attempts {
		m.attempt(protocol, a)
		if a.Fate != record.NoLive {
			made++
		}
	}
	if made > 1 {
		m.retries.WithLabelValues(protocol).Add(float64(made - 1))
	}
}

func (m *logMetrics) attempt(protocol string, a attempt) {
	server, result := a.Addr, outcome(a.Attempt)
	if !m.servers[server] {
		if len(m.servers) < maxServers {
			m.servers[server] = true
		} else {
			server = other
		}
		for _, o := range []string{outcomeResponse, outcomeRefused, outcomeTimeout, outcomeInDoubt, outcomeCanceled} {
			if result != outcomeNoLive { // As in preset: its first failure is a step from 0.
				m.attempts.WithLabelValues(protocol, server, o)
			}
		}
	}
	m.attempts.WithLabelValues(protocol, server, result).Inc()
	if result == outcomeResponse && a.known {
		m.upstream.WithLabelValues(protocol, server).Observe(max(0, a.took))
	}
}
