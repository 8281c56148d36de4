package whoami

import (
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A limit bounds how many calls run at once.
type limit struct {
	most    int64
	running atomic.Int64
	name    string
}

// admit counts a call; the caller must call done once, if there is no error. RESOURCE_EXHAUSTED and not UNAVAILABLE:
// clients retry the latter, which would add load where there is too much.
func (l *limit) admit() error {
	if l.running.Add(1) > l.most {
		l.done()
		return status.Errorf(codes.ResourceExhausted, "the instance runs %d %s, its limit (MAX_CALLS)", l.most, l.name)
	}
	return nil
}

func (l *limit) done() { l.running.Add(-1) }

// limitConnections returns a listener of which at most n connections are open at once; others wait in the kernel's
// queue. It is not netutil.LimitListener because that hides the methods of *net.TCPConn: grpc-go would then hold a
// buffer of 32 KB for every idle connection.
func limitConnections(l *net.TCPListener, n int) net.Listener {
	return &limitListener{TCPListener: l, free: make(chan struct{}, n), closed: make(chan struct{})}
}

type limitListener struct {
	*net.TCPListener
	free      chan struct{} // holds a value per open connection
	closed    chan struct{}
	closeOnce sync.Once
}

// Accept implements [net.Listener].
func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.AcceptTCP()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &limitedConn{TCPConn: conn, release: sync.OnceFunc(func() { <-l.free })}, nil
}

// Close implements [net.Listener]: it ends an Accept that waits for a connection to close, too.
func (l *limitListener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}

type limitedConn struct {
	*net.TCPConn
	release func()
}

// Close implements [net.Conn].
func (c *limitedConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

// UnwrapTCP implements rawconn.Unwrapper.
func (c *limitedConn) UnwrapTCP() *net.TCPConn { return c.TCPConn }
