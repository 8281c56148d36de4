// Package connlimit bounds how many connections of a listener are open at once.
//
// It is netutil.LimitListener for servers of grpc-go. That one's connections hide that they are TCP, and then grpc-go holds a buffer of
// 32 KB for each that is idle. With 1,000 idle connections and GOMEMLIMIT=48MiB, 5,000 calls took 4.4 s of CPU time and 138 garbage
// collections with it, and 1.2 s and 6 without (grpc-go 1.85, GOMAXPROCS=1). Connections of this package can be read without.
package connlimit

import (
	"maps"
	"net"
	"slices"
	"sync"
)

// Listen returns a listener that has at most n connections of l open. Others are established by the kernel, up to its backlog, and wait
// to be accepted until one is closed.
//
// A listener that changes what is read or written goes outside: tls.NewListener(connlimit.Listen(tcp, n), config), and likewise
// rawconn.Listen.
func Listen(l net.Listener, n int) *Listener {
	return &Listener{Listener: l, places: make(chan struct{}, n), closed: make(chan struct{}), silent: make(map[*TCPConn]struct{})}
}

// Listener is a listener with a limit. Its methods may be called concurrently.
type Listener struct {
	net.Listener
	places chan struct{} // holds something for each open connection
	once   sync.Once
	closed chan struct{}

	mutex  sync.Mutex
	silent map[*TCPConn]struct{} // open connections on which nothing has arrived yet
}

// CloseSilent closes the TCP connections on which nothing has arrived yet: a server that ends gracefully waits for their first
// request. Those that UnwrapTCP was called on are left alone, because nothing is known of them.
func (l *Listener) CloseSilent() {
	l.mutex.Lock()
	silent := slices.Collect(maps.Keys(l.silent))
	l.mutex.Unlock()
	for _, c := range silent {
		_ = c.Close()
	}
}

func (l *Listener) forget(c *TCPConn) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	delete(l.silent, c)
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return l.Listener.Accept() // Has the error of a closed listener.
	}
	accepted, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	free := sync.OnceFunc(func() { <-l.places })
	tcp, ok := accepted.(*net.TCPConn)
	if !ok {
		return other{accepted, free}, nil
	}
	conn := limitTCP(tcp, free)
	if c, ok := conn.(*TCPConn); ok {
		c.heard = sync.OnceFunc(func() { l.forget(c) })
		l.mutex.Lock()
		l.silent[c] = struct{}{}
		l.mutex.Unlock()
	}
	return conn, nil
}

// Close implements [net.Listener]. It ends an Accept that waits for a place.
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

// TCPConn is a TCP connection with a place.
type TCPConn struct {
	*net.TCPConn
	free  func()
	heard func() // something has arrived; the first call counts
	onReady
}

// UnwrapTCP returns the connection itself: only Close must not go past its wrapper.
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
