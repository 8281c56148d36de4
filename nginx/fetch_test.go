package nginx

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFetchWithoutNetwork runs nginx/fetch where it can download nothing, and checks its message and that it leaves no partial files.
func TestFetchWithoutNetwork(t *testing.T) {
	const nothing = "#!/bin/sh\n"
	debian := map[string]string{
		"apt-get": nothing, "apt-cache": nothing, "dpkg": nothing, "dpkg-deb": nothing, "dpkg-query": nothing, "ldd": nothing,
		"id": "#!/bin/sh\necho 1000\n",
	}
	for _, c := range []struct {
		name  string
		tools map[string]string
		nginx string // content of .cache/nginx/nginx, if any
		args  []string
		ok    bool
		says  string
	}{
		{"nginx is present", nil, "#!/bin/sh\necho nginx version: nginx/1.22.1 >&2\n", nil, true, "nothing to do"},
		{"broken nginx is ignored", nil, nothing, nil, false, "install nginx 1.22.0 or newer"},
		{"Alpine", map[string]string{"apk": nothing}, "", nil, false, "run: sudo apk add nginx"},
		{"macOS", map[string]string{"brew": nothing}, "", nil, false, "docker compose up --build"},
		{"unknown system", nil, "", nil, false, "https://nginx.org/en/download.html"},
		{"Debian without package lists, not root", debian, "", nil, false, "run: sudo apt-get update && "},
		{"path of the newer nginx", nil, "", []string{"--next", "--which"}, true, "/.cache/nginx-next/nginx\n"},
		{"newer nginx, unknown system", nil, "", []string{"--next"}, false, "set TRIVET_NGINX to an nginx 1.30 or newer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := t.TempDir()
			for _, script := range []string{"fetch", "fetch-next"} {
				put(t, filepath.Join(tree, "nginx", script), read(t, script))
			}
			if c.nginx != "" {
				put(t, filepath.Join(tree, ".cache", "nginx", "nginx"), c.nginx)
			}
			bin := filepath.Join(tree, "bin")
			for name, text := range c.tools {
				put(t, filepath.Join(bin, name), text)
			}
			for _, name := range []string{"bash", "sh", "dirname", "sed", "mkdir", "mktemp", "rm", "chmod"} {
				link(t, bin, name)
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join(tree, "nginx", "fetch"), c.args...)
			cmd.Env = []string{"PATH=" + bin}
			out, err := cmd.CombinedOutput()
			if (err == nil) != c.ok || !strings.Contains(string(out), c.says) {
				t.Errorf("%v: %s; want %q", err, out, c.says)
			}
			if left, _ := filepath.Glob(filepath.Join(tree, ".cache", "*.partial.*")); len(left) > 0 {
				t.Errorf("partial files: %q", left)
			}
		})
	}
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// link puts a link to one of the machine's tools into bin.
func link(t *testing.T, bin, name string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
		t.Fatal(err)
	}
}
