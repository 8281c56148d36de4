package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A NginxLine is what the ledger reads of a line of nginx's access log; nginx/conf/access-log.conf says what each field is.
type NginxLine struct {
	V            int     `json:"v"` // 1
	ID           string  `json:"id"`
	End          float64 `json:"end"` // seconds since 1970, to the millisecond
	Protocol     string  `json:"protocol"`
	Status       string  `json:"status"`
	Error        string  `json:"error"`
	HeaderStatus string  `json:"grpc_status_header"`
	Trailer      string  `json:"grpc_status_trailer"`
	Addr         string  `json:"upstream_addr"`
	AddrStatus   string  `json:"upstream_status"`
	HeaderTime   string  `json:"upstream_header_time"`
	BytesSent    string  `json:"upstream_bytes_sent"`
}

// nginxVersion and callVersion are the versions of nginx's lines and of instances' records that this package reads.
const (
	nginxVersion = 1
	callVersion  = 1
)

// A Call is what an instance wrote: a line for a call's arrival, and one for its completion.
type Call struct {
	V        int       `json:"v"`     // 1
	Event    string    `json:"event"` // Arrival or Completion
	Time     time.Time `json:"time"`
	Instance string    `json:"instance"`
	PID      int       `json:"pid"`  // tells the lives of one instance apart
	Call     uint64    `json:"call"` // counts this life's arrivals from 1
	ID       string    `json:"id"`
	Protocol string    `json:"protocol"`              // load.HTTP or load.GRPC
	Code     string    `json:"code,omitempty"`        // of a completion: the HTTP status, or the gRPC code by its name in Go
	Duration int64     `json:"duration_us,omitempty"` // of a completion
}

// Events of a Call.
const (
	Arrival    = "arrival"
	Completion = "completion"
)

// What nginx knows of an attempt.
type fate uint8

const (
	unsent   fate = iota // nothing was sent: refused, no connection in time, or the caller left before there was one
	doubtful             // something was sent, and no header came: executed or not, nginx cannot know
	answered             // a header came
	// expired is a gRPC answer whose headers say DEADLINE_EXCEEDED: of a handler, or of grpc-go, which answers so without any handler
	// when the deadline has passed before it has read the call.
	expired
	noLive // no attempt: nginx found no live server in the group
)

// An attempt is one entry of nginx's lists.
type attempt struct {
	addr   string // host:port; the group's name of noLive
	fate   fate
	status string // what came back; "" if the line does not say
	first  bool   // of its line, or of what an internal redirect began anew
}

func parseNginx(text []byte) (NginxLine, error) {
	var l NginxLine
	if err := json.Unmarshal(text, &l); err != nil {
		return l, err
	}
	if l.V == nginxVersion && l.ID == "" {
		return l, errors.New("no id")
	}
	return l, nil
}

// attempts reads the four parallel lists. What they hold was seen on nginx 1.22.1:
//
//	                                        upstream_header_time  upstream_bytes_sent
//	connection refused, or not in time      -                     0
//	caller gone while connecting            -                     0
//	broken off before the header, hung,
//	reset at a deadline, caller gone        -                     more than 0
//	the same after the header               a time                more than 0
//	no live server (the group's name)       -                     0
//	no connection left to ask one with      -                     0
//	(no address: nobody was asked)
func (l NginxLine) attempts() ([]attempt, error) {
	addrs, headers, sent, status := list(l.Addr), list(l.HeaderTime), list(l.BytesSent), list(l.AddrStatus)
	if l.Addr == "" && len(headers) == 1 {
		addrs = []string{""} // Splitting cannot tell it from none.
	}
	if len(headers) != len(addrs) || len(sent) != len(addrs) || len(status) != len(addrs) && len(status) != 0 {
		return nil, fmt.Errorf("lists of different lengths: upstream_addr %q, upstream_status %q, upstream_header_time %q, upstream_bytes_sent %q", l.Addr, l.AddrStatus, l.HeaderTime, l.BytesSent)
	}
	all, begins := []attempt{}, passes(l.Addr)
	for i, addr := range addrs {
		if addr == "" && headers[i] == "-" {
			continue
		}
		a := attempt{addr: addr, first: slices.Contains(begins, i)}
		if len(status) > 0 {
			a.status = status[i]
		}
		bytes, err := strconv.ParseUint(sent[i], 10, 64)
		if err != nil && sent[i] != "-" {
			return nil, fmt.Errorf("upstream_bytes_sent %q: want numbers", l.BytesSent)
		}
		switch {
		case !strings.Contains(addr, ":"):
			a.fate = noLive
		case headers[i] != "-" && i == len(addrs)-1 && l.Error == "" && l.HeaderStatus == "4":
			a.fate = expired
		case headers[i] != "-":
			a.fate = answered
		case bytes > 0:
			a.fate = doubtful
		}
		all = append(all, a)
	}
	return all, nil
}

// list splits as nginx joins: ", " between attempts, " : " where an internal redirect made it begin anew, which may stand last too.
func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(strings.ReplaceAll(s, " : ", ", "), ", "), ", ")
}

// passes are where in a list each pass begins: the line's first, and after an internal redirect another, which chooses anew.
func passes(s string) []int {
	begins := []int{0}
	for pass := range strings.SplitSeq(s, " : ") {
		begins = append(begins, begins[len(begins)-1]+1+strings.Count(pass, ", "))
	}
	return begins
}

func (l NginxLine) when() time.Time { return time.UnixMilli(int64(l.End*1000 + 0.5)) }
