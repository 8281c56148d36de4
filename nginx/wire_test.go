package nginx

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// frame is one HTTP/2 frame.
type frame struct {
	Type, Flags byte
	Stream      uint32
	Payload     []byte
}

// Frame types and flags of RFC 9113.
const (
	dataFrame, headersFrame, resetFrame, settingsFrame, goAwayFrame byte = 0, 1, 3, 4, 7

	endStream, endHeaders byte = 1, 4
)

// Flags of a request's HEADERS frame: stream ended, or open for a body.
const (
	ended = endStream
	open  = 0
)

// http2 sends fields as one request without a body (stream 1), in frames of 16 KB, and returns the frames that arrive until the stream or
// the connection ends. It sends what HTTP clients reject.
func http2(t *testing.T, addr string, fields [][2]string, flags byte) []frame {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var block []byte
	for _, f := range fields { // literals without indexing, without Huffman: RFC 7541, 6.2.2
		block = append(block, 0)
		block = literal(literal(block, f[0]), f[1])
	}
	out := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), wire(settingsFrame, 0, 0, nil)...)
	const most = 16384
	kind := headersFrame
	for len(block) > most {
		out = append(out, wire(kind, flags, 1, block[:most])...)
		block, kind, flags = block[most:], 9, 0 // CONTINUATION
	}
	out = append(out, wire(kind, flags|endHeaders, 1, block)...)
	if _, err := conn.Write(out); err != nil {
		t.Fatal(err)
	}
	return frames(t, bufio.NewReader(conn))
}

func literal(b []byte, s string) []byte {
	if len(s) < 127 {
		return append(append(b, byte(len(s))), s...)
	}
	b = append(b, 127)
	n := len(s) - 127
	for ; n >= 128; n /= 128 {
		b = append(b, byte(n%128)|128)
	}
	return append(append(b, byte(n)), s...)
}

func wire(kind, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

func frames(t *testing.T, r io.Reader) []frame {
	t.Helper()
	var all []frame
	for {
		var head [9]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Fatalf("timeout after frames %+v", all)
			}
			return all
		}
		f := frame{Type: head[3], Flags: head[4], Stream: binary.BigEndian.Uint32(head[5:]) &^ (1 << 31)}
		f.Payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(r, f.Payload); err != nil {
			return all
		}
		all = append(all, f)
		if f.Stream == 1 && (f.Type == resetFrame || f.Flags&endStream != 0) {
			return all
		}
	}
}

// ofStream returns the frames of stream 1.
func ofStream(all []frame) []frame {
	var own []frame
	for _, f := range all {
		if f.Stream == 1 && (f.Type == headersFrame || f.Type == dataFrame || f.Type == resetFrame) {
			own = append(own, f)
		}
	}
	return own
}
