// Package identity gives a process an identity for mutual TLS: a certificate with a SPIFFE ID in its URI SAN, as Istio and SPIRE issue
// them, and the authorities that it trusts. All come from files, which it reads again when they change, so that certificates rotate
// without a restart. It uses the standard library alone, and can be copied as it is.
//
//	own, err := identity.New(identity.Files{Cert: "own.pem", Key: "own.pem", CA: "ca.pem"}, log)
//	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(own.Server(callers, tls.VersionTLS13, "h2"))))
//
// A file must be replaced by rename, or it is seen half written. Where certificate and key are in two files, they are two renames, and
// the pair between them does not fit: that is logged, the old pair stays, and the second rename is seen like any other. One combined file
// avoids that.
package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// PollInterval is how often files are looked at, and no more often than there are handshakes.
const PollInterval = 200 * time.Millisecond

// Files are the PEM files of an identity. Cert and Key may be one combined file.
type Files struct {
	Cert, Key string // the own certificate with its chain, and its key
	CA        string // the authorities whose certificates are accepted
}

// A FileError is a file that does not hold what it should.
type FileError struct {
	Field string // of Files
	Err   error
}

// Error names the field.
func (e *FileError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// Check returns a FileError for each file that is wrong, joined.
func (f Files) Check() error {
	_, err := f.load()
	return err
}

// An Identity is what the files hold now. Its methods may be called at the same time.
type Identity struct {
	files Files
	log   *slog.Logger

	mu      sync.Mutex
	checked time.Time     // when the files were last looked at
	stamps  []os.FileInfo // of the files when they were last read
	now     loaded
}

// loaded is what the files held when they were read without an error.
type loaded struct {
	certificate tls.Certificate
	authorities *x509.CertPool
}

// New reads the files. Later errors in them go to log, and what was read before stays.
func New(f Files, log *slog.Logger) (*Identity, error) {
	i := &Identity{files: f, log: log, checked: time.Now(), stamps: f.stamps()}
	var err error
	i.now, err = f.load()
	return i, err
}

func (f Files) load() (loaded, error) {
	var l loaded
	var errs []error
	cert, err := os.ReadFile(f.Cert)
	if err != nil {
		errs = append(errs, &FileError{"Cert", err})
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		errs = append(errs, &FileError{"Key", err})
	}
	if len(errs) == 0 {
		if l.certificate, err = tls.X509KeyPair(cert, key); err != nil {
			errs = append(errs, &FileError{"Cert", fmt.Errorf("certificate and key: %w", err)})
		} else if Of(l.certificate.Leaf) == "" {
			errs = append(errs, &FileError{"Cert", errors.New("the certificate has no SPIFFE ID, a URI like spiffe://trivet/whoami")})
		}
	}
	authorities, err := os.ReadFile(f.CA)
	l.authorities = x509.NewCertPool()
	if err != nil {
		errs = append(errs, &FileError{"CA", err})
	} else if !l.authorities.AppendCertsFromPEM(authorities) {
		errs = append(errs, &FileError{"CA", errors.New("no certificate in it")})
	}
	return l, errors.Join(errs...)
}

// stamps show whether a file has changed. That of a missing file is nil.
func (f Files) stamps() []os.FileInfo {
	var all []os.FileInfo
	for _, path := range []string{f.Cert, f.Key, f.CA} {
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		all = append(all, info)
	}
	return all
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// current is what the files held at most PollInterval ago.
func (i *Identity) current() loaded {
	i.mu.Lock()
	defer i.mu.Unlock()
	if time.Since(i.checked) < PollInterval {
		return i.now
	}
	i.checked = time.Now()
	stamps := i.files.stamps() // Before the files are read: a change in between is seen next time.
	if slices.EqualFunc(stamps, i.stamps, sameFile) {
		return i.now
	}
	i.stamps = stamps
	l, err := i.files.load()
	if err != nil {
		i.log.Error("certificate files changed, and are wrong: the old ones stay in use", "error", err.Error())
		return i.now
	}
	i.now = l
	i.log.Info("certificate files changed", "identity", Of(l.certificate.Leaf), "expires", l.certificate.Leaf.NotAfter.Format(time.RFC3339))
	return l
}

// Certificate returns the own certificate as it is now.
func (i *Identity) Certificate() *x509.Certificate { return i.current().certificate.Leaf }

// Server returns the configuration of a listener that accepts only callers with a certificate of a trusted authority and one of these
// identities, over TLS from version lowest on. protocols are for ALPN: h2 for gRPC, http/1.1.
//
// Over TLS 1.3 a caller learns that it is refused only after it may have sent a request; over 1.2 within the handshake.
func (i *Identity) Server(callers Callers, lowest uint16, protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: lowest,
		NextProtos: protocols,
		// Each handshake gets a configuration of its own, with the files as they are then. It needs protocols, too.
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now := i.current()
			return &tls.Config{
				MinVersion:   lowest,
				NextProtos:   protocols,
				Certificates: []tls.Certificate{now.certificate},
				ClientAuth:   tls.RequireAndVerifyClientCert,
				ClientCAs:    now.authorities,
				// VerifyConnection also runs where a session is resumed, VerifyPeerCertificate does not.
				VerifyConnection: func(s tls.ConnectionState) error {
					id := Of(s.PeerCertificates[0])
					if !callers.Allow(id) {
						i.log.Warn("caller refused: its identity may not call", "identity", id, "name", s.PeerCertificates[0].Subject.CommonName)
						return fmt.Errorf("identity %q is not allowed to call", id)
					}
					return nil
				},
			}, nil
		},
	}
}

// Client returns the configuration of connections to a server whose certificate, of a trusted authority, has the name or IP address
// host. The own certificate is sent if the server asks for one.
func (i *Identity) Client(host string) *tls.Config {
	return i.client(host, func(s tls.ConnectionState, o x509.VerifyOptions) error {
		o.DNSName = host
		_, err := s.PeerCertificates[0].Verify(o)
		return err
	})
}

// Peer is Client for servers with the SPIFFE ID id; their names do not matter.
func (i *Identity) Peer(id string) *tls.Config {
	return i.client("", func(s tls.ConnectionState, o x509.VerifyOptions) error {
		if _, err := s.PeerCertificates[0].Verify(o); err != nil {
			return err
		}
		if got := Of(s.PeerCertificates[0]); got != id {
			return fmt.Errorf("the server is %q, want %q", got, id)
		}
		return nil
	})
}

func (i *Identity) client(host string, verify func(tls.ConnectionState, x509.VerifyOptions) error) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: host,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			now := i.current()
			return &now.certificate, nil
		},
		InsecureSkipVerify: true, // VerifyConnection verifies: RootCAs cannot change.
		VerifyConnection: func(s tls.ConnectionState) error {
			o := x509.VerifyOptions{Roots: i.current().authorities, Intermediates: x509.NewCertPool()}
			for _, c := range s.PeerCertificates[1:] {
				o.Intermediates.AddCert(c)
			}
			return verify(s, o)
		},
	}
}

// Of returns the SPIFFE ID in a certificate; "" if it has none, or more than one URI, which SPIFFE forbids.
func Of(c *x509.Certificate) string {
	if len(c.URIs) != 1 || c.URIs[0].Scheme != "spiffe" || c.URIs[0].Host == "" {
		return ""
	}
	return c.URIs[0].String()
}

// Callers are the identities that may call: SPIFFE IDs, of which a * at the end stands for any rest.
type Callers []string

// ParseCallers parses a list separated by commas.
func ParseCallers(list string) (Callers, error) {
	var all Callers
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		id := strings.TrimSuffix(one, "*")
		u, err := url.Parse(id)
		// A * right after the trust domain would also stand for the rest of a longer one.
		if err != nil || u.Scheme != "spiffe" || u.Host == "" || strings.Contains(id, "*") || id != one && u.Path == "" {
			return nil, fmt.Errorf("%q is no SPIFFE ID, like spiffe://trivet/nginx", one)
		}
		all = append(all, one)
	}
	return all, nil
}

// Allow reports whether an identity is among the callers.
func (c Callers) Allow(id string) bool {
	return id != "" && slices.ContainsFunc(c, func(one string) bool {
		prefix, any := strings.CutSuffix(one, "*")
		return id == one || any && strings.HasPrefix(id, prefix)
	})
}
