package record

import (
	"strconv"
	"time"
)

// A flat reads lines of JSON that are one object without nested values, as nearly all are. It takes a part of what encoding/json takes, and
// means the same by it: plain ASCII without escapes or spaces, whole numbers in integer fields. Of anything else it is false, and
// encoding/json decides. It is five times as fast, which is what the page of a live stack costs.
type flat struct {
	text  []byte
	at    int
	known map[string]string // strings that come again and again
}

// maxKnown bounds what is kept of strings that may come again.
const maxKnown = 1000

// object calls field with each key and its raw value, and reports whether the line was such an object and field took every value.
func (f *flat) object(text []byte, field func(key, value []byte) bool) bool {
	f.text, f.at = text, 0
	if !f.skip('{') {
		return false
	}
	if f.skip('}') {
		return f.at == len(text)
	}
	for {
		key, ok := f.string()
		if !ok || !f.skip(':') {
			return false
		}
		from := f.at
		if !f.value() || !field(key, text[from:f.at]) {
			return false
		}
		switch {
		case f.skip(','):
		case f.skip('}'):
			return f.at == len(text)
		default:
			return false
		}
	}
}

func (f *flat) skip(c byte) bool {
	if f.at < len(f.text) && f.text[f.at] == c {
		f.at++
		return true
	}
	return false
}

// string is the text between two quotes.
func (f *flat) string() ([]byte, bool) {
	if !f.skip('"') {
		return nil, false
	}
	for from := f.at; f.at < len(f.text); f.at++ {
		switch c := f.text[f.at]; {
		case c == '"':
			f.at++
			return f.text[from : f.at-1], true
		case c < ' ' || c == '\\' || c >= 0x80:
			return nil, false
		}
	}
	return nil, false
}

// value goes past a string, a number, true or false.
func (f *flat) value() bool {
	if f.at >= len(f.text) {
		return false
	}
	switch c := f.text[f.at]; {
	case c == '"':
		_, ok := f.string()
		return ok
	case c == 't':
		return f.word("true")
	case c == 'f':
		return f.word("false")
	}
	return f.number()
}

func (f *flat) word(word string) bool {
	if len(f.text)-f.at < len(word) || string(f.text[f.at:f.at+len(word)]) != word {
		return false
	}
	f.at += len(word)
	return true
}

// number goes past one without an exponent.
func (f *flat) number() bool {
	f.skip('-')
	from := f.at
	if f.digits() == 0 || f.text[from] == '0' && f.at-from > 1 {
		return false
	}
	return !f.skip('.') || f.digits() > 0
}

func (f *flat) digits() (n int) {
	for f.at < len(f.text) && f.text[f.at] >= '0' && f.text[f.at] <= '9' {
		f.at++
		n++
	}
	return n
}

// asText takes a string.
func asText(to *string, value []byte) bool {
	if value[0] != '"' {
		return false
	}
	*to = string(value[1 : len(value)-1])
	return true
}

// often takes a string that comes again and again, and keeps one of it.
func (f *flat) often(to *string, value []byte) bool {
	if value[0] != '"' {
		return false
	}
	value = value[1 : len(value)-1]
	known, ok := f.known[string(value)]
	if !ok {
		known = string(value)
		if f.known == nil {
			f.known = make(map[string]string)
		}
		if len(f.known) < maxKnown {
			f.known[known] = known
		}
	}
	*to = known
	return true
}

// asInt takes a whole number that is certainly in the range of its type.
func asInt[T int | int64 | uint64](to *T, value []byte) bool {
	if len(value) > 15 || value[0] < '0' || value[0] > '9' {
		return false
	}
	var n T
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
		n = 10*n + T(c-'0')
	}
	*to = n
	return true
}

func asFloat(to *float64, value []byte) bool {
	if value[0] != '-' && (value[0] < '0' || value[0] > '9') {
		return false
	}
	n, err := strconv.ParseFloat(string(value), 64)
	*to = n
	return err == nil
}

func asTime(to *time.Time, value []byte) bool { return to.UnmarshalJSON(value) == nil }

// entry reads a line of AccessLogFile.
func (f *flat) entry(text []byte) (l AccessLogEntry, ok bool) {
	ok = f.object(text, func(key, value []byte) bool {
		switch string(key) {
		case "v":
			return asInt(&l.V, value)
		case "id":
			return asText(&l.ID, value)
		case "end":
			return asFloat(&l.End, value)
		case "duration":
			return asFloat(&l.Duration, value)
		case "protocol":
			return f.often(&l.Protocol, value)
		case "status":
			return f.often(&l.Status, value)
		case "error":
			return f.often(&l.Error, value)
		case "grpc_status_header":
			return f.often(&l.HeaderStatus, value)
		case "grpc_status_trailer":
			return f.often(&l.Trailer, value)
		case "upstream_addr":
			return f.often(&l.Addr, value)
		case "upstream_status":
			return f.often(&l.AddrStatus, value)
		case "upstream_header_time":
			return f.often(&l.HeaderTime, value)
		case "upstream_bytes_sent":
			return f.often(&l.BytesSent, value)
		case "cache":
			return f.often(&l.Cache, value)
		case "pid":
			return asInt(&l.PID, value)
		}
		return lower(key)
	})
	return l, ok
}

// lower reports whether a key that is not known is written small: encoding/json takes "ID" for "id".
func lower(key []byte) bool {
	for _, c := range key {
		if c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return true
}

// call reads a line of InstancesFile that is a Call.
func (f *flat) call(text []byte) (c Call, ok bool) {
	ok = f.object(text, func(key, value []byte) bool {
		switch string(key) {
		case "v":
			return asInt(&c.V, value)
		case "event":
			return f.often(&c.Event, value) && c.Event != OutgoingCall
		case "time":
			return asTime(&c.Time, value)
		case "instance":
			return f.often(&c.Instance, value)
		case "pid":
			return asInt(&c.PID, value)
		case "start":
			return f.often(&c.Start, value)
		case "call":
			return asInt(&c.Call, value)
		case "id":
			return asText(&c.ID, value)
		case "protocol":
			return f.often(&c.Protocol, value)
		case "previous_attempts":
			return f.often(&c.PreviousAttempts, value)
		case "code":
			return f.often(&c.Code, value)
		case "duration_us":
			return asInt(&c.Duration, value)
		case "attempts", "maybe_unlogged", "reason":
			return false // Fields of an Outgoing: encoding/json checks their types in any line.
		}
		return lower(key)
	})
	return c, ok
}

// client reads a line of ClientFile, and reports whether it has all three times.
func (f *flat) client(text []byte) (c Client, ok bool) {
	times := 0
	ok = f.object(text, func(key, value []byte) bool {
		switch string(key) {
		case "v":
			return asInt(&c.V, value)
		case "id":
			return asText(&c.ID, value)
		case "load":
			return asInt(&c.Load, value)
		case "protocol":
			return f.often(&c.Protocol, value)
		case "method":
			return f.often(&c.Method, value)
		case "user":
			return asInt(&c.User, value)
		case "address":
			return f.often(&c.Address, value)
		case "planned":
			return asTime(&c.Planned, value)
		case "late_us":
			times |= 1
			return asInt(&c.Late, value)
		case "latency_us":
			times |= 2
			return asInt(&c.Latency, value)
		case "service_us":
			times |= 4
			return asInt(&c.Service, value)
		case "stalled_us":
			return asInt(&c.Stalled, value)
		case "outcome":
			return f.often(&c.Outcome, value)
		case "code":
			return f.often(&c.Code, value)
		case "reason":
			return f.often(&c.Reason, value)
		case "instance":
			return f.often(&c.Instance, value)
		case "messages":
			return asInt(&c.Messages, value)
		case "attempts":
			return asInt(&c.Attempts, value)
		}
		return false // A list, or the error's text: of a failed request.
	})
	return c, ok && times == 7
}
