package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// h1 is HTTP/1.1 with kept-alive connections.
type h1 struct{ bytes []byte }

func newH1(s Spec) *h1 {
	return &h1{fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", s.Path, s.Address)}
}

func (h *h1) greet(to []byte) []byte { return to }

func (h *h1) request(to []byte) []byte { return append(to, h.bytes...) }

func (h *h1) read(from *bufio.Reader) (bool, []byte, error) {
	status, length, err := h.header(from)
	switch {
	case err != nil:
		return false, nil, err
	case length < 0:
		return status == ok, nil, skipChunks(from)
	}
	_, err = from.Discard(length)
	return status == ok && length > 0, nil, err
}

const ok = "200"

// header reads up to the body; a length of -1 means that the body is chunked.
func (h *h1) header(from *bufio.Reader) (status string, length int, err error) {
	line, err := from.ReadSlice('\n')
	if err != nil {
		return "", 0, err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.")) || len(line) < 12 {
		return "", 0, fmt.Errorf("%q does not begin an HTTP/1 response", line)
	}
	status = string(line[9:12])
	known := false
	for {
		if line, err = from.ReadSlice('\n'); err != nil {
			return status, 0, err
		}
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case len(name) == 0:
			if !known {
				err = errors.New("a response of unknown length")
			}
			return status, length, err
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return status, 0, err
			}
			known = true
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			length, known = -1, true
		case bytes.EqualFold(name, []byte("connection")) && bytes.EqualFold(value, []byte("close")):
			return status, 0, errors.New("the server closes a connection that is to be kept alive")
		}
	}
}

// skipChunks reads a chunked body to its end, without trailers.
func skipChunks(from *bufio.Reader) error {
	for {
		line, err := from.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return err
		}
		if _, err := from.Discard(int(size) + len("\r\n")); err != nil || size == 0 {
			return err
		}
	}
}

// next reads one message of a stream, a line of JSON. Lines that belong to the chunks end in CRLF.
func (h *h1) next(from *bufio.Reader, first bool) ([]byte, error) {
	if first {
		if status, _, err := h.header(from); err != nil || status != ok {
			return nil, errors.Join(fmt.Errorf("the stream begins with status %s", status), err)
		}
	}
	for {
		line, err := from.ReadSlice('\n')
		if err != nil || bytes.HasSuffix(line, []byte("}\n")) {
			return nil, err
		}
	}
}
