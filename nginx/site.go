package nginx

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Site is everything that differs from place to place.
type Site struct {
	HTTP, GRPC string   // listeners, as host:port, IPv6 in brackets; never port 0, because nginx does not report which one it got
	Admin      string   // host:port of nginx's own health and status; loopback, unless other machines may see them
	Servers    []Server // instances of whoami, at least one
	Front      []Server // instances of front; with none, its paths get the response of an unknown path
	Workers    int      // worker processes; 0 means one per CPU
	User       string   // account of the workers when root starts nginx; "" means nginx's own default

	// Diagnostics opens /healthz, /readyz, /openapi.json, gRPC reflection and gRPC health on the public listeners. Closed, they get the
	// response of an unknown path.
	Diagnostics bool

	TLS  *EdgeTLS // the TLS edge; nil: none
	Mesh *MeshTLS // mutual TLS to instances; nil: instances speak plain HTTP and gRPC
}

// Server holds the endpoints of one instance, as host:port. nginx resolves a name once, at start.
type Server struct{ HTTP, GRPC string }

// Endpoints returns both endpoints of each server by the name of its instance, and each by that name with the protocol, "whoami-2:grpc";
// names has the instances in the order of Servers, then of Front. "nginx:admin" is nginx's admin listener. Edits can write such a name for
// an endpoint: confedit.Names.
func (s Site) Endpoints(names []string) map[string][]string {
	all := map[string][]string{"nginx:admin": {s.Admin}}
	for i, server := range slices.Concat(s.Servers, s.Front) {
		all[names[i]] = []string{server.HTTP, server.GRPC}
		all[names[i]+":http"], all[names[i]+":grpc"] = []string{server.HTTP}, []string{server.GRPC}
	}
	return all
}

// Validate reports all invalid values of s, each with its field. A value that it accepts is one word of a configuration file and cannot
// be anything else.
func (s Site) Validate() error {
	invalid := []error{address("HTTP", s.HTTP), address("GRPC", s.GRPC), address("Admin", s.Admin)}
	for _, pair := range [][4]string{{"HTTP", s.HTTP, "GRPC", s.GRPC}, {"HTTP", s.HTTP, "Admin", s.Admin}, {"GRPC", s.GRPC, "Admin", s.Admin}} {
		if pair[1] == pair[3] && pair[1] != "" {
			invalid = append(invalid, fmt.Errorf("%s and %s are both %q: want two addresses", pair[0], pair[2], pair[1]))
		}
	}
	if len(s.Servers) == 0 {
		invalid = append(invalid, errors.New("the field Servers is empty: want at least one instance"))
	}
	for i, server := range s.Servers {
		invalid = append(invalid,
			address(fmt.Sprintf("Servers[%d].HTTP", i), server.HTTP),
			address(fmt.Sprintf("Servers[%d].GRPC", i), server.GRPC))
	}
	if s.Workers < 0 {
		invalid = append(invalid, fmt.Errorf("the field Workers is %d: want 0 (one per CPU) or more", s.Workers))
	}
	if s.User != "" && !userName.MatchString(s.User) {
		invalid = append(invalid, fmt.Errorf("the field User is %q: want a user name", s.User))
	}
	return errors.Join(append(invalid, s.validateTLS()...)...)
}

var (
	userName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)
)

func address(field, value string) error {
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		return fmt.Errorf("%s is %q: want host:port, IPv6 in brackets", field, value)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%s is %q: want a port, 1 to 65535", field, value)
	}
	if strings.Contains(host, ":") {
		// net.ParseIP rejects zones (fe80::1%eth0), like nginx; netip accepts them.
		if net.ParseIP(host) == nil {
			return fmt.Errorf("%s is %q: want an IPv6 address without zone, not %q", field, value, host)
		}
		return nil
	}
	if !hostName.MatchString(host) {
		return fmt.Errorf("%s is %q: want an address or name before the port", field, value)
	}
	return nil
}

// files returns the contents of conf/site by name, for an nginx of version v: the shipped files with the directives of s in place of
// theirs.
func (s Site) files(v Version) map[string]string {
	files := map[string]string{}
	for name, edits := range s.edits(v) {
		text, err := conf.ReadFile("conf/site/" + name)
		if err != nil {
			panic(err) // The file is embedded.
		}
		files[name] = strings.NewReplacer(edits...).Replace(string(text))
	}
	return files
}

// edits returns pairs of a shipped directive and its replacement, by file.
func (s Site) edits(v Version) map[string][]string {
	edits := map[string][]string{
		"admin-listen.conf": {"listen 127.0.0.1:7080;", "listen " + s.Admin + ";"},
		"http-listen.conf":  {"listen 127.0.0.1:8080 ", "listen " + s.HTTP + " "},
		"grpc-listen.conf":  {"listen 127.0.0.1:9090 ", "listen " + s.GRPC + " "},
		"http-servers.conf": servers("127.0.0.1:800", s.Servers, func(x Server) string { return x.HTTP }),
		"grpc-servers.conf": servers("127.0.0.1:900", s.Servers, func(x Server) string { return x.GRPC }),
		"process.conf":      nil,
		"newer.conf":        nil,
		"public.conf":       nil,
		"logs.conf":         nil,
		"hosts.conf":        nil,
	}
	if v.atLeast(http2Directive) {
		const shipped = "127.0.0.1:9090 http2 so_keepalive=60s:10s:3;"
		edits["grpc-listen.conf"] = []string{shipped, s.GRPC + " so_keepalive=60s:10s:3;\nhttp2 on;"}
	}
	if s.Workers > 0 {
		edits["process.conf"] = append(edits["process.conf"], "worker_processes auto;", fmt.Sprintf("worker_processes %d;", s.Workers))
	}
	if s.User != "" {
		edits["process.conf"] = append(edits["process.conf"], "# user nobody;", "user "+s.User+";")
	}
	if v.atLeast(keepaliveMinTimeout) {
		edits["newer.conf"] = append(edits["newer.conf"], "# keepalive_min_timeout", "keepalive_min_timeout")
	}
	if v.atLeast(ticketKeysInCache) {
		edits["newer.conf"] = append(edits["newer.conf"], "ssl_session_tickets off;", "# ssl_session_tickets off;")
	}
	if !s.Diagnostics {
		edits["public.conf"] = []string{`default "1";`, `default "";`}
	}
	maps.Copy(edits, s.frontEdits())
	maps.Copy(edits, s.edgeEdits(v))
	maps.Copy(edits, s.meshEdits())
	return edits
}

// servers replaces the three shipped server lines, whose addresses are prefix and a digit, by one for each of all.
func servers(prefix string, all []Server, endpoint func(Server) string) []string {
	var shipped, own strings.Builder
	for n := 1; n <= 3; n++ {
		fmt.Fprintf(&shipped, "server %s%d max_fails=0;\n", prefix, n)
	}
	for _, server := range all {
		fmt.Fprintf(&own, "server %s max_fails=0;\n", endpoint(server))
	}
	return []string{shipped.String(), own.String()}
}
