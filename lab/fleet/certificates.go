package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"trivet/lab/authority"
	"trivet/lab/scenario"
)

// spoiled is what is wrong with the certificates that actions issue; see [authority.Leaf.Spoil].
var spoiled = map[string]string{
	scenario.Renew:               "",
	scenario.IssueExpired:        "expired",
	scenario.IssueNotYetValid:    "not_yet_valid",
	scenario.IssueOtherAuthority: "other_authority",
	scenario.IssueWrongName:      "wrong_name",
	scenario.IssueNoIdentity:     "no_identity",
}

// ofCertificates reports whether actions of a kind are on certificates.
func ofCertificates(kind string) bool {
	return slices.Contains(scenario.CertificateKinds, kind) || slices.Contains(scenario.AuthorityKinds, kind)
}

// certifies is Can of actions on certificates.
func (f *Fleet) certifies(kind, owner string) bool {
	switch {
	case slices.Contains(scenario.AuthorityKinds, kind):
		return owner == scenario.Authority && (f.options.TLS || f.options.MTLS)
	case owner == scenario.Edge:
		return f.options.TLS
	}
	return f.options.MTLS && f.Process(owner) != nil
}

// doToCertificate carries out an action on the certificate of owner, or on the authority.
func (f *Fleet) doToCertificate(ctx context.Context, kind, owner string) error {
	if !f.certifies(kind, owner) {
		return fmt.Errorf("there is no certificate to %s of %s", kind, owner)
	}
	switch kind {
	case scenario.Add:
		return f.authority.Add()
	case scenario.Retire:
		return f.retire()
	}
	leaf := f.Leaf(owner)
	if wrong := spoiled[kind]; wrong != "" {
		var err error
		if leaf, err = leaf.Spoil(wrong); err != nil {
			return err
		}
	}
	if _, err := f.authority.Issue(owner, leaf); err != nil {
		return err
	}
	if owner == scenario.Edge || owner == scenario.Nginx {
		return nil // nginx reads it when it is reloaded.
	}
	return f.awaitCertificate(ctx, owner)
}

// retire renews the certificates that no action does: those that are for this program and for users.
func (f *Fleet) retire() error {
	for _, name := range []string{clientCertificate, probeCertificate} {
		if !slices.Contains(f.options.Certificates(), name) {
			continue
		}
		if _, err := f.authority.Issue(name, f.Leaf(name)); err != nil {
			return err
		}
	}
	return f.authority.Retire()
}

// readTimeout bounds the time until an instance shows a new certificate: it looks for one at each handshake.
const readTimeout = 10 * time.Second

// awaitCertificate returns when an instance shows the certificate in its file. One that does not run, or is paused, will.
func (f *Fleet) awaitCertificate(ctx context.Context, name string) error {
	_, leaves, err := f.authority.List()
	if err != nil {
		return err
	}
	n := slices.IndexFunc(leaves, func(l authority.Issued) bool { return l.Name == name })
	if n < 0 {
		return fmt.Errorf("the certificate of %s is gone", name)
	}
	want, p := leaves[n].Certificate.SerialNumber, f.Process(name)
	cause := fmt.Errorf("%s shows another certificate %v after it was replaced", name, readTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, readTimeout, cause)
	defer cancel()
	return await(ctx, func() (bool, error) {
		if pid := p.PID(); pid == 0 || pausedGroup(pid) {
			return true, nil
		}
		got, err := f.shown(ctx, name)
		return err == nil && got.Cmp(want) == 0, nil // It may be busy; whether it ends is seen above.
	})
}

// shown is the serial number of the certificate that an instance shows to a client, whatever is wrong with it.
func (f *Fleet) shown(ctx context.Context, name string) (serial *big.Int, _ error) {
	config, err := f.toInstance(name)
	if err != nil {
		return nil, err
	}
	config.InsecureSkipVerify = true
	config.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
		leaf, err := x509.ParseCertificate(raw[0])
		if err == nil {
			serial = leaf.SerialNumber
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", f.endpoint(name, httpListener))
	if err == nil {
		err = conn.Close()
	}
	if serial == nil {
		return nil, errors.Join(errors.New("no certificate was shown"), err)
	}
	return serial, nil
}
