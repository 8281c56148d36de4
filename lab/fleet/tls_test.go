package fleet

import (
	"bytes"
	"context"
	"crypto/tls"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/lab/authority"
	"trivet/lab/record"
)

func TestFleetWithTLSServesBothProtocols(t *testing.T) {
	t.Parallel()
	for name, with := range map[string]struct{ tls, mtls bool }{"TLS": {true, false}, "mutual TLS": {false, true}, "both": {true, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t, 2)
			o.TLS, o.MTLS = with.tls, with.mtls
			f := begin(t, o)
			if instanceAt(t, f.HTTP()) == "" {
				t.Error("no response over plain HTTP")
			}
			if got := f.TLS() != "" && f.CA() != ""; got != with.tls {
				t.Errorf("TLS at %q, trusted by %q", f.TLS(), f.CA())
			}
			if with.tls {
				trusted, err := f.trust()
				if err != nil {
					t.Fatal(err)
				}
				if status, instance, err := get(t.Context(), trusted, f.TLS(), "/", "test"); status != http.StatusOK || !strings.HasPrefix(instance, "whoami-") {
					t.Errorf("over TLS: %d from %q, %v", status, instance, err)
				}
				if _, _, err := get(t.Context(), &tls.Config{}, f.TLS(), "/", "test"); err == nil {
					t.Error("without the fleet's authority nginx is trusted")
				}
			}
			// An instance speaks either plain HTTP, or TLS to those that have an identity.
			p := f.Process("whoami-1")
			if got := instanceAt(t, p.HTTP()) == "whoami-1"; got == with.mtls {
				t.Errorf("over plain HTTP the instance responds: %v", got)
			}
			pid := p.PID()
			if err := p.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the instance is ready again", func() bool { return p.PID() != pid && p.PID() != 0 && p.Start(t.Context()) == nil })
			if err := f.Reload(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Keys are readable for their owner alone, and never outside of the run directory.
func TestKeysStayInTheRunDirectory(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	o.TLS, o.MTLS = true, true
	f := begin(t, o)
	dir := filepath.Join(f.Dir(), record.TLSDir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("%s: %v, %v", dir, info.Mode(), err)
	}
	keys := 0
	err := filepath.WalkDir(f.Dir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte("PRIVATE "+"KEY")) {
			return err
		}
		keys++
		info, err := entry.Info()
		if err == nil && (info.Mode().Perm() != 0o600 || filepath.Dir(path) != dir) {
			t.Errorf("a key is in %s, %v", path, info.Mode())
		}
		return err
	})
	if want := len(o.Certificates()) + 1; err != nil || keys != want { // and the authority's
		t.Errorf("%d files with keys, want %d; %v", keys, want, err)
	}
}

func TestCertificatesOfOptions(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Options{
		"":                                  {Instances: 2, Front: 1},
		"edge client":                       {Instances: 2, TLS: true},
		"nginx trivet whoami-1 front-1":     {Instances: 1, Front: 1, MTLS: true},
		"edge client nginx trivet whoami-1": {Instances: 1, TLS: true, MTLS: true},
	} {
		if got := o.Certificates(); strings.Join(got, " ") != want {
			t.Errorf("got %q, want %s", got, want)
		}
	}
}

// The edge's certificate has all addresses at which nginx is reached.
func TestEdgeCertificateHasAddresses(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	o.TLS, o.Bind = true, "127.0.0.3"
	f := begin(t, o)
	trusted, err := f.trust()
	if err != nil {
		t.Fatal(err)
	}
	if status, _, err := get(t.Context(), trusted, f.TLS(), "/", "test"); status != http.StatusOK || !strings.HasPrefix(f.TLS(), "127.0.0.3:") {
		t.Errorf("at %s: %d, %v", f.TLS(), status, err)
	}
	if all := addressesAt(netip.IPv4Unspecified()); !slices.Contains(all, loopback) {
		t.Errorf("addresses of the machine: %v", all)
	}
}

// A fleet that cannot verify an instance never calls it ready.
func TestInstanceWithoutIdentityIsNotReady(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	o.MTLS = true
	f := begin(t, o)
	leaf, err := authority.Standard("whoami-1").Spoil("wrong_name")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Authority().Issue("whoami-1", leaf); err != nil {
		t.Fatal(err)
	}
	if err := stopCleanly(f.Process("whoami-1")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := f.Process("whoami-1").Start(ctx); err == nil || !strings.Contains(err.Error(), "is not ready") {
		t.Errorf("%v", err)
	}
}
