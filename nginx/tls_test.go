package nginx

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"trivet/internal/proctest"
	"trivet/lab/authority"
)

// certificates are those of a test: an authority, and the leaves that it has signed, in a directory that nginx can read.
type certificates struct {
	*authority.Authority
	dir string
}

// issued makes an authority that has issued certificates by these names.
func issued(t testing.TB, names ...string) certificates {
	t.Helper()
	dir := filepath.Join(proctest.Passable(t), "tls")
	a, err := authority.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := certificates{a, dir}
	for _, name := range names {
		c.issue(t, name, authority.Standard(name))
	}
	return c
}

func (c certificates) issue(t testing.TB, name string, l authority.Leaf) {
	t.Helper()
	if _, err := c.Issue(name, l); err != nil {
		t.Fatal(err)
	}
}

// client returns the TLS settings of a client that trusts the authority and shows the named certificate, none if it is "".
func (c certificates) client(t testing.TB, name string) *tls.Config {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost", MinVersion: tls.VersionTLS13}
	text, err := os.ReadFile(c.CA())
	if err != nil || !config.RootCAs.AppendCertsFromPEM(text) {
		t.Fatalf("%v, or no certificate in %s", err, c.CA())
	}
	if name != "" {
		pair, err := tls.LoadX509KeyPair(c.Path(name), c.Path(name))
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
		// Without it, a certificate of an authority that the server does not name would not be sent.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return config
}

// edge returns the site's TLS edge on a free address.
func (c certificates) edge(t testing.TB) *EdgeTLS {
	t.Helper()
	return &EdgeTLS{Listen: free(t), Certificate: c.Path("edge"), Key: c.Path("edge"), ClientCA: c.CA()}
}
