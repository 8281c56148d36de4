package instance

import (
	"net"
	"testing"

	"google.golang.org/grpc/mem"

	"trivet/internal/rawconn"
)

// With any settings, grpc-go finds ReadOnReady on connections, by which an idle one holds no buffer.
func TestBoundConnectionsHaveReadOnReady(t *testing.T) {
	t.Parallel()
	for _, raw := range []bool{false, true} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		c, err := new(listeners).bound(Config{MaxConnections: 1, RawSyscalls: raw}, l).Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, ok := c.(interface {
			ReadOnReady(int, mem.BufferPool) (*[]byte, int, error)
		}); !ok {
			t.Errorf("RAW_SYSCALLS=%t: %T has no ReadOnReady", raw, c)
		}
		if _, ok := c.(*rawconn.Conn); ok != raw {
			t.Errorf("RAW_SYSCALLS=%t: %T", raw, c)
		}
	}
}
