// Package proctest helps to test processes: ports, directories, exit codes.
package proctest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// QuickExit is the value of GORACE that prevents a program built with -race from sleeping for a second before it exits.
const QuickExit = "atexit_sleep_ms=0"

// Passable returns a temporary directory that other users can traverse, as the workers of a root nginx must. The testing
// package creates its parent with mode 0700.
func Passable(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Exits implements the testscript command `exits CODE command …`. The output is available to the commands stdout and stderr.
func Exits(ts *testscript.TestScript, neg bool, args []string) {
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

// Reserve returns a free port of 127.0.0.1 that stays reserved until the test ends. It holds a socket that is bound but does
// not listen: the kernel assigns the port to no other process, but a listener can share it, because both set SO_REUSEADDR
// (as Go's net.Listen and nginx do).
func Reserve(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})); err != nil {
		t.Fatal(err)
	}
	address, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(address.(*syscall.SockaddrInet4).Port)
}

// EndWithTests ends this process when the one that started it ends, even by SIGKILL. A program that tests run as a process of their own binary
// calls it first. The kernel's own signal (PR_SET_PDEATHSIG) would come when the thread that started it ends, as threads of tests do.
func EndWithTests() {
	parent, err := unix.PidfdOpen(os.Getppid(), 0)
	if err != nil {
		panic(err)
	}
	go func() {
		for { // A pidfd is readable when its process has ended.
			if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(parent), Events: unix.POLLIN}}, -1); n > 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}
	}()
}
