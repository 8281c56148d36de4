// Package labtest has what tests of the laboratory share: the real programs.
package labtest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"trivet/nginx"
)

// Nginx is the nginx that tests run: $TRIVET_NGINX, or the one on PATH, or the one that `make nginx` gets. The test fails
// without one.
func Nginx(t testing.TB) nginx.Binary {
	t.Helper()
	named := os.Getenv("TRIVET_NGINX")
	b, err := nginx.Find(t.Context(), cmp.Or(named, "nginx"))
	if err != nil && named == "" {
		b, err = nginx.Find(t.Context(), filepath.Join(root(t), ".cache", "nginx", "nginx"))
	}
	if err != nil {
		t.Fatalf("these tests want an nginx: type make nginx, or set TRIVET_NGINX: %v", err)
	}
	return b
}

// root is the source tree's: tests run in their package's folder.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// Generate makes a test binary the load generator when it was started as one, with load as its only argument: it calls serve, which is
// load.Serve, and ends. For TestMain.
func Generate(serve func(context.Context, io.Reader, io.Writer) int) {
	if len(os.Args) != 2 || os.Args[1] != "load" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	code := serve(ctx, os.Stdin, os.Stderr)
	stop()
	os.Exit(code)
}

// WithWhoami builds the instances' program into a folder that is gone afterwards, and runs tests with its path; for
// TestMain. It is built without -race, even when the tests are: these are the processes that users run.
func WithWhoami(tests func(whoami string) int) int {
	dir, err := os.MkdirTemp("", "trivet-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	whoami := filepath.Join(dir, "whoami")
	if said, err := exec.Command("go", "build", "-o", whoami, "trivet/cmd/whoami").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building whoami: %v\n%s", err, said)
		return 1
	}
	return tests(whoami)
}
