package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// TrustDomain is what the identities of a run have in common.
const TrustDomain = "spiffe://trivet/"

// Untrusted as [Leaf].Authority has a leaf signed by an authority that exists for it alone.
const Untrusted = -1

// Leaf says what a certificate holds.
type Leaf struct {
	DNS            []string
	IPs            []netip.Addr
	URI            string    // the identity, a SPIFFE ID; empty: none
	NotBefore      time.Time // zero: a minute ago
	NotAfter       time.Time // zero: 90 days from now
	Client, Server bool
	NewKey         bool // make a new key even if there is one
	Authority      int  // the number of the trusted authority that signs; 0: the newest
}

// services are those that have instances, each with certificates.
var services = []string{"whoami", "front"}

var (
	names     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	instances = regexp.MustCompile(`^(` + strings.Join(services, "|") + `)-[0-9]+$`)
)

func validName(name string) bool {
	return names.MatchString(name) && name != "ca" && !strings.HasPrefix(name, prefix)
}

// IsClient reports whether a certificate of that name is a client's: neither nginx's nor an instance's.
func IsClient(name string) bool {
	return validName(name) && name != "nginx" && name != "edge" && !instances.MatchString(name)
}

// Standard returns what the certificate of name holds: nginx is the client of instances, edge the TLS edge, whoami-1 and front-1 are
// instances; every other name is a client's.
//
// Instances of one service share a DNS name and an identity, because nginx checks one name for a whole upstream. An instance is a client
// too: it sends hops.
func Standard(name string) Leaf {
	switch service, _, _ := strings.Cut(name, "-"); {
	case name == "nginx":
		return Leaf{DNS: []string{"nginx.mesh"}, URI: TrustDomain + "nginx", Client: true, Server: true}
	case name == "edge":
		loopback := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
		return Leaf{DNS: []string{"localhost", "http.localhost", "grpc.localhost"}, IPs: loopback, Server: true}
	case instances.MatchString(name):
		return Leaf{DNS: []string{service + ".mesh"}, URI: TrustDomain + service, Client: true, Server: true}
	default:
		return Leaf{URI: TrustDomain + "client/" + name, Client: true}
	}
}

// Spoil returns l with one thing wrong: expired, not_yet_valid, other_authority, wrong_name or no_identity.
func (l Leaf) Spoil(wrong string) (Leaf, error) {
	now := time.Now()
	switch wrong {
	case "expired":
		l.NotBefore, l.NotAfter = now.Add(-leafLife), now.Add(-time.Second)
	case "not_yet_valid":
		l.NotBefore, l.NotAfter = now.Add(leafLife), now.Add(2*leafLife)
	case "other_authority":
		l.Authority = Untrusted
	case "wrong_name":
		l.DNS, l.IPs, l.URI = []string{"wrong.mesh"}, nil, "spiffe://wrong/"+strings.TrimPrefix(l.URI, TrustDomain)
	case "no_identity":
		l.URI = ""
	default:
		return l, fmt.Errorf("a certificate cannot be %q: want expired, not_yet_valid, other_authority, wrong_name or no_identity", wrong)
	}
	return l, nil
}

// sign makes the certificate of name, for key or, if that is nil, for a new one.
func (l Leaf) sign(name string, key *ecdsa.PrivateKey, signer pair) (pair, error) {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, DNSNames: l.DNS, NotBefore: l.NotBefore, NotAfter: l.NotAfter,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if l.NotBefore.IsZero() {
		template.NotBefore = now.Add(-backdate)
	}
	if l.NotAfter.IsZero() {
		template.NotAfter = now.Add(leafLife)
	}
	if !template.NotBefore.Before(template.NotAfter) {
		return pair{}, fmt.Errorf("it would end at %s, before it begins at %s", template.NotAfter.Format(time.RFC3339), template.NotBefore.Format(time.RFC3339))
	}
	for _, ip := range l.IPs {
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.AsSlice()))
	}
	if l.URI != "" {
		uri, err := url.Parse(l.URI)
		if err != nil {
			return pair{}, err
		}
		template.URIs = []*url.URL{uri}
	}
	if l.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if l.Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return pair{}, err
		}
	}
	return create(template, signer.certificate, key, signer.key)
}

// Issued is a leaf as it is in the directory.
type Issued struct {
	Name        string
	Path        string
	Certificate *x509.Certificate
	Authority   int // the number of the trusted authority that signed it; 0: none of them
}

// Identity returns the SPIFFE ID, or nothing.
func (i Issued) Identity() string {
	if len(i.Certificate.URIs) == 0 {
		return ""
	}
	return i.Certificate.URIs[0].String()
}

// IPs returns the addresses that the certificate is for.
func (i Issued) IPs() (all []netip.Addr) {
	for _, ip := range i.Certificate.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			all = append(all, a.Unmap())
		}
	}
	return all
}

// Trusted is one of the authorities in ca.pem.
type Trusted struct {
	Number      int
	Certificate *x509.Certificate
}

// List returns the trusted authorities, the oldest first, and all leaves by name.
func (a *Authority) List() (trusted []Trusted, leaves []Issued, _ error) {
	pairs, err := a.trusted()
	if err != nil {
		return nil, nil, fmt.Errorf("list certificates: %w", err)
	}
	for _, p := range pairs {
		trusted = append(trusted, Trusted{p.number, p.certificate})
	}
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list certificates: %w", err)
	}
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), suffix)
		if !ok || !validName(name) {
			continue
		}
		p, err := readPair(a.Path(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("list certificates: %w", err)
		}
		issued := Issued{Name: name, Path: a.Path(name), Certificate: p.certificate}
		for _, t := range trusted {
			if p.certificate.CheckSignatureFrom(t.Certificate) == nil {
				issued.Authority = t.Number
			}
		}
		leaves = append(leaves, issued)
	}
	return trusted, leaves, nil
}
