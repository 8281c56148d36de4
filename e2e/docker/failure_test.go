//go:build docker

package docker

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// both returns the tools that the files support.
func both(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{"docker-compose 1.29": v1, "Compose v2": v2(t)}
}

// TestRefusedBeforeAnythingStarts checks settings that Compose itself refuses.
func TestRefusedBeforeAnythingStarts(t *testing.T) {
	for _, c := range []struct {
		env          string
		first, newer string // what the old and the new tool say
	}{
		{"ENVIRONMENT=mars", "Couldn't find env file: ", ".env.mars not found"},
		{"BIND=banana", "services.nginx.ports contains an invalid type", "invalid IP address: banana"},
		{"BIND=localhost", "services.nginx.ports contains an invalid type", "invalid IP address: localhost"},
	} {
		for tool, want := range map[string]string{v1: c.first, v2(t): c.newer} {
			s := stack{tool: tool, env: []string{c.env}}
			if out := s.try(t, "up", "-d", "--no-build"); out.ok || !strings.Contains(out.text, want) {
				t.Errorf("%s with %s (%v): %s; want %q", filepath.Base(tool), c.env, out.ok, out.text, want)
			}
		}
	}
	if left := docker(t, "ps", "-aq", "--filter", "label=com.docker.compose.project="+project); left != "" {
		t.Errorf("containers were created: %s", left)
	}
}

// ends fails unless the service's container soon stops restarting, and each line of its log has the reason.
func ends(t *testing.T, s stack, service, reason string) {
	t.Helper()
	list := func(format string) string {
		return docker(t, "ps", "-a", "--format", format, "--filter", "label=com.docker.compose.project="+project, "--filter", "label=com.docker.compose.service="+service)
	}
	// Three restarts, after pauses of 0.1, 0.2 and 0.4 s.
	await(t, service+" stops restarting", 30*time.Second, func() bool { return strings.HasPrefix(list("{{.Status}}"), "Exited") })
	id := list("{{.ID}}")
	if got := inspect(t, id, "{{.State.Status}} {{.RestartCount}}"); got != "exited 3" {
		t.Errorf("%s (status, restarts): %s, want exited 3", service, got)
	}
	text := docker(t, "logs", id)
	for line := range strings.Lines(text) {
		if !strings.Contains(line, reason) {
			t.Errorf("%s logs %q; want only %q", service, line, reason)
		}
	}
	if text == "" {
		t.Errorf("%s logs nothing", service)
	}
}

func TestUnusableConfigurationStopsNginx(t *testing.T) {
	for _, c := range []struct {
		name, tool string
		make       func(dir string) error
		reason     string
	}{
		{"empty", v2(t), func(string) error { return nil }, `[emerg] 1#1: open() "/etc/nginx/nginx.conf" failed (2: No such file or directory)`},
		{"broken", v1, func(dir string) error {
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(tree(t), "nginx", "conf"))); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "limits.conf"), []byte("nonsense on;\n"), 0o644)
		}, `[emerg] 1#1: unknown directive "nonsense" in /etc/nginx/limits.conf:1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(tree(t), ".conf")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			if err := c.make(dir); err != nil {
				t.Fatal(err)
			}
			s := stack{tool: c.tool, files: []string{"docker-compose.bind.yml"}, env: []string{"NGINX_CONF=./.conf"}}
			s.upNginx(t)
			ends(t, s, "nginx", c.reason)
		})
	}
}

// TestInvalidBindAddressStopsNginx checks 300.1.1.1, which docker-compose 1.29 accepts; Docker would publish on all addresses.
func TestInvalidBindAddressStopsNginx(t *testing.T) {
	s := stack{tool: v1, env: []string{"BIND=300.1.1.1"}}
	s.upNginx(t)
	ends(t, s, "nginx", "BIND=300.1.1.1: want an IP address to publish on")
}

func TestTakenPortStopsStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:9090")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, tool := range both(t) {
		t.Run(name, func(t *testing.T) {
			s := stack{tool: tool}
			if out := s.upNginx(t); out.ok || !strings.Contains(out.text, "127.0.0.1:9090: bind: address already in use") {
				t.Errorf("started (%v): %s", out.ok, out.text)
			}
		})
	}
}

// TestUnknownEnvironmentIsRefused checks that instances refuse values which Compose accepts, and log why.
func TestUnknownEnvironmentIsRefused(t *testing.T) {
	s := stack{tool: v1, env: []string{"ENVIRONMENT=example"}} // .env.example exists
	s.build(t)
	t.Cleanup(func() { s.down(t) })
	s.do(t, "up", "-d", "--no-build", "whoami-1")
	await(t, "whoami-1 logs why it does not run", 20*time.Second, func() bool {
		return strings.Contains(s.do(t, "logs", "whoami-1"), "ENVIRONMENT=example (environment): want dev, qa or prod")
	})
}

// TestBadInstanceLeavesOthersServing checks that one instance that cannot run stops neither nginx nor the others. It runs in prod, which
// also closes diagnostics.
func TestBadInstanceLeavesOthersServing(t *testing.T) {
	const bad = "services:\n  whoami-2:\n    environment: {HTTP_PORT: banana}\n"
	override := filepath.Join(t.TempDir(), "bad.yml") // Not in the tree, or its images would be rebuilt.
	if err := os.WriteFile(override, []byte(bad), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tool := range both(t) {
		t.Run(name, func(t *testing.T) {
			s := stack{tool: tool, files: []string{override}, env: []string{"ENVIRONMENT=prod"}}
			s.build(t)
			t.Cleanup(func() { s.down(t) })
			s.do(t, "up", "-d", "--no-build")
			for _, service := range []string{"nginx", "whoami-1", "whoami-3"} {
				s.healthy(t, service)
			}
			got := shares(t, 30)
			if got["whoami-1"]+got["whoami-3"] != 30 || got["whoami-1"] == 0 || got["whoami-3"] == 0 {
				t.Errorf("shares %v, want all from whoami-1 and whoami-3", got)
			}
			diagnostics(t, http.StatusNotFound)
		})
	}
}

// diagnostics fails unless the operators' paths return the status through nginx.
func diagnostics(t *testing.T, want int) {
	t.Helper()
	for _, path := range []string{"healthz", "readyz", "openapi.json"} {
		resp, err := client.Get(httpURL + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("/%s: %s, want %d", path, resp.Status, want)
		}
	}
}
