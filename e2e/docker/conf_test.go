//go:build docker

package docker

import (
	"strings"
	"testing"
	"time"
)

// The edit that shows which configuration is active: a header on every response of the HTTP listener.
const (
	headers = "nginx/conf/http-headers.conf"
	place   = "add_header        X-Request-Id $id always;\n"
	reload  = "nginx -t && nginx -s reload"
)

func mark(name string) string { return place + "add_header X-Conf " + name + ";\n" }

// wantConf fails unless responses soon have the header with the name of the configuration.
func wantConf(t *testing.T, name string) {
	t.Helper()
	await(t, "configuration "+name+" is active", 30*time.Second, func() bool { return getOK(t).header.Get("X-Conf") == name })
}

// rebuilt checks the first of three ways: a change of the tree reaches the image, and with it the container.
func rebuilt(t *testing.T, s stack) {
	if got := getOK(t).header.Get("X-Conf"); got != "" {
		t.Fatalf("X-Conf is %q before anything was edited", got)
	}
	edit(t, headers, place, mark("baked"))
	s.do(t, "up", "-d", "--build", "--no-deps", "nginx")
	wantConf(t, "baked")
}

// TestBrokenConfigurationIsNotBaked checks that an image whose configuration nginx refuses is not built.
func TestBrokenConfigurationIsNotBaked(t *testing.T) {
	edit(t, headers, place, place+"nonsense on;\n")
	s := stack{tool: v1}
	if out := s.try(t, "build", "--force-rm", "nginx"); out.ok || !strings.Contains(out.text, `unknown directive "nonsense" in /etc/nginx/http-headers.conf:`) {
		t.Errorf("built (%v): %s", out.ok, out.text)
	}
}

// TestConfigurationBindMounted checks the second way, with Compose v2 and another environment: one edit, no build, no lost GET; and an
// invalid edit changes nothing.
func TestConfigurationBindMounted(t *testing.T) {
	s := stack{tool: v2(t), files: []string{"docker-compose.bind.yml"}, env: []string{"ENVIRONMENT=qa"}}
	s.up(t)
	if a := getOK(t); a.Environment != "qa" {
		t.Errorf("environment %q, want qa", a.Environment)
	}
	calls := load(t)
	edit(t, headers, place, mark("bound"))
	s.do(t, "exec", "-T", "nginx", "sh", "-c", reload)
	wantConf(t, "bound")
	edit(t, "nginx/conf/limits.conf", "send_timeout 30s;", "send_timeout 30s; nonsense on;")
	refused(t, s, "limits.conf")
	wantConf(t, "bound")
	calls.lossless(t)
}

// TestConfigurationInVolume checks the third way, with docker-compose 1.29, and front with it.
func TestConfigurationInVolume(t *testing.T) {
	s := stack{tool: v1, files: []string{"docker-compose.volume.yml", frontFile}}
	s.up(t)
	visit(t, "")
	calls := load(t)
	sed := func(script, file string) { s.do(t, "run", "--rm", "-T", "editor", "sed", "-i", script, file) }
	sed(`s|^add_header        X-Request-Id .*|&\nadd_header X-Conf volume;|`, "http-headers.conf")
	s.do(t, "exec", "-T", "nginx", "sh", "-c", reload)
	wantConf(t, "volume")
	sed("s|send_timeout 30s;|& nonsense on;|", "limits.conf")
	refused(t, s, "limits.conf")
	wantConf(t, "volume")
	calls.lossless(t)
	// nginx itself cannot write there.
	if out := s.try(t, "exec", "-T", "--user", "0", "nginx", "touch", "/etc/nginx/new"); out.ok || !strings.Contains(out.text, "Read-only") {
		t.Errorf("nginx can write to its configuration (%v): %s", out.ok, out.text)
	}
	sed("s| nonsense on;||", "limits.conf")
	// Docker fills a volume only while it is empty, so a later build does not reach it.
	edit(t, headers, place, mark("rebuilt"))
	s.do(t, "build", "nginx")
	s.do(t, "up", "-d", "--force-recreate", "nginx")
	wantConf(t, "volume")
}

// refused fails unless nginx -t names the invalid file and prevents the reload.
func refused(t *testing.T, s stack, file string) {
	t.Helper()
	out := s.try(t, "exec", "-T", "nginx", "sh", "-c", reload)
	if out.ok || !strings.Contains(out.text, `unknown directive "nonsense" in /etc/nginx/`+file+":") {
		t.Errorf("nginx -t passed (%v): %s", out.ok, out.text)
	}
}
