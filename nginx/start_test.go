package nginx

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trivet/internal/proctest"
)

// place is where a container's start script finds and puts files.
type place struct {
	dir    string
	script string
}

// newPlace returns a place with the start script, whose paths lead into it. In place of nginx it runs program, a script.
func newPlace(t *testing.T, program string) place {
	t.Helper()
	p := place{dir: proctest.Passable(t)}
	p.script = filepath.Join(p.dir, "start")
	put(t, p.script, strings.NewReplacer("/run/nginx", p.dir+"/run", "/tls/", p.dir+"/tls/", "-d /tls ", "-d "+p.dir+"/tls ", "/etc/", p.dir+"/",
		"/usr/sbin/nginx", p.dir+"/nginx").Replace(read(t, "docker/nginx")))
	put(t, filepath.Join(p.dir, "nginx"), program)
	put(t, filepath.Join(p.dir, "hosts"), "127.0.0.1\tlocalhost\n# 10.0.0.9 commented\n10.0.0.1 one two # three\n192.168.65.254 host.docker.internal")
	put(t, filepath.Join(p.dir, "resolv.conf"), "# nameserver 10.0.0.9\nsearch test\nnameserver 127.0.0.11\noptions ndots:0\n")
	return p
}

// command runs the script in a shell with an environment and nothing else.
func (p place) command(shell, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(shell[0], append(append(slices.Clone(shell[1:]), p.script), args...)...)
	cmd.Dir, cmd.Env = p.dir, append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	return cmd
}

// run runs the script, and returns what it prints and its exit code.
func (p place) run(t *testing.T, shell, env []string, args ...string) (string, int) {
	t.Helper()
	text, err := p.command(shell, env, args...).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if ok {
		return string(text), exit.ExitCode()
	}
	return string(text), 0
}

// shells are those of images that people build nginx's from: Debian's dash, Alpine's busybox, and bash, as far as they are here.
func shells(t *testing.T) [][]string {
	t.Helper()
	found := [][]string{{"sh"}}
	for _, shell := range [][]string{{"dash"}, {"busybox", "sh"}, {"bash", "--posix"}} {
		if _, err := exec.LookPath(shell[0]); err == nil {
			found = append(found, shell)
		}
	}
	return found
}

const stub = "#!/bin/sh\necho \"nginx $*\"\n"

// startCase is an environment, and what the start script writes for it.
type startCase struct {
	name  string
	env   []string
	files map[string]string // of the place
	want  map[string]string // what differs from startDefaults, by the name of the file
	says  string
}

// startDefaults is what the script writes for two instances and no other setting.
var startDefaults = map[string]string{
	"http-servers": "server whoami-1:8001 resolve max_fails=0;\nserver whoami-2:8002 resolve max_fails=0;",
	"grpc-servers": "server whoami-1:9001 resolve max_fails=0;\nserver whoami-2:9002 resolve max_fails=0;",
	"http-pass":    "proxy_pass http://whoami_http;", "grpc-pass": "grpc_pass grpc://whoami_grpc;",
	"front-http-servers": "server 127.0.0.1:8101 down;", "front-grpc-servers": "server 127.0.0.1:9101 down;",
	"front-http-pass": "return 404;", "front-grpc-pass": "return 404;",
	"resolver": "resolver 127.0.0.11 valid=2s ipv6=off;", "admin-listen": "listen 127.0.0.1:7080;",
	"environment": `map "" $environment { default prod; }`, "mesh": "", "tls": "",
}

func startCases() []startCase {
	compose := []string{"WHOAMI_HTTP=whoami-1:8001 whoami-2:8002", "WHOAMI_GRPC=whoami-1:9001 whoami-2:9002"}
	return []startCase{
		{"Compose", compose, nil, nil, ""},
		{"empty values are those not set", append(slices.Clone(compose), "FRONT_HTTP=", "FRONT_GRPC= ", "ADMIN=", "BIND=", "MTLS=", "ENVIRONMENT="), nil, nil, ""},
		{"unknown environment counts as prod", append(slices.Clone(compose), "ENVIRONMENT=mars", "MTLS=false", "BIND=::1"), nil, nil, ""},
		{"Kubernetes", []string{
			"WHOAMI_HTTP=whoami-headless.trivet-qa.svc.cluster.local:8000", "WHOAMI_GRPC=whoami-headless.trivet-qa.svc.cluster.local:9000",
			"ADMIN=0.0.0.0:7080", "ENVIRONMENT=qa",
		}, map[string]string{"resolv.conf": "nameserver 10.96.0.10\nnameserver fe80::1%eth0\nnameserver 2001:db8::53"}, map[string]string{
			"http-servers": "server whoami-headless.trivet-qa.svc.cluster.local:8000 resolve max_fails=0;",
			"grpc-servers": "server whoami-headless.trivet-qa.svc.cluster.local:9000 resolve max_fails=0;",
			"resolver":     "resolver 10.96.0.10 [2001:db8::53] valid=2s ipv6=off;", "admin-listen": "listen 0.0.0.0:7080;",
			"environment": `map "" $environment { default qa; }`,
		}, ""},
		{"addresses, and names of /etc/hosts", []string{
			"WHOAMI_HTTP=host.docker.internal:8001 two:8002\t127.0.0.1:8003\n[2001:db8::1]:8004 three:8005 commented:8006",
			"WHOAMI_GRPC=localhost:9001", "ADMIN=[::1]:7080",
		}, nil, map[string]string{
			"http-servers": "server host.docker.internal:8001 max_fails=0;\nserver two:8002 max_fails=0;\nserver 127.0.0.1:8003 max_fails=0;\n" +
				"server [2001:db8::1]:8004 max_fails=0;\nserver three:8005 resolve max_fails=0;\nserver commented:8006 resolve max_fails=0;",
			"grpc-servers": "server localhost:9001 max_fails=0;", "admin-listen": "listen [::1]:7080;",
		}, ""},
		{"no nameserver, and none needed", []string{"WHOAMI_HTTP=10.0.0.1:1", "WHOAMI_GRPC=10.0.0.1:65535"}, map[string]string{"resolv.conf": ""}, map[string]string{
			"http-servers": "server 10.0.0.1:1 max_fails=0;", "grpc-servers": "server 10.0.0.1:65535 max_fails=0;", "resolver": "",
		}, ""},
		{"front, mutual TLS and edge", append(slices.Clone(compose), "FRONT_HTTP=front-1:8101", "FRONT_GRPC=front-1:9101", "MTLS=true", "ENVIRONMENT=dev"),
			map[string]string{"tls/nginx.pem": "", "tls/ca.pem": "", "tls/edge.pem": ""}, map[string]string{
				"front-http-servers": "server front-1:8101 resolve max_fails=0;", "front-grpc-servers": "server front-1:9101 resolve max_fails=0;",
				"http-pass":       "proxy_pass https://whoami_http; proxy_ssl_name whoami.mesh;",
				"grpc-pass":       "grpc_pass grpcs://whoami_grpc; grpc_ssl_name whoami.mesh;",
				"front-http-pass": "proxy_pass https://front_http; proxy_ssl_name front.mesh;",
				"front-grpc-pass": "grpc_pass grpcs://front_grpc; grpc_ssl_name front.mesh;",
				"mesh": "include mutual-tls.conf; " +
					"proxy_ssl_trusted_certificate TLS/ca.pem; proxy_ssl_certificate TLS/nginx.pem; proxy_ssl_certificate_key TLS/nginx.pem; " +
					"grpc_ssl_trusted_certificate TLS/ca.pem; grpc_ssl_certificate TLS/nginx.pem; grpc_ssl_certificate_key TLS/nginx.pem;",
				"tls": "include tls-listener.conf;", "environment": `map "" $environment { default dev; }`,
			}, ""},
		{"directory without the edge's certificate", compose, map[string]string{"tls/other": ""}, nil, "edge.pem is missing: nginx starts without TLS\n"},
	}
}

// TestStartScript checks what the start script of the image writes for site/.
func TestStartScript(t *testing.T) {
	t.Parallel()
	for _, c := range startCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, shell := range shells(t) {
				p := newPlace(t, stub)
				for name, text := range c.files {
					put(t, filepath.Join(p.dir, name), text)
				}
				text, code := p.run(t, shell, c.env, "-g", "daemon off;")
				want := "nginx -p " + p.dir + "/run -e stderr -g daemon off;\n"
				if c.says != "" {
					want = p.dir + "/tls/" + c.says + want
				}
				if code != 0 || text != want {
					t.Fatalf("%s: exit code %d, prints %q, want %q", shell, code, text, want)
				}
				written := tree(t, filepath.Join(p.dir, "run"))
				for name, text := range startDefaults {
					if special, ok := c.want[name]; ok {
						text = strings.ReplaceAll(special, "TLS/", p.dir+"/tls/")
					}
					if got := strings.TrimRight(written[name+".conf"], "\n"); got != text {
						t.Errorf("%s: %s.conf is %q, want %q", shell, name, got, text)
					}
					delete(written, name+".conf")
				}
				if len(written) > 0 {
					t.Errorf("%s: unexpected %q", shell, slices.Collect(maps.Keys(written)))
				}
			}
		})
	}
}

// TestStartScriptRefuses checks that wrong values are all reported at once, and that nothing is written or started.
func TestStartScriptRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  []string
		says []string
	}{
		{nil, []string{"WHOAMI_HTTP is empty: want HOST:PORT of each instance", "WHOAMI_GRPC is empty: want HOST:PORT of each instance"}},
		{[]string{
			"WHOAMI_HTTP=whoami-1 whoami-1:0 whoami-1:65536 ::1:8001 [::1%eth0]:8001 300.1.1.1:8001 a;b:8001 * $x:80 -a:80 whoami.:80 whoami-1:8001",
			"WHOAMI_GRPC=127.0.0.1:9001", "FRONT_HTTP=front-1:8101", "ADMIN=0.0.0.0:7080\n; load_module x", "BIND=300.1.1.1", "MTLS=yes",
		}, []string{
			"WHOAMI_HTTP: whoami-1: want HOST:PORT, IPv6 in brackets", "WHOAMI_HTTP: whoami-1:0: want", "WHOAMI_HTTP: whoami-1:65536: want",
			"WHOAMI_HTTP: ::1:8001: want", "WHOAMI_HTTP: [::1%eth0]:8001: want", "WHOAMI_HTTP: 300.1.1.1:8001: want", "WHOAMI_HTTP: a;b:8001: want",
			"WHOAMI_HTTP: *: want", "WHOAMI_HTTP: $x:80: want", "WHOAMI_HTTP: -a:80: want", "WHOAMI_HTTP: whoami.:80: want",
			"FRONT_GRPC is empty, and FRONT_HTTP is not: want both or neither",
			"ADMIN=0.0.0.0:7080\n; load_module x: want IP:PORT, like 0.0.0.0:7080",
			"BIND=300.1.1.1: want an IP address to publish on, like 127.0.0.1 or 0.0.0.0", "MTLS=yes: want true or false",
		}},
		{[]string{"WHOAMI_HTTP=localhost:8001", "WHOAMI_GRPC=localhost:9001", "FRONT_GRPC=front-1:9101", "ADMIN=localhost:7080", "BIND=127.0.0.1 0.0.0.0", "MTLS=true"}, []string{
			"FRONT_HTTP is empty, and FRONT_GRPC is not: want both or neither", "ADMIN=localhost:7080: want IP:PORT", "BIND=127.0.0.1 0.0.0.0: want an IP address",
			"nginx.pem", "ca.pem",
		}},
		{[]string{"WHOAMI_HTTP=whoami-1:8001", "WHOAMI_GRPC=10.0.0.1:9001", "resolv.conf=nameserver fe80::1%eth0\n"}, []string{
			"WHOAMI_HTTP: whoami-1:8001: want an address, because ",
		}},
	} {
		for _, shell := range shells(t) {
			p := newPlace(t, stub)
			for _, setting := range c.env {
				if text, ok := strings.CutPrefix(setting, "resolv.conf="); ok {
					put(t, filepath.Join(p.dir, "resolv.conf"), text)
				}
			}
			text, code := p.run(t, shell, c.env)
			if n := strings.Count(text, "; nginx does not start\n"); code != 2 || n != len(c.says) {
				t.Errorf("%s, %q: exit code %d, want 2; %d errors, want %d: %s", shell, c.env, code, n, len(c.says), text)
			}
			for _, want := range c.says {
				if !strings.Contains(text, want) {
					t.Errorf("%s, %q: no %q in:\n%s", shell, c.env, want, text)
				}
			}
			if _, err := os.Stat(filepath.Join(p.dir, "run")); err == nil || strings.Contains(text, "nginx -p") {
				t.Errorf("%s: wrote or started something: %s", shell, text)
			}
		}
	}
}
