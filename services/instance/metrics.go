package instance

import (
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"trivet/internal/buildinfo"
	"trivet/internal/connlimit"
)

// otherRoute is the route of requests for what the service does not have: a label for each path would let clients fill the memory.
const otherRoute = "other"

// exemplarInterval is the time between two exemplars of an instance: each costs as much as all the rest of a request's metrics.
const exemplarInterval = 100 * time.Millisecond

// metrics counts calls for Prometheus; a nil metrics counts nothing. It hangs on calls, which sees each request to either listener once: the
// interceptors also run for REST, and would count it as gRPC, and miss what reaches no interceptor.
type metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec   // protocol, route, code
	durations *prometheus.HistogramVec // protocol, route
	inFlight  map[Protocol]prometheus.Gauge
	methods   map[string]bool // of the gRPC server, by full name
	exemplar  atomic.Int64    // when the last one was taken, in nanoseconds
}

// newMetrics returns nil if metrics are off, or if there is no listener to serve them.
func newMetrics(c Config) *metrics {
	if !c.Metrics || c.AdminPort == 0 {
		return nil
	}
	durations := prometheus.HistogramOpts{
		Name: "service_request_duration_seconds", Help: "Time from the arrival of a request to the end of its handler.",
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}
	if c.ClassicBuckets {
		durations.Buckets = prometheus.DefBuckets
	}
	m := &metrics{
		registry:  prometheus.NewRegistry(),
		requests:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "service_requests_total", Help: "Requests that have ended, by the gRPC code or the HTTP status."}, []string{"protocol", "route", "code"}),
		durations: prometheus.NewHistogramVec(durations, []string{"protocol", "route"}),
		inFlight:  make(map[Protocol]prometheus.Gauge),
	}
	inFlight := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "service_requests_in_flight", Help: "Requests that are running, streams included."}, []string{"protocol"})
	for _, p := range []Protocol{HTTP, GRPC} {
		m.inFlight[p] = inFlight.WithLabelValues(string(p))
	}
	m.registry.MustRegister(m.requests, m.durations, inFlight,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	return m
}

// begin counts the arrival of a call. traceparent returns that of the request.
func (m *metrics) begin(c *Call, traceparent func() string) {
	if m == nil {
		return
	}
	m.inFlight[c.Protocol].Inc()
	c.trace = traceID(traceparent())
	if m.methods[c.Method] {
		c.route = c.Method
	}
}

// end counts its end. The histogram gets the trace of now and then a request as an exemplar.
func (m *metrics) end(c *Call, code string) {
	if m == nil {
		return
	}
	if c.route == "" {
		c.route = otherRoute
	}
	took := time.Since(c.Began)
	m.inFlight[c.Protocol].Dec()
	m.requests.WithLabelValues(string(c.Protocol), c.route, code).Inc()
	duration := m.durations.WithLabelValues(string(c.Protocol), c.route)
	if last, now := m.exemplar.Load(), c.Began.Add(took).UnixNano(); c.trace != "" && now-last >= int64(exemplarInterval) && m.exemplar.CompareAndSwap(last, now) {
		duration.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": c.trace})
		return
	}
	duration.Observe(took.Seconds())
}

// traceID returns the trace ID in a traceparent (W3C Trace Context); "" if that is not valid.
func traceID(traceparent string) string {
	if len(traceparent) < 55 || traceparent[:3] != "00-" || traceparent[35] != '-' {
		return ""
	}
	id := traceparent[3:35]
	if strings.Trim(id, "0123456789abcdef") != "" || strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}

// handler serves /metrics.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 8})
}

// drainStates are the values of the label state of service_drain_state, in their order.
var drainStates = []string{"serving", "waiting", "closing", "canceling"}

// observe adds what the instance knows beside its calls.
func (m *metrics) observe(i *instance) {
	if m == nil {
		return
	}
	m.methods = make(map[string]bool)
	for method := range i.unaryMethods {
		m.methods[method] = true
	}
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	counter := func(name, help string, labels prometheus.Labels, value *atomic.Int64) {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value.Load()) }))
	}
	is := func(yes bool) float64 {
		if yes {
			return 1
		}
		return 0
	}
	c := i.config
	gauge("service_info", "What runs here: always 1.", prometheus.Labels{"service": c.Service, "name": c.Instance, "environment": c.Environment, "version": buildinfo.String()},
		func() float64 { return 1 })
	gauge("service_ready", "Whether the instance accepts requests: 1 or 0.", nil, func() float64 { return is(i.ready.Load()) })
	for n, state := range drainStates {
		gauge("service_drain_state", "1 for the state of the shutdown, 0 for the others.", prometheus.Labels{"state": state},
			func() float64 { return is(i.drain.state() == n) })
	}
	counter("service_drain_streams_ended_total", "Streams that the shutdown has ended.", nil, &i.drain.streamsEnded)
	counter("service_drain_calls_canceled_total", "Unary calls that outlived DRAIN_TIMEOUT.", nil, &i.drain.callsCanceled)
	counter("service_panics_total", "Handlers that panicked.", nil, &i.panics.count)
	for name, l := range map[string]*limit{"unary_calls": &i.unaryCalls, "streams": &i.streams, "health_streams": &i.healthStreams} {
		labels := prometheus.Labels{"limit": name}
		gauge(limitName, limitHelp, labels, func() float64 { return float64(l.most) })
		gauge(inUseName, inUseHelp, labels, func() float64 { return float64(l.running.Load()) })
		counter("service_limit_rejected_total", "Calls that were refused because a limit was reached.", labels, &l.rejected)
	}
	if i.identity != nil {
		gauge("service_certificate_expiry_timestamp_seconds", "When the instance's certificate expires.", nil,
			func() float64 { return float64(i.identity.Certificate().NotAfter.Unix()) })
	}
}

const (
	limitName, limitHelp = "service_limit", "How many there may be at once."
	inUseName, inUseHelp = "service_limit_in_use", "How many there are now."
)

// connections adds the limits of connections of the listeners: HTTP's and gRPC's, in this order.
func (m *metrics) connections(listeners []*connlimit.Listener) {
	if m == nil {
		return
	}
	for n, l := range listeners {
		labels := prometheus.Labels{"limit": []string{"http_connections", "grpc_connections"}[n]}
		m.registry.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: limitName, Help: limitHelp, ConstLabels: labels}, func() float64 { return float64(l.Limit()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: inUseName, Help: inUseHelp, ConstLabels: labels}, func() float64 { return float64(l.Open()) }))
	}
}
