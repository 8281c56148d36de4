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

	flagEnd        = 0x1 // the stream's end; on SETTINGS and PING: an acknowledgement
	flagEndHeaders = 0x4
)

// h2 is gRPC over HTTP/2: unary calls with an empty message. A call is good if a message came and then, in headers of their own, the
// end. What gRPC answers instead of a message, an error, are headers alone; so the headers need not be decoded.
type h2 struct {
	headers []byte // the same for every call
	next    uint32 // number of the next stream
	message map[uint32]bool
	header  [9]byte
}

func newH2(authority, path string) *h2 {
	h := &h2{next: 1, message: make(map[uint32]bool)}
	// HPACK without its tables of what was sent before: two entries of the static table, then literals with names from it or their own.
	h.headers = append(h.headers, 0x83, 0x86) // :method POST, :scheme http
	h.literal(path, 0x04)
	h.literal(authority, 0x01)
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

// text is a string of HPACK's, without Huffman's code. None here is longer than the 126 bytes whose length is one byte.
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

// greet sends the preface, and opens the connection's window as far as it goes: nothing that is read here ever has to wait.
func (h *h2) greet(to []byte) []byte {
	to = append(to, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"...)
	to = frame(to, frameSettings, 0, 0, nil)
	return frame(to, frameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, 1<<31-1-65535))
}

// request begins a stream. The five bytes are gRPC's frame of an empty message. The servers' windows are not minded: they open them again
// long before so small requests have filled them.
func (h *h2) request(to []byte) []byte {
	to = frame(to, frameHeaders, flagEndHeaders, h.next, h.headers)
	to = frame(to, frameData, flagEnd, h.next, []byte{0, 0, 0, 0, 0})
	h.next += 2
	return to
}

func (h *h2) read(from *bufio.Reader) (good bool, reply []byte, err error) {
	for {
		peeked, err := from.Peek(len(h.header))
		if err != nil {
			return false, reply, err
		}
		copy(h.header[:], peeked)
		if _, err := from.Discard(len(h.header)); err != nil {
			return false, reply, err
		}
		length := int(h.header[0])<<16 | int(h.header[1])<<8 | int(h.header[2])
		kind, flags, stream := h.header[3], h.header[4], binary.BigEndian.Uint32(h.header[5:])&(1<<31-1)
		if kind == framePing && flags&flagEnd == 0 {
			payload, err := from.Peek(length)
			if err != nil {
				return false, reply, err
			}
			reply = frame(reply, framePing, flagEnd, 0, payload)
		}
		if kind == frameGoAway {
			return false, reply, h.goAway(from, length)
		}
		if _, err := from.Discard(length); err != nil {
			return false, reply, err
		}
		switch kind {
		case frameSettings:
			if flags&flagEnd == 0 {
				reply = frame(reply, frameSettings, flagEnd, 0, nil)
			}
		case frameReset:
			delete(h.message, stream)
			return false, reply, nil
		case frameData:
			if length >= 5 {
				h.message[stream] = true
			}
			if flags&flagEnd != 0 {
				return false, reply, fmt.Errorf("stream %d ended without trailers", stream)
			}
		case frameHeaders:
			if flags&flagEnd != 0 {
				good := h.message[stream]
				delete(h.message, stream)
				return good, reply, nil
			}
		}
	}
}

func (h *h2) goAway(from *bufio.Reader, length int) error {
	payload, err := from.Peek(length)
	if err != nil || length < 8 {
		return errors.Join(errors.New("the server ends the connection"), err)
	}
	return fmt.Errorf("the server ends the connection, code %d: %s", binary.BigEndian.Uint32(payload[4:]), payload[8:])
}
