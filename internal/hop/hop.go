// Package hop reads the hops of a request: which calls its receivers make for it, as whoami.v1 defines them. The services make these
// calls, and the lab knows from them which requests to expect.
package hop

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Limits of a request.
const (
	MaxHops     = 8  // a request's hops
	MaxCalls    = 64 // all calls of a request, retries aside
	MaxAttempts = 5  // of a call: grpc-go makes no more
)

// Services that a call may name.
const (
	Whoami = "whoami"
	Front  = "front"
)

// Protocols of a call.
const (
	HTTP = "http"
	GRPC = "grpc"
)

// A Call is one of the calls that a hop consists of.
type Call struct {
	Text     string        // as the hop states it
	Protocol string        // HTTP or GRPC
	Service  string        // Whoami or Front
	Attempts int           // the most, from 1 to MaxAttempts; over HTTP 1
	Budget   bool          // whether retries end when too many calls fail
	Work     time.Duration // of the receiver
}

// ErrInvalid is in every error about a hop.
var ErrInvalid = errors.New("invalid hop")

var syntax = regexp.MustCompile(`^(http|grpc)(?::(whoami|front))?(?:\*([0-9]+)(!)?)?(?:\+([0-9a-zµ.]+))?$`)

const want = "want PROTOCOL[:SERVICE][*ATTEMPTS[!]][+WORK], like grpc, http:front or grpc*3+20ms"

// Parse reads a hop: calls that are made at the same time, separated by commas. It returns an error for each that is wrong, joined.
func Parse(hop string) ([]Call, error) {
	var calls []Call
	var errs []error
	for text := range strings.SplitSeq(hop, ",") {
		c, err := parse(text)
		calls, errs = append(calls, c), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return calls, nil
}

func parse(text string) (Call, error) {
	parts := syntax.FindStringSubmatch(text)
	if parts == nil {
		return Call{}, fmt.Errorf("%w %.60q: %s", ErrInvalid, text, want)
	}
	c := Call{Text: text, Protocol: parts[1], Service: Whoami, Attempts: 1, Budget: parts[4] != ""}
	if parts[2] != "" {
		c.Service = parts[2]
	}
	if parts[3] != "" {
		c.Attempts, _ = strconv.Atoi(parts[3]) // Of too many digits it is 0, or too large.
		switch {
		case c.Attempts < 1 || c.Attempts > MaxAttempts:
			return Call{}, fmt.Errorf("%w %.60q: %s attempts, want 1 to %d", ErrInvalid, text, parts[3], MaxAttempts)
		case c.Protocol == HTTP:
			return Call{}, fmt.Errorf("%w %.60q: calls over HTTP are not retried, leave out *%s", ErrInvalid, text, parts[3])
		}
	}
	if parts[5] != "" {
		var err error
		if c.Work, err = time.ParseDuration(parts[5]); err != nil || c.Work < 0 {
			return Call{}, fmt.Errorf("%w %.60q: work %s, want a duration with a unit, like 20ms", ErrInvalid, text, parts[5])
		}
	}
	return c, nil
}

// A Route is what a receiver has to do for a request: the calls that it makes, and the hops that it passes on with each.
type Route struct {
	Calls []Call
	Rest  []string
}

// NewRoute reads the hops that a service receives: the first is its own. A front without hops makes one call, over gRPC. The error has
// all that is wrong, and wraps ErrInvalid.
func NewRoute(service string, hops []string) (Route, error) {
	if len(hops) > MaxHops {
		return Route{}, fmt.Errorf("%w: %d hops, want at most %d", ErrInvalid, len(hops), MaxHops)
	}
	var errs []error
	calls, last := 0, 1 // all, and those of the last hop
	for n, one := range hops {
		parsed, err := Parse(one)
		errs = append(errs, err)
		calls += last * len(parsed)
		if n+1 == len(hops) {
			calls += last * fronts(parsed)
		}
		if last *= max(len(parsed), 1); calls > MaxCalls {
			errs = append(errs, fmt.Errorf("%w %.60q: with it the request has more than %d calls", ErrInvalid, one, MaxCalls))
			break
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Route{}, err
	}
	return route(service, hops), nil
}

// fronts is how many of the calls are to front, which makes one more call if no hop is left for it.
func fronts(calls []Call) int {
	n := 0
	for _, c := range calls {
		if c.Service == Front {
			n++
		}
	}
	return n
}

// route is NewRoute of hops that are valid.
func route(service string, hops []string) Route {
	if len(hops) == 0 && service == Front {
		hops = []string{GRPC}
	}
	if len(hops) == 0 {
		return Route{}
	}
	calls, _ := Parse(hops[0])
	return Route{Calls: calls, Rest: hops[1:]}
}

// Next is the route of the receiver of the n-th call, counted from 0.
func (r Route) Next(n int) Route { return route(r.Calls[n].Service, r.Rest) }

// Depth is how many calls, one for the other, the route has at most.
func (r Route) Depth() int {
	deepest := 0
	for n := range r.Calls {
		deepest = max(deepest, 1+r.Next(n).Depth())
	}
	return deepest
}

// At are the calls at a depth: at 1 the route's own, at 2 those that its receivers make.
func (r Route) At(depth int) (all []Call) {
	switch {
	case depth < 1:
		return nil
	case depth == 1:
		return r.Calls
	}
	for n := range r.Calls {
		all = append(all, r.Next(n).At(depth-1)...)
	}
	return all
}

// LongestID is the longest request ID of all calls of the route, for a request with an ID, if none of them is retried.
func (r Route) LongestID(id string) string {
	longest := id
	for n := range r.Calls {
		if below := r.Next(n).LongestID(ChildID(id, 0, n+1)); len(below) > len(longest) {
			longest = below
		}
	}
	return longest
}

// ChildID is the request ID of the n-th call, counted from 1, that a receiver makes for a request with an ID. If that request was a retry,
// after so many attempts, the ID says so: what the attempts before have called has other IDs.
func ChildID(id string, previous, n int) string {
	if previous > 0 {
		id += "-" + strconv.Itoa(previous+1)
	}
	return id + "." + strconv.Itoa(n)
}
