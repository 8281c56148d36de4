package connlimit

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"google.golang.org/grpc/mem"
)

func limitTCP(tcp *net.TCPConn, free func()) *TCPConn {
	c := &TCPConn{TCPConn: tcp, free: free}
	c.raw, _ = tcp.SyscallConn() // It fails only for a nil connection.
	c.try = c.read
	return c
}

// onReady reads into buffers that it takes from a pool once there is data. Its state is here and not in a closure per read, to avoid
// allocations.
type onReady struct {
	raw   syscall.RawConn
	try   func(fd uintptr) bool
	mutex sync.Mutex // held for as long as one read lasts
	pool  mem.BufferPool
	size  int
	took  *[]byte
	n     int
	err   error
}

// read makes one system call, and reports whether it completed without waiting.
func (r *onReady) read(fd uintptr) bool {
	r.took = r.pool.Get(r.size)
	for r.err = syscall.EINTR; r.err == syscall.EINTR; {
		r.n, r.err = syscall.Read(int(fd), *r.took)
	}
	if r.n <= 0 || r.err != nil {
		r.pool.Put(r.took)
		r.took, r.n = nil, 0
	}
	return r.err != syscall.EAGAIN
}

// ReadOnReady reads into a buffer of size bytes that it takes from pool once there is data. grpc-go looks for this method.
func (c *TCPConn) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	r := &c.onReady
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.pool, r.size, r.took, r.n, r.err = pool, size, nil, 0, nil
	err := r.raw.Read(r.try)
	took, n := r.took, r.n
	r.pool, r.took = nil, nil
	switch {
	case err != nil: // closed, or a deadline has passed
		return nil, 0, err
	case r.err != nil:
		return nil, 0, &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError("read", r.err)}
	case n == 0:
		return nil, 0, io.EOF
	}
	c.heard()
	return took, n, nil
}
