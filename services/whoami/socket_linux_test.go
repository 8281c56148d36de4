package whoami

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
	"google.golang.org/grpc/mem"
)

// briefPair is a connection of a briefly listener, and the caller's side of it.
func briefPair(t testing.TB) (*briefConn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	caller, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { caller.Close() })
	accepted, err := briefly(l).Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	return accepted.(*briefConn), caller.(*net.TCPConn)
}

// What every net.Conn must do: deadlines past, present and future, several readers and writers at once, Close under them.
func TestBriefConnIsAConn(t *testing.T) {
	t.Parallel()
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		one, other := briefPair(t)
		return one, other, func() { one.Close(); other.Close() }, nil
	})
}

func TestListenersThatAreNotTCPStayAsTheyAre(t *testing.T) {
	t.Parallel()
	var l net.Listener = &net.UnixListener{}
	if got := briefly(l); got != l {
		t.Errorf("%T, want the listener itself", got)
	}
}

// More than the socket's buffers hold: both directions have to wait in the middle, and go on.
func TestBriefConnWaitsForRoomAndForMore(t *testing.T) {
	t.Parallel()
	one, other := briefPair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	wrote := make(chan error, 1)
	go func() {
		n, err := one.Write(sent)
		if err == nil && n != len(sent) {
			err = io.ErrShortWrite
		}
		wrote <- errors.Join(err, one.CloseWrite())
	}()
	got, err := io.ReadAll(other)
	if err := errors.Join(err, <-wrote); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes arrived of %d, or others", len(got), len(sent))
	}
	go func() {
		_, err := other.Write(sent)
		wrote <- errors.Join(err, other.CloseWrite())
	}()
	got, err = io.ReadAll(one)
	if err := errors.Join(err, <-wrote); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes arrived of %d, or others", len(got), len(sent))
	}
}

// net/http and grpc-go tell by type and Op what became of a connection.
func TestBriefConnFailsAsPackageNetDoes(t *testing.T) {
	t.Parallel()
	read := func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err }
	ready := func(c net.Conn) error {
		took, _, err := c.(*briefConn).ReadOnReady(1, &mem.NopBufferPool{})
		if took != nil {
			t.Error("a buffer with an error")
		}
		return err
	}
	write := func(c net.Conn) error { _, err := c.Write([]byte("x")); return err }
	late := func(own *briefConn, _ *net.TCPConn) error { return own.SetDeadline(time.Unix(1, 0)) }
	closed := func(own *briefConn, _ *net.TCPConn) error { return own.Close() }
	reset := func(own *briefConn, caller *net.TCPConn) error {
		return errors.Join(caller.SetLinger(0), caller.Close())
	}
	for _, test := range []struct {
		name string
		do   func(own *briefConn, caller *net.TCPConn) error
		call func(net.Conn) error
		op   string
		want error
	}{
		{"read too late", late, read, "read", os.ErrDeadlineExceeded},
		{"read on ready too late", late, ready, "read", os.ErrDeadlineExceeded},
		{"write too late", late, write, "write", os.ErrDeadlineExceeded},
		{"read after close", closed, read, "read", net.ErrClosed},
		{"read on ready after close", closed, ready, "read", net.ErrClosed},
		{"write after close", closed, write, "write", net.ErrClosed},
		{"read from who broke off", reset, read, "read", syscall.ECONNRESET},
		{"read on ready from who broke off", reset, ready, "read", syscall.ECONNRESET},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			own, caller := briefPair(t)
			if err := test.do(own, caller); err != nil {
				t.Fatal(err)
			}
			err := test.call(own)
			var as *net.OpError
			if !errors.As(err, &as) || as.Op != test.op || as.Net != "tcp" || as.Addr == nil {
				t.Errorf("%#v, want a *net.OpError of %s", err, test.op)
			}
			if !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if timeout := errors.Is(err, os.ErrDeadlineExceeded); as.Timeout() != timeout {
				t.Errorf("Timeout() is %t", as.Timeout())
			}
		})
	}
}

// A write to who is gone fails with EPIPE or ECONNRESET, and no signal ends the process.
func TestBriefConnWritesToNobody(t *testing.T) {
	t.Parallel()
	own, caller := briefPair(t)
	if err := errors.Join(caller.SetLinger(0), caller.Close()); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		_, err = own.Write(make([]byte, 1<<16))
	}
	if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v", err)
	}
}

// counted is a pool that knows how many of its buffers are out.
type counted struct{ out int }

func (c *counted) Get(n int) *[]byte { c.out++; b := make([]byte, n); return &b }
func (c *counted) Put(*[]byte)       { c.out-- }

func TestReadOnReadyHoldsNoBufferWhileItWaits(t *testing.T) {
	t.Parallel()
	own, caller := briefPair(t)
	pool := &counted{}
	if err := own.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := own.ReadOnReady(100, pool); !errors.Is(err, os.ErrDeadlineExceeded) || pool.out != 0 {
		t.Errorf("%v, %d buffers out", err, pool.out)
	}
	if err := own.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := caller.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	took, n, err := own.ReadOnReady(100, pool)
	if err != nil || string((*took)[:n]) != "hello" || len(*took) != 100 || pool.out != 1 {
		t.Errorf("%q, %d of them, %v, %d buffers out", *took, n, err, pool.out)
	}
	pool.Put(took)
	if err := caller.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := own.ReadOnReady(100, pool); err != io.EOF || pool.out != 0 {
		t.Errorf("%v, %d buffers out; want EOF", err, pool.out)
	}
}

// What it is for: nothing is allocated for a read or a write.
func TestBriefConnAllocatesNothing(t *testing.T) {
	own, caller := briefPair(t)
	b := make([]byte, 8)
	if got := testing.AllocsPerRun(100, func() {
		if _, err := own.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(caller, b); err != nil {
			t.Fatal(err)
		}
		if _, err := caller.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := own.Read(b); err != nil {
			t.Fatal(err)
		}
	}); got > 0 {
		t.Errorf("%v allocations", got)
	}
}
