package nginx

import (
	"fmt"
	"net"
	"path"
	"regexp"
	"strings"
)

// EdgeTLS is the TLS edge: nginx's TLS listener for clients. Both protocols share one port and one name, by content type.
type EdgeTLS struct {
	Listen           string // host:port, like Site.HTTP
	Certificate, Key string // PEM files, absolute or relative to the directory of Install; may be one combined file

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

// fromConf returns a path as nginx's TLS directives want it: they take a relative one as relative to conf/.
func fromConf(name string) string {
	if path.IsAbs(name) {
		return name
	}
	return "../" + name
}

// frontEdits returns the edits of the files about front.
func (s Site) frontEdits() map[string][]string {
	edits := map[string][]string{
		"front-http-servers.conf": nil, "front-grpc-servers.conf": nil,
		"front-http-pass.conf": nil, "front-grpc-pass.conf": nil,
	}
	if len(s.Front) == 0 {
		return edits
	}
	var http, grpc strings.Builder
	for _, server := range s.Front {
		fmt.Fprintf(&http, "server %s max_fails=0;\n", server.HTTP)
		fmt.Fprintf(&grpc, "server %s max_fails=0;\n", server.GRPC)
	}
	const none = " Here are none; nginx refuses an upstream without a server, so this one is down."
	edits["front-http-servers.conf"] = []string{none, "", "server 127.0.0.1:8101 down;\n", http.String()}
	edits["front-grpc-servers.conf"] = []string{none, "", "server 127.0.0.1:9101 down;\n", grpc.String()}
	const absent = " Here are no\n# instances of front, so clients get the response of an unknown path."
	edits["front-http-pass.conf"] = []string{absent, "", "\nreturn 404;", "\nproxy_pass http://front_http;"}
	edits["front-grpc-pass.conf"] = []string{absent, "", "\nreturn 404;", "\ngrpc_pass grpc://front_grpc;"}
	if s.Mesh != nil {
		edits["front-http-pass.conf"][3] = "\nproxy_pass https://front_http;\nproxy_ssl_name front.mesh;"
		edits["front-grpc-pass.conf"][3] = "\ngrpc_pass grpcs://front_grpc;\ngrpc_ssl_name front.mesh;"
	}
	return edits
}

// edgeEdits returns the edits of the files about the TLS edge, for an nginx of version v.
func (s Site) edgeEdits(v Version) map[string][]string {
	edits := map[string][]string{"tls.conf": nil, "tls-listen.conf": nil, "tls-listen-again.conf": nil, "tls-certificate.conf": nil}
	if s.TLS == nil {
		return edits
	}
	edits["tls.conf"] = []string{"# include tls-listener.conf;", "include tls-listener.conf;"}
	const shipped = "127.0.0.1:8443 ssl http2 so_keepalive=60s:10s:3;"
	edits["tls-listen.conf"] = []string{shipped, s.TLS.Listen + " ssl http2 so_keepalive=60s:10s:3;"}
	edits["tls-listen-again.conf"] = []string{"127.0.0.1:8443 ssl;", s.TLS.Listen + " ssl;"}
	if v.atLeast(http2Directive) {
		edits["tls-listen-again.conf"][1] += "\nhttp2 on;"
		edits["tls-listen.conf"][1] = s.TLS.Listen + " ssl so_keepalive=60s:10s:3;\nhttp2 on;"
	}
	edits["tls-certificate.conf"] = []string{
		"\nssl_certificate     tls/edge.pem;", "\nssl_certificate     " + fromConf(s.TLS.Certificate) + ";",
		"\nssl_certificate_key tls/edge.pem;", "\nssl_certificate_key " + fromConf(s.TLS.Key) + ";",
	}
	if s.TLS.ClientCA != "" {
		edits["tls-certificate.conf"] = append(edits["tls-certificate.conf"],
			"# ssl_client_certificate tls/ca.pem;", "ssl_client_certificate "+fromConf(s.TLS.ClientCA)+";",
			"# ssl_verify_client      optional;", "ssl_verify_client      optional;")
	}
	return edits
}

// meshEdits returns the edits of the files about mutual TLS.
func (s Site) meshEdits() map[string][]string {
	edits := map[string][]string{"mesh.conf": nil, "http-pass.conf": nil, "grpc-pass.conf": nil}
	if s.Mesh == nil {
		return edits
	}
	edits["http-pass.conf"] = []string{"\nproxy_pass http://whoami_http;", "\nproxy_pass https://whoami_http;\nproxy_ssl_name whoami.mesh;"}
	edits["grpc-pass.conf"] = []string{"\ngrpc_pass grpc://whoami_grpc;", "\ngrpc_pass grpcs://whoami_grpc;\ngrpc_ssl_name whoami.mesh;"}
	edits["mesh.conf"] = []string{"# include mutual-tls.conf;", "include mutual-tls.conf;"}
	for _, d := range [][3]string{
		{"proxy_ssl_trusted_certificate ", "ca", s.Mesh.CA}, {"proxy_ssl_certificate         ", "nginx", s.Mesh.Certificate}, {"proxy_ssl_certificate_key     ", "nginx", s.Mesh.Key},
		{"grpc_ssl_trusted_certificate  ", "ca", s.Mesh.CA}, {"grpc_ssl_certificate          ", "nginx", s.Mesh.Certificate}, {"grpc_ssl_certificate_key      ", "nginx", s.Mesh.Key},
	} {
		edits["mesh.conf"] = append(edits["mesh.conf"], "# "+d[0]+"tls/"+d[1]+".pem;", d[0]+fromConf(d[2])+";")
	}
	return edits
}
