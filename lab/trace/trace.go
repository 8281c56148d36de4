// Package trace makes a trace of a request from the records of client, nginx and instances: a tree of spans in which each of nginx's
// attempts has one, also those that reached no instance. It reads a trial directory, or the run directory of trivet up.
package trace

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// A Kind is which part of a request a span is.
type Kind string

// Kinds of spans.
const (
	Client   Kind = "client"   // from the client's start to its end
	Nginx    Kind = "nginx"    // from nginx's first byte of the request to its entry in the access log
	Attempt  Kind = "attempt"  // one of nginx's
	Instance Kind = "instance" // an execution
	Hop      Kind = "hop"      // a call that an instance made for the request
)

// A Result is how a span ended.
type Result string

// Results of spans.
const (
	OK      Result = "ok"
	Failed  Result = "failed"
	InDoubt Result = "in_doubt" // nginx sent the request and got no response header, so that it cannot know whether it was executed
)

// A Span is a part of a request.
type Span struct {
	ID      string    `json:"id"`               // 16 hex digits
	Parent  string    `json:"parent,omitempty"` // ID of the span above; of a root that of the client's own traceparent, if it sent one
	Kind    Kind      `json:"kind"`
	Service string    `json:"service"` // client, nginx, or what an instance's name begins with
	Process string    `json:"process"` // client, nginx, or an instance; of an attempt nginx
	Name    string    `json:"name"`
	Request string    `json:"request"` // request ID: a hop has one of its own
	Begin   time.Time `json:"begin"`
	End     time.Time `json:"end"`
	Result  Result    `json:"result"`
	// Note is how it ended: a status, or "refused", "in doubt", "not completed" …
	Note string `json:"note"`
	// Unfinished is set if the instance did not complete the execution: End is then the latest that is known.
	Unfinished bool        `json:"unfinished,omitempty"`
	Attributes []Attribute `json:"attributes,omitempty"`
	// Linked is the trace ID that nginx passed on, if it is another than the trace's: a client that sends no traceparent begins a new trace
	// with each attempt.
	Linked string `json:"linked,omitempty"`
	// Caller is the span in the traceparent that nginx got, of a client or of a hop by OpenTelemetry.
	Caller   string  `json:"caller,omitempty"`
	Children []*Span `json:"children,omitempty"`

	attempt
}

// An attempt is what only spans of attempts have.
type attempt struct {
	entry    *Span // the one above
	protocol string
	target   string // the instance, else the address
	sent     bool   // the instance may have executed it
	taken    bool   // its execution is found
}

// Took is how long the span lasted.
func (s *Span) Took() time.Duration { return s.End.Sub(s.Begin) }

// An Attribute is a detail of a span, named as in OpenTelemetry's conventions where these have a name.
type Attribute struct {
	Key   string `json:"key"`
	Value any    `json:"value"` // string, int64 or bool
}

// A Trace is what is known of one request, that of its hops included.
type Trace struct {
	ID      string  `json:"id"`      // 32 hex digits
	Request string  `json:"request"` // its request ID
	Roots   []*Span `json:"spans"`   // one, unless a client without records sent the request more than once
}

// All yields the spans with their depths, each before its children.
func (t *Trace) All(yield func(depth int, s *Span) bool) {
	var walk func(int, []*Span) bool
	walk = func(depth int, spans []*Span) bool {
		for _, s := range spans {
			if !yield(depth, s) || !walk(depth+1, s.Children) {
				return false
			}
		}
		return true
	}
	walk(0, t.Roots)
}

// Bounds are the first begin and the last end of all spans.
func (t *Trace) Bounds() (begin, end time.Time) {
	for _, s := range t.All {
		if begin.IsZero() || s.Begin.Before(begin) {
			begin = s.Begin
		}
		if s.End.After(end) {
			end = s.End
		}
	}
	return begin, end
}

// derive is an ID of that many hex digits, the same for the same parts.
func derive(digits int, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])[:digits]
}

// isID reports whether s is an ID of that many hex digits, and not zero.
func isID(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789abcdef") == "" && strings.Trim(s, "0") != ""
}

// ServiceOf is the service of an instance: its name without the number.
func ServiceOf(instance string) string {
	if i := strings.LastIndexByte(instance, '-'); i > 0 && strings.Trim(instance[i+1:], "0123456789") == "" {
		return instance[:i]
	}
	return instance
}
