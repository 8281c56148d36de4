// Package labtest provides the real programs, and ordinary records, to tests of the lab.
package labtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"trivet/nginx"
)

// Nginx is the nginx that tests run: $TRIVET_NGINX, else the one on PATH, else the one that `make nginx` gets. Without any the test fails.
func Nginx(t testing.TB) nginx.Binary {
	t.Helper()
	named := os.Getenv("TRIVET_NGINX")
	b, err := nginx.Find(t.Context(), cmp.Or(named, "nginx"))
	dir, _ := os.Getwd() // Tests run in their package's directory.
	for ; err != nil && named == "" && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if cached, err := nginx.Find(t.Context(), filepath.Join(dir, ".cache", "nginx", "nginx")); err == nil {
			return cached
		}
	}
	if err != nil {
		t.Fatalf("no nginx for tests: %v; run make nginx, or set TRIVET_NGINX", err)
	}
	return b
}

// Generate makes a test binary a load generator if it was started as one, with load as its only argument: it calls serve, which is
// load.Serve, and exits. TestMain calls it first.
func Generate(serve func(context.Context, io.Reader, io.Writer) int) {
	if len(os.Args) != 2 || os.Args[1] != "load" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	code := serve(ctx, os.Stdin, os.Stderr)
	stop()
	os.Exit(code)
}

// WithWhoami builds the instances' program and runs tests with the path of a copy in a temporary directory; for TestMain. It builds without
// -race, even for tests with it: these are the processes that users run.
func WithWhoami(tests func(whoami string) int) int {
	return WithPrograms(func(dir string) int { return tests(filepath.Join(dir, "whoami")) }, "whoami")
}

// WithPrograms does the same with the programs of several services, in one directory.
func WithPrograms(tests func(dir string) int, services ...string) int {
	dir, err := os.MkdirTemp("", "trivet-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	for _, service := range services {
		if err := program(service, dir); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n", service, err)
			return 1
		}
	}
	return tests(dir)
}

// program copies a service's program into dir. Unlike go build, go tool keeps in Go's cache what it has linked, for all packages' tests.
func program(service, dir string) error {
	path, err := exec.Command("go", "tool", "-n", "trivet/cmd/"+service).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w\n%s", err, exit.Stderr)
	}
	if err != nil {
		return err
	}
	linked, err := os.ReadFile(strings.TrimSpace(string(path)))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, service), linked, 0o755)
}
