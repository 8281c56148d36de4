package exporter

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// statusTimeout bounds how long nginx may take to send its status: a scrape waits for it.
const statusTimeout = time.Second

// A statusCollector asks nginx for its status (stub_status) at each scrape.
type statusCollector struct {
	url                                       string
	client                                    http.Client
	up, connections, accepted, handled, asked *prometheus.Desc
}

func newStatusCollector(url string) *statusCollector {
	return &statusCollector{
		url: url,
		client: http.Client{
			Timeout:       statusTimeout,
			Transport:     &http.Transport{DisableKeepAlives: true}, // A worker that a reload replaces would keep the connection.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		up:          prometheus.NewDesc("nginx_up", "Whether nginx sent its status (stub_status): 1 or 0.", nil, nil),
		connections: prometheus.NewDesc("nginx_connections", "Connections of clients, by state.", []string{"state"}, nil),
		accepted:    prometheus.NewDesc("nginx_connections_accepted_total", "Accepted connections of clients.", nil, nil),
		handled:     prometheus.NewDesc("nginx_connections_handled_total", "Handled connections of clients: less than accepted if nginx ran out of them.", nil, nil),
		asked:       prometheus.NewDesc("nginx_http_requests_total", "Requests by nginx's own count, which includes those that it does not log.", nil, nil),
	}
}

// Describe implements [prometheus.Collector].
func (c *statusCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.connections, c.accepted, c.handled, c.asked} {
		to <- d
	}
}

// Collect implements [prometheus.Collector]. Without a status there is only nginx_up.
func (c *statusCollector) Collect(to chan<- prometheus.Metric) {
	s, err := c.get()
	if err != nil {
		to <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, 0)
		return
	}
	c.send(to, s)
}

func (c *statusCollector) send(to chan<- prometheus.Metric, s stubStatus) {
	to <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, 1)
	for state, n := range map[string]uint64{"active": s.active, "reading": s.reading, "writing": s.writing, "waiting": s.waiting} {
		to <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(n), state)
	}
	to <- prometheus.MustNewConstMetric(c.accepted, prometheus.CounterValue, float64(s.accepted))
	to <- prometheus.MustNewConstMetric(c.handled, prometheus.CounterValue, float64(s.handled))
	to <- prometheus.MustNewConstMetric(c.asked, prometheus.CounterValue, float64(s.requests))
}

// stubStatus is the text of stub_status.
type stubStatus struct{ active, accepted, handled, requests, reading, writing, waiting uint64 }

func (c *statusCollector) get() (s stubStatus, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return s, err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return s, fmt.Errorf("%s: %s", c.url, response.Status)
	}
	_, err = fmt.Fscanf(io.LimitReader(response.Body, 4<<10), "Active connections: %d \nserver accepts handled requests\n %d %d %d \nReading: %d Writing: %d Waiting: %d",
		&s.active, &s.accepted, &s.handled, &s.requests, &s.reading, &s.writing, &s.waiting)
	return s, err
}
