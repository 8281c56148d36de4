package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"time"

	"trivet/lab/authority"
	"trivet/lab/scenario"
)

// spoiled is what is wrong with the certificates that actions issue; see [authority.Leaf.Spoil].
var spoiled = map[string]string{
	scenario.IssueExpired:        "expired",
	scenario.IssueNotYetValid:    "not_yet_valid",
	scenario.IssueOtherAuthority: "other_authority",
	scenario.IssueWrongName:      "wrong_name",
	scenario.IssueNoIdentity:     "no_identity",
}

// certifies is Can of actions on certificates.
func (f *Fleet) certifies(kind, owner string) bool {
	instance := owner != scenario.Nginx && f.Process(owner) != nil
	switch {
	case slices.Contains(scenario.AuthorityKinds, kind):
		return owner == scenario.Authority && (f.options.TLS || f.options.MTLS)
	case slices.Contains(scenario.TrustKinds, kind):
		return f.options.MTLS && instance
	case kind == scenario.IssueNoIdentity:
		return f.options.MTLS && owner == scenario.Nginx
	case owner == scenario.Edge:
		return f.options.TLS
	}
	return f.options.MTLS && (instance || owner == scenario.Nginx)
}

// doToCertificate carries out an action on the certificate of owner, on what it trusts, or on the authority.
func (f *Fleet) doToCertificate(ctx context.Context, kind, owner string) error {
	if !f.certifies(kind, owner) {
		return fmt.Errorf("%s %s: this fleet has no such certificate", kind, owner)
	}
	switch kind {
	case scenario.Add:
		return f.authority.Add()
	case scenario.Retire:
		return f.retire()
	case scenario.Distrust:
		if err := f.authority.Distrust(owner); err != nil {
			return err
		}
		return f.awaitHandshake(ctx, owner, "accepts nginx", func(h handshake) bool { return h.refused })
	case scenario.Trust:
		if err := f.authority.Trust(owner); err != nil {
			return err
		}
		return f.awaitHandshake(ctx, owner, "refuses nginx", func(h handshake) bool { return !h.refused })
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

// retire also renews the certificates that no action does: those that are for this program and for users.
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

// awaitCertificate returns when an instance shows the certificate in its file.
func (f *Fleet) awaitCertificate(ctx context.Context, name string) error {
	_, leaves, err := f.authority.List()
	if err != nil {
		return err
	}
	n := slices.IndexFunc(leaves, func(l authority.Issued) bool { return l.Name == name })
	if n < 0 {
		return fmt.Errorf("the certificate of %s is gone", name)
	}
	want := leaves[n].Certificate.SerialNumber
	return f.awaitHandshake(ctx, name, "shows its former certificate", func(h handshake) bool { return h.serial.Cmp(want) == 0 })
}

const (
	// readTimeout bounds the time until an instance uses a file that was replaced: it looks at its files at handshakes, a few times a second.
	readTimeout = 10 * time.Second
	// handshakeInterval is between the handshakes that wait for that.
	handshakeInterval = 50 * time.Millisecond
	// refusalTimeout is how long a handshake waits for a refusal, which over TLS 1.3 comes after it.
	refusalTimeout = 100 * time.Millisecond
)

// awaitHandshake returns when an instance makes such a handshake. One that does not run, or is paused, will when it does. still says what it
// does as long as it does not.
func (f *Fleet) awaitHandshake(ctx context.Context, name, still string, such func(handshake) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readTimeout, fmt.Errorf("%s still %s %v after a file was replaced; its log is %s", name, still, readTimeout, f.LogFile(name)))
	defer cancel()
	tick := time.NewTicker(handshakeInterval)
	defer tick.Stop()
	for {
		if pid := f.Process(name).PID(); pid == 0 || pausedGroup(pid) {
			return nil
		}
		if h, err := f.shake(ctx, name); err == nil && such(h) { // If it is only busy, the next may succeed; whether it ends is seen above.
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// A handshake is what an instance does with a client that has the certificate of this program.
type handshake struct {
	serial  *big.Int // of the certificate that the instance shows, whatever is wrong with it
	refused bool
}

func (f *Fleet) shake(ctx context.Context, name string) (h handshake, _ error) {
	config, err := f.toInstance(name)
	if err != nil {
		return h, err
	}
	config.InsecureSkipVerify = true
	config.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
		leaf, err := x509.ParseCertificate(raw[0])
		if err == nil {
			h.serial = leaf.SerialNumber
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", f.endpoint(name, httpListener))
	if h.serial == nil {
		return h, errors.Join(errors.New("no certificate was shown"), err)
	}
	if err != nil {
		return handshake{h.serial, isAlert(err)}, nil
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(refusalTimeout)); err != nil {
		return h, err
	}
	_, err = conn.Read(make([]byte, 1))
	if isAlert(err) {
		h.refused = true
	} else if !errors.Is(err, os.ErrDeadlineExceeded) {
		return h, fmt.Errorf("the instance sent something before a request, or closed the connection: %w", err)
	}
	return h, nil
}

// isAlert reports whether the other end ended a handshake with an alert.
func isAlert(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "remote error"
}
