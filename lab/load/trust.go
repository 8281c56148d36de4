package load

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// trust is the authorities in a file, which is read again when it changes: an experiment may replace them while the load runs.
type trust struct {
	file     string
	mu       sync.Mutex
	modified time.Time
	pool     *x509.CertPool
}

// newTrust returns nil for no file.
func newTrust(file string) (*trust, error) {
	if file == "" {
		return nil, nil
	}
	t := &trust{file: file}
	_, err := t.authorities()
	return t, err
}

// authorities are those in the file now.
func (t *trust) authorities() (*x509.CertPool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.file)
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	if info.ModTime().Equal(t.modified) {
		return t.pool, nil
	}
	text, err := os.ReadFile(t.file)
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("read authorities: %s has no certificate", t.file)
	}
	t.pool, t.modified = pool, info.ModTime()
	return pool, nil
}

// config is that of all connections to an address; nil without TLS. Sessions are not resumed, so that each connection costs the same.
func (t *trust) config(address string) (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection verifies: RootCAs cannot change.
		VerifyConnection: func(s tls.ConnectionState) error {
			pool, err := t.authorities()
			if err != nil {
				return err
			}
			others := x509.NewCertPool()
			for _, c := range s.PeerCertificates[1:] {
				others.AddCert(c)
			}
			// Of an address that is no name, s.ServerName is empty.
			_, err = s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: host, Roots: pool, Intermediates: others})
			return err
		},
	}, nil
}
