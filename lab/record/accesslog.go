package record

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// AccessLogVersion is in every AccessLogEntry, see nginx/conf/access-log.conf.
const AccessLogVersion = 1

// An AccessLogEntry is what the lab reads of a line of nginx's access log; nginx/conf/access-log.conf describes each field.
type AccessLogEntry struct {
	V            int     `json:"v"` // AccessLogVersion
	ID           string  `json:"id"`
	End          float64 `json:"end"`      // seconds since 1970, to the millisecond
	Duration     float64 `json:"duration"` // seconds from the first byte of the request to End, to the millisecond
	Protocol     string  `json:"protocol"`
	Status       string  `json:"status"`
	Error        string  `json:"error"`
	HeaderStatus string  `json:"grpc_status_header"`
	Trailer      string  `json:"grpc_status_trailer"`
	Addr         string  `json:"upstream_addr"`
	AddrStatus   string  `json:"upstream_status"`
	HeaderTime   string  `json:"upstream_header_time"`
	BytesSent    string  `json:"upstream_bytes_sent"`
	Cache        string  `json:"cache"` // of proxy_cache: HIT, MISS, STALE …; "" without
	PID          int     `json:"pid"`   // of the worker
}

// A Fate is what nginx knows of one of its attempts.
type Fate uint8

// Fates of attempts.
const (
	Unsent    Fate = iota // nothing was sent: refused, no connection in time, or the client left before there was one
	InDoubt               // something was sent and no header came: nginx cannot know whether it was executed
	GotHeader             // a response header came
	// Expired is a gRPC response whose headers say DEADLINE_EXCEEDED: of a handler, or of grpc-go, which responds so without calling a
	// handler when the deadline has passed before it has read the call.
	Expired
	NoLive // no attempt: nginx found no live server in the upstream
)

// An Attempt is one of nginx's, from its parallel lists.
type Attempt struct {
	Addr   string // host:port; of NoLive the upstream's name
	Fate   Fate
	Status string // of the response; "" if the entry has none
	First  bool   // of its entry, or of what an internal redirect began again
}

// Attempts reads the four parallel lists. docs/records.md has what they hold, as measured with nginx 1.22.1.
func (l AccessLogEntry) Attempts() ([]Attempt, error) {
	addrs, headers, sent, status := list(l.Addr), list(l.HeaderTime), list(l.BytesSent), list(l.AddrStatus)
	if l.Addr == "" && len(headers) == 1 {
		addrs = []string{""} // Splitting cannot tell it from none.
	}
	if len(headers) != len(addrs) || len(sent) != len(addrs) || len(status) != len(addrs) && len(status) != 0 {
		return nil, fmt.Errorf("%w: lists of different lengths: upstream_addr %q, upstream_status %q, upstream_header_time %q, upstream_bytes_sent %q", ErrInvalid, l.Addr, l.AddrStatus, l.HeaderTime, l.BytesSent)
	}
	var first []bool // of a pass: the entry's first, and after an internal redirect another, which chooses again
	for pass := range strings.SplitSeq(l.Addr, " : ") {
		first = append(append(first, true), make([]bool, strings.Count(pass, ", "))...)
	}
	all := []Attempt{}
	for i, addr := range addrs {
		if addr == "" && headers[i] == "-" {
			continue
		}
		a := Attempt{Addr: addr, First: first[i]}
		if len(status) > 0 {
			a.Status = status[i]
		}
		bytes, err := strconv.ParseUint(sent[i], 10, 64)
		if err != nil && sent[i] != "-" {
			return nil, fmt.Errorf("%w: upstream_bytes_sent %q: want numbers", ErrInvalid, l.BytesSent)
		}
		switch {
		case !strings.Contains(addr, ":"):
			a.Fate = NoLive
		case headers[i] != "-" && i == len(addrs)-1 && l.Error == "" && l.HeaderStatus == "4":
			a.Fate = Expired
		case headers[i] != "-":
			a.Fate = GotHeader
		case bytes > 0:
			a.Fate = InDoubt
		}
		all = append(all, a)
	}
	return all, nil
}

// list splits nginx's lists: ", " between attempts, " : " where an internal redirect began again, which may stand last too.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(strings.ReplaceAll(s, " : ", ", "), ", "), ", ")
}

// When is when nginx logged the request: at its end, to the millisecond.
func (l AccessLogEntry) When() time.Time { return time.UnixMilli(int64(l.End*1000 + 0.5)) }

// Took is the entry's duration.
func (l AccessLogEntry) Took() time.Duration {
	return time.Duration(l.Duration*1000+0.5) * time.Millisecond
}

// Begin is when nginx read the first byte of the request, to the millisecond.
func (l AccessLogEntry) Begin() time.Time { return l.When().Add(-l.Took()) }

// FromCache reports whether nginx sent a response that it had stored before. MISS, EXPIRED and BYPASS are responses of this request.
func (l AccessLogEntry) FromCache() bool {
	switch l.Cache {
	case "HIT", "STALE", "UPDATING", "REVALIDATED":
		return true
	}
	return false
}
