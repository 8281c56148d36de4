// Package wire makes load that costs little: requests whose bytes are written down once, over HTTP/1.1 and HTTP/2 of its own that know
// just enough to tell an answer from an error. What a real client library spends would compete with the servers for the cores, and
// bring every ratio nearer to 1.
package wire

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// Spec is what is asked, and over how many connections.
type Spec struct {
	Address     string
	GRPC        bool   // a unary call with an empty message; else a GET
	Path        string // "/", or "/package.Service/Method"
	Connections int
	// Streams is how many calls at once a connection carries in a closed loop; more than 1 with gRPC only.
	Streams int
}

// Result is what became of the requests.
type Result struct {
	Done   int           // answered well
	Failed int           // answered otherwise
	Took   time.Duration // from the planned beginning until the last answer
}

// A protocol is one connection's side of a conversation.
type protocol interface {
	// greet appends what must be said before the first request.
	greet(to []byte) []byte
	// request appends one more request.
	request(to []byte) []byte
	// read reads until one answer is complete and tells whether it was good; reply is what must be said in return, before anything else.
	read(from *bufio.Reader) (good bool, reply []byte, err error)
}

// conn is one connection.
type conn struct {
	net.Conn
	protocol
	in  *bufio.Reader
	out []byte
}

// Closed sends, for so long, a request whenever one was answered. Done counts those that were answered within d.
func Closed(ctx context.Context, t Spec, d time.Duration) (Result, error) {
	return t.each(ctx, d+patience, func(c *conn, begin time.Time, _ int, r *Result) error {
		return c.loop(begin.Add(d), max(1, t.Streams), r)
	})
}

// Open sends count requests, evenly over d, each at its time: one at a time on a connection, and at once where the answer before was late.
// So all are sent, however slow the answers are; Took then is more than d.
func Open(ctx context.Context, t Spec, count int, d time.Duration) (Result, error) {
	each := d / time.Duration(count)
	return t.each(ctx, d+patience, func(c *conn, begin time.Time, first int, r *Result) error {
		for n := first; n < count; n += t.Connections {
			if wait := time.Until(begin.Add(time.Duration(n) * each)); wait > 0 {
				time.Sleep(wait) // No longer than d; the end of ctx is seen at the next write.
			}
			if err := c.one(r); err != nil {
				return err
			}
		}
		return nil
	})
}

// patience is how long after its planned end a run may go on: longer than machines that share theirs with others stand still.
const patience = 15 * time.Second

// each runs f on every connection at once. The connections stand before the time begins.
func (t Spec) each(ctx context.Context, most time.Duration, f func(c *conn, begin time.Time, n int, r *Result) error) (Result, error) {
	conns := make([]*conn, 0, t.Connections)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range t.Connections {
		c, err := t.dial(ctx)
		if err != nil {
			return Result{}, err
		}
		conns = append(conns, c)
	}
	begin := time.Now()
	for _, c := range conns {
		c.SetDeadline(begin.Add(most))
	}
	// Only now: where ctx ends at once, its deadline is the last one set.
	defer context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.SetDeadline(time.Now())
		}
	})()
	results, faults := make([]Result, len(conns)), make([]error, len(conns))
	var all sync.WaitGroup
	for n, c := range conns {
		all.Go(func() { faults[n] = f(c, begin, n, &results[n]) })
	}
	all.Wait()
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	sum := Result{Took: time.Since(begin)}
	for _, r := range results {
		sum.Done += r.Done
		sum.Failed += r.Failed
	}
	return sum, first(faults)
}

func (t Spec) dial(ctx context.Context) (*conn, error) {
	var dialer net.Dialer
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	nc, err := dialer.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, in: bufio.NewReaderSize(nc, 16<<10)}
	if t.GRPC {
		c.protocol = newH2(t.Address, t.Path)
	} else {
		c.protocol = newH1(t.Address, t.Path)
	}
	c.out = c.greet(c.out)
	return c, nil
}

// one sends a request and reads its answer.
func (c *conn) one(r *Result) error {
	c.out = c.request(c.out)
	if err := c.flush(); err != nil {
		return err
	}
	return c.answer(r)
}

// loop keeps so many requests under way until the end. Requests that came due while answers were read leave in one write.
func (c *conn) loop(end time.Time, atOnce int, r *Result) error {
	for range atOnce {
		c.out = c.request(c.out)
	}
	for open := atOnce; open > 0; {
		if c.in.Buffered() == 0 {
			if err := c.flush(); err != nil {
				return err
			}
		}
		late := Result{}
		into := r
		more := time.Now().Before(end)
		if !more {
			into = &late
		}
		if err := c.answer(into); err != nil {
			return err
		}
		r.Failed += late.Failed
		if more {
			c.out = c.request(c.out)
		} else {
			open--
		}
	}
	return nil
}

func (c *conn) answer(r *Result) error {
	good, reply, err := c.read(c.in)
	c.out = append(c.out, reply...)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", c.RemoteAddr(), err)
	case good:
		r.Done++
	default:
		r.Failed++
	}
	return nil
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.Write(c.out)
	c.out = c.out[:0]
	return err
}

// first is the first error, and how many more there are: all connections to one server mostly fail of the same.
func first(faults []error) error {
	faults = slices.DeleteFunc(faults, func(err error) bool { return err == nil })
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return faults[0]
	}
	return fmt.Errorf("%w (and %d more connections)", faults[0], len(faults)-1)
}
