package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"trivet/nginx"
)

func TestMain(m *testing.M) {
	testscript.Main(withWhoami{m}, map[string]func(){"trivet": main})
}

// withWhoami puts the instances' program on PATH, beside trivet, which testscript.Main put there, and runs the tests.
type withWhoami struct{ m *testing.M }

func (w withWhoami) Run() int {
	dir, err := os.MkdirTemp("", "trivet-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if said, err := exec.Command("go", "build", "-o", dir+"/", "trivet/cmd/whoami").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building whoami: %v\n%s", err, said)
		return 1
	}
	// A program that the race detector watches sleeps for a second before it ends, unless told otherwise.
	err = errors.Join(os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH")),
		os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return w.m.Run()
}

// realNginx is the nginx that tests run: TRIVET_NGINX, or the one on PATH, or the one that `make nginx` gets.
func realNginx(t *testing.T) string {
	t.Helper()
	b, err := nginx.Find(t.Context(), cmp.Or(os.Getenv("TRIVET_NGINX"), "nginx"))
	if err != nil && os.Getenv("TRIVET_NGINX") == "" {
		b, err = nginx.Find(t.Context(), filepath.Join("..", "..", ".cache", "nginx", "nginx"))
	}
	if err != nil {
		t.Fatalf("these tests want an nginx: type make nginx, or set TRIVET_NGINX: %v", err)
	}
	return b.Path
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

var addresses atomic.Uint32

// ownAddress is a loopback address that no other test has, in this run or in another one on this machine: so that numbered ports can
// be used without being fixed.
func ownAddress() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 1+(addresses.Add(1)-1)%63+uint32(pid>>16&3)*63, pid>>8&255, pid&255)
}

// The scripts in testdata run the real main. Beside testscript's own commands they know `exits CODE command …`
// and `holding PORT` (listens on that port of ADDRESS while the script runs), and the variables REAL (a
// real nginx), ADDRESS (nobody else's), PROGRAM (trivet's file), UID, and TMPDIR (where run folders go).
func TestScripts(t *testing.T) {
	t.Parallel()
	nginx := realNginx(t)
	program, err := exec.LookPath("trivet")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("REAL", nginx)
			env.Setenv("PROGRAM", program)
			env.Setenv("ADDRESS", ownAddress())
			env.Setenv("UID", strconv.Itoa(os.Getuid()))
			env.Setenv("TMPDIR", passableDir(t))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "holding": holding},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE command …")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("%s exited with %d, want %d", strings.Join(args[1:], " "), code, want)
	}
}

func holding(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: holding PORT")
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(ts.Getenv("ADDRESS"), args[0]))
	ts.Check(err)
	ts.Defer(func() { listener.Close() })
}
