package nginx

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
)

// Site is everything that differs from place to place.
type Site struct {
	HTTP, GRPC string   // where nginx listens: host:port, IPv6 in brackets; the port is never 0, nginx cannot be asked which it took
	Admin      string   // host:port of nginx's own health and status; a loopback address, unless others are to see them
	Servers    []Server // the instances, at least one
	Workers    int      // worker processes; 0 means one for each CPU
	User       string   // account the workers run as when the master is root; "" leaves nginx's own default

	// Diagnostics lets /healthz, /readyz, /openapi.json, gRPC reflection and gRPC health through the public listeners. Without it they
	// get the response of an unknown path.
	Diagnostics bool
}

// Server is the endpoints of one instance, as host:port. A name instead of an address is resolved once, when nginx starts.
type Server struct{ HTTP, GRPC string }

// Validate reports everything that is wrong with s, each error with its field and value. A value that it accepts is one word in a
// configuration file and cannot be anything else.
func (s Site) Validate() error {
	faults := []error{address("HTTP", s.HTTP), address("GRPC", s.GRPC), address("Admin", s.Admin)}
	for _, pair := range [][4]string{{"HTTP", s.HTTP, "GRPC", s.GRPC}, {"HTTP", s.HTTP, "Admin", s.Admin}, {"GRPC", s.GRPC, "Admin", s.Admin}} {
		if pair[1] == pair[3] && pair[1] != "" {
			faults = append(faults, fmt.Errorf("site: %s and %s are both %q: want two addresses", pair[0], pair[2], pair[1]))
		}
	}
	if len(s.Servers) == 0 {
		faults = append(faults, errors.New("site: Servers is empty: want at least one instance"))
	}
	for i, server := range s.Servers {
		faults = append(faults,
			address(fmt.Sprintf("Servers[%d].HTTP", i), server.HTTP),
			address(fmt.Sprintf("Servers[%d].GRPC", i), server.GRPC))
	}
	if s.Workers < 0 {
		faults = append(faults, fmt.Errorf("site: Workers is %d: want 0 (one for each CPU) or more", s.Workers))
	}
	if s.User != "" && !userName.MatchString(s.User) {
		faults = append(faults, fmt.Errorf("site: User is %q: want the name of a user", s.User))
	}
	return errors.Join(faults...)
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
		// Not netip: nginx takes no zones (fe80::1%eth0), and neither does net.ParseIP.
		if net.ParseIP(host) == nil {
			return fmt.Errorf("%s is %q: %q is no IPv6 address that nginx can read", field, value, host)
		}
		return nil
	}
	if !hostName.MatchString(host) {
		return fmt.Errorf("%s is %q: want a host before the port, an address or a name", field, value)
	}
	return nil
}

// files are the contents of conf/site by name, for an nginx of version v.
func (s Site) files(v Version) map[string]string {
	return map[string]string{
		"process.conf":      s.process(),
		"logs.conf":         logs,
		"admin-listen.conf": "# Where nginx's own health and status are served: on a loopback address, so that no other machine reaches them.\nlisten " + s.Admin + ";\n",
		"http-listen.conf":  "# Where the HTTP listener accepts. 127.0.0.1 is for this machine alone.\n" + keepalive + "listen " + s.HTTP + " so_keepalive=60s:10s:3;\n",
		"grpc-listen.conf":  s.grpcListen(v),
		"http-servers.conf": servers("HTTP", s.Servers, func(x Server) string { return x.HTTP }),
		"grpc-servers.conf": servers("gRPC", s.Servers, func(x Server) string { return x.GRPC }),
		"newer.conf":        newer(v),
		"public.conf":       s.public(),
		"hosts.conf":        hosts,
	}
}

func (s Site) process() string {
	var b strings.Builder
	b.WriteString(`# Worker processes: one per CPU that nginx may use. Under a CPU quota (containers) auto counts the host's CPUs: write the number.
`)
	if s.Workers == 0 {
		b.WriteString("worker_processes auto;\n")
	} else {
		fmt.Fprintf(&b, "worker_processes %d;\n", s.Workers)
	}
	b.WriteString(`
# The workers' account when root starts nginx. Without a line it is nginx's own default (nobody, www-data, nginx), never root. An
# ordinary user cannot change it; nginx then warns about a line here.
`)
	if s.User == "" {
		b.WriteString("# user nobody;\n")
	} else {
		fmt.Fprintf(&b, "user %s;\n", s.User)
	}
	b.WriteString(`
# notice also logs when workers start and end; the default level logs failures only.
error_log logs/error.log notice;
`)
	return b.String()
}

const logs = `# Where the access log goes; its format is in access-log.conf. Not buffered: a buffer saves little (nothing that could be measured
# here), loses its lines when a worker is killed, and delays them for programs that follow the log.
access_log logs/access.log requests;
` + logQuery

const logQuery = `
# Whether the log has query strings: "1", or "" where they may hold secrets or personal data. The error log has them in any case: it
# quotes the request line of what fails.
map "" $log_query {
	default "1";
}
`

const hosts = `# The hosts that clients may name; any other gets 421 (gRPC: UNIMPLEMENTED), and no instance sees the request. Off here: all are served.
# To turn it on, set default to 421 and name your hosts, among them those that health checks of load balancers in front use.
map $host $unknown_host {
	hostnames;
	default "";
	# whoami.example.com "";
	# *.example.com      "";
}
`

const keepalive = `# so_keepalive finds clients whose machine is gone while a stream is silent: it probes after 60 s of silence, every 10 s, three times.
# With so_keepalive=on the kernel's times would hold, and Linux waits two hours.
`

func (s Site) grpcListen(v Version) string {
	const text = "# Where the gRPC listener accepts.\n" + keepalive
	if v.atLeast(http2Directive) {
		return text + "listen " + s.GRPC + " so_keepalive=60s:10s:3;\nhttp2 on;\n"
	}
	return text + "# Since 1.25.1 http2 is a directive of its own (http2 on;); as a parameter it still works, with a warning.\n" +
		"listen " + s.GRPC + " http2 so_keepalive=60s:10s:3;\n"
}

func servers(door string, all []Server, of func(Server) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The instances' %s endpoints. upstreams.conf says why max_fails=0.\n", door)
	for _, server := range all {
		fmt.Fprintf(&b, "server %s max_fails=0;\n", of(server))
	}
	return b.String()
}

func newer(v Version) string {
	const text = `# What needs a newer nginx than the rest, included in http { }.

# 1.27.4: an idle HTTP/1.1 connection stays open this long after its last request even while its worker is being replaced. Without it a
# reload closes it at once, and a POST that the client is just sending is lost (0.06 to 0.5 % of them while nginx reloads).
`
	const resolve = `
# 1.27.3: instances by name, resolved again and again (before: once, at start): resolver 127.0.0.11 valid=5s; here, and in
# site/*-servers.conf server NAME:PORT resolve max_fails=0; (upstreams.conf has the zone that this needs).
`
	if v.atLeast(keepaliveMinTimeout) {
		return text + "keepalive_min_timeout 10s;\n" + resolve
	}
	return text + "# keepalive_min_timeout 10s;\n" + resolve
}

func (s Site) public() string {
	diagnostics := ""
	if s.Diagnostics {
		diagnostics = "1"
	}
	return `# Whether the public listeners pass diagnostics on: /healthz, /readyz and /openapi.json over HTTP, reflection and grpc.health.v1 over
# gRPC. "1" in dev and qa; "" in prod, because they show strangers the API and which instances are down: a request then gets the response
# of an unknown path (404, UNIMPLEMENTED), and no instance sees it.
map "" $public_diagnostics {
	default "` + diagnostics + `";
}
`
}
