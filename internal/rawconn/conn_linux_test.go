package rawconn

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

// tcp returns a TCP listener on 127.0.0.1.
func tcp(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// connect returns a connection accepted by l, and its client's side.
func connect(t testing.TB, l net.Listener) (net.Conn, *net.TCPConn) {
	t.Helper()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accepted.Close() })
	return accepted, client.(*net.TCPConn)
}

// pair returns a raw connection and its client's side.
func pair(t testing.TB) (*Conn, *net.TCPConn) {
	t.Helper()
	accepted, client := connect(t, Listen(tcp(t)))
	return accepted.(*Conn), client
}

// nettest checks what every net.Conn must do: past, present and future deadlines, concurrent readers and writers, Close during them.
func TestConnPassesNettest(t *testing.T) {
	t.Parallel()
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		one, other := pair(t)
		return one, other, func() { one.Close(); other.Close() }, nil
	})
}

// The transfers exceed the socket's buffers and a single system call, so both directions must wait midway and continue.
func TestLargeTransfersWaitAndComplete(t *testing.T) {
	t.Parallel()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	own, client := pair(t)
	for _, test := range []struct {
		name     string
		from, to interface {
			net.Conn
			CloseWrite() error
		}
	}{{"write", own, client}, {"read", client, own}} {
		wrote := make(chan error, 1)
		go func() {
			n, err := test.from.Write(sent)
			if err == nil && n != len(sent) {
				err = io.ErrShortWrite
			}
			wrote <- errors.Join(err, test.from.CloseWrite())
		}()
		got, err := io.ReadAll(test.to)
		if err := errors.Join(err, <-wrote); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if !bytes.Equal(got, sent) {
			t.Errorf("%s: %d bytes arrived of %d, or others", test.name, len(got), len(sent))
		}
	}
}

// A write that a deadline ends returns how many bytes were sent: exactly as many arrive.
func TestWriteEndedByDeadlineCountsBytes(t *testing.T) {
	t.Parallel()
	own, client := pair(t)
	n, wrote := 0, make(chan error, 1)
	go func() {
		var err error
		n, err = own.Write(make([]byte, 64<<20)) // More than the buffers of both ends take.
		wrote <- err
	}()
	if _, err := client.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := own.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v, want a deadline", n, err)
	}
	if err := own.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.Copy(io.Discard, client); err != nil || got+1 != int64(n) {
		t.Errorf("%d bytes arrived, %v, want %d", got+1, err, n)
	}
}

func TestHalfCloseLeavesOtherDirectionOpen(t *testing.T) {
	t.Parallel()
	own, client := pair(t)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // EOF stays.
		if n, err := own.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("read %d, %v, want EOF itself", n, err)
		}
		if took, _, err := own.ReadOnReady(1, mem.NopBufferPool{}); took != nil || err != io.EOF {
			t.Errorf("read on ready %v, %v, want EOF itself", took, err)
		}
	}
	if _, err := own.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	if err := own.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(client); err != nil || string(got) != "still here" {
		t.Errorf("%q, %v", got, err)
	}
}

// Reads and writes of zero bytes neither wait, return EOF nor write; only a closed connection is an error, as in package net.
func TestZeroBytesReturnAtOnce(t *testing.T) {
	t.Parallel()
	own, client := pair(t)
	for _, b := range [][]byte{nil, {}} {
		if n, err := own.Read(b); n != 0 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
		if n, err := own.Write(b); n != 0 || err != nil {
			t.Errorf("write %d, %v", n, err)
		}
	}
	if err := own.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := own.Read(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	if _, err := own.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if got, err := io.ReadAll(client); err != nil || len(got) > 0 {
		t.Errorf("%q, %v arrived", got, err)
	}
}

// net/http and grpc-go classify connection errors by type and Op.
func TestErrorsAreThoseOfPackageNet(t *testing.T) {
	t.Parallel()
	read := func(c net.Conn) error { _, err := c.Read(make([]byte, 1)); return err }
	ready := func(c net.Conn) error {
		own, ok := c.(*Conn)
		if !ok {
			return read(c)
		}
		took, _, err := own.ReadOnReady(1, mem.NopBufferPool{})
		if took != nil {
			t.Error("ReadOnReady returned both a buffer and an error")
		}
		return err
	}
	write := func(c net.Conn) error { _, err := c.Write([]byte("x")); return err }
	late := func(own net.Conn, _ *net.TCPConn) error { return own.SetDeadline(time.Unix(1, 0)) }
	closed := func(own net.Conn, _ *net.TCPConn) error { return own.Close() }
	reset := func(own net.Conn, client *net.TCPConn) error {
		return errors.Join(client.SetLinger(0), client.Close())
	}
	for _, test := range []struct {
		name string
		do   func(own net.Conn, client *net.TCPConn) error
		call func(net.Conn) error
		op   string
		want error
	}{
		{"read past deadline", late, read, "read", os.ErrDeadlineExceeded},
		{"read on ready past deadline", late, ready, "read", os.ErrDeadlineExceeded},
		{"write past deadline", late, write, "write", os.ErrDeadlineExceeded},
		{"read after close", closed, read, "read", net.ErrClosed},
		{"read on ready after close", closed, ready, "read", net.ErrClosed},
		{"write after close", closed, write, "write", net.ErrClosed},
		{"read after reset", reset, read, "read", syscall.ECONNRESET},
		{"read on ready after reset", reset, ready, "read", syscall.ECONNRESET},
	} {
		for name, l := range map[string]net.Listener{"raw": Listen(tcp(t)), "package net": tcp(t)} {
			t.Run(test.name+", "+name, func(t *testing.T) {
				t.Parallel()
				own, client := connect(t, l)
				if err := test.do(own, client); err != nil {
					t.Fatal(err)
				}
				err := test.call(own)
				var as *net.OpError
				if !errors.As(err, &as) || as.Op != test.op || as.Net != "tcp" || as.Addr == nil || as.Source == nil {
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
}

// A write to a closed peer fails with EPIPE or ECONNRESET, and no signal ends the process.
func TestWriteToClosedPeerFails(t *testing.T) {
	t.Parallel()
	own, client := pair(t)
	if err := errors.Join(client.SetLinger(0), client.Close()); err != nil {
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

// counted is a pool that counts its buffers in use. It needs no lock, because the tests wait for each reader.
type counted struct{ out int }

func (c *counted) Get(n int) *[]byte { c.out++; b := make([]byte, n); return &b }
func (c *counted) Put(*[]byte)       { c.out-- }

func TestReadOnReadyHoldsNoBufferWhileItWaits(t *testing.T) {
	t.Parallel()
	own, client := pair(t)
	pool := &counted{}
	if err := own.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := own.ReadOnReady(100, pool); !errors.Is(err, os.ErrDeadlineExceeded) || pool.out != 0 {
		t.Errorf("%v, %d buffers in use", err, pool.out)
	}
	if err := own.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	took, n, err := own.ReadOnReady(100, pool)
	if err != nil || string((*took)[:n]) != "hello" || len(*took) != 100 || pool.out != 1 {
		t.Errorf("%q, %d of them, %v, %d buffers in use", *took, n, err, pool.out)
	}
	pool.Put(took)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := own.ReadOnReady(100, pool); err != io.EOF || pool.out != 0 {
		t.Errorf("%v, %d buffers in use; want EOF", err, pool.out)
	}
}

// Close, or setting a deadline, ends waiting reads.
func TestWaitingReadsEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(*Conn) error
		want error
	}{
		"close":    {(*Conn).Close, net.ErrClosed},
		"deadline": {func(c *Conn) error { return c.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, _ := pair(t)
			other, _ := pair(t)
			read, ready, pool := make(chan error), make(chan error), &counted{}
			go func() { _, err := one.Read(make([]byte, 1)); read <- err }()
			go func() { _, _, err := other.ReadOnReady(1, pool); ready <- err }()
			await(t, "both reads wait", func() bool { return waits("rawconn.(*Conn).Read(") >= 1 && waits("rawconn.(*Conn).ReadOnReady(") >= 1 })
			if err := errors.Join(test.end(one), test.end(other)); err != nil {
				t.Fatal(err)
			}
			if err := <-read; !errors.Is(err, test.want) {
				t.Errorf("read: %v, want %v", err, test.want)
			}
			if err := <-ready; !errors.Is(err, test.want) || pool.out != 0 {
				t.Errorf("read on ready: %v, want %v; %d buffers in use", err, test.want, pool.out)
			}
		})
	}
}

// A write happens before the read that receives it, for the race detector too, which sees both only if the calls are announced. The test can
// fail only with -race.
func TestRaceDetectorFollowsConnections(t *testing.T) {
	t.Parallel()
	own, client := pair(t)
	value := 0
	go func() {
		if _, err := client.Read(make([]byte, 1)); err == nil {
			value++
			_, _ = client.Write([]byte("b"))
		}
	}()
	value++
	if _, err := own.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := own.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if value != 2 {
		t.Errorf("%d", value)
	}
}

func TestReadAndWriteAllocateNothing(t *testing.T) {
	own, client := pair(t)
	b := make([]byte, 8)
	if got := testing.AllocsPerRun(100, func() {
		if _, err := own.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, b); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := own.Read(b); err != nil {
			t.Fatal(err)
		}
	}); got > 0 {
		t.Errorf("%v allocations", got)
	}
}
