package nginx

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

// attacker is an HTTP/2 connection whose frames the test writes itself, to send what no gRPC client sends.
type attacker struct {
	conn    net.Conn
	mutex   sync.Mutex // guards writes
	out     *bufio.Writer
	framer  *h2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	next    uint32        // stream ID
	ended   chan struct{} // closed when the connection has ended
	limit   chan int      // receives nginx's limit of concurrent streams, once

	refused atomic.Int32 // streams that ended with their first HEADERS frame or were reset
}

// attack connects to the gRPC listener.
func attack(ctx context.Context, addr string) (*attacker, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	a := &attacker{conn: conn, out: bufio.NewWriterSize(conn, 1<<16), next: 1, ended: make(chan struct{}), limit: make(chan int, 1)}
	a.encoder = hpack.NewEncoder(&a.block)
	a.framer = h2.NewFramer(a.out, bufio.NewReaderSize(conn, 1<<16))
	_, err = a.out.WriteString(h2.ClientPreface)
	err = errors.Join(err, a.framer.WriteSettings(), a.framer.WriteWindowUpdate(0, 1<<30), a.out.Flush())
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go a.read()
	return a, nil
}

func (a *attacker) read() {
	defer close(a.ended)
	over := map[uint32]bool{} // nginx resets a stream that it has already ended when it does not want the rest of the body
	for {
		frame, err := a.framer.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *h2.SettingsFrame:
			if !f.IsAck() {
				if most, ok := f.Value(h2.SettingMaxConcurrentStreams); ok {
					select {
					case a.limit <- int(most):
					default:
					}
				}
				a.mutex.Lock()
				_ = errors.Join(a.framer.WriteSettingsAck(), a.out.Flush()) // ReadFrame reports an ended connection
				a.mutex.Unlock()
			}
		case *h2.HeadersFrame:
			if f.StreamEnded() {
				over[f.StreamID] = true
			}
		case *h2.RSTStreamFrame:
			over[f.StreamID] = true
		}
		a.refused.Store(int32(len(over)))
	}
}

// body is what an attacker sends after the headers of a call.
type body int

const (
	whole   body = iota // a message and the end of the stream
	nothing             // the call stays half open
	reset               // RST_STREAM at once
)

// open starts a call of path.
func (a *attacker) open(path string, then body, metadata ...hpack.HeaderField) error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.block.Reset()
	for _, f := range append([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: path}, {Name: ":authority", Value: "lab"},
		{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}, metadata...) {
		if err := a.encoder.WriteField(f); err != nil {
			return err
		}
	}
	id := a.next
	a.next += 2
	err := a.framer.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: a.block.Bytes(), EndHeaders: true})
	switch then {
	case whole:
		return errors.Join(err, a.framer.WriteData(id, true, make([]byte, 5)))
	case reset:
		return errors.Join(err, a.framer.WriteRSTStream(id, h2.ErrCodeCancel))
	}
	return err
}

func (a *attacker) flush() error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.out.Flush()
}

// oneRefused waits until a stream has ended, and reports whether one did before ctx.
func (a *attacker) oneRefused(ctx context.Context) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for a.refused.Load() == 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

var hang = hpack.HeaderField{Name: "do", Value: "hang"}

// countedCalls starts an instance that counts the streams it gets, half-open ones included.
func countedCalls(t testing.TB, begun *atomic.Int32) string {
	t.Helper()
	return serve(t, new(instance), grpc.InTapHandle(func(ctx context.Context, _ *tap.Info) (context.Context, error) {
		begun.Add(1)
		return ctx, nil
	}))
}

// silentInstance starts a gRPC listener that accepts and reads but never responds; it counts connections.
func silentInstance(t *testing.T, count *atomic.Int32) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			all.Go(func() {
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

// flood holds calls on its own connections until the test ends: 1000 on each, or the limit that nginx announces, because newer nginx closes
// the connection of a client that exceeds it. It sends them by the hundred, and waits until each hundred has reached an instance or was
// refused; otherwise the backlog of the instances' sockets would overflow.
func flood(t testing.TB, addr string, begun *atomic.Int32, connections int, path string, then body) (refused int) {
	t.Helper()
	var all []*attacker
	opened := 0
	for n := range connections {
		a, err := attack(t.Context(), addr)
		if err != nil {
			t.Logf("connection %d: %v", n, err)
			break
		}
		t.Cleanup(func() { _ = a.conn.Close() })
		all = append(all, a)
		calls := 0
		select {
		case most := <-a.limit:
			calls = min(1000, most)
		case <-a.ended:
			t.Logf("connection %d was closed", n)
		}
		for i := range calls {
			if err := a.open(path, then, hang); err != nil {
				t.Fatal(err)
			}
			if opened++; (i%100 == 99 || i == calls-1) && !a.settled(t, all, begun, opened) {
				break
			}
		}
	}
	for _, a := range all {
		refused += int(a.refused.Load())
	}
	return refused
}

// settled flushes a and waits until the given number of calls has reached an instance or was refused. It reports whether that happened.
func (a *attacker) settled(t testing.TB, all []*attacker, begun *atomic.Int32, calls int) bool {
	t.Helper()
	if err := a.flush(); err != nil {
		t.Logf("flood connection: %v", err)
		return false
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(5 * time.Second); ; {
		n := int(begun.Load())
		for _, a := range all {
			n += int(a.refused.Load())
		}
		if n >= calls {
			return true
		}
		select {
		case <-tick.C:
		case <-a.ended:
			return false
		case <-deadline:
			t.Logf("only %d of %d calls started or refused", n, calls)
			return false
		}
	}
}

// newClients sends a request from n new clients to each listener, each on its own connection, and counts failures.
func newClients(t testing.TB, b *testNginx, n int) (http1, grpc int, last error) {
	t.Helper()
	for i := range n {
		if err := getOnce(b.HTTP, 5*time.Second); err != nil {
			http1++
			last = err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, _, err := callContext(ctx, t, b.GRPC, fmt.Sprint("new-", i))
		cancel()
		if err != nil {
			grpc++
			last = err
		}
	}
	return http1, grpc, last
}

// getOnce sends a GET on a new connection.
func getOnce(addr string, timeout time.Duration) error {
	conn, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

const (
	unaryPath  = "/whoami.v1.WhoAmIService/WhoAmI"
	streamPath = "/whoami.v1.WhoAmIService/WatchWhoAmI"
)

// Limits of the shipped files: calls and streams per worker, calls per connection.
const (
	callsBound, streamsBound = 1000, 750
	connectionBound          = 128
)

func threeInstances(t testing.TB, begun *atomic.Int32) []Server {
	t.Helper()
	return []Server{{web(t), countedCalls(t, begun)}, {web(t), countedCalls(t, begun)}, {web(t), countedCalls(t, begun)}}
}

// TestFloodLeavesBothListenersOpen checks that one client cannot shut the listeners, whatever calls and connections it holds, and that
// streams leave room for unary calls. Without the limits, all 200 new clients fail in each case.
func TestFloodLeavesBothListenersOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		workers     int
		connections int
		path        string
		then        body
		held        int // most calls per worker
	}{
		{"streams on four connections, one worker", 1, 4, streamPath, whole, 4 * connectionBound},
		{"streams on sixteen, one worker", 1, 16, streamPath, whole, streamsBound},
		{"streams on sixteen, two workers", 2, 16, streamPath, whole, streamsBound},
		{"half-open streams", 1, 16, streamPath, nothing, streamsBound},
		{"half-open unary calls", 1, 4, unaryPath, nothing, 4 * connectionBound},
		{"unary calls that hang", 1, 4, unaryPath, whole, 4 * connectionBound},
	} {
		t.Run(c.name, func(t *testing.T) {
			var begun atomic.Int32
			b := startSite(t, Site{Servers: threeInstances(t, &begun), Workers: c.workers})
			refused := flood(t, b.GRPC, &begun, c.connections, c.path, c.then)
			held := int(begun.Load())
			http1, grpc, err := newClients(t, b, 100)
			t.Logf("with %d calls held and %d refused, %d of 100 new HTTP clients and %d of 100 new gRPC clients failed", held, refused, http1, grpc)
			if http1+grpc > 0 {
				t.Errorf("last: %v", err)
			}
			if held > c.held*c.workers || held < c.held*9/10 {
				t.Errorf("%d calls admitted, want %d per worker, %d workers", held, c.held, c.workers)
			}
		})
	}
}

// TestTooManyCallsAreResourceExhausted checks that calls beyond the limit get a status that clients do not retry, and that HTTP goes on.
func TestTooManyCallsAreResourceExhausted(t *testing.T) {
	t.Parallel()
	var begun atomic.Int32
	b := startSite(t, Site{Servers: threeInstances(t, &begun), Workers: 1},
		edit{"grpc-unary.conf", "limit_conn grpc_calls  1000;", "limit_conn grpc_calls 20;"},
		edit{"grpc-stream.conf", "limit_conn grpc_calls   1000;", "limit_conn grpc_calls 20;"},
		edit{"grpc-stream.conf", "limit_conn grpc_streams 750;", "limit_conn grpc_streams 15;"})
	flood(t, b.GRPC, &begun, 1, streamPath, whole)
	if n := begun.Load(); n != 15 {
		t.Errorf("%d streams admitted, want 15", n)
	}
	if http1, grpc, err := newClients(t, b, 1); http1+grpc > 0 {
		t.Errorf("with streams at their limit: %v", err)
	}
	begun.Store(0)
	flood(t, b.GRPC, &begun, 1, unaryPath, whole)
	if n := begun.Load(); n != 5 {
		t.Errorf("%d unary calls admitted beside 15 streams, want 5", n)
	}
	_, _, err := call(t, b.GRPC, "over")
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "too many requests") {
		t.Errorf("%v", err)
	}
	if err := getOnce(b.HTTP, 5*time.Second); err != nil {
		t.Errorf("HTTP: %v", err)
	}
}

// TestSlowBodiesLeaveGRPCListenerOpen checks that HTTP bodies which never arrive hold no more than the limit, and that gRPC goes on.
func TestSlowBodiesLeaveGRPCListenerOpen(t *testing.T) {
	t.Parallel()
	var begun atomic.Int32
	b := startSite(t, Site{Servers: threeInstances(t, &begun), Workers: 1},
		edit{"limits.conf", "limit_conn      http_requests 500;", "limit_conn http_requests 20;"})
	const uploads, admitted = 60, 20
	refused := make(chan error, uploads)
	for range uploads {
		conn, err := net.DialTimeout("tcp", b.HTTP, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 9000\r\n\r\nhalf"); err != nil {
			t.Fatal(err)
		}
		go func() {
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil {
				err = errors.Join(resp.Body.Close(), errorUnless(resp.StatusCode == http.StatusTooManyRequests, resp.Status))
			}
			refused <- err
		}()
	}
	for range uploads - admitted {
		select {
		case err := <-refused:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("fewer than %d requests were refused", uploads-admitted)
		}
	}
	if err := getOnce(b.HTTP, 5*time.Second); err == nil || !strings.HasPrefix(err.Error(), "429") {
		t.Errorf("one GET more: %v, want 429", err)
	}
	if _, _, err := call(t, b.GRPC, "beside"); err != nil {
		t.Errorf("gRPC: %v", err)
	}
}

func errorUnless(ok bool, text string) error {
	if ok {
		return nil
	}
	return errors.New(text)
}
