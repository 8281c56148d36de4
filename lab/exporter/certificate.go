package exporter

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// handshakeTimeout bounds a handshake: a scrape waits for it.
const handshakeTimeout = time.Second

// A certificateCollector makes a TLS handshake with nginx at each scrape, and reads the certificate that clients get: a file that was
// renewed is not in use before nginx's reload.
type certificateCollector struct {
	address string
	expiry  *prometheus.Desc
}

func newCertificateCollector(address string) *certificateCollector {
	return &certificateCollector{address, prometheus.NewDesc("nginx_certificate_expiry_timestamp_seconds", "When the certificate that nginx shows clients expires.", []string{"listener"}, nil)}
}

// Describe implements [prometheus.Collector].
func (c *certificateCollector) Describe(to chan<- *prometheus.Desc) { to <- c.expiry }

// Collect implements [prometheus.Collector]. Without a handshake there is no metric; nginx_up says more.
func (c *certificateCollector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	defer cancel()
	// Any certificate will do: also one that has expired, or whose authority is unknown here.
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return
	}
	defer conn.Close()
	leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	to <- prometheus.MustNewConstMetric(c.expiry, prometheus.GaugeValue, float64(leaf.NotAfter.Unix()), c.address)
}
