package connlimit

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pool counts its buffers in use.
type pool struct{ out int }

func (p *pool) Get(n int) *[]byte { p.out++; b := make([]byte, n); return &b }
func (p *pool) Put(*[]byte)       { p.out-- }

func TestReadOnReadyHoldsNoBufferWhileItWaits(t *testing.T) {
	t.Parallel()
	l := Listen(listen(t, "tcp"), 9)
	accept := func() (*TCPConn, *net.TCPConn) {
		client := dial(t, l).(*net.TCPConn)
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c.(*TCPConn), client
	}
	own, client := accept()
	p := &pool{}
	fails := func(c *TCPConn, want error) {
		t.Helper()
		if took, _, err := c.ReadOnReady(100, p); !errors.Is(err, want) || took != nil || p.out != 0 {
			t.Errorf("%v, %v, %d buffers in use; want %v", took, err, p.out, want)
		}
	}
	if err := own.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	fails(own, os.ErrDeadlineExceeded)
	if err := own.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	took, n, err := own.ReadOnReady(100, p)
	if err != nil || string((*took)[:n]) != "hello" || len(*took) != 100 || p.out != 1 {
		t.Fatalf("%d bytes, %v, %d buffers in use", n, err, p.out)
	}
	p.Put(took)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	fails(own, io.EOF)
	own.Close()
	fails(own, net.ErrClosed)

	own, client = accept()
	if err := errors.Join(client.SetLinger(0), client.Close()); err != nil {
		t.Fatal(err)
	}
	fails(own, syscall.ECONNRESET)
}
