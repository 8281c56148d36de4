package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	netstat "github.com/shirou/gopsutil/v4/net"

	"trivet/lab/authority"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Certificates beside those of nginx and the instances; see authority.Standard.
const (
	edgeCertificate   = scenario.Edge
	clientCertificate = "client" // for users: a client that nginx's TLS listener can identify
	probeCertificate  = "trivet" // the fleet's own, for probes
)

// Certificates are the names of the certificates that the options want.
func (o Options) Certificates() []string {
	var names []string
	if o.TLS {
		names = append(names, edgeCertificate, clientCertificate)
	}
	if o.MTLS {
		names = append(names, scenario.Nginx, probeCertificate)
		names = append(names, scenario.ServiceNames(o.Instances, o.Front)...)
	}
	return names
}

// issue makes the fleet's authority, and the certificates that its options want.
func (f *Fleet) issue() (err error) {
	names := f.options.Certificates()
	if len(names) == 0 {
		return nil
	}
	if f.authority, err = authority.New(filepath.Join(f.options.Dir, record.TLSDir)); err != nil {
		return fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	for _, name := range names {
		if _, err := f.authority.Issue(name, f.Leaf(name)); err != nil {
			return fmt.Errorf("%w: %w", record.ErrRunDir, err)
		}
	}
	if !f.options.MTLS {
		return nil
	}
	for _, name := range f.Names() {
		if err := f.authority.Trust(name); err != nil {
			return fmt.Errorf("%w: %w", record.ErrRunDir, err)
		}
	}
	return nil
}

// Authority is the fleet's certificate authority; nil if nothing uses TLS.
func (f *Fleet) Authority() *authority.Authority { return f.authority }

// Leaf is what the certificate of that name holds: the standard, and for the TLS edge also the addresses that nginx is reached at.
func (f *Fleet) Leaf(name string) authority.Leaf {
	leaf := authority.Standard(name)
	if name == edgeCertificate {
		leaf.IPs = append(leaf.IPs, addressesAt(f.bound(scenario.Nginx, tlsListener).Addr())...)
		if host, err := os.Hostname(); err == nil && !f.bound(scenario.Nginx, tlsListener).Addr().IsLoopback() {
			leaf.DNS = append(leaf.DNS, host)
		}
	}
	return leaf
}

// addressesAt are the addresses at which a socket is reached that is bound to a: a itself, or those of the machine.
func addressesAt(a netip.Addr) []netip.Addr {
	if !a.IsUnspecified() {
		return []netip.Addr{a}
	}
	var all []netip.Addr
	interfaces, _ := netstat.Interfaces() // Without them the certificate has fewer addresses, and names serve.
	for _, i := range interfaces {
		for _, address := range i.Addrs {
			if prefix, err := netip.ParsePrefix(address.Addr); err == nil && prefix.Addr().Is4() == a.Is4() {
				all = append(all, prefix.Addr().WithZone(""))
			}
		}
	}
	return all
}

// CA is the file of the certificates that clients of nginx's TLS listener trust; "" without one.
func (f *Fleet) CA() string {
	if !f.options.TLS {
		return ""
	}
	return f.authority.CA()
}

// MTLS reports whether nginx and the instances use mutual TLS.
func (f *Fleet) MTLS() bool { return f.options.MTLS }

// TLS is where nginx serves both protocols over TLS, as host:port, reachable from this machine; "" if it does not.
func (f *Fleet) TLS() string {
	if !f.options.TLS {
		return ""
	}
	return f.endpoint(scenario.Nginx, tlsListener)
}

// serviceName is the DNS name in the certificates of an instance's service.
func serviceName(instance string) string { return authority.Standard(instance).DNS[0] }

// toInstance is what a probe of an instance needs; nil if it speaks plain HTTP. Files are read anew, because they rotate.
func (f *Fleet) toInstance(name string) (*tls.Config, error) {
	if !f.options.MTLS {
		return nil, nil
	}
	path := f.authority.Path(probeCertificate)
	own, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		return nil, err
	}
	config, err := f.trust()
	if err != nil {
		return nil, err
	}
	config.Certificates, config.ServerName = []tls.Certificate{own}, serviceName(name)
	return config, nil
}

// trust trusts the fleet's authority alone.
func (f *Fleet) trust() (*tls.Config, error) {
	text, err := os.ReadFile(f.authority.CA())
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate", f.authority.CA())
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, nil
}
