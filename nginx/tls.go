package nginx

import (
	"fmt"
	"net"
	"regexp"
)

// EdgeTLS is the TLS edge: nginx's TLS listener for clients. Both protocols share one port and one name, by content type.
type EdgeTLS struct {
	Listen           string // host:port, like Site.HTTP
	Certificate, Key string // PEM files, absolute or relative to nginx's prefix; may be one combined file

	// ClientCA is a PEM file of the authorities whose client certificates nginx verifies, if a client sends one. "" asks for none.
	ClientCA string
}

// MeshTLS is mutual TLS between nginx and the instances. nginx verifies that an instance's certificate has the DNS name of its service,
// whoami.mesh or front.mesh.
type MeshTLS struct {
	Certificate, Key string // PEM files of nginx's own identity; may be one combined file
	CA               string // PEM file of the authorities that nginx trusts
}

// filePath admits paths that are one word of a configuration file and hold no variable.
var filePath = regexp.MustCompile(`^[A-Za-z0-9._/+@%,=:~-]+$`)

func file(field, value string) error {
	if !filePath.MatchString(value) {
		return fmt.Errorf("%s is %q: want a path of letters, digits and ._/+@%%,=:~-", field, value)
	}
	return nil
}

// validateTLS returns the invalid values of the TLS edge, mutual TLS and front.
func (s Site) validateTLS() []error {
	var invalid []error
	if s.TLS != nil {
		invalid = append(invalid, address("TLS.Listen", s.TLS.Listen), file("TLS.Certificate", s.TLS.Certificate), file("TLS.Key", s.TLS.Key))
		if s.TLS.ClientCA != "" {
			invalid = append(invalid, file("TLS.ClientCA", s.TLS.ClientCA))
		}
		if _, _, err := net.SplitHostPort(s.TLS.Listen); err == nil {
			for _, other := range [][2]string{{"HTTP", s.HTTP}, {"GRPC", s.GRPC}, {"Admin", s.Admin}} {
				if other[1] == s.TLS.Listen {
					invalid = append(invalid, fmt.Errorf("%s and TLS.Listen are both %q: want two addresses", other[0], other[1]))
				}
			}
		}
	}
	if s.Mesh != nil {
		invalid = append(invalid, file("Mesh.Certificate", s.Mesh.Certificate), file("Mesh.Key", s.Mesh.Key), file("Mesh.CA", s.Mesh.CA))
	}
	for i, server := range s.Front {
		invalid = append(invalid,
			address(fmt.Sprintf("Front[%d].HTTP", i), server.HTTP),
			address(fmt.Sprintf("Front[%d].GRPC", i), server.GRPC))
	}
	return invalid
}
