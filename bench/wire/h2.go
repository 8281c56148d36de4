package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
)

// Types and flags of HTTP/2 frames (RFC 9113).
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8

	flagEnd        = 0x1 // end of the stream; on SETTINGS and PING: an acknowledgement
	flagEndHeaders = 0x4
)

// h2 is gRPC over HTTP/2. A unary call is good if one whole message came and then, in headers of their own, the end. An error of gRPC is
// headers alone, in place of a message, so the headers need not be decoded.
type h2 struct {
	headers []byte // the same for every call
	message []byte // gRPC's frame of the request, the same for every call
	stream  uint32 // the next call's
	calls   map[uint32]*call
	header  [9]byte
	ready   int // messages of a stream that arrived with an earlier one
}

// call counts the messages of one response. A frame may hold several, or a part of one.
type call struct {
	prefix   []byte // of the message that is arriving: compression flag and length
	left     int    // bytes of it that are missing
	messages int
}

func (c *call) add(payload []byte) {
	for len(payload) > 0 {
		if missing := 5 - len(c.prefix); missing > 0 {
			n := min(missing, len(payload))
			c.prefix, payload = append(c.prefix, payload[:n]...), payload[n:]
			if n < missing {
				return
			}
			c.left = int(binary.BigEndian.Uint32(c.prefix[1:]))
		}
		n := min(c.left, len(payload))
		c.left, payload = c.left-n, payload[n:]
		if c.left == 0 {
			c.messages++
			c.prefix = c.prefix[:0]
		}
	}
}

func newH2(s Spec) *h2 {
	h := &h2{stream: 1, calls: make(map[uint32]*call)}
	h.message = binary.BigEndian.AppendUint32([]byte{0}, uint32(len(s.Message)))
	h.message = append(h.message, s.Message...)
	// HPACK without its dynamic table: two entries of the static table, then literals with names from it or their own.
	h.headers = append(h.headers, 0x83, 0x86) // :method POST, :scheme http
	h.literal(s.Path, 0x04)
	h.literal(s.Address, 0x01)
	h.literal("application/grpc", 0x0f, 31-15)
	h.headers = append(h.headers, 0x00)
	h.text("te")
	h.text("trailers")
	return h
}

func (h *h2) literal(value string, name ...byte) {
	h.headers = append(h.headers, name...)
	h.text(value)
}

// text appends an HPACK string without Huffman coding. None here is longer than the 126 bytes that one byte of length allows.
func (h *h2) text(s string) {
	h.headers = append(h.headers, byte(len(s)))
	h.headers = append(h.headers, s...)
}

func frame(to []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	to = append(to, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	to = binary.BigEndian.AppendUint32(to, stream)
	return append(to, payload...)
}

// greet sends the preface and opens the windows of the streams (SETTINGS_INITIAL_WINDOW_SIZE, 4) and of the connection to their limit, so
// that no server ever waits for a WINDOW_UPDATE.
func (h *h2) greet(to []byte) []byte {
	to = append(to, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"...)
	to = frame(to, frameSettings, 0, 0, binary.BigEndian.AppendUint32([]byte{0, 4}, 1<<31-1))
	return frame(to, frameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, 1<<31-1-65535))
}

// request begins a stream. It ignores the server's windows, which small requests never fill: servers open them again long before.
func (h *h2) request(to []byte) []byte {
	to = frame(to, frameHeaders, flagEndHeaders, h.stream, h.headers)
	to = frame(to, frameData, flagEnd, h.stream, h.message)
	h.calls[h.stream] = &call{}
	h.stream += 2
	return to
}

func (h *h2) read(from *bufio.Reader) (good bool, reply []byte, err error) {
	for {
		kind, flags, c, err := h.frame(from, &reply)
		switch {
		case err != nil:
			return false, reply, err
		case kind == frameReset:
			return false, reply, nil
		case kind == frameHeaders && flags&flagEnd != 0:
			return c != nil && c.messages == 1 && c.left == 0, reply, nil
		}
	}
}

// next reads one message of the one stream on the connection.
func (h *h2) next(from *bufio.Reader, _ bool) (reply []byte, err error) {
	for h.ready == 0 {
		kind, flags, c, err := h.frame(from, &reply)
		switch {
		case err != nil:
			return reply, err
		case kind == frameReset, kind == frameHeaders && flags&flagEnd != 0:
			return reply, errors.New("the server ended the stream")
		case kind == frameData && c != nil:
			h.ready, c.messages = c.messages, 0
		}
	}
	h.ready--
	return reply, nil
}

// frame reads one frame, counts its messages, and appends to reply what must be sent in return. c is the frame's call, if there is one.
func (h *h2) frame(from *bufio.Reader, reply *[]byte) (kind, flags byte, c *call, err error) {
	peeked, err := from.Peek(len(h.header))
	if err != nil {
		return 0, 0, nil, err
	}
	copy(h.header[:], peeked)
	if _, err := from.Discard(len(h.header)); err != nil {
		return 0, 0, nil, err
	}
	length := int(h.header[0])<<16 | int(h.header[1])<<8 | int(h.header[2])
	kind, flags = h.header[3], h.header[4]
	stream := binary.BigEndian.Uint32(h.header[5:]) & (1<<31 - 1)
	payload, err := from.Peek(length)
	if err != nil {
		return kind, flags, nil, err
	}
	c = h.calls[stream]
	switch kind {
	case framePing:
		if flags&flagEnd == 0 {
			*reply = frame(*reply, framePing, flagEnd, 0, payload)
		}
	case frameSettings:
		if flags&flagEnd == 0 {
			*reply = frame(*reply, frameSettings, flagEnd, 0, nil)
		}
	case frameGoAway:
		if length < 8 {
			return kind, flags, c, errors.New("the server ends the connection")
		}
		return kind, flags, c, fmt.Errorf("the server ends the connection, code %d: %s", binary.BigEndian.Uint32(payload[4:]), payload[8:])
	case frameData:
		if c != nil {
			c.add(payload)
		}
		if flags&flagEnd != 0 {
			return kind, flags, c, fmt.Errorf("stream %d ended without trailers", stream)
		}
	}
	if kind == frameReset || flags&flagEnd != 0 && kind == frameHeaders {
		delete(h.calls, stream)
	}
	_, err = from.Discard(length)
	return kind, flags, c, err
}
