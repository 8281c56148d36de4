package nginx

import (
	"fmt"
	"strings"
)

// ContainerSite returns the contents of site/ by name for the image trivet-nginx, which Compose, Swarm and Kubernetes share: the shipped
// files, in which directives whose values only the place knows include files that the image's start script (docker/nginx) writes from the
// environment. The directory docker/site holds the result; make generate writes it.
func ContainerSite() map[string]string {
	site := Site{
		HTTP: "0.0.0.0:8080", GRPC: "0.0.0.0:9090", Admin: "127.0.0.1:7080", Workers: 1, Diagnostics: true,
		TLS: &EdgeTLS{Listen: "0.0.0.0:8443", Certificate: "/tls/edge.pem", Key: "/tls/edge.pem"},
	}
	files := site.files(imageVersion)
	for _, e := range containerEdits() {
		files[e.file] = e.apply(files[e.file])
	}
	return files
}

// passage is a place in a file: the text from one string through another, or just the first; text replaces it.
type passage struct{ file, from, through, text string }

// apply panics unless from occurs once: all texts are embedded.
func (p passage) apply(text string) string {
	before, rest, found := strings.Cut(text, p.from)
	_, after, ends := strings.Cut(rest, p.through)
	if !found || !ends || strings.Contains(rest, p.from) {
		panic(fmt.Sprintf("site/%s: want %q once, then %q, in:\n%s", p.file, p.from, p.through, text))
	}
	return before + p.text + after
}

// containerEdits returns what differs in a container, comments included.
func containerEdits() []passage {
	const run = "include /run/nginx/"
	edits := []passage{
		{"admin-listen.conf", "loopback, so", "7080;", "ADMIN in the environment, by default 127.0.0.1:7080.\n" + run + "admin-listen.conf;"},
		{"http-listen.conf", "; 127.0.0.1", "Linux would wait two hours.", ": the container's own addresses; its published ports decide what reaches it.\n" +
			"# so_keepalive detects clients whose machine is gone while a stream is silent: it probes after 60 s of silence, every 10 s,\n" +
			"# three times. With so_keepalive=on, Linux would wait two hours."},
		{"grpc-listen.conf", " Since nginx 1.25.1", "warning.", ""},
		{"tls-listen.conf", " Since nginx 1.25.1", "warning.", ""},
		{"http-servers.conf", ". Why max_fails", ".conf.", ": for each in WHOAMI_HTTP, a line like\n" +
			"#     server whoami-1:8001 resolve max_fails=0;\n" +
			"# resolve: a recreated container may get another address; without it, nginx resolves names once, at start, and does not\n" +
			"# start if it cannot. Addresses and names in /etc/hosts go without. Why max_fails=0: upstreams.conf.\n" + run + "http-servers.conf;"},
		{"grpc-servers.conf", ". Why max_fails", ".conf.", ", as in http-servers.conf: WHOAMI_GRPC.\n" + run + "grpc-servers.conf;"},
		{"newer.conf", "# Before 1.23.2", "ssl_session_tickets off;\n\n", ""},
		{"newer.conf", "resolves instances' names", "in upstreams.conf).", "resolves instances' names repeatedly, at the nameservers of /etc/resolv.conf: Docker's own, or the cluster's.\n" +
			"# What they answer may be valid for minutes; valid=2s finds an instance at a new address after two seconds. ipv6=off: the\n" +
			"# instances' network has none.\n" + run + "resolver.conf; # resolver ADDRESS valid=2s ipv6=off;\nresolver_timeout 2s;"},
		{"process.conf", "# One worker per CPU. Under", "the number.", "# One worker for the CPU that Compose grants; auto would count the machine's CPUs."},
		{"process.conf", "# Account of", "# user nobody;", "# No user line: the master is not root here, and the workers run as its account."},
		{"process.conf", "# notice also", "logs/error.log", "# To the container's log. notice also logs when workers start and end; the default level logs failures only.\nerror_log stderr"},
		{"logs.conf", "Where the", "logs/access.log", "To the container's log, beside the error log; format: access-log.conf. Unbuffered, because a buffer delays lines for programs\n" +
			"# that follow the log.\naccess_log /dev/stdout"},
		{"public.conf", `"1" in dev`, `default "1";`, "ENVIRONMENT=dev and qa open them; elsewhere they would show strangers the API and which instances are down. Closed,\n" +
			"# they get the response of an unknown path (404, UNIMPLEMENTED) and reach no instance.\n" +
			run + "environment.conf;\nmap $environment $public_diagnostics {\n\tdev     \"1\";\n\tqa      \"1\";\n\tdefault \"\";"},
		{"mesh.conf", " Off: they", "nginx.pem;\n# grpc_ssl_certificate_key      tls/nginx.pem;", " MTLS=true includes mutual-tls.conf, with nginx's identity /tls/nginx.pem and the authorities\n" +
			"# /tls/ca.pem; the instances then need TLS_CERT, TLS_KEY and TLS_CA. Otherwise they get plain HTTP and gRPC.\n" + run + "mesh.conf;"},
		{"tls.conf", "The TLS edge:", "\ninclude tls-listener.conf;", "The TLS edge, if /tls/edge.pem exists: both protocols at one port and name (tls-listener.conf), or at one port and two names\n" +
			"# (tls-names.conf).\n" + run + "tls.conf; # include tls-listener.conf;"},
		{"tls-certificate.conf", "readable by root", "conf/.", "readable by nginx's account (101), because the\n# master is not root here."},
		{"tls-certificate.conf", " tls/ca.pem", "", " /tls/ca.pem"},
		{"http-pass.conf", "proxy_pass http:", "", run + "http-pass.conf; # proxy_pass http:"},
		{"grpc-pass.conf", "grpc_pass grpc:", "", run + "grpc-pass.conf; # grpc_pass grpc:"},
	}
	for _, p := range []string{"http", "grpc"} {
		edits = append(edits,
			passage{"front-" + p + "-servers.conf", ". Here are", " down;", ": FRONT_" + strings.ToUpper(p) + ".\n" + run + "front-" + p + "-servers.conf;"},
			passage{"front-" + p + "-pass.conf", " Here are no", "return 404;", " Without\n# FRONT_HTTP and FRONT_GRPC, clients get the response of an unknown path.\n" + run + "front-" + p + "-pass.conf;"})
	}
	return edits
}
