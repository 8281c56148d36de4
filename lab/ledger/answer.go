package ledger

import (
	"fmt"
	"strconv"

	"google.golang.org/grpc/codes"

	"trivet/lab/load"
)

// got is the answer that the client says it got.
type got struct {
	grpc    bool
	code    string
	door    int32 // of the instance that it names, at the load's protocol; unknownDoor: no such instance
	watched bool  // messages came, on a stream that the caller leaves
}

// nobody is the door of an answer that names no instance.
const nobody = -2

// An answer is what a line of nginx's says of the answer to that attempt of the client's.
type answer struct {
	status   string // that nginx sent
	upstream string // that came back from the last attempt
	grpc     string // gRPC's code by name; "" if none was sent
	own      bool   // nginx made it
	last     int32  // index in entry.upstream; -1: nobody was asked
}

// callerLeft is the status of a request whose caller left first.
const callerLeft = "499"

// got is what a client's record says of the answer.
func (b *Book) got(k key, r load.Record) got {
	g := got{code: r.Code, door: nobody, watched: r.Messages > 0}
	if k.stream == foreign {
		return g
	}
	protocol := b.scene.Loads[k.stream].Protocol
	g.grpc = protocol == load.GRPC
	if r.Instance != "" {
		g.door = unknownDoor
		if door, ok := b.byName[door{r.Instance, protocol}]; ok {
			g.door = door
		}
	}
	return g
}

// answerOf is what a line says; last is the index of the last of its attempts.
func answerOf(l NginxLine, attempts []attempt, last int32) answer {
	a := answer{status: l.Status, own: l.Error != "", last: -1}
	if len(attempts) > 0 {
		a.last, a.upstream = last, attempts[len(attempts)-1].status
	}
	for _, status := range []string{l.HeaderStatus, l.Trailer} {
		if n, err := strconv.ParseUint(status, 10, 32); err == nil {
			a.grpc = codes.Code(n).String()
		}
	}
	return a
}

// from tells whether the answer came from an instance, and from which door.
func (e *entry) from(a answer) (door int32, came bool) {
	if a.last < 0 {
		return nobody, false
	}
	w := e.upstream[a.last]
	return w.door, w.fate == answered || w.fate == expired
}

// sameAnswer tells whether a line of nginx's says what the client says of its answer. Where no answer came, there is nothing to
// compare: at a deadline, and where a connection or a stream breaks off, each tells how far it got. But who names an instance, or has a
// status of HTTP, has read a header, and nginx has passed that on.
func (e *entry) sameAnswer() bool {
	g := e.got
	none := e.outcome == load.NotStarted || e.outcome == load.AtClient && g.door == nobody && (g.grpc || g.code == "")
	if none || e.clients != 1 {
		return true
	}
	for _, a := range e.answers {
		if e.sameAuthor(a) && (g.sameCode(a) || g.grpc && e.outcome == load.AtClient) {
			return g.door == nobody || e.arrivedAt(g.door)
		}
	}
	return false
}

// sameAuthor tells whether the client and a line say that the same one has answered.
func (e *entry) sameAuthor(a answer) bool {
	door, came := e.from(a)
	switch {
	case e.got.door != nobody && e.outcome == load.AtClient:
		return came && door == e.got.door // Of the rest of the answer nothing is known.
	case e.got.door != nobody:
		// Nginx passes on the status that it gets, unless the caller leaves before anything was sent.
		return came && door == e.got.door && !a.own && (a.status == a.upstream || a.status == callerLeft)
	case e.outcome == load.ByNginx:
		// A deadline in the headers may be the word of grpc-go at an instance, which knows no name; see expired.
		return !came || a.own || e.upstream[a.last].fate == expired
	}
	return true // Without a name it may be either's: nginx can be told to answer well, or to take the name off.
}

// sameCode tells whether the client's code is a line's. Grpc-go tells a code of its own
//
//   - where the caller hangs up after messages, which the client counts as OK, while the line has none;
//   - UNKNOWN, where the error came before the request was written;
//   - by the status of HTTP, where nginx answers in another language than gRPC.
func (g got) sameCode(a answer) bool {
	switch {
	case !g.grpc:
		return g.code == a.status
	case g.code == a.grpc, g.watched && g.code == codes.OK.String():
		return true
	case g.code == codes.OK.String():
		return false
	case g.code == codes.Unknown.String() && a.grpc != "" && a.grpc != codes.OK.String():
		return true
	}
	return a.status != "200" && a.status != callerLeft
}

func (e *entry) arrivedAt(door int32) bool {
	for _, c := range e.calls {
		if c.door == door && c.arrived > 0 {
			return true
		}
	}
	return false
}

// missing says which whole answer of an instance's, as nginx got it, the instance has no completion of with the same code; "" if none. An
// instance writes the completion before the end of its answer, so that only one that was cut (killed between the two lines) has none.
//
// Of what was no whole answer nothing is asked: after an answer's header an instance may go on for as long as it likes, and one that
// drains does not wait for calls whose callers have left. At a deadline and after a cancellation grpc-go may send another code than the
// call ended with: there any completion will do. And HTTP's codes below 200 are not the last word.
func (e *entry) missing(cut func(call) bool) string {
	for _, a := range e.answers {
		door, code := e.whole(a)
		if code == "" {
			continue
		}
		want, have := 0, 0
		for _, other := range e.answers {
			if d, c := e.whole(other); d == door && c == code {
				want++
			}
		}
		for _, c := range e.calls {
			if c.door == door && (sameCompletion(code, c) || cut != nil && c.complete == 0 && cut(c)) {
				have++
			}
		}
		if have < want {
			return code
		}
	}
	return ""
}

// whole is the code of an instance's answer that nginx has got to its end; "" if it is none of that.
func (e *entry) whole(a answer) (door int32, code string) {
	door, came := e.from(a)
	if !came || a.own || a.status != a.upstream || e.upstream[a.last].fate == expired {
		return door, ""
	}
	if e.got.grpc {
		return door, a.grpc
	}
	return door, a.upstream
}

func sameCompletion(code string, c call) bool {
	switch code {
	case codes.Canceled.String(), codes.DeadlineExceeded.String():
		return c.complete > 0
	}
	return c.complete > 0 && (c.code == code || len(c.code) == 3 && c.code < "200" || c.code == "0")
}

// cut tells whether the process of a call ended without a word.
func (b *Book) cut(c call) bool { return b.killed[process{b.doors[c.door].instance, c.pid}] }

// faultsOfAnswers are those of rules 5 and 6.
func (e *entry) faultsOfAnswers(fault func(int, string, ...any), doors []door, cut func(call) bool) {
	if !e.sameAnswer() {
		fault(5, "the client says %s%s, and no line of nginx's says so", e.outcome, e.got.words(doors))
	}
	if code := e.missing(cut); code != "" {
		fault(6, "nginx got the whole answer %s, and the instance, which was not killed, has no completion with that code", code)
	}
}

// words are the client's about its answer.
func (g got) words(doors []door) string {
	words := ""
	if g.code != "" {
		words = " " + g.code
	}
	switch {
	case g.door >= 0:
		words += " from " + doors[g.door].String()
	case g.door == unknownDoor:
		words += " from an unknown instance"
	}
	return words
}

// words are nginx's about its answers.
func (e *entry) words() []string {
	var all []string
	for _, a := range e.answers {
		word := fmt.Sprintf("answered %s", a.status)
		if a.grpc != "" {
			word += " " + a.grpc
		}
		if a.own {
			word += " by itself"
		}
		if a.upstream != "" && a.upstream != a.status {
			word += ", got " + a.upstream
		}
		all = append(all, word)
	}
	return all
}
