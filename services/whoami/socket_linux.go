package whoami

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"google.golang.org/grpc/mem"
)

// briefly makes the connections of a TCP listener read and write by system calls that Go's scheduler is not told of.
//
// Package net announces each call, because one that blocks must not keep a processor from other goroutines. On a socket that does not
// block there is nothing to announce, and it costs: an instance whose last request was answered sleeps, and so does the runtime's
// monitor thread; the next announced call wakes that thread, which then looks around every 20 µs until all sleeps again. Behind nginx, where
// requests come one by one, that was about a quarter of an instance's CPU time (docs/performance.md, "What was tried").
//
// Other listeners stay as they are.
func briefly(l net.Listener) net.Listener {
	if tcp, ok := l.(*net.TCPListener); ok {
		return briefListener{tcp}
	}
	return l
}

type briefListener struct{ *net.TCPListener }

// Accept gives a *briefConn.
func (l briefListener) Accept() (net.Conn, error) {
	tcp, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		tcp.Close()
		return nil, err
	}
	c := &briefConn{TCPConn: tcp, raw: raw}
	c.in.try, c.out.try = c.in.read, c.out.write
	return c, nil
}

// briefConn is a TCP connection whose Read and Write make raw system calls. Waiting, deadlines and Close are package net's.
type briefConn struct {
	*net.TCPConn
	raw     syscall.RawConn
	in, out transfer
}

// transfer is one direction of a connection. Its state is here, and not in a closure a call, so that nothing is allocated.
type transfer struct {
	mutex sync.Mutex            // held for as long as one call lasts
	try   func(fd uintptr) bool // read or write
	bytes []byte                // to read into, or to write
	n     int                   // how many were
	errno syscall.Errno         // why no more were
	// For ReadOnReady: where to get bytes once there is something to read.
	pool mem.BufferPool
	size int
	took *[]byte
}

func (t *transfer) read(fd uintptr) bool {
	if t.pool != nil {
		t.took = t.pool.Get(t.size)
		t.bytes = *t.took
	}
	done := t.call(syscall.SYS_READ, fd)
	if t.pool != nil && t.n <= 0 {
		t.pool.Put(t.took)
		t.took, t.bytes = nil, nil
	}
	return done
}

func (t *transfer) write(fd uintptr) bool {
	for len(t.bytes) > 0 {
		if done := t.call(syscall.SYS_WRITE, fd); !done || t.errno != 0 {
			return done
		}
		t.bytes = t.bytes[t.n:]
	}
	return true
}

// call is one system call; false where it would have to wait.
func (t *transfer) call(number, fd uintptr) bool {
	n, errno := uintptr(0), syscall.EINTR
	for errno == syscall.EINTR {
		n, _, errno = syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(t.bytes))), uintptr(len(t.bytes)))
	}
	if t.n, t.errno = int(n), errno; errno != 0 {
		t.n = 0
	}
	return errno != syscall.EAGAIN
}

// Read implements [net.Conn].
func (c *briefConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	t := &c.in
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.bytes = b
	err := c.failed("read", c.raw.Read(t.try), t)
	t.bytes = nil
	if err == nil && t.n == 0 {
		err = io.EOF
	}
	if err != nil {
		return 0, err
	}
	return t.n, nil
}

// ReadOnReady is Read into a buffer of pool's, of size bytes, which is taken only once there is something to read: so a connection that
// nobody uses holds none. grpc-go looks for this method.
func (c *briefConn) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	t := &c.in
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.pool, t.size, t.n, t.took = pool, size, 0, nil
	err := c.failed("read", c.raw.Read(t.try), t)
	took, n := t.took, t.n
	t.pool, t.took, t.bytes = nil, nil, nil
	switch {
	case err != nil:
		return nil, 0, err
	case n == 0:
		return nil, 0, io.EOF
	}
	return took, n, nil
}

// Write implements [net.Conn].
func (c *briefConn) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	t := &c.out
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.bytes = b
	err := c.failed("write", c.raw.Write(t.try), t)
	n := len(b) - len(t.bytes)
	t.bytes = nil
	return n, err
}

// failed is the error of a read or a write as package net would give it: net/http tells by its type and Op whether a connection broke.
func (c *briefConn) failed(op string, err error, t *transfer) error {
	switch e, ok := err.(*net.OpError); {
	case ok: // closed, or a deadline has passed
		err = e.Err
	case err == nil && t.errno != 0:
		err = os.NewSyscallError(op, t.errno)
	}
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
