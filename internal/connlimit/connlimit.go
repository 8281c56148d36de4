// Package connlimit bounds how many connections of a listener are open at once.
//
// It replaces netutil.LimitListener for grpc-go servers. LimitListener's connections hide that they are TCP, so grpc-go holds a 32 KB
// buffer for each idle one. With 1,000 idle connections and GOMEMLIMIT=48MiB, 5,000 calls took 4.4 s of CPU time and 138 garbage
// collections with such buffers, and 1.2 s and 6 without (grpc-go 1.85, GOMAXPROCS=1). Idle connections of this package hold no buffer.
package connlimit

import (
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

// Listen returns a listener that keeps at most n connections of l open. The kernel establishes others, up to its backlog; they wait to be
// accepted until one is closed.
//
// A listener that changes what is read or written must wrap this one: tls.NewListener(connlimit.Listen(tcp, n), config), and likewise
// rawconn.Listen.
func Listen(l net.Listener, n int) *Listener {
	return &Listener{Listener: l, places: make(chan struct{}, n), closed: make(chan struct{}), silent: make(map[*TCPConn]struct{})}
}

// Listener is a listener with a limit. Its methods may be called concurrently.
type Listener struct {
	net.Listener
	places chan struct{} // holds an element per open connection
	once   sync.Once
	closed chan struct{}
	open   atomic.Int64

	mutex  sync.Mutex
	silent map[*TCPConn]struct{} // open connections without received data
}

// Open returns how many connections are open.
func (l *Listener) Open() int { return int(l.open.Load()) }

// Limit returns how many there may be.
func (l *Listener) Limit() int { return cap(l.places) }

// CloseSilent closes the TCP connections that have not received anything: a graceful shutdown would wait for their first request. It
// leaves connections alone on which UnwrapTCP was called, because their traffic is unknown.
func (l *Listener) CloseSilent() {
	l.mutex.Lock()
	silent := slices.Collect(maps.Keys(l.silent))
	l.mutex.Unlock()
	for _, c := range silent {
		_ = c.Close()
	}
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return l.Listener.Accept() // Returns the error of a closed listener.
	}
	accepted, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	l.open.Add(1)
	free := sync.OnceFunc(func() { l.open.Add(-1); <-l.places })
	tcp, ok := accepted.(*net.TCPConn)
	if !ok {
		return other{accepted, free}, nil
	}
	c := limitTCP(tcp, free)
	c.heard = sync.OnceFunc(func() {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		delete(l.silent, c)
	})
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.silent[c] = struct{}{}
	return c, nil
}

// Close implements [net.Listener]. It unblocks an Accept that waits for a place.
func (l *Listener) Close() error {
	defer l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// other is a connection that is not TCP.
type other struct {
	net.Conn
	free func()
}

// Close implements [net.Conn].
func (c other) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// TCPConn is a TCP connection that counts against the limit.
type TCPConn struct {
	*net.TCPConn
	free  func()
	heard func() // called when data arrives; only the first call has an effect
	onReady
}

// UnwrapTCP returns the wrapped connection. Close must still be called on the wrapper.
func (c *TCPConn) UnwrapTCP() *net.TCPConn {
	c.heard()
	return c.TCPConn
}

// Read implements [net.Conn].
func (c *TCPConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 {
		c.heard()
	}
	return n, err
}

// Close implements [net.Conn].
func (c *TCPConn) Close() error {
	defer c.free()
	c.heard()
	return c.TCPConn.Close()
}
