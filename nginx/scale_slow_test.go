//go:build slow

package nginx

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// listenDNS answers as h by UDP, and by TCP at the same port what is too long for UDP. It returns the port, and counts answers by TCP.
func listenDNS(t *testing.T, h *headless) (string, *atomic.Int32) {
	t.Helper()
	var stream net.Listener
	var packets net.PacketConn
	for err := error(nil); packets == nil; {
		if stream, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if packets, err = net.ListenPacket("udp", stream.Addr().String()); err != nil {
			stream.Close()
		}
	}
	t.Cleanup(func() { _ = packets.Close(); _ = stream.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, client, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			response, err := h.response(buffer[:n])
			if err == nil && len(response) > 512 { // nginx does not offer to take more
				response, err = truncated(response)
			}
			if err == nil {
				_, _ = packets.WriteTo(response, client)
			}
		}
	}()
	count := &atomic.Int32{}
	go func() {
		for {
			conn, err := stream.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for answerStream(conn, h) == nil {
					count.Add(1)
				}
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(stream.Addr().String())
	return port, count
}

// answerStream reads a query and writes its response, each behind its length.
func answerStream(conn net.Conn, h *headless) error {
	var length uint16
	if err := binary.Read(conn, binary.BigEndian, &length); err != nil {
		return err
	}
	query := make([]byte, length)
	if _, err := io.ReadFull(conn, query); err != nil {
		return err
	}
	response, err := h.response(query)
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(response))), response...))
	return err
}

// truncated returns a response without answers, which has the client ask again by TCP.
func truncated(response []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(response); err != nil {
		return nil, err
	}
	m.Truncated, m.Answers = true, nil
	return m.Pack()
}

// A crowd is an nginx with the image's files before many instances of one name.
type crowd struct {
	container
	seen   map[string]bool // instances that had requests
	opened atomic.Int32    // connections to instances
	tcp    *atomic.Int32   // DNS answers by TCP
}

func newCrowd(t *testing.T, instances int) *crowd {
	t.Helper()
	h := &headless{name: "whoami-headless.trivet-prod.svc.cluster.local"}
	var hosts []string
	for n := range instances {
		hosts = append(hosts, fmt.Sprintf("127.1.%d.%d", n/200, n%200+1))
	}
	h.hosts.Store(&hosts)
	c := &crowd{container: newContainer(t), seen: map[string]bool{}}
	var dns string
	dns, c.tcp = listenDNS(t, h)
	put(t, filepath.Join(c.place.dir, "resolv.conf"), "nameserver 127.0.0.1\n")
	put(t, c.script, strings.Replace(read(t, c.script), `$nameservers valid`, `$nameservers:`+dns+" valid", 1))

	// All instances are one listener: it is at every address.
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Context().Value(http.LocalAddrContextKey))
	}))
	backend.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			c.opened.Add(1)
		}
	}
	if err := backend.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if backend.Listener, err = net.Listen("tcp", "0.0.0.0:0"); err != nil {
		t.Fatal(err)
	}
	backend.Start()
	t.Cleanup(backend.Close)
	_, port, _ := net.SplitHostPort(backend.Listener.Addr().String())
	c.up(t, "WHOAMI_HTTP="+h.name+":"+port, "WHOAMI_GRPC="+h.name+":"+port)
	return c
}

// send sends requests one after the other.
func (c *crowd) send(t *testing.T, requests int) {
	t.Helper()
	for range requests {
		resp, err := http.Get("http://" + c.HTTP + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.Body.Close(); err == nil && resp.StatusCode == 200 {
			c.seen[string(body)] = true
		}
	}
}

// TestImageScalesToAThousandInstances checks the limits that docs/kubernetes.md states, with the image's files: up to 28 addresses come by
// UDP; 256 instances use the pool of idle connections, and with one more no connection is used again; the zone has room for 1000, and
// with 1200 some get no request, which only the log shows.
func TestImageScalesToAThousandInstances(t *testing.T) {
	for _, row := range []struct {
		instances       int
		tcp, pool, room bool
	}{{28, false, true, true}, {29, true, true, true}, {256, true, true, true}, {257, true, false, true}, {1000, true, false, true}, {1200, true, false, false}} {
		t.Run(fmt.Sprint(row.instances), func(t *testing.T) {
			c := newCrowd(t, row.instances)
			// nginx has asked again after three seconds; ten without a new instance, and there will be none.
			for last := time.Now(); len(c.seen) < row.instances && time.Since(last) < 10*time.Second; {
				before := len(c.seen)
				if c.send(t, 1); len(c.seen) > before {
					last = time.Now()
				}
			}
			if all := len(c.seen) == row.instances; all != row.room || len(c.seen) < min(row.instances, 1000) {
				t.Errorf("%d of %d instances had requests", len(c.seen), row.instances)
			}
			c.send(t, row.instances) // the pool has had each
			before := c.opened.Load()
			c.send(t, row.instances)
			if n := int(c.opened.Load() - before); row.pool && n != 0 || !row.pool && n < row.instances*9/10 {
				t.Errorf("%d requests, %d new connections", row.instances, n)
			}
			if n := c.tcp.Load(); (n > 0) != row.tcp {
				t.Errorf("%d answers by TCP", n)
			}
			c.signal(t, syscall.SIGQUIT)
			if full := strings.Contains(c.stderr.String(), `no memory in upstream zone "whoami_http"`); full == row.room {
				t.Errorf("zone full: %v: %s", full, c.stderr.String())
			}
		})
	}
}
