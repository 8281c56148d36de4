package prometheus

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFetchWithoutNetwork runs fetch where it can download nothing, and checks its message and that it leaves no partial files.
func TestFetchWithoutNetwork(t *testing.T) {
	t.Parallel()
	const nothing, fails, program = "#!/bin/sh\n", "#!/bin/sh\nexit 1\n", "#!/bin/sh\necho prometheus, version 2.42.0\n"
	debian := map[string]string{"apt-get": fails, "apt-cache": nothing, "dpkg": nothing, "dpkg-deb": nothing, "id": "#!/bin/sh\necho 1000\n"}
	for _, c := range []struct {
		name    string
		tools   map[string]string
		program string // of .cache/prometheus, if any
		ok      bool
		says    string
	}{
		{"programs are present", nil, program, true, "nothing to do"},
		{"broken programs are ignored", nil, fails, false, "put prometheus and promtool 2.40.0 or newer on PATH"},
		{"installed programs are used", map[string]string{"prometheus": program, "promtool": nothing}, "", true, "prometheus (2.42.0)"},
		{"installed programs are too old", map[string]string{"prometheus": "#!/bin/sh\necho prometheus, version 2.15.2\n", "promtool": nothing}, "", false, "2.40.0 or newer"},
		{"unknown system", nil, "", false, "https://prometheus.io/download/"},
		{"Debian without package lists, not root", debian, "", false, "run: sudo apt-get update && "},
	} {
		tree := t.TempDir()
		script, err := os.ReadFile("fetch")
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(tree, "deploy", "prometheus", "fetch"), string(script))
		if c.program != "" {
			put(t, filepath.Join(tree, ".cache", "prometheus", "prometheus"), c.program)
			put(t, filepath.Join(tree, ".cache", "prometheus", "promtool"), c.program)
		}
		bin := filepath.Join(tree, "bin")
		for name, text := range c.tools {
			put(t, filepath.Join(bin, name), text)
		}
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"bash", "sh", "dirname", "sed", "sort", "head", "mkdir", "mktemp", "rm", "cat"} {
			path, err := exec.LookPath(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(tree, "deploy", "prometheus", "fetch"))
		cmd.Env = []string{"PATH=" + bin}
		out, err := cmd.CombinedOutput()
		if (err == nil) != c.ok || !strings.Contains(string(out), c.says) {
			t.Errorf("%s: %v: %s; want %q", c.name, err, out, c.says)
		}
		if left, _ := filepath.Glob(filepath.Join(tree, ".cache", "*.partial.*")); len(left) > 0 {
			t.Errorf("%s: partial files: %q", c.name, left)
		}
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
