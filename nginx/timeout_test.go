package nginx

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// unaccepting returns the address of a socket whose queue is full: the kernel drops each SYN, like a machine that is gone.
func unaccepting(t *testing.T) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(socket) })
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(socket, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	to, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("%T", name)
	}
	// One more than the queue holds, so that it is full once the first connection is in it.
	for range 2 {
		filler, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Close(filler) })
		if err := syscall.Connect(filler, to); err != nil && err != syscall.EINPROGRESS {
			t.Fatal(err)
		}
	}
	return fmt.Sprint("127.0.0.1:", to.Port)
}

// TestConnectTimeoutReportsUnhandledRequest checks that clients learn that nothing was sent, so that they may repeat any request.
func TestConnectTimeoutReportsUnhandledRequest(t *testing.T) {
	full := unaccepting(t)
	b := startNginx(t, []Server{{full, full}})
	_, _, err := call(t, b.GRPC, "g")
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no instance accepted a connection in time; the request was not handled") {
		t.Errorf("gRPC: %v", err)
	}
	code, _, body, err := raw(t, b.HTTP, get("h", "/"))
	if err != nil || code != http.StatusGatewayTimeout || !strings.Contains(string(body), "no instance accepted a connection in time; the request was not handled") {
		t.Errorf("HTTP: %d, %s, %v", code, body, err)
	}
	for _, l := range b.log(t) {
		if l.Error != "504" || l.UpstreamBytesSent != "0" {
			t.Errorf("the access log: %+v", l)
		}
	}
}

// TestOnlyListedStreamsMayBeSilent checks that methods without a location get unary timeouts: neither a call whose message never comes nor
// an instance that is silent holds connections for an hour. Listed streams may be silent.
func TestOnlyListedStreamsMayBeSilent(t *testing.T) {
	short := []edit{
		{"grpc-unary.conf", "client_body_timeout 10s;", "client_body_timeout 200ms;"},
		{"grpc-locations.conf", "grpc_read_timeout    10s;", "grpc_read_timeout 200ms;"},
	}
	for _, c := range []struct {
		path   string
		silent bool
	}{
		{"/whoami.v1.WhoAmIService/WhoAmI", false},
		{"/whoami.v1.WhoAmIService/WatchWhoAmI", true},
		{"/whoami.v1.WhoAmIService/AddedLater", false},
		{"/other.v1.Service/Watch", false},
		{"/grpc.health.v1.Health/Check", false},
		{"/grpc.health.v1.Health/Watch", true},
		{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", true},
		{"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", true},
	} {
		t.Run(c.path, func(t *testing.T) {
			t.Parallel()
			var connections atomic.Int32
			b := startNginx(t, []Server{{free(t), silentInstance(t, &connections)}}, short...)
			for _, then := range []body{nothing, whole} {
				a, err := attack(t.Context(), b.GRPC)
				if err != nil {
					t.Fatal(err)
				}
				defer a.conn.Close()
				if err := a.open(c.path, then); err != nil {
					t.Fatal(err)
				}
				if err := a.flush(); err != nil {
					t.Fatal(err)
				}
				// Streams must survive four times the timeouts; the others get far longer than they need to end.
				wait := 20 * time.Second
				if c.silent {
					wait = 800 * time.Millisecond
				}
				ctx, stop := context.WithTimeout(t.Context(), wait)
				defer stop()
				if ended := a.oneRefused(ctx); ended == c.silent {
					t.Errorf("the call (%d) ended: %v", then, ended)
				}
			}
		})
	}
}
