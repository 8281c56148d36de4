// Package porttest reserves ports for tests that must tell a process which port to listen on.
package porttest

import (
	"errors"
	"strconv"
	"syscall"
	"testing"
)

// Reserve gives a free port of 127.0.0.1 that stays free for the test until it ends: a socket that is bound but does not
// listen keeps the kernel from giving the port to anybody, and lets a listener share it, because both say SO_REUSEADDR
// (Go's net.Listen and nginx do).
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
