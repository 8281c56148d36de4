package connlimit

import (
	"errors"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/net/nettest"
)

func listen(t *testing.T, network string) net.Listener {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// accepted returns a channel of the connections that l accepts.
func accepted(l net.Listener) <-chan net.Conn {
	all := make(chan net.Conn)
	go func() {
		defer close(all)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all <- c
		}
	}()
	return all
}

func TestConnectionsAboveLimitWait(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			l := Listen(listen(t, network), 2)
			for range 4 {
				dial(t, l)
			}
			conns := accepted(l)
			first, second := <-conns, <-conns
			select {
			case <-conns:
				t.Fatal("a third connection was accepted")
			case l.places <- struct{}{}:
				t.Fatal("a third place is free")
			default:
			}
			first.Close()
			third := <-conns
			second.Close()
			fourth := <-conns
			third.Close()
			fourth.Close()
		})
	}
}

func TestCloseTwiceFreesOnePlace(t *testing.T) {
	t.Parallel()
	l := Listen(listen(t, "tcp"), 2)
	var conns [2]net.Conn
	for i := range conns {
		dial(t, l)
		var err error
		if conns[i], err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	conns[0].Close()
	conns[0].Close()
	if len(l.places) != 1 {
		t.Errorf("%d places are taken, want 1", len(l.places))
	}
	conns[1].Close()
}

// Closing a full listener ends an Accept that waits for a place.
func TestCloseEndsAccept(t *testing.T) {
	t.Parallel()
	l := Listen(listen(t, "tcp"), 1)
	dial(t, l)
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	ended := make(chan error)
	go func() { _, err := l.Accept(); ended <- err }()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want net.ErrClosed", err)
	}
}

func TestFailedAcceptTakesNoPlace(t *testing.T) {
	t.Parallel()
	inner := listen(t, "tcp")
	l := Listen(inner, 1)
	inner.Close()
	for range 2 {
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v, want net.ErrClosed", err)
		}
	}
	if len(l.places) != 0 {
		t.Error("a place is taken")
	}
}

func TestConnectionsPassNettest(t *testing.T) {
	t.Parallel()
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		l := Listen(listen(t, "tcp"), 1)
		client := dial(t, l)
		server, err := l.Accept()
		return server, client, func() { server.Close(); client.Close() }, err
	})
}
