package fleet

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"trivet/nginx"
)

var whoami string // the instances' program, built once

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "trivet-fleet-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	whoami = filepath.Join(dir, "whoami")
	if said, err := exec.Command("go", "build", "-o", whoami, "trivet/cmd/whoami").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building whoami: %v\n%s", err, said)
		return 1
	}
	return m.Run()
}

// realNginx is the nginx that tests run: TRIVET_NGINX, or the one on PATH, or the one that `make nginx` gets.
func realNginx(t *testing.T) nginx.Binary {
	t.Helper()
	b, err := nginx.Find(t.Context(), cmp.Or(os.Getenv("TRIVET_NGINX"), "nginx"))
	if err != nil && os.Getenv("TRIVET_NGINX") == "" {
		b, err = nginx.Find(t.Context(), filepath.Join("..", "..", ".cache", "nginx", "nginx"))
	}
	if err != nil {
		t.Fatalf("these tests want an nginx: type make nginx, or set TRIVET_NGINX: %v", err)
	}
	return b
}

// passableDir is a folder of the test's that nginx's workers can pass through.
func passableDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}
