//go:build docker

package docker

import (
	"strings"
	"testing"
	"time"
)

// The edit that shows which configuration is in force: a header on every response of the HTTP listener.
const (
	headers = "nginx/conf/http-headers.conf"
	place   = "add_header        X-Request-Id $id always;\n"
	reload  = "nginx -t && nginx -s reload"
)

func mark(name string) string { return place + "add_header X-Conf " + name + ";\n" }

// inForce fails unless answers soon have the header with the name of the configuration.
func inForce(t *testing.T, name string) {
	t.Helper()
	await(t, "the configuration "+name+" is in force", 30*time.Second, func() bool { return ask(t).header.Get("X-Conf") == name })
}

// rebuilt is the first of the three ways: a change of the tree gets into the image, and with it into the container.
func rebuilt(t *testing.T, s stack) {
	if got := ask(t).header.Get("X-Conf"); got != "" {
		t.Fatalf("X-Conf is %q before anything was edited", got)
	}
	edit(t, headers, place, mark("baked"))
	s.do(t, "up", "-d", "--build", "nginx")
	inForce(t, "baked")
}

// An image with a configuration that nginx refuses is not built.
func TestBrokenConfigurationIsNotBaked(t *testing.T) {
	edit(t, headers, place, place+"nonsense on;\n")
	s := stack{tool: v1}
	if out := s.try(t, "build", "--force-rm", "nginx"); out.ok || !strings.Contains(out.text, `unknown directive "nonsense" in /etc/nginx/http-headers.conf:`) {
		t.Errorf("built (%v): %s", out.ok, out.text)
	}
}

// The second way, with Compose v2 and in another environment: one edit of a file, no build, no lost GET; and a broken edit changes
// nothing.
func TestConfigurationBindMounted(t *testing.T) {
	s := stack{tool: v2(t), files: []string{"docker-compose.bind.yml"}, env: []string{"ENVIRONMENT=qa"}}
	s.up(t)
	if a := ask(t); a.Environment != "qa" {
		t.Errorf("environment %q, want qa", a.Environment)
	}
	calls := load(t)
	edit(t, headers, place, mark("bound"))
	s.do(t, "exec", "-T", "nginx", "sh", "-c", reload)
	inForce(t, "bound")
	edit(t, "nginx/conf/limits.conf", "send_timeout 30s;", "send_timeout 30s; nonsense on;")
	refused(t, s, "limits.conf")
	inForce(t, "bound")
	calls.lossless(t)
}

// The third way.
func TestConfigurationInVolume(t *testing.T) {
	s := stack{tool: v1, files: []string{"docker-compose.volume.yml"}}
	s.up(t)
	calls := load(t)
	sed := func(script, file string) { s.do(t, "run", "--rm", "-T", "editor", "sed", "-i", script, file) }
	sed(`s|^add_header        X-Request-Id .*|&\nadd_header X-Conf volume;|`, "http-headers.conf")
	s.do(t, "exec", "-T", "nginx", "sh", "-c", reload)
	inForce(t, "volume")
	sed("s|send_timeout 30s;|& nonsense on;|", "limits.conf")
	refused(t, s, "limits.conf")
	inForce(t, "volume")
	calls.lossless(t)
	// nginx itself cannot write there.
	if out := s.try(t, "exec", "-T", "--user", "0", "nginx", "touch", "/etc/nginx/new"); out.ok || !strings.Contains(out.text, "Read-only") {
		t.Errorf("nginx may write to its configuration (%v): %s", out.ok, out.text)
	}
	sed("s| nonsense on;||", "limits.conf")
	// Docker fills a volume only while it is empty: what is built later does not get in.
	edit(t, headers, place, mark("rebuilt"))
	s.do(t, "build", "nginx")
	s.do(t, "up", "-d", "--force-recreate", "nginx")
	inForce(t, "volume")
}

// refused fails unless nginx -t names the file with the nonsense and keeps nginx from being reloaded.
func refused(t *testing.T, s stack, file string) {
	t.Helper()
	out := s.try(t, "exec", "-T", "nginx", "sh", "-c", reload)
	if out.ok || !strings.Contains(out.text, `unknown directive "nonsense" in /etc/nginx/`+file+":") {
		t.Errorf("nginx -t passed (%v): %s", out.ok, out.text)
	}
}
