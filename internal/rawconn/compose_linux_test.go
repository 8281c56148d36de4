package rawconn

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"trivet/internal/connlimit"
)

// await waits until a condition is true.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not true within 20 s: %s", what)
		}
	}
}

// waits counts the goroutines that wait for I/O with all of these functions on their stack.
func waits(functions ...string) int {
	stacks := make([]byte, 1<<20)
	for n := runtime.Stack(stacks, true); n == len(stacks); n = runtime.Stack(stacks, true) {
		stacks = make([]byte, 2*n)
	}
	count := 0
goroutines:
	for stack := range strings.SplitSeq(string(bytes.TrimRight(stacks, "\x00")), "\n\n") {
		for _, f := range append(functions, "[IO wait") {
			if !strings.Contains(stack, f) {
				continue goroutines
			}
		}
		count++
	}
	return count
}

// certificate returns the TLS configuration of an httptest server, and a pool that trusts it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return &tls.Config{Certificates: server.TLS.Certificates}, pool
}

// serveGRPC serves health on l, and returns a client that has made a call.
func serveGRPC(t *testing.T, l net.Listener, server, client credentials.TransportCredentials) healthv1.HealthClient {
	t.Helper()
	s := grpc.NewServer(grpc.Creds(server))
	healthv1.RegisterHealthServer(s, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	channel, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(client))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { channel.Close() })
	h := healthv1.NewHealthClient(channel)
	check(t, h)
	return h
}

func check(t *testing.T, h healthv1.HealthClient) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if got, err := h.Check(ctx, &healthv1.HealthCheckRequest{}); err != nil || got.Status != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v", got, err)
	}
}

// How grpc-go reads a connection is not part of its API: this test fails when an upgrade changes it. It is not parallel, because it counts
// goroutines.
func TestGRPCReadsByExpectedMethod(t *testing.T) {
	config, trusted := certificate(t)
	config.NextProtos = []string{"h2"}
	const onReady, byRead, byNet = "rawconn.(*Conn).ReadOnReady(", "rawconn.(*Conn).Read(", "net.(*conn).Read("
	for _, test := range []struct {
		name           string
		listener       net.Listener
		server, client credentials.TransportCredentials
		reads          string
	}{
		{"plain: an idle connection holds no buffer", Listen(tcp(t)), nil, nil, onReady},
		{"TLS: raw calls read ciphertext", Listen(tcp(t)), credentials.NewTLS(config), credentials.NewClientTLSFromCert(trusted, "example.com"), byRead},
		{"over a limit", Listen(connlimit.Listen(tcp(t), 1)), nil, nil, onReady},
		{"a limit alone holds no buffer either", connlimit.Listen(tcp(t), 1), nil, nil, "connlimit.(*TCPConn).ReadOnReady("},
		{"below LimitListener: raw calls, but ReadOnReady is hidden", netutil.LimitListener(Listen(tcp(t)), 1), nil, nil, byRead},
		{"over LimitListener: no raw calls", Listen(netutil.LimitListener(tcp(t), 1)), nil, nil, byNet},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.server == nil {
				test.server, test.client = insecure.NewCredentials(), insecure.NewCredentials()
			}
			h := serveGRPC(t, test.listener, test.server, test.client)
			await(t, "the server's transport reads by "+test.reads, func() bool {
				return waits(test.reads, "transport.(*http2Server).HandleStreams(") == 1
			})
			check(t, h)
		})
	}
}

// Both directions carry more than a socket's buffers hold, by TLS over raw calls.
func TestHTTPOverTLSTransfersLargeBodies(t *testing.T) {
	t.Parallel()
	config, trusted := certificate(t)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(body)
	})}
	l := Listen(tcp(t))
	served := make(chan error, 1)
	go func() { served <- server.Serve(tls.NewListener(l, config)) }()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, ServerName: "example.com"}}, Timeout: 20 * time.Second}
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	response, err := client.Post("https://"+l.Addr().String(), "text/plain", bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(response.Body)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d, or others; %v", len(got), len(sent), err)
	}
	response.Body.Close()
	client.CloseIdleConnections()
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != http.ErrServerClosed {
		t.Error(err)
	}
}

// Close closes the accepted connection, so that a limit gets its place back.
func TestCloseReachesTheWrapper(t *testing.T) {
	t.Parallel()
	inner := tcp(t)
	wrapped := &wrapping{Listener: inner}
	c, _ := connect(t, Listen(wrapped))
	if _, ok := c.(*Conn); !ok {
		t.Fatalf("%T, want *Conn", c)
	}
	if err := c.Close(); err != nil || !wrapped.conn.closed {
		t.Errorf("the wrapper was not closed; %v", err)
	}
}

// wrapping accepts one connection that is an [Unwrapper].
type wrapping struct {
	net.Listener
	conn wrapper
}

type wrapper struct {
	*net.TCPConn
	closed bool
}

func (w *wrapping) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err == nil {
		w.conn.TCPConn = c.(*net.TCPConn)
	}
	return &w.conn, err
}

func (w *wrapper) UnwrapTCP() *net.TCPConn { return w.TCPConn }
func (w *wrapper) Close() error            { w.closed = true; return w.TCPConn.Close() }

// hiding is a connection that reads and writes otherwise, and has SyscallConn all the same, as grpc-go's over TLS have.
type hiding struct{ net.Listener }

func (h hiding) Accept() (net.Conn, error) {
	c, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return shouting{c.(*net.TCPConn)}, nil
}

type shouting struct{ *net.TCPConn }

func (s shouting) Write(b []byte) (int, error) { return s.TCPConn.Write(bytes.ToUpper(b)) }

func TestOtherConnectionsAreUnchanged(t *testing.T) {
	t.Parallel()
	c, client := connect(t, Listen(hiding{tcp(t)}))
	if _, err := c.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := client.Read(b); err != nil || string(b) != "A" {
		t.Errorf("%q, %v: its own Write was bypassed", b, err)
	}
	if c, _ := connect(t, Listen(Listen(tcp(t)))); c.(*Conn).outer != net.Conn(c.(*Conn).TCPConn) {
		t.Error("Listen wrapped raw connections again")
	}

	unix, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	dialed, err := net.Dial("unix", unix.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	accepted, err := Listen(unix).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if _, ok := accepted.(*net.UnixConn); !ok {
		t.Errorf("%T, want *net.UnixConn", accepted)
	}
}
