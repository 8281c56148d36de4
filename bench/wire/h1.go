package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
)

// h1 is HTTP/1.1 with kept connections.
type h1 struct{ bytes []byte }

func newH1(host, path string) *h1 {
	return &h1{fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host)}
}

func (h *h1) greet(to []byte) []byte { return to }

func (h *h1) request(to []byte) []byte { return append(to, h.bytes...) }

func (h *h1) read(from *bufio.Reader) (bool, []byte, error) {
	line, err := from.ReadSlice('\n')
	if err != nil {
		return false, nil, err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.")) || len(line) < 12 {
		return false, nil, fmt.Errorf("%q is no answer of HTTP/1", line)
	}
	good := string(line[9:12]) == "200"
	length, chunked := -1, false
	for {
		if line, err = from.ReadSlice('\n'); err != nil {
			return false, nil, err
		}
		name, value, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case len(name) == 0:
			if chunked {
				return good, nil, skipChunks(from)
			}
			if length < 0 {
				return false, nil, fmt.Errorf("an answer of unknown length")
			}
			_, err := from.Discard(length)
			return good && length > 0, nil, err
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return false, nil, err
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = true
		case bytes.EqualFold(name, []byte("connection")) && bytes.EqualFold(value, []byte("close")):
			return false, nil, fmt.Errorf("the server closes a connection that is to be kept")
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
