package authority

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func newAuthority(t *testing.T) *Authority {
	t.Helper()
	a, err := New(filepath.Join(t.TempDir(), "tls"))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issue returns the leaf that a reader finds.
func issue(t *testing.T, a *Authority, name string, l Leaf) *x509.Certificate {
	t.Helper()
	path, err := a.Issue(name, l)
	if err != nil {
		t.Fatal(err)
	}
	return load(t, path)
}

// load fails if the certificate and the key of a file do not fit.
func load(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	both, err := tls.X509KeyPair(text, text)
	if err != nil {
		t.Fatal(err)
	}
	return both.Leaf
}

func pool(t *testing.T, a *Authority) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(a.CA())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatalf("%s has no certificate", a.CA())
	}
	return roots
}

func verify(leaf *x509.Certificate, roots *x509.CertPool, dns string, usage x509.ExtKeyUsage) error {
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: dns, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestStandardCertificates(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, test := range []struct {
		name, identity string
		dns            []string
		client, server bool
	}{
		{"nginx", "spiffe://trivet/nginx", []string{"nginx.mesh"}, true, true},
		{"edge", "", []string{"localhost", "http.localhost", "grpc.localhost", "127.0.0.1", "::1"}, false, true},
		{"whoami-12", "spiffe://trivet/whoami", []string{"whoami.mesh"}, true, true},
		{"front-1", "spiffe://trivet/front", []string{"front.mesh"}, true, true},
		{"alice", "spiffe://trivet/client/alice", nil, true, false},
		{"whoami-x", "spiffe://trivet/client/whoami-x", nil, true, false},
	} {
		leaf, roots := issue(t, a, test.name, Standard(test.name)), pool(t, a)
		if leaf.Subject.CommonName != test.name {
			t.Errorf("%s: CN is %q", test.name, leaf.Subject.CommonName)
		}
		if got := (Issued{Certificate: leaf}).Identity(); got != test.identity {
			t.Errorf("%s: identity is %q, want %q", test.name, got, test.identity)
		}
		for _, dns := range test.dns {
			if err := verify(leaf, roots, dns, x509.ExtKeyUsageServerAuth); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		}
		if err := verify(leaf, roots, "", x509.ExtKeyUsageClientAuth); (err == nil) != test.client {
			t.Errorf("%s as a client: %v", test.name, err)
		}
		if err := verify(leaf, roots, "", x509.ExtKeyUsageServerAuth); (err == nil) != test.server {
			t.Errorf("%s as a server: %v", test.name, err)
		}
		if client := !test.server; IsClient(test.name) != client {
			t.Errorf("IsClient(%s) is %v, want %v", test.name, !client, client)
		}
	}
}

func TestKeysAreForTheOwnerAlone(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	issue(t, a, "nginx", Standard("nginx"))
	issue(t, a, "nginx", Standard("nginx"))
	if err := a.Add(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(a.dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, entry.Name())
		want, hasKey := fs.FileMode(0o600), strings.Contains(string(text), "PRIVATE")
		if entry.Name() == "ca.pem" {
			want = 0o644
		}
		if info.Mode() != want || hasKey != (want == 0o600) {
			t.Errorf("%s: mode %v, has a key: %v", entry.Name(), info.Mode(), hasKey)
		}
	}
	if want := []string{"authority-1.pem", "authority-2.pem", "ca.pem", "nginx.pem"}; !slices.Equal(found, want) {
		t.Errorf("the directory has %v, want %v", found, want)
	}
	if info, err := os.Stat(a.dir); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("%v, %v; want mode 0711", info.Mode(), err)
	}
}

func TestRenewalKeepsTheKey(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	first := issue(t, a, "whoami-1", Standard("whoami-1"))
	second := issue(t, a, "whoami-1", Standard("whoami-1"))
	if !slices.Equal(first.RawSubjectPublicKeyInfo, second.RawSubjectPublicKeyInfo) || first.SerialNumber.Cmp(second.SerialNumber) == 0 {
		t.Error("a renewal did not make another certificate for the same key")
	}
	l := Standard("whoami-1")
	l.NewKey = true
	if third := issue(t, a, "whoami-1", l); slices.Equal(first.RawSubjectPublicKeyInfo, third.RawSubjectPublicKeyInfo) {
		t.Error("NewKey kept the key")
	}
	if err := os.WriteFile(a.Path("whoami-1"), []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	issue(t, a, "whoami-1", Standard("whoami-1"))
}

// TestReplacedFilesHaveLaterSeconds is for readers that compare numbers of files and whole seconds, as nginx does: a number may come again.
func TestReplacedFilesHaveLaterSeconds(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	last := map[string]int64{}
	for range 4 {
		issue(t, a, "nginx", Standard("nginx"))
		if err := a.Add(); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{a.CA(), a.Path("nginx")} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if second := info.ModTime().Unix(); second <= last[path] {
				t.Errorf("%s: second %d after %d", path, second, last[path])
			} else {
				last[path] = second
			}
		}
	}
}

// TestAuthorityRotation follows the order of a rotation without loss: trust both, issue anew, trust the new one alone.
func TestAuthorityRotation(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	before := issue(t, a, "nginx", Standard("nginx"))
	if err := a.Retire(); err == nil || !strings.Contains(err.Error(), "add one first") {
		t.Errorf("the only authority was retired: %v", err)
	}
	if err := a.Add(); err != nil {
		t.Fatal(err)
	}
	both := pool(t, a)
	old := Standard("edge")
	old.Authority = 1
	byOld, after := issue(t, a, "edge", old), issue(t, a, "nginx", Standard("nginx"))
	for _, leaf := range []*x509.Certificate{before, byOld, after} {
		if err := verify(leaf, both, "", x509.ExtKeyUsageServerAuth); err != nil {
			t.Errorf("%s while both are trusted: %v", leaf.Subject, err)
		}
	}
	trusted, leaves, err := a.List()
	if err != nil || len(trusted) != 2 || len(leaves) != 2 || leaves[0].Authority != 1 || leaves[1].Authority != 2 {
		t.Errorf("listed %v and %v, %v; want edge of authority 1 and nginx of 2", trusted, leaves, err)
	}
	if err := a.Retire(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(a.Path("authority-1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key of the retired authority: %v, want it gone", err)
	}
	last := pool(t, a)
	if err := verify(after, last, "nginx.mesh", x509.ExtKeyUsageServerAuth); err != nil {
		t.Errorf("a new certificate after the rotation: %v", err)
	}
	for _, leaf := range []*x509.Certificate{before, byOld} {
		if err := verify(leaf, last, "", x509.ExtKeyUsageServerAuth); err == nil {
			t.Errorf("%s, of the retired authority, is still trusted", leaf.Subject)
		}
	}
	if _, err := a.Issue("edge", old); err == nil || !strings.Contains(err.Error(), "number 1") {
		t.Errorf("a retired authority signed: %v", err)
	}
	if err := a.Add(); err != nil {
		t.Fatal(err)
	}
	if trusted, leaves, _ := a.List(); trusted[1].Number != 3 || leaves[0].Authority != 0 {
		t.Errorf("listed %v and %v; want authority 3, as numbers only grow, and edge of none", trusted, leaves)
	}
}

func TestTrustOfOneCanDiffer(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	leaf := issue(t, a, "nginx", Standard("nginx"))
	trusts := func() bool {
		text, err := os.ReadFile(a.TrustedBy("whoami-2"))
		roots := x509.NewCertPool()
		if err != nil || !roots.AppendCertsFromPEM(text) {
			t.Fatalf("%q, %v", text, err)
		}
		return verify(leaf, roots, "", x509.ExtKeyUsageClientAuth) == nil
	}
	for range 2 {
		if err := a.Trust("whoami-2"); err != nil || !trusts() {
			t.Errorf("not trusted, %v", err)
		}
		if err := a.Add(); err != nil {
			t.Fatal(err)
		}
		if leaf = issue(t, a, "nginx", Standard("nginx")); !trusts() {
			t.Error("an authority that was added later is not trusted")
		}
		if err := a.Distrust("whoami-2"); err != nil || trusts() {
			t.Errorf("still trusted, %v", err)
		}
	}
	if _, leaves, err := a.List(); err != nil || len(leaves) != 1 {
		t.Errorf("%v, %v; want one leaf", leaves, err)
	}
}

func TestSpoiledCertificatesAreRefused(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	roots := pool(t, a)
	for wrong, want := range map[string]string{
		"expired":         "expired or is not yet valid: current time 2",
		"not_yet_valid":   "is before",
		"other_authority": "signed by unknown authority",
		"wrong_name":      "not whoami.mesh",
		"no_identity":     "",
	} {
		l, err := Standard("whoami-1").Spoil(wrong)
		if err != nil {
			t.Fatal(err)
		}
		leaf := issue(t, a, "whoami-1", l)
		err = verify(leaf, roots, "whoami.mesh", x509.ExtKeyUsageServerAuth)
		if want == "" {
			if err != nil || len(leaf.URIs) > 0 {
				t.Errorf("%s: %v, %v; want a certificate that is right but for its identity", wrong, err, leaf.URIs)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", wrong, err, want)
		}
	}
	if _, err := Standard("whoami-1").Spoil("rusty"); err == nil {
		t.Error("an unknown kind was taken")
	}
}

func TestInvalidRequestsAreRefused(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, name := range []string{"", "ca", "authority-1", "authority-x", "../nginx", ".new-1", "a b", strings.Repeat("a", 65)} {
		if path, err := a.Issue(name, Standard("nginx")); err == nil {
			t.Errorf("%q was issued as %s", name, path)
		}
	}
	l := Standard("nginx")
	l.NotAfter = time.Now().Add(-time.Hour)
	if _, err := a.Issue("nginx", l); err == nil || !strings.Contains(err.Error(), "before it begins") {
		t.Errorf("a certificate that ends before it begins: %v", err)
	}
	if _, err := New(a.dir); err == nil || !strings.Contains(err.Error(), "has one already") {
		t.Errorf("a second New: %v", err)
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open without an authority: %v", err)
	}
}

// TestReadersFindWholeFiles reads while two programs replace: a file that is torn, or a key that does not fit, fails it.
func TestReadersFindWholeFiles(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	l := Standard("whoami-1")
	l.NewKey = true
	issue(t, a, "whoami-1", l)
	var writers, reader sync.WaitGroup
	done := make(chan struct{})
	reader.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				text, err := os.ReadFile(a.Path("whoami-1"))
				if _, pairErr := tls.X509KeyPair(text, text); err != nil || pairErr != nil {
					t.Errorf("read %d bytes: %v, %v", len(text), err, pairErr)
				}
				if text, err := os.ReadFile(a.CA()); err != nil || !x509.NewCertPool().AppendCertsFromPEM(text) {
					t.Errorf("ca.pem: %q, %v", text, err)
				}
			}
		}
	})
	for range 2 {
		other, err := Open(a.dir)
		if err != nil {
			t.Fatal(err)
		}
		writers.Go(func() {
			for range 20 {
				if _, err := other.Issue("whoami-1", l); err != nil {
					t.Error(err)
				}
				if err := other.Add(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	reader.Wait()
	if trusted, _, err := a.List(); err != nil || len(trusted) != 41 || trusted[40].Number != 41 {
		t.Errorf("%d authorities, %v; want 41: each Add its own", len(trusted), err)
	}
}
