// Package exporter serves metrics of an nginx to Prometheus, from its access log in the format of nginx/conf/access-log.conf and from its
// stub_status. nginx itself has no counts per upstream server; its log has every attempt.
//
// Memory is bounded whatever clients send: routes and upstream servers, the only labels that are not from a short list, have a limit.
package exporter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// interval is how often the log is looked at.
	interval = 100 * time.Millisecond
	// stopGrace is how long a scrape that runs may take when the exporter ends.
	stopGrace = time.Second
)

// Options describe an nginx.
type Options struct {
	AccessLog string      // path of its access log, which may come later
	FromStart bool        // whether to count what is in the log already; else the count begins with what is appended
	Status    string      // URL of its stub_status; "": none
	TLS       string      // host:port of a TLS listener, for the expiry of its certificate; "": none
	Routes    []string    // patterns of Go's http.ServeMux: the values of the label route; nil: Routes()
	Problem   func(error) // gets an error of the log when it appears; nil: none
}

// An Exporter follows the access log of an nginx.
type Exporter struct {
	registry *prometheus.Registry
	follower *follower
	metrics  *logMetrics
	problem  func(error)
	last     string // problem
}

// New returns an exporter. It begins with what is appended to the log from now on, but reads nothing before [Exporter.Serve].
func New(o Options) (*Exporter, error) {
	var errs []error
	if o.AccessLog == "" {
		errs = append(errs, errors.New("access log is missing: want the path of nginx's access log"))
	}
	if u, err := url.Parse(o.Status); o.Status != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		errs = append(errs, errors.New("status: want a URL of nginx's stub_status, like http://127.0.0.1:7080/nginx_status"))
	}
	if _, port, err := net.SplitHostPort(o.TLS); o.TLS != "" && (err != nil || port == "") {
		errs = append(errs, fmt.Errorf("TLS listener %q: want host:port, like 127.0.0.1:8443", o.TLS))
	}
	if o.Routes == nil {
		o.Routes = Routes()
	}
	r, err := newRouter(o.Routes)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	if o.Problem == nil {
		o.Problem = func(error) {}
	}
	registry := prometheus.NewRegistry()
	m := newLogMetrics(r, registry)
	e := &Exporter{registry: registry, metrics: m, problem: o.Problem, follower: &follower{
		path: o.AccessLog, grace: rotationGrace,
		rotated: m.rotations.Inc, truncated: m.truncations.Inc,
		tooLong: func() { m.lines.Inc(); m.rejected.WithLabelValues(reasonTooLong).Inc() },
	}}
	if info, err := os.Stat(o.AccessLog); err == nil && !o.FromStart {
		e.follower.begin = info.Size()
	}
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "nginx_log_unread_bytes", Help: "Bytes of the access log that have not been read yet: how far the exporter is behind."},
			func() float64 { return float64(e.follower.unread()) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector(),
	)
	if o.Status != "" {
		registry.MustRegister(newStatusCollector(o.Status))
	}
	if o.TLS != "" {
		registry.MustRegister(newCertificateCollector(o.TLS))
	}
	return e, nil
}

// Handler returns the handler of GET /metrics.
func (e *Exporter) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 8}))
	return mux
}

// Serve follows the log and serves /metrics on a listener, which it closes, until ctx ends. What has been logged then is still read.
func (e *Exporter) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: e.Handler(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	ctx, cancel := context.WithCancelCause(ctx)
	var following sync.WaitGroup
	following.Go(func() { e.follow(ctx) })
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	}()
	err := server.Serve(listener)
	cancel(err) // If the listener failed.
	following.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, e.follower.close())
}

// follow reads the log until ctx ends.
func (e *Exporter) follow(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		e.poll(time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			e.poll(time.Now())
			return
		}
	}
}

// poll reads what has been appended, and reports an error once, as long as it stays the same.
func (e *Exporter) poll(now time.Time) {
	err := e.follower.poll(now, e.metrics.observe)
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != e.last && err != nil {
		e.problem(err)
	}
	e.last = text
}
