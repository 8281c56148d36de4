// Package wire generates load that costs little: requests whose bytes are built once, over its own HTTP/1.1 and HTTP/2, which know just
// enough to tell a good response from an error. A real client library would compete with the servers for the cores and bring every ratio
// nearer to 1.
package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// Spec is what is requested, and over which connections.
type Spec struct {
	Address     string
	GRPC        bool   // else HTTP/1.1, GET
	Path        string // "/", or "/package.Service/Method"
	Message     []byte // gRPC: the encoded request
	Connections int
	Streams     int  // gRPC, closed loop: calls at once on each connection; 0 is 1
	Fresh       bool // a new connection for each request
}

// Result is the outcome of the requests.
type Result struct {
	Done   int           // good responses, or messages of streams
	Failed int           // other responses
	Took   time.Duration // from the planned start until the last response
	// Latencies are Open's: from the start of a request to the end of its response. A request that had to wait because the response
	// before it was late starts when planned. If the load's own timer is late, the request starts late: that is not the servers' time.
	Latencies []time.Duration
}

// A protocol is the client's side of one connection.
type protocol interface {
	// greet appends what must be sent before the first request.
	greet(to []byte) []byte
	// request appends one more request.
	request(to []byte) []byte
	// read reads one whole response and reports whether it was good; reply must be sent before anything else.
	read(from *bufio.Reader) (good bool, reply []byte, err error)
	// next reads one message of a stream.
	next(from *bufio.Reader, first bool) (reply []byte, err error)
}

// grace is how long after its planned end a run may go on: longer than shared machines pause.
const grace = 15 * time.Second

// perConnection is how many requests a connection carries before the load opens another: below the 1000 after which nginx closes it
// (keepalive_requests).
const perConnection = 900

// Closed sends a request whenever one was answered, for d. Done counts responses within d.
func Closed(ctx context.Context, s Spec, d time.Duration) (Result, error) {
	return s.each(ctx, d+grace, func(c *client, begin time.Time, _ int, r *Result) error {
		end := begin.Add(d)
		if s.Streams > 1 {
			return c.multiplex(end, r)
		}
		for time.Now().Before(end) {
			before := *r
			if err := c.one(r); err != nil {
				return err
			}
			if time.Now().After(end) {
				r.Done = before.Done
			}
		}
		return nil
	})
}

// Open sends count requests evenly over d, each at its planned start, one at a time per connection: at once if the response before it was
// late. So all are sent however slow the responses are; Took is then more than d.
func Open(ctx context.Context, s Spec, count int, d time.Duration) (Result, error) {
	interval := d / time.Duration(count)
	return s.each(ctx, d+grace, func(c *client, begin time.Time, first int, r *Result) error {
		for n := first; n < count; n += s.Connections {
			start := begin.Add(time.Duration(n) * interval)
			if wait := time.Until(start); wait > 0 {
				time.Sleep(wait) // At most d; the end of ctx is noticed at the next write.
				start = time.Now()
			}
			if err := c.one(r); err != nil {
				return err
			}
			r.Latencies = append(r.Latencies, time.Since(start))
		}
		return nil
	})
}

// Watch holds a stream on each connection for d and counts the messages.
func Watch(ctx context.Context, s Spec, d time.Duration) (Result, error) {
	return s.each(ctx, d, func(c *client, _ time.Time, _ int, r *Result) error {
		c.out = c.request(c.out)
		for {
			if err := c.flush(); err != nil {
				return err
			}
			reply, err := c.next(c.in, r.Done == 0)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			} else if err != nil {
				return err
			}
			c.out = append(c.out, reply...)
			r.Done++
		}
	})
}

// each runs f on every connection at once. Connections that are kept alive are open before the time begins.
func (s Spec) each(ctx context.Context, limit time.Duration, f func(c *client, begin time.Time, n int, r *Result) error) (Result, error) {
	clients := make([]*client, s.Connections)
	defer func() {
		for _, c := range clients {
			if c != nil {
				c.close()
			}
		}
	}()
	for n := range clients {
		clients[n] = &client{spec: s, ctx: ctx, deadline: time.Now().Add(limit)}
		if !s.Fresh {
			if err := clients[n].dial(); err != nil {
				return Result{}, err
			}
		}
	}
	results, errs := make([]Result, len(clients)), make([]error, len(clients))
	var all sync.WaitGroup
	begin := time.Now()
	for n, c := range clients {
		all.Go(func() { errs[n] = f(c, begin, n, &results[n]) })
	}
	all.Wait()
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	sum := Result{Took: time.Since(begin)}
	for _, r := range results {
		sum.Done += r.Done
		sum.Failed += r.Failed
		sum.Latencies = append(sum.Latencies, r.Latencies...)
	}
	return sum, first(errs)
}

// client is one connection after another.
type client struct {
	spec     Spec
	ctx      context.Context
	deadline time.Time
	conn     net.Conn
	forget   func() bool // ends the wait for ctx
	sent     int         // requests on conn
	protocol
	in  *bufio.Reader
	out []byte
}

func (c *client) dial() error {
	c.close()
	dialer := net.Dialer{Deadline: c.deadline}
	conn, err := dialer.DialContext(c.ctx, "tcp", c.spec.Address)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(c.deadline); err != nil {
		return err
	}
	c.conn, c.sent = conn, 0
	c.forget = context.AfterFunc(c.ctx, func() { conn.Close() })
	if c.in == nil {
		c.in = bufio.NewReaderSize(nil, 32<<10) // more than a frame of HTTP/2, 16 KiB
	}
	c.in.Reset(conn)
	if c.spec.GRPC {
		c.protocol = newH2(c.spec)
	} else {
		c.protocol = newH1(c.spec)
	}
	c.out = c.greet(c.out[:0])
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.forget()
		c.conn.Close()
	}
}

// one sends a request and reads its response.
func (c *client) one(r *Result) error {
	if c.spec.Fresh || c.sent >= perConnection {
		if err := c.dial(); err != nil {
			return err
		}
	}
	c.out = c.request(c.out)
	c.sent++
	if err := c.flush(); err != nil {
		return err
	}
	return c.response(r)
}

// multiplex keeps Streams requests in flight until the end. Requests that became due while responses were read leave in one write.
func (c *client) multiplex(end time.Time, r *Result) error {
	for range c.spec.Streams {
		c.out = c.request(c.out)
	}
	for open := c.spec.Streams; open > 0; {
		if c.in.Buffered() == 0 {
			if err := c.flush(); err != nil {
				return err
			}
		}
		before := *r
		more := time.Now().Before(end)
		if err := c.response(r); err != nil {
			return err
		}
		if more {
			c.out = c.request(c.out)
		} else {
			open--
			r.Done = before.Done
		}
	}
	return nil
}

func (c *client) response(r *Result) error {
	good, reply, err := c.read(c.in)
	c.out = append(c.out, reply...)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", c.spec.Address, err)
	case good:
		r.Done++
	default:
		r.Failed++
	}
	return nil
}

func (c *client) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// first returns the first error and the number of others: all connections to one server mostly fail in the same way.
func first(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return fmt.Errorf("%w (and %d more connections)", errs[0], len(errs)-1)
}
