package logstream

import (
	"bytes"
	"encoding/json"
	"regexp"
	"time"

	"trivet/lab/record"
)

// A line is one of a container's log, with the time at which the engine read it from the container.
type line struct {
	at   time.Time
	text []byte
}

// embedded is where a line of Docker begins within another: after a piece of a long line, or after a last line without its end.
var embedded = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z `)

// parseLine splits the time from a line. An engine that breaks long lines writes a time before each piece, which is this long; 0: none does.
func parseLine(text []byte, piece int) (line, bool) {
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	stamp, rest, _ := bytes.Cut(text, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return line{}, false
	}
	if piece <= 0 {
		return line{at, rest}, true
	}
	whole := rest[:min(piece, len(rest))]
	for rest = rest[len(whole):]; len(rest) > 0; {
		if found := embedded.FindIndex(rest); found != nil && found[0] == 0 {
			rest = rest[found[1]:]
		}
		n := min(piece, len(rest))
		whole, rest = append(whole[:len(whole):len(whole)], rest[:n]...), rest[n:]
	}
	return line{at, whole}, true
}

// glued splits a line that follows one without its end, the last of a container that was killed.
func glued(l line) (torn, next line, ok bool) {
	for _, found := range embedded.FindAllIndex(l.text, -1) {
		at, err := time.Parse(time.RFC3339Nano, string(l.text[found[0]:found[1]-1]))
		if rest := l.text[found[1]:]; err == nil && json.Valid(rest) {
			return line{l.at, l.text[:found[0]]}, line{at, rest}, true
		}
	}
	return l, line{}, false
}

// A call is what is read of an instance's line.
type call struct {
	V     int
	Event string
	ID    string
	Start string
	Call  uint64
}

// asCall reports whether a line is an instance's record.
func asCall(text []byte) (c call, ok bool) {
	if len(text) == 0 || text[0] != '{' || json.Unmarshal(text, &c) != nil {
		return c, false
	}
	switch c.Event {
	case record.Arrival, record.Completion, record.OutgoingCall:
		return c, c.V > 0 && c.Start != ""
	}
	return c, false
}

// An entry is what is read of a line of nginx.
type entry struct {
	V        int
	ID       string
	End      float64
	Duration float64
	Addr     *string `json:"upstream_addr"`
}

// asEntry reports whether a line is one of nginx's access log.
func asEntry(text []byte) (e entry, ok bool) {
	if len(text) == 0 || text[0] != '{' || json.Unmarshal(text, &e) != nil {
		return e, false
	}
	return e, e.V > 0 && e.ID != "" && e.Addr != nil
}

// began is when nginx read the first byte of the request.
func (e entry) began() time.Time { return time.UnixMilli(int64((e.End-e.Duration)*1000 + 0.5)) }

// A position is how far lines of one kind have been read. Lines of one kind have times in their order, and several may have the same.
type position struct {
	at time.Time // of the last; zero: none was read
	n  int       // that have this time
}

// A cursor finds in lines that an engine prints again those that were not read before.
type cursor struct {
	replay bool
	same   int // with the time of the position
}

// take reports whether a line is another one, and moves the position to it.
func (p *position) take(c *cursor, at time.Time) bool {
	if c.replay {
		if at.Before(p.at) {
			return false
		}
		if at.Equal(p.at) {
			if c.same++; c.same <= p.n {
				return false
			}
		}
		c.replay = at.Equal(p.at)
	}
	if at.Equal(p.at) {
		p.n++
	} else {
		*p = position{at, 1}
	}
	return true
}
