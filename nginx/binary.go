package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Reasons why Find refuses a binary. Its errors wrap one of these and say what to do.
var (
	ErrMissing       = errors.New("nginx not found")
	ErrNotExecutable = errors.New("nginx cannot be executed")
	ErrNotNginx      = errors.New("not an nginx")
	ErrTooOld        = errors.New("nginx too old")
	ErrLacksModule   = errors.New("nginx lacks a module")
)

// ErrNoVerdict reports that nginx could not be started, or that a signal ended it: Find and Test learned nothing about the binary or the
// configuration.
var ErrNoVerdict = errors.New("nginx did not finish")

// Binary is an nginx on this machine; its Path is absolute.
type Binary struct {
	Path    string
	Version Version
}

// sbin lists where packages install nginx; Debian has no sbin on an ordinary user's PATH.
var sbin = []string{"/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"}

// Find looks up name, a path or a name on PATH or where packages install nginx, and runs it with -V. It refuses a binary that cannot run
// the configuration: ErrMissing, ErrNotExecutable, ErrNotNginx, ErrTooOld (older than Oldest), ErrLacksModule. It changes nothing on the
// machine.
func Find(ctx context.Context, name string) (Binary, error) {
	path, err := look(name)
	if err != nil {
		return Binary{}, err
	}
	text, err := output(ctx, path, "-V")
	if err != nil {
		if ctx.Err() != nil {
			return Binary{}, fmt.Errorf("run %s -V: %w", path, context.Cause(ctx))
		}
		if ended := signaled(err); ended != nil {
			return Binary{}, fmt.Errorf("%w: %s -V: %w", ErrNoVerdict, path, ended)
		}
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOEXEC) {
			return Binary{}, fmt.Errorf("%w: %s: %w", ErrNotExecutable, path, err)
		}
		return Binary{}, fmt.Errorf("%w: %s -V fails: %w: %s", ErrNotNginx, path, err, clip(strings.TrimSpace(text)))
	}
	v, err := ParseVersion(text)
	if err != nil {
		return Binary{}, fmt.Errorf("%w: %s -V prints %w", ErrNotNginx, path, err)
	}
	if !v.atLeast(Oldest) {
		return Binary{}, fmt.Errorf("%w: %s is %s, want %s or newer; name another one (--nginx), or run: make nginx", ErrTooOld, path, v, Oldest)
	}
	if lacking := lacks(text); len(lacking) > 0 {
		return Binary{}, fmt.Errorf("%w: %s is built without %s; name another one (--nginx), or run: make nginx", ErrLacksModule, path, strings.Join(lacking, ", "))
	}
	return Binary{Path: path, Version: v}, nil
}

func look(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil && errors.Is(err, exec.ErrNotFound) && !strings.ContainsRune(name, filepath.Separator) && name != "" {
		for _, dir := range sbin {
			if p, e := exec.LookPath(filepath.Join(dir, name)); e == nil {
				path, err = p, nil
				break
			}
		}
	}
	switch {
	case err == nil:
		return filepath.Abs(path)
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("%w: %q is in the current directory, which must not be on PATH; write ./%s", ErrMissing, name, name)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EISDIR):
		return "", fmt.Errorf("%w: %q: not executable, or a directory; run: chmod +x %s", ErrNotExecutable, name, name)
	case strings.ContainsRune(name, filepath.Separator):
		return "", fmt.Errorf("%w: there is no %q; name another one (--nginx), or run: make nginx", ErrMissing, name)
	default:
		return "", fmt.Errorf("%w: no %q on PATH; install it, name one, or run: make nginx", ErrMissing, name)
	}
}

// lacks returns the modules that the configuration uses and the nginx that printed text (-V) lacks.
func lacks(text string) []string {
	var l []string
	for _, m := range []string{"http_ssl_module", "http_v2_module", "http_stub_status_module"} {
		if !strings.Contains(text, "--with-"+m) {
			l = append(l, m)
		}
	}
	for _, m := range []string{
		"http_access", "http_grpc", "http_limit_conn", "http_limit_req", "http_map", "http_proxy",
		"http_rewrite", "http_split_clients", "http_upstream_keepalive", "http_upstream_zone",
	} {
		if strings.Contains(text, "--without-"+m+"_module") {
			l = append(l, m+"_module")
		}
	}
	return l
}

// Args returns the arguments that run nginx on an installed dir, in the foreground, so that the program that starts it has its pid and
// sees it end. The pid is also in dir/nginx.pid while it runs; after a Test that file is empty.
func (b Binary) Args(dir string) []string {
	return []string{"-p", dir, "-e", "logs/error.log", "-c", "conf/nginx.conf", "-g", "daemon off;"}
}

// Test runs `nginx -t` on an installed dir. Its error holds nginx's own lines, "[emerg] …" with file and line number; warnings alone are
// no error. An error that is not about the configuration wraps ErrNoVerdict. Test may run while nginx serves from the same dir. Like
// nginx itself, it creates the directories and log files that the configuration names.
func (b Binary) Test(ctx context.Context, dir string) error {
	text, err := output(ctx, b.Path, "-t", "-q", "-p", dir, "-e", "logs/error.log", "-c", "conf/nginx.conf", "-g", "daemon off;")
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s -t: %w", b.Path, context.Cause(ctx))
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || signaled(exit) != nil {
		return fmt.Errorf("%w: %s -t: %w", ErrNoVerdict, b.Path, err)
	}
	if lines := diagnostics(text); lines != "" {
		return errors.New(lines)
	}
	return fmt.Errorf("%s -t: %w: %s", b.Path, err, clip(strings.TrimSpace(text)))
}

// diagnostics returns nginx's lines that have a level, without the last one, which only says that the test failed.
func diagnostics(text string) string {
	var l []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "nginx: [") {
			l = append(l, line)
		}
	}
	return strings.Join(l, "\n")
}

// signaled returns the error of a program that a signal ended, nil for any other.
func signaled(err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return nil
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		return nil
	}
	return exit
}

// output runs a program and returns what it prints to both streams. If a child that it left behind holds them open, output waits at most
// a second. The program gets its own process group, so that Ctrl-C on a terminal reaches it only through ctx.
func output(ctx context.Context, path string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err := cmd.Run()
	return b.String(), err
}
