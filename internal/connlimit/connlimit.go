// Package connlimit bounds how many connections of a listener are open at once.
//
// It is netutil.LimitListener for servers of grpc-go. That one's connections hide that they are TCP, and then grpc-go holds a buffer of
// 32 KB for each that is idle. With 1,000 idle connections and GOMEMLIMIT=48MiB, 5,000 calls took 4.4 s of CPU time and 138 garbage
// collections with it, and 1.2 s and 6 without (grpc-go 1.85, GOMAXPROCS=1). Connections of this package can be read without.
package connlimit

import (
	"net"
	"sync"
)

// Listen returns a listener that has at most n connections of l open. Others are established by the kernel, up to its backlog, and wait
// to be accepted until one is closed.
//
// A listener that changes what is read or written goes outside: tls.NewListener(connlimit.Listen(tcp, n), config), and likewise
// rawconn.Listen.
func Listen(l net.Listener, n int) net.Listener {
	return &listener{Listener: l, places: make(chan struct{}, n), closed: make(chan struct{})}
}

type listener struct {
	net.Listener
	places chan struct{} // holds something for each open connection
	once   sync.Once
	closed chan struct{}
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
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
	if tcp, ok := accepted.(*net.TCPConn); ok {
		return limitTCP(tcp, free), nil
	}
	return other{accepted, free}, nil
}

// Close implements [net.Listener]. It ends an Accept that waits for a place.
func (l *listener) Close() error {
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
	free func()
	onReady
}

// UnwrapTCP returns the connection itself: only Close must not go past its wrapper.
func (c *TCPConn) UnwrapTCP() *net.TCPConn { return c.TCPConn }

// Close implements [net.Conn].
func (c *TCPConn) Close() error {
	defer c.free()
	return c.TCPConn.Close()
}
