package identity_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trivet/lab/authority"
	"trivet/services/identity"
)

// party is one side of connections, with its certificate in a file.
type party struct {
	*identity.Identity
	name string
	log  *log
}

// log collects what is logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newAuthority(t *testing.T) *authority.Authority {
	t.Helper()
	a, err := authority.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *authority.Authority, name string, l authority.Leaf) {
	t.Helper()
	if _, err := a.Issue(name, l); err != nil {
		t.Fatal(err)
	}
}

func newParty(t *testing.T, a *authority.Authority, name string) party {
	t.Helper()
	issue(t, a, name, authority.Standard(name))
	l := &log{}
	i, err := identity.New(identity.Files{Cert: a.Path(name), Key: a.Path(name), CA: a.CA()}, slog.New(slog.NewTextHandler(l, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return party{i, name, l}
}

// serve accepts connections until the test ends, and sends each what it reads.
func (p party) serve(t *testing.T, callers ...string) (address string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", p.Server(callers, tls.VersionTLS13, "h2"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // An error is the other side's, which notices.
			}()
		}
	}()
	return l.Addr().String()
}

// call exchanges a byte over a connection: only then TLS 1.3 shows whether a server accepts its client.
func call(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // It fails where the next does.
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

func dial(address string, config *tls.Config) error {
	c, err := tls.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	defer c.Close()
	return call(c)
}

// poll lets the files be looked at again.
func poll() { <-time.After(identity.PollInterval) }

func TestNewCertificatesAreUsedByNewConnections(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	server, client := newParty(t, a, "whoami-1"), newParty(t, a, "nginx")
	address := server.serve(t, "spiffe://trivet/nginx")
	old, err := tls.Dial("tcp", address, client.Client("whoami.mesh"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	before := old.ConnectionState().PeerCertificates[0].SerialNumber
	issue(t, a, "whoami-1", authority.Standard("whoami-1"))
	poll()
	renewed, err := tls.Dial("tcp", address, client.Client("whoami.mesh"))
	if err != nil {
		t.Fatal(err)
	}
	defer renewed.Close()
	if after := renewed.ConnectionState().PeerCertificates[0].SerialNumber; after.Cmp(before) == 0 || server.Certificate().SerialNumber.Cmp(after) != 0 {
		t.Errorf("the certificate is %v, as before", after)
	}
	if err := errors.Join(call(old), call(renewed)); err != nil {
		t.Error(err)
	}
	if p := renewed.ConnectionState().NegotiatedProtocol; p != "" { // The client offered none.
		t.Errorf("protocol %q", p)
	}
}

// What is wrong is logged once, and the old certificate stays.
func TestWrongFilesChangeNothing(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	server, client := newParty(t, a, "whoami-1"), newParty(t, a, "nginx")
	address := server.serve(t, "spiffe://trivet/*")
	if err := os.WriteFile(a.Path("whoami-1"), []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		poll()
		if err := dial(address, client.Client("whoami.mesh")); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(server.log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors logged:\n%s", n, server.log)
	}
	if err := os.Remove(a.CA()); err != nil {
		t.Fatal(err)
	}
	poll()
	if err := dial(address, client.Client("whoami.mesh")); err != nil {
		t.Error(err)
	}
	if !strings.Contains(server.log.String(), "no such file") {
		t.Errorf("the missing file is not logged:\n%s", server.log)
	}
}

// A session that was agreed before is checked again when the authorities have changed.
func TestResumedSessionsAreChecked(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	server, client := newParty(t, a, "whoami-1"), newParty(t, a, "nginx")
	address := server.serve(t, "spiffe://trivet/nginx")
	// A client that keeps its old certificate, and resumes sessions.
	own, err := tls.LoadX509KeyPair(a.Path("nginx"), a.Path("nginx"))
	if err != nil {
		t.Fatal(err)
	}
	stubborn := &tls.Config{
		Certificates: []tls.Certificate{own}, ServerName: "whoami.mesh", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1),
	}
	resumes := func() (bool, error) {
		c, err := tls.Dial("tcp", address, stubborn)
		if err != nil {
			return false, err
		}
		defer c.Close()
		return c.ConnectionState().DidResume, call(c)
	}
	if _, err := resumes(); err != nil {
		t.Fatal(err)
	}
	if resumed, err := resumes(); !resumed || err != nil {
		t.Fatalf("resumed %v, %v", resumed, err)
	}
	if err := a.Add(); err != nil {
		t.Fatal(err)
	}
	issue(t, a, "whoami-1", authority.Standard("whoami-1"))
	poll()
	if err := dial(address, client.Client("whoami.mesh")); err != nil {
		t.Errorf("with both authorities trusted: %v", err)
	}
	if err := a.Retire(); err != nil {
		t.Fatal(err)
	}
	poll()
	if resumed, err := resumes(); err == nil {
		t.Errorf("a certificate of a retired authority is accepted; resumed: %v", resumed)
	}
	issue(t, a, "nginx", authority.Standard("nginx"))
	poll()
	if err := dial(address, client.Client("whoami.mesh")); err != nil {
		t.Errorf("with the new authority alone: %v", err)
	}
}

func TestServersAreVerified(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	server, client := newParty(t, a, "whoami-1"), newParty(t, a, "nginx")
	for want, test := range map[string]struct {
		wrong  string
		config *tls.Config
	}{
		"not front.mesh":                      {"", client.Client("front.mesh")},
		`want "spiffe://trivet/front"`:        {"", client.Peer("spiffe://trivet/front")},
		"signed by unknown authority":         {"other_authority", client.Client("whoami.mesh")},
		"certificate has expired":             {"expired", client.Peer("spiffe://trivet/whoami")},
		"certificate is valid for wrong.mesh": {"wrong_name", client.Client("whoami.mesh")},
	} {
		leaf := authority.Standard("whoami-1")
		if test.wrong != "" {
			var err error
			if leaf, err = leaf.Spoil(test.wrong); err != nil {
				t.Fatal(err)
			}
		}
		issue(t, a, "whoami-1", leaf)
		poll()
		address := server.serve(t, "spiffe://trivet/*")
		if err := dial(address, test.config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestWrongFilesAreReportedTogether(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	issue(t, a, "whoami-1", authority.Standard("whoami-1"))
	issue(t, a, "other", authority.Standard("other"))
	nameless := authority.Standard("whoami-2")
	nameless.URI = ""
	issue(t, a, "whoami-2", nameless)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		files identity.Files
		want  []string
	}{
		{identity.Files{Cert: "/no/cert", Key: "/no/key", CA: "/no/ca"}, []string{"Cert: open /no/cert", "Key: open /no/key", "CA: open /no/ca"}},
		{identity.Files{Cert: a.Path("whoami-1"), Key: a.Path("other"), CA: empty}, []string{"Cert: certificate and key:", "CA: no certificate"}},
		{identity.Files{Cert: empty, Key: empty, CA: a.CA()}, []string{"Cert: certificate and key:"}},
		{identity.Files{Cert: a.Path("whoami-2"), Key: a.Path("whoami-2"), CA: a.CA()}, []string{"Cert: the certificate has no SPIFFE ID"}},
		{identity.Files{Cert: a.Path("whoami-1"), Key: a.Path("whoami-1"), CA: a.CA()}, nil},
	} {
		err := test.files.Check()
		if err == nil && test.want == nil {
			continue
		}
		if err == nil || strings.Count(err.Error(), "\n")+1 != len(test.want) {
			t.Errorf("%+v: %v, want %q", test.files, err, test.want)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: no %q in %v", test.files, want, err)
			}
		}
	}
}

func TestCallers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		list, id string
		want     bool
	}{
		{"spiffe://trivet/nginx", "spiffe://trivet/nginx", true},
		{"spiffe://trivet/nginx", "spiffe://trivet/nginx/2", false},
		{"spiffe://trivet/nginx", "spiffe://trivet/front", false},
		{"spiffe://trivet/front, spiffe://trivet/client/*", "spiffe://trivet/client/a", true},
		{"spiffe://trivet/client/*", "spiffe://trivet/nginx", false},
		{"spiffe://trivet/*", "spiffe://trivet.evil/nginx", false},
		{"spiffe://trivet/*", "", false},
	} {
		callers, err := identity.ParseCallers(test.list)
		if err != nil || callers.Allow(test.id) != test.want {
			t.Errorf("%s allows %q: %v, %v", test.list, test.id, !test.want, err)
		}
	}
	for _, list := range []string{"", "nginx", "*", "spiffe://*", "spiffe://trivet*", "spiffe://trivet/*/a", "https://trivet/nginx", "spiffe://trivet/a,"} {
		if callers, err := identity.ParseCallers(list); err == nil {
			t.Errorf("%q is accepted: %q", list, callers)
		}
	}
}

func TestIdentityOfCertificates(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for uri, want := range map[string]string{"spiffe://trivet/whoami": "spiffe://trivet/whoami", "https://trivet/whoami": "", "": ""} {
		leaf := authority.Standard("whoami-1")
		leaf.URI = uri
		issue(t, a, "whoami-1", leaf)
		pair, err := tls.LoadX509KeyPair(a.Path("whoami-1"), a.Path("whoami-1"))
		if err != nil {
			t.Fatal(err)
		}
		if got := identity.Of(pair.Leaf); got != want {
			t.Errorf("%q: %q", uri, got)
		}
		two := &x509.Certificate{URIs: append(pair.Leaf.URIs, pair.Leaf.URIs...)}
		if got := identity.Of(two); got != "" {
			t.Errorf("with two URIs: %q", got)
		}
	}
}
