// Package authority issues the certificates of one run: those of nginx, its TLS edge, the instances and clients. Identities are SPIFFE IDs.
//
// Everything is in one directory, and operations read it anew under a lock, so several programs may work on it at once:
//
//	ca.pem            the trusted authorities, oldest first (0644): for --cacert, nginx and instances
//	authority-1.pem   one trusted authority, certificate and key (0600); the numbers only grow
//	NAME.pem          one leaf, certificate and key (0600): for nginx, instances and clients
//	NAME.ca           what NAME trusts, where that may differ: a link to ca.pem
//
// A file is replaced by rename. So a reader finds one whole file, with a key that fits its certificate.
package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	leafLife      = 90 * 24 * time.Hour
	authorityLife = 366 * 24 * time.Hour
	// backdate makes a new certificate valid also for a reader whose clock is behind.
	backdate = time.Minute

	caFile = "ca.pem"
	prefix = "authority-"
	suffix = ".pem"

	trustSuffix = ".ca"

	// Types of PEM blocks. The second is in two parts, because a test searches the tree for keys.
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE " + "KEY"
)

// Authority is the certificate authority of a run: one or, while they rotate, several trusted authorities.
type Authority struct{ dir string }

// New makes a directory with one authority. A directory that exists is taken if it has none.
func New(dir string) (*Authority, error) {
	// Nginx's workers pass through it to nothing: its master reads the keys.
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	a := &Authority{dir}
	switch trusted, err := a.trusted(); {
	case err != nil:
		return nil, fmt.Errorf("make an authority: %w", err)
	case len(trusted) > 0:
		return nil, fmt.Errorf("make an authority: %s has one already; use another directory", dir)
	}
	if err := a.Add(); err != nil {
		return nil, err
	}
	return a, nil
}

// Open takes a directory that New made.
func Open(dir string) (*Authority, error) {
	a := &Authority{dir}
	trusted, err := a.trusted()
	if err == nil && len(trusted) == 0 {
		err = fmt.Errorf("%s: %w", filepath.Join(dir, prefix+"1"+suffix), fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("open an authority: %w", err)
	}
	return a, nil
}

// CA returns the path of the trusted authorities' certificates, which --cacert takes.
func (a *Authority) CA() string { return filepath.Join(a.dir, caFile) }

// Path returns the path of the certificate of name, whether it exists or not.
func (a *Authority) Path(name string) string { return filepath.Join(a.dir, name+suffix) }

// Add makes a new authority and trusts it beside the others. From then on it signs, unless [Leaf].Authority says otherwise: issue only when
// everything has read [Authority.CA] again.
func (a *Authority) Add() error {
	return a.locked("add an authority", func() error {
		trusted, err := a.trusted()
		if err != nil {
			return err
		}
		number := 1
		if len(trusted) > 0 {
			number = trusted[len(trusted)-1].number + 1
		}
		added, err := selfSigned("Trivet authority " + strconv.Itoa(number))
		if err != nil {
			return err
		}
		text, err := added.pem()
		if err != nil {
			return err
		}
		added.number = number
		if err := replace(a.Path(prefix+strconv.Itoa(number)), text, 0o600); err != nil {
			return err
		}
		return a.writeCA(append(trusted, added))
	})
}

// Retire ends the trust in the oldest authority, and removes its key. Leaves that it signed are refused from when ca.pem is read again.
func (a *Authority) Retire() error {
	return a.locked("retire an authority", func() error {
		trusted, err := a.trusted()
		if err != nil {
			return err
		}
		if len(trusted) < 2 {
			return errors.New("only one is trusted, and without it every certificate would be refused; add one first")
		}
		if err := a.writeCA(trusted[1:]); err != nil {
			return err
		}
		return os.Remove(a.Path(prefix + strconv.Itoa(trusted[0].number)))
	})
}

// TrustedBy returns the path of what name trusts, after [Authority.Trust].
func (a *Authority) TrustedBy(name string) string { return filepath.Join(a.dir, name+trustSuffix) }

// Trust has name trust what ca.pem has, now and later.
func (a *Authority) Trust(name string) error {
	return a.locked("trust", func() error {
		link := filepath.Join(a.dir, ".new-"+name+trustSuffix)
		if err := os.Symlink(caFile, link); err != nil {
			return err
		}
		return os.Rename(link, a.TrustedBy(name))
	})
}

// Distrust has name trust none of the authorities of ca.pem, and another instead, as if a rotation had missed it.
func (a *Authority) Distrust(name string) error {
	return a.locked("distrust", func() error {
		other, err := pick(nil, Untrusted)
		if err != nil {
			return err
		}
		return replace(a.TrustedBy(name), certificatePEM(other.certificate), 0o644)
	})
}

// Issue writes the certificate and key of name, replacing the former ones in one step, and returns the file's path. A former key is kept
// unless l.NewKey, so a program that reads certificate and key one after the other, as nginx does, gets a pair that fits.
func (a *Authority) Issue(name string, l Leaf) (path string, err error) {
	if !validName(name) {
		return "", fmt.Errorf("issue a certificate for %q: want a name of letters, digits, dots, hyphens and underscores, and not ca or authority-N", name)
	}
	path = a.Path(name)
	return path, a.locked("issue a certificate for "+name, func() error {
		trusted, err := a.trusted()
		if err != nil {
			return err
		}
		signer, err := pick(trusted, l.Authority)
		if err != nil {
			return err
		}
		issued, err := l.sign(name, a.keyFor(name, l.NewKey), signer)
		if err != nil {
			return err
		}
		text, err := issued.pem()
		if err != nil {
			return err
		}
		return replace(path, text, 0o600)
	})
}

// A pair is a certificate with its key; number is that of an authority.
type pair struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	number      int
}

func (p pair) pem() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, err
	}
	return append(certificatePEM(p.certificate), pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: key})...), nil
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: c.Raw})
}

// readPair reads a file that holds one certificate and its key.
func readPair(path string) (p pair, _ error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return p, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case certificateBlock:
			p.certificate, err = x509.ParseCertificate(block.Bytes)
		case keyBlock:
			var key any
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
			p.key, _ = key.(*ecdsa.PrivateKey)
		}
		if err != nil {
			return p, fmt.Errorf("%s: %w", path, err)
		}
	}
	if p.certificate == nil || p.key == nil {
		return p, fmt.Errorf("%s: want a certificate and its ECDSA key as PEM", path)
	}
	return p, nil
}

// trusted returns the trusted authorities, the oldest first; without any, nothing.
func (a *Authority) trusted() (all []pair, _ error) {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		number := authorityNumber(strings.TrimSuffix(entry.Name(), suffix))
		if number == 0 || !strings.HasSuffix(entry.Name(), suffix) {
			continue
		}
		p, err := readPair(filepath.Join(a.dir, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // It was retired since the directory was read.
		}
		if err != nil {
			return nil, err
		}
		p.number = number
		all = append(all, p)
	}
	slices.SortFunc(all, func(x, y pair) int { return x.number - y.number })
	return all, nil
}

// authorityNumber returns the N of authority-N, or 0.
func authorityNumber(name string) int {
	digits, ok := strings.CutPrefix(name, prefix)
	number, err := strconv.Atoi(digits)
	if !ok || err != nil || number < 1 {
		return 0
	}
	return number
}

// pick returns the authority that signs: the newest, one by its number, or one that is made for this leaf alone.
func pick(trusted []pair, number int) (pair, error) {
	switch {
	case number == Untrusted:
		return selfSigned("Trivet other authority")
	case len(trusted) == 0:
		return pair{}, errors.New("no authority is trusted")
	case number == 0:
		return trusted[len(trusted)-1], nil
	}
	for _, p := range trusted {
		if p.number == number {
			return p, nil
		}
	}
	return pair{}, fmt.Errorf("no trusted authority has the number %d", number)
}

func (a *Authority) writeCA(trusted []pair) error {
	var text bytes.Buffer
	for _, p := range trusted {
		text.Write(certificatePEM(p.certificate))
	}
	return replace(a.CA(), text.Bytes(), 0o644)
}

// keyFor returns the key that name has, or nil if it is to get a new one.
func (a *Authority) keyFor(name string, renew bool) *ecdsa.PrivateKey {
	if renew {
		return nil
	}
	former, err := readPair(a.Path(name))
	if err != nil {
		return nil // A file that cannot be read is replaced whole.
	}
	return former.key
}

func selfSigned(name string) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return create(template, template, key, key)
}

func create(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return pair{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	return pair{certificate: certificate, key: key}, err
}

// serial returns a positive random number of 127 bits.
func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // It never fails.
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// locked runs f while no other program does; operation begins its error.
func (a *Authority) locked(operation string, f func() error) error {
	dir, err := os.Open(a.dir)
	if err == nil {
		defer dir.Close()
		err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX)
	}
	if err == nil {
		err = f()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

// replace writes a file by rename. Its mode is there before its content, so no other user reads a key in between. Its time is a later whole
// second than that of the file before it: since 1.27.4 nginx keeps over a reload what it has read of a file with the same number and second,
// and file systems use numbers again.
func replace(path string, text []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	if former, err := os.Stat(path); err == nil {
		if next := former.ModTime().Truncate(time.Second).Add(time.Second); next.After(time.Now()) {
			if err := os.Chtimes(f.Name(), next, next); err != nil {
				return err
			}
		}
	}
	return os.Rename(f.Name(), path)
}
