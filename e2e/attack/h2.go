package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	whoAmI = "/whoami.v1.WhoAmIService/WhoAmI"
	watch  = "/whoami.v1.WhoAmIService/WatchWhoAmI"
)

// anHour is the message of a WatchWhoAmI whose interval is an hour: field 1, a Duration of 3600 seconds.
var anHour = []byte{0, 0, 0, 0, 5, 0x0a, 3, 0x08, 0x90, 0x1c}

// A client is one HTTP/2 connection with hand-written frames: it sends what no gRPC client would.
type client struct {
	conn    net.Conn
	out     *bufio.Writer
	framer  *http2.Framer
	mutex   sync.Mutex // guards writing
	block   bytes.Buffer
	encoder *hpack.Encoder
	next    uint32        // stream ID
	ended   chan struct{} // closed when the connection has ended
}

func dial(ctx context.Context, addr string) (*client, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, out: bufio.NewWriterSize(conn, 1<<16), next: 1, ended: make(chan struct{})}
	c.encoder = hpack.NewEncoder(&c.block)
	c.framer = http2.NewFramer(c.out, bufio.NewReaderSize(conn, 1<<16))
	_, err = c.out.WriteString(http2.ClientPreface)
	if err = errors.Join(err, c.framer.WriteSettings(), c.framer.WriteWindowUpdate(0, 1<<30), c.out.Flush()); err != nil {
		conn.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

// read reads all frames, and acknowledges settings.
func (c *client) read() {
	defer close(c.ended)
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return
		}
		if s, ok := frame.(*http2.SettingsFrame); ok && !s.IsAck() {
			c.mutex.Lock()
			err := errors.Join(c.framer.WriteSettingsAck(), c.out.Flush())
			c.mutex.Unlock()
			if err != nil {
				return
			}
		}
	}
}

// open sends the headers of a call and, unless nil, its message.
func (c *client) open(method string, message []byte) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	id, err := c.headers(method)
	if message != nil {
		err = errors.Join(err, c.framer.WriteData(id, true, message))
	}
	return err
}

// data sends a part of the message of the last opened call, in frames of a size that every peer accepts.
func (c *client) data(part []byte) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for frame := range slices.Chunk(part, 16<<10) {
		if err := c.framer.WriteData(c.next-2, false, frame); err != nil {
			return err
		}
	}
	return nil
}

// reset starts a call and resets it.
func (c *client) reset(method string) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	id, err := c.headers(method)
	return errors.Join(err, c.framer.WriteRSTStream(id, http2.ErrCodeCancel))
}

func (c *client) headers(method string) (uint32, error) {
	c.block.Reset()
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "localhost"}, {"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		if err := c.encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return 0, err
		}
	}
	id := c.next
	c.next += 2
	return id, c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndHeaders: true})
}

func (c *client) flush() error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.out.Flush()
}

// resetFor resets calls as fast as the peer reads them, on one connection after the other, until the context ends.
func resetFor(ctx context.Context, addr string) (resets int) {
	for ctx.Err() == nil {
		c, err := dial(ctx, addr)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { c.conn.Close() })
		for c.reset(whoAmI) == nil {
			resets++
		}
		stop()
		c.conn.Close()
	}
	return resets
}
