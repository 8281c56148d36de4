// Package slow adds a long round trip to loopback.
package slow

import (
	"net"
	"sync"
	"time"
)

// Line forwards TCP connections; every byte arrives a fixed time after it was sent. It limits no rate, so it shows what waiting for the
// peer costs.
type Line struct {
	listener net.Listener
	to       string
	delay    time.Duration
	mutex    sync.Mutex
	conns    []net.Conn
	closed   bool
	running  sync.WaitGroup
}

// NewLine opens a line from a port of 127.0.0.1 to an address. A round trip over it takes roundTrip longer.
func NewLine(to string, roundTrip time.Duration) (*Line, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Line{listener: listener, to: to, delay: roundTrip / 2}
	l.running.Go(l.accept)
	return l, nil
}

// Address returns where the line begins.
func (l *Line) Address() string { return l.listener.Addr().String() }

// Close closes the line's connections and returns when nothing of it is left.
func (l *Line) Close() {
	l.listener.Close()
	l.mutex.Lock()
	l.closed = true
	for _, c := range l.conns {
		c.Close()
	}
	l.mutex.Unlock()
	l.running.Wait()
}

func (l *Line) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.to)
		if err != nil {
			near.Close()
			continue
		}
		if !l.keep(near, far) {
			return
		}
		l.running.Go(func() { l.carry(far, near) })
		l.running.Go(func() { l.carry(near, far) })
	}
}

// keep remembers connections to close with the line and reports whether it is still open; if not, it closes them.
func (l *Line) keep(conns ...net.Conn) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.conns = append(l.conns, conns...)
	if l.closed {
		for _, c := range conns {
			c.Close()
		}
	}
	return !l.closed
}

// parcel is bytes in flight.
type parcel struct {
	bytes []byte
	due   time.Time
}

// inFlight is how many parcels a line holds in each direction: enough that only the peers' own windows limit what is in flight.
const inFlight = 1 << 14

// carry copies one direction. It reads at once, so that no TCP window fills, and writes when a parcel is due.
func (l *Line) carry(to, from net.Conn) {
	parcels := make(chan parcel, inFlight)
	l.running.Go(func() {
		defer to.Close()
		for p := range parcels {
			<-time.After(time.Until(p.due))
			if _, err := to.Write(p.bytes); err != nil {
				from.Close() // Ends the reader below.
				for range parcels {
				}
				return
			}
		}
	})
	defer close(parcels)
	for {
		b := make([]byte, 32<<10)
		n, err := from.Read(b)
		if n > 0 {
			parcels <- parcel{b[:n], time.Now().Add(l.delay)}
		}
		if err != nil {
			return
		}
	}
}
