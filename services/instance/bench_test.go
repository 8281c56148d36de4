package instance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"

	whoamiv1 "trivet/gen/whoami/v1"
)

// These benchmarks measure what a request costs an instance: time, allocations and bytes. The client sends prepared bytes over a real
// connection, as nginx does, one request at a time, and allocates nothing, so the counts are the instance's. `make bench-listeners` compares
// two revisions.

func BenchmarkHTTPListener(b *testing.B) { benchHTTP(b, false) }

func BenchmarkHTTPListenerWithMetrics(b *testing.B) { benchHTTP(b, true) }

func benchHTTP(b *testing.B, metrics bool) {
	conn, in := dialBench(b, runBench(b, metrics).HTTPAddr())
	request := fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: whoami\r\n%s\r\n", "X-Request-Id: 0123456789abcdef0123456789abcdef\r\n"+
		"X-Real-IP: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: localhost:8080\r\nX-Forwarded-Port: 8080\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if err := readHTTP(in); err != nil {
			b.Fatal(err)
		}
	}
}

// readHTTP reads one response, which must have status 200.
func readHTTP(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("status line %q", line)
	}
	length := 0
	for len(line) > 2 {
		if line, err = in.ReadSlice('\n'); err != nil {
			return err
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			for _, digit := range bytes.TrimSpace(value) {
				length = 10*length + int(digit-'0')
			}
		}
	}
	if length == 0 {
		return fmt.Errorf("response without Content-Length")
	}
	_, err = in.Discard(length)
	return err
}

func BenchmarkGRPCListener(b *testing.B) { benchGRPC(b, false) }

func BenchmarkGRPCListenerWithMetrics(b *testing.B) { benchGRPC(b, true) }

func benchGRPC(b *testing.B, metrics bool) {
	conn, in := dialBench(b, runBench(b, metrics).GRPCAddr())
	greeting := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), benchFrame(4, 0, 0, nil)...)
	// The largest window for the connection, so that no response waits.
	greeting = append(greeting, benchFrame(8, 0, 0, binary.BigEndian.AppendUint32(nil, 1<<31-1-65535))...)
	if _, err := conn.Write(greeting); err != nil {
		b.Fatal(err)
	}
	fields := []byte{0x83, 0x86} // POST, http
	for _, f := range [][2]string{
		{":path", whoamiv1.WhoAmIService_WhoAmI_FullMethodName}, {":authority", "whoami"}, {"content-type", "application/grpc"}, {"te", "trailers"},
		{"x-request-id", "0123456789abcdef0123456789abcdef"}, {"x-real-ip", "127.0.0.1"}, {"x-forwarded-for", "127.0.0.1"},
		{"x-forwarded-proto", "http"}, {"x-forwarded-host", "localhost"}, {"x-forwarded-port", "9090"},
	} {
		fields = append(fields, 0, byte(len(f[0])))
		fields = append(append(fields, f[0]...), byte(len(f[1])))
		fields = append(fields, f[1]...)
	}
	headers, data := benchFrame(1, 4, 1, fields), benchFrame(0, 1, 1, make([]byte, 5))
	request := append(headers[:len(headers):len(headers)], data...)
	stream := uint32(1)
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		binary.BigEndian.PutUint32(request[5:], stream)
		binary.BigEndian.PutUint32(request[len(headers)+5:], stream)
		stream += 2
		out = append(out, request...)
		if _, err := conn.Write(out); err != nil {
			b.Fatal(err)
		}
		var err error
		if out, err = readGRPC(in, out[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

// benchFrame returns one HTTP/2 frame.
func benchFrame(kind, flags byte, stream uint32, payload []byte) []byte {
	f := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(f, stream), payload...)
}

// readGRPC reads frames until the end of a call, which must have had a message, and appends the required replies to reply.
func readGRPC(in *bufio.Reader, reply []byte) ([]byte, error) {
	message := false
	for {
		header, err := in.Peek(9)
		if err != nil {
			return reply, err
		}
		length, kind, flags := int(header[0])<<16|int(header[1])<<8|int(header[2]), header[3], header[4]
		frame, err := in.Peek(9 + length)
		if err != nil {
			return reply, err
		}
		end := flags&1 != 0
		switch {
		case kind == 0:
			message = true
		case kind == 1 && end && message:
			_, err := in.Discard(9 + length)
			return reply, err
		case kind == 1 && end, kind == 3, kind == 7:
			return reply, fmt.Errorf("the call ended by a frame of type %d", kind)
		case (kind == 4 || kind == 6) && !end: // SETTINGS and PING need acknowledgment, PING with its payload.
			if kind == 4 {
				frame = []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}
			}
			at := len(reply)
			reply = append(reply, frame...)
			reply[at+4] = 1
		}
		if _, err := in.Discard(9 + length); err != nil {
			return reply, err
		}
	}
}

// runBench runs an instance until the benchmark ends, and returns its configuration. It has metrics where it has an admin listener.
func runBench(b *testing.B, metrics bool) Config {
	b.Helper()
	flags := map[string]string{"INSTANCE": "whoami-1", "HTTP_PORT": freePort(b), "GRPC_PORT": freePort(b)}
	if metrics {
		flags["ADMIN_PORT"] = freePort(b)
	}
	c, _, err := fixture.Load(b.Context(), Sources{
		Flags:   flags,
		Environ: envconfig.MapLookuper(nil),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- Run(ctx, fixture, c, slog.New(slog.DiscardHandler)) }()
	b.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			b.Error(err)
		}
	})
	return c
}

func freePort(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// dialBench connects to a listener once it is open.
func dialBench(b *testing.B, address string) (net.Conn, *bufio.Reader) {
	b.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			b.Cleanup(func() { conn.Close() })
			return conn, bufio.NewReaderSize(conn, 16<<10)
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}
