package rawconn

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"google.golang.org/grpc/mem"
)

// Listen returns a listener whose connections make raw system calls, if l accepts TCP connections (*net.TCPConn) or an [Unwrapper] of
// one. It returns other connections unchanged.
//
// The order of listeners matters:
//
//	tls.NewListener(rawconn.Listen(tcp), config)      // right: TLS reads and writes ciphertext by raw calls
//	rawconn.Listen(connlimit.Listen(tcp, n))          // right: the limit's connections are Unwrappers
//	netutil.LimitListener(rawconn.Listen(tcp), n)     // raw calls, but ReadOnReady is hidden: under gRPC each idle connection holds 32 KB,
//	                                                  // as with LimitListener over package net
//	rawconn.Listen(netutil.LimitListener(tcp, n))     // wrong: no connection is a *net.TCPConn, so all are unchanged
func Listen(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

// Accept implements [net.Listener].
func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Wrap(accepted), nil
}

// Wrap returns a connection that makes raw system calls, if c is a TCP connection (*net.TCPConn) or an [Unwrapper] of one; else c.
func Wrap(c net.Conn) net.Conn {
	var tcp *net.TCPConn
	switch a := c.(type) {
	case *net.TCPConn:
		tcp = a
	case Unwrapper:
		tcp = a.UnwrapTCP()
	}
	if tcp == nil {
		return c
	}
	raw := &Conn{TCPConn: tcp, outer: c}
	raw.raw, _ = tcp.SyscallConn() // It fails only for a nil connection.
	raw.in.try, raw.out.try = raw.in.read, raw.out.write
	return raw
}

// Conn is a TCP connection whose Read, ReadOnReady and Write make raw system calls. Waiting, deadlines, half-closing and the other
// methods, including ReadFrom (sendfile) and WriteTo, are package net's.
type Conn struct {
	*net.TCPConn
	outer   net.Conn // the accepted connection, which Close closes
	raw     syscall.RawConn
	in, out transfer
}

// most bounds the bytes that one system call moves, because it holds a processor meanwhile.
const most = 64 << 10

// transfer is one direction of a connection. Its state is here and not in a closure per call, to avoid allocations.
type transfer struct {
	mutex sync.Mutex            // held for as long as one call lasts
	try   func(fd uintptr) bool // read or write
	bytes []byte                // to read into, or remaining to write
	n     int                   // bytes that the last system call moved
	errno syscall.Errno         // of the last system call; 0 if it moved bytes
	// For ReadOnReady: where to get a buffer once there is data.
	pool mem.BufferPool
	size int
	took *[]byte
}

// begin resets the state of the last transfer.
func (t *transfer) begin(b []byte) { t.bytes, t.n, t.errno = b, 0, 0 }

// end returns the error of a transfer: err, package net's error of waiting, else the system call's.
func (t *transfer) end(err error) error {
	t.bytes = nil
	if err == nil && t.errno != 0 {
		err = t.errno
	}
	return err
}

func (t *transfer) read(fd uintptr) bool {
	if t.pool != nil {
		t.took = t.pool.Get(t.size)
		t.bytes = *t.took
	}
	done := t.call(syscall.SYS_READ, fd)
	if t.pool != nil && t.n == 0 {
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

// from writes b to raw. Its try must be write.
func (t *transfer) from(b []byte, raw syscall.RawConn) (int, error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.begin(b)
	err := raw.Write(t.try)
	n := len(b) - len(t.bytes)
	return n, t.end(err)
}

// call makes one system call, and reports whether it completed without waiting.
func (t *transfer) call(number, fd uintptr) bool {
	b := t.bytes[:min(len(t.bytes), most)]
	for t.errno = syscall.EINTR; t.errno == syscall.EINTR; {
		t.n, t.errno = system(number, fd, b)
	}
	if t.errno != 0 {
		t.n = 0
	}
	return t.errno != syscall.EAGAIN
}

func system(number, fd uintptr, b []byte) (int, syscall.Errno) {
	if announced {
		do := syscall.Read
		if number == syscall.SYS_WRITE {
			do = syscall.Write
		}
		n, err := do(int(fd), b)
		errno, _ := err.(syscall.Errno) // Package syscall returns no other errors here.
		return n, errno
	}
	n, _, errno := syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

// Read implements [net.Conn].
func (c *Conn) Read(b []byte) (int, error) {
	t := &c.in
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.begin(b)
	err := t.end(c.raw.Read(t.try))
	switch {
	case err != nil:
		return 0, c.failed("read", err)
	case t.n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return t.n, nil
}

// ReadOnReady reads into a buffer of size bytes that it takes from pool once there is data, so an idle connection holds none. grpc-go looks
// for this method.
func (c *Conn) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	t := &c.in
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.begin(nil)
	t.pool, t.size, t.took = pool, size, nil
	err := t.end(c.raw.Read(t.try))
	took, n := t.took, t.n
	t.pool, t.took = nil, nil
	switch {
	case err != nil:
		return nil, 0, c.failed("read", err)
	case n == 0:
		return nil, 0, io.EOF
	}
	return took, n, nil
}

// Write implements [net.Conn].
func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.out.from(b, c.raw)
	if err != nil {
		return n, c.failed("write", err)
	}
	return n, nil
}

// Close implements [net.Conn].
func (c *Conn) Close() error { return c.outer.Close() }

// failed returns the error of a read or write in package net's form: net/http detects a broken connection by its type and Op.
func (c *Conn) failed(op string, err error) error {
	switch e := err.(type) {
	case *net.OpError: // closed, or a deadline has passed
		err = e.Err
	case syscall.Errno:
		err = os.NewSyscallError(op, e)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
