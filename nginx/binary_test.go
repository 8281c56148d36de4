package nginx

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// findNginx returns the nginx for the tests: $TRIVET_NGINX, else the one on PATH, else the one that nginx/fetch got.
func findNginx(t testing.TB) Binary {
	t.Helper()
	name := os.Getenv("TRIVET_NGINX")
	if name != "" {
		b, err := Find(t.Context(), name)
		if err != nil {
			t.Fatalf("TRIVET_NGINX: %v", err)
		}
		return b
	}
	b, err := Find(t.Context(), "nginx")
	if errors.Is(err, ErrMissing) {
		b, err = Find(t.Context(), filepath.Join("..", ".cache", "nginx", "nginx"))
	}
	if err != nil {
		t.Fatalf("tests need a real nginx; run make nginx, or set TRIVET_NGINX: %v", err)
	}
	return b
}

// script writes an executable that prints text to standard error, like nginx, and exits with code.
func script(t *testing.T, text, code string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "nginx")
	if err := os.WriteFile(name, []byte("#!/bin/sh\ncat >&2 <<'END'\n"+text+"\nEND\nexit "+code+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFindRefuses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	const built = "configure arguments: --with-http_ssl_module --with-http_v2_module --with-http_stub_status_module"
	for _, c := range []struct {
		name, binary string
		err          error
		text         string
	}{
		{"missing path", filepath.Join(dir, "none"), ErrMissing, "make nginx"},
		{"name not on PATH", "missing-nginx", ErrMissing, `no "missing-nginx" on PATH`},
		{"no name", "", ErrMissing, `no "" on PATH`},
		{"file without x bit", write("plain", "#!/bin/sh\n", 0o644), ErrNotExecutable, "chmod +x"},
		{"directory", dir, ErrNotExecutable, "or a directory"},
		{"executable of another machine", write("noexec", "\x7fELF\x02 not this one", 0o755), ErrNotExecutable, "exec format error"},
		{"too old", script(t, "nginx version: nginx/1.18.0\n"+built, "0"), ErrTooOld, "is 1.18.0, want 1.22.0 or newer"},
		{"other program", script(t, "Server version: Apache/2.4.62", "0"), ErrNotNginx, "Apache/2.4.62"},
		{"failing program", script(t, "error while loading shared libraries: libssl.so.3", "127"), ErrNotNginx, "libssl.so.3"},
		// Kills its process group, which must not be the test's.
		{"killed program", write("ended", "#!/bin/sh\nkill -INT 0\n", 0o755), ErrNoVerdict, "-V: signal: interrupt"},
		{"without HTTP/2", script(t, "nginx version: nginx/1.30.6\nconfigure arguments: --without-http_map_module", "0"), ErrLacksModule, "http_ssl_module, http_v2_module, http_stub_status_module, http_map_module"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := Find(t.Context(), c.binary)
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v, want %v with %q", err, c.err, c.text)
			}
			if b != (Binary{}) {
				t.Errorf("found %+v", b)
			}
		})
	}
}

func TestFindByNameAndByRelativePath(t *testing.T) {
	name := script(t, "nginx version: nginx/1.22.0\nconfigure arguments: --with-http_ssl_module --with-http_v2_module --with-http_stub_status_module", "0")
	want := Binary{Path: name, Version: Version{1, 22, 0}}
	t.Setenv("PATH", filepath.Dir(name)+":"+os.Getenv("PATH"))
	t.Chdir(filepath.Dir(name))
	for _, as := range []string{"nginx", "./nginx", name} {
		if b, err := Find(t.Context(), as); err != nil || b != want {
			t.Errorf("Find(%q) is %+v, %v; want %+v", as, b, err, want)
		}
	}
}

// TestFindRefusesRelativePATH checks that a name found only through a relative PATH is refused, as exec.LookPath does.
func TestFindRefusesRelativePATH(t *testing.T) {
	name := script(t, "nginx version: nginx/1.22.0\nconfigure arguments: --with-http_ssl_module --with-http_v2_module --with-http_stub_status_module", "0")
	t.Chdir(filepath.Dir(name))
	t.Setenv("PATH", ".")
	if _, err := Find(t.Context(), "nginx"); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "write ./nginx") {
		t.Errorf("error %v", err)
	}
}

func TestFindStopsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	name := script(t, "nginx version: nginx/1.22.0", "0")
	if _, err := Find(ctx, name); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := (Binary{Path: name}).Test(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("Test: error %v", err)
	}
}

func TestArgsStayInTheForeground(t *testing.T) {
	if args := (Binary{}).Args("/run/x"); !slices.Contains(args, "daemon off;") || !slices.Contains(args, "/run/x") {
		t.Errorf("%q", args)
	}
}

func TestShippedConfigurationIsAccepted(t *testing.T) {
	b := findNginx(t)
	many := local()
	many.Servers = nil
	for range 300 {
		many.Servers = append(many.Servers, Server{"127.0.0.1:8001", "127.0.0.1:9001"})
	}
	six := local()
	six.HTTP, six.GRPC, six.Servers = "[::1]:8080", "[::1]:9090", []Server{{"[::1]:8001", "[2001:db8::1]:9001"}}
	for _, c := range []struct {
		name string
		site Site
		v    Version
	}{
		{"as shipped", local(), Version{1, 22, 1}},
		{"for this nginx", local(), b.Version},
		{"IPv6", six, b.Version},
		{"300 instances fit the zones", many, b.Version},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.site.Install(dir, Conf(), c.v); err != nil {
				t.Fatal(err)
			}
			if err := b.Test(t.Context(), dir); err != nil {
				t.Error(err)
			}
			log, err := os.ReadFile(filepath.Join(dir, "logs", "error.log"))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(log)) {
				// The only expected warning: files for 1.22 on a newer nginx.
				if !strings.Contains(line, `the "listen ... http2" directive is deprecated`) {
					t.Errorf("unexpected log line: %s", line)
				}
			}
		})
	}
}

func TestConfigurationTestReportsNginxLines(t *testing.T) {
	b, dir := findNginx(t), t.TempDir()
	if err := local().Install(dir, Conf(), b.Version); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "conf", "site", "http-listen.conf")
	if err := os.WriteFile(name, []byte("lisen 127.0.0.1:8080;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	want := `nginx: [emerg] unknown directive "lisen" in ` + name + ":1"
	if err := b.Test(t.Context(), dir); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if err := (Binary{Path: script(t, "bus error", "3")}).Test(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "bus error") {
		t.Errorf("program that prints no nginx line: error %v", err)
	}
}

// TestConfigurationTestEndedBySignal checks that a killed nginx -t says nothing about the configuration.
func TestConfigurationTestEndedBySignal(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nginx")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho 'nginx: [emerg] half a word' >&2\nkill -INT 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{path: "signal: interrupt", filepath.Join(t.TempDir(), "none"): "no such file"} {
		err := Binary{Path: path}.Test(t.Context(), t.TempDir())
		if !errors.Is(err, ErrNoVerdict) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
