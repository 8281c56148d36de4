package ledger

import (
	"fmt"
	"strconv"

	"google.golang.org/grpc/codes"

	"trivet/lab/record"
)

// A response is what an access-log entry says of the response to a client attempt.
type response struct {
	status   string // that nginx sent
	upstream string // that came back from the last attempt
	grpc     string // gRPC code by name; "" if none was sent
	local    bool   // nginx generated it
	cached   bool   // nginx had it in its cache
	last     *Attempt
}

// clientLeft is the status of a request whose client left first.
const clientLeft = "499"

// response is that of the i-th entry.
func (q *Request) response(i int) response {
	l := q.Entries[i]
	r := response{status: l.Status, local: l.Error != "", cached: l.FromCache()}
	for n := range q.NginxAttempts {
		if a := &q.NginxAttempts[n]; a.Entry == i {
			r.last, r.upstream = a, a.Status
		}
	}
	for _, status := range []string{l.HeaderStatus, l.Trailer} {
		if n, err := strconv.ParseUint(status, 10, 32); err == nil {
			r.grpc = codes.Code(n).String()
		}
	}
	return r
}

// from is the endpoint that the response came from, if it came from an instance.
func (r response) from() (at Endpoint, came bool) {
	if r.last == nil {
		return at, false
	}
	return r.last.Endpoint, r.last.Fate == record.GotHeader || r.last.Fate == record.Expired
}

func (r response) expired() bool { return r.last != nil && r.last.Fate == record.Expired }

// named is the endpoint that the client says the response came from, if it names one.
func (q *Request) named() (at Endpoint, named bool) {
	return Endpoint{q.Client.Instance, q.Client.Protocol}, q.Client.Instance != ""
}

// sameResponse reports whether an access-log entry says what the client says of its response. Where no response came there is nothing to
// compare: at a deadline, and where a connection or a stream breaks off, each source records how far it got. But a client that names an
// instance, or has an HTTP status, has read a header, and nginx has passed that on.
func (q *Request) sameResponse() bool {
	return q.lacks.log || !q.wantsResponse() || q.responseEntry() >= 0
}

// wantsResponse reports whether the client's record is of a response, or of a part of one.
func (q *Request) wantsResponse() bool {
	c := q.Client
	_, named := q.named()
	return c.Outcome != record.Dropped && (c.Outcome != record.Incomplete || named || !q.grpc && c.Code != "")
}

// responseEntry is the index of the last access-log entry that says what the client says of its response; -1 if none does. If the client
// names an instance, that has an execution, unless the response came from nginx's cache.
func (q *Request) responseEntry() int {
	for i := len(q.Entries) - 1; i >= 0; i-- {
		if q.respondedBy(i) {
			return i
		}
	}
	return -1
}

// respondedBy reports whether the i-th access-log entry says what the client says of its response.
func (q *Request) respondedBy(i int) bool {
	r := q.response(i)
	at, named := q.named()
	return q.sameAuthor(r) && (q.sameCode(r) || q.grpc && q.Client.Outcome == record.Incomplete) && (!named || r.cached || q.lacks.calls || q.executedAt(at))
}

// sameAuthor reports whether client and nginx agree on which of nginx and the instances generated the response.
func (q *Request) sameAuthor(r response) bool {
	from, came := r.from()
	at, named := q.named()
	switch {
	case named && r.cached:
		return !r.local // The name is in the cache, too: of the instance that responded when the response was stored.
	case named && q.Client.Outcome == record.Incomplete:
		return came && from == at // Of the rest of the response nothing is known.
	case named:
		// Nginx passes on the status that it gets, unless the client leaves before anything was sent.
		return came && from == at && !r.local && (r.status == r.upstream || r.status == clientLeft)
	case q.Client.Outcome == record.NginxError:
		// A deadline in the headers may come from grpc-go in an instance, which adds no x-instance; see record.Expired.
		return !came || r.local || r.expired()
	}
	return true // Without a name it may be either's: edits can make nginx respond OK, or remove the header.
}

// sameCode reports whether the client's code is nginx's. Grpc-go makes a code of its own
//
//   - where the client cancels after messages, which it counts as OK, while the entry has none;
//   - UNKNOWN, where the error came before the request was written;
//   - from the HTTP status, where nginx responds with something other than gRPC.
func (q *Request) sameCode(r response) bool {
	code := q.Client.Code
	switch {
	case !q.grpc:
		return code == r.status
	case code == r.grpc, q.Client.Messages > 0 && code == codes.OK.String():
		return true
	case code == codes.OK.String():
		return false
	case code == codes.Unknown.String() && r.grpc != "" && r.grpc != codes.OK.String():
		return true
	}
	return r.status != "200" && r.status != clientLeft
}

// missingCompletion is the code of a whole response, as nginx got it from an instance, of which the instance has no completion; "" if
// there is none. An instance writes the completion before the end of its response, so only one that was killed between the two has
// none.
//
// A response that is not whole wants no completion: after a header an instance may go on for as long as it likes, and one that drains
// does not wait for calls whose clients have left. At a deadline and after a cancellation grpc-go may send another code than the call
// ended with: there any completion will do. And HTTP codes below 200 are not final.
func (q *Request) missingCompletion(killed func(instance, start string) bool) string {
	if q.lacks.calls {
		return ""
	}
	for i := range q.Entries {
		at, code := q.whole(i)
		if code == "" {
			continue
		}
		want, have := 0, 0
		for other := range q.Entries {
			if a, c := q.whole(other); a == at && c == code {
				want++
			}
		}
		for _, e := range q.Executions {
			if e.Endpoint == at && (sameCompletion(code, e.Completion) || e.Completion == nil && killed != nil && killed(e.Instance, e.Start)) {
				have++
			}
		}
		if have < want {
			return code
		}
	}
	return ""
}

// whole is the code of an instance's response that nginx got to its end; "" if the i-th entry has none.
func (q *Request) whole(i int) (at Endpoint, code string) {
	r := q.response(i)
	at, came := r.from()
	if !came || r.local || r.status != r.upstream || r.expired() {
		return at, ""
	}
	if q.grpc {
		return at, r.grpc
	}
	return at, r.upstream
}

func sameCompletion(code string, c *record.Call) bool {
	switch {
	case c == nil:
		return false
	case code == codes.Canceled.String(), code == codes.DeadlineExceeded.String():
		return true
	}
	return c.Code == code || len(c.Code) == 3 && c.Code < "200" || c.Code == "0"
}

// checkResponses applies rules 5 and 6.
func (q *Request) checkResponses(found func(int, string, ...any), killed func(instance, start string) bool) {
	switch {
	case q.answered():
	case q.parent != nil && !q.Unlogged:
		found(5, "the callers recorded %s, and no access-log entries say so", q.callerCodes())
	case q.parent == nil && !(q.Unlogged && q.unloggedResponse()):
		found(5, "the client recorded %s%s, and no access-log entry says so", q.Client.Outcome, q.gotWords())
	}
	if code := q.missingCompletion(killed); code != "" {
		found(6, "nginx got the whole response %s, and the instance, which was not killed, has no completion with that code", code)
	}
}

// unloggedResponse reports whether the response can be that of an attempt that nginx did not log: if it names an instance, that has an
// execution.
func (q *Request) unloggedResponse() bool {
	at, named := q.named()
	return !named || q.executedAt(at)
}

// gotWords are the client's about its response: " 200 from whoami-1 (HTTP)".
func (q *Request) gotWords() string {
	text := ""
	if q.Client.Code != "" {
		text = " " + q.Client.Code
	}
	if at, named := q.named(); named {
		text += " from " + at.String()
	}
	return text
}

// responseWords are nginx's about its responses.
func (q *Request) responseWords() []string {
	var all []string
	for i := range q.Entries {
		r := q.response(i)
		text := fmt.Sprintf("sent %s", r.status)
		if r.grpc != "" {
			text += " " + r.grpc
		}
		if r.local {
			text += " (local reply)"
		}
		if r.cached {
			text += fmt.Sprintf(" (cache: %s)", q.Entries[i].Cache)
		}
		if r.upstream != "" && r.upstream != r.status {
			text += ", got " + r.upstream
		}
		all = append(all, text)
	}
	return all
}
