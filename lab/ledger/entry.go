package ledger

import (
	"fmt"
	"slices"
	"strings"

	"trivet/lab/load"
)

// A key is a request: the N of a stream's plan, or an id that nobody planned.
type key struct {
	stream int32 // -1: foreign
	n      int64
	id     string // only of a foreign one
}

const foreign = -1

// An entry is what the witnesses have said of one request so far.
type entry struct {
	clients  int // client records; of a second one nothing else is kept
	planned  moment
	attempts int      // the client's
	own      []string // and its reasons
	outcome  string
	got      got

	lines    int
	upstream []where  // nginx's attempts, of all lines
	answers  []answer // a line each

	calls  []call
	queued bool // stands in the book's queue of what can be dropped
}

// A moment is when a request was planned, and where that belongs.
type moment struct {
	phase int
	start int64 // nanoseconds since the run's begin
	end   int64
}

// where is one of nginx's attempts.
type where struct {
	door  int32 // index in Book.doors, or unknownDoor
	fate  fate
	first bool // of its line
}

const unknownDoor = -1

// A call is what an instance wrote of one execution.
type call struct {
	door     int32
	pid      int
	number   uint64
	arrived  int // arrival lines
	complete int // completion lines
	code     string
}

// seen counts arrivals and attempts at one door.
type seen struct {
	door   int32
	sure   int // attempts with a header: each has one arrival
	may    int // attempts that may have one
	never  int // attempts at which nothing was sent
	called int // arrivals
}

// doors tells, for each door that any witness names, what was seen there.
func (e *entry) doors(room []seen) []seen {
	all := room[:0]
	at := func(door int32) *seen {
		for i := range all {
			if all[i].door == door {
				return &all[i]
			}
		}
		all = append(all, seen{door: door})
		return &all[len(all)-1]
	}
	for _, w := range e.upstream {
		switch w.fate {
		case answered:
			at(w.door).sure++
		case doubtful, expired:
			at(w.door).may++
		case unsent:
			at(w.door).never++
		}
	}
	for _, c := range e.calls {
		at(c.door).called++
	}
	return all
}

// definite tells that nothing about the entry can change for the better: everything that may come has come, so that whatever still comes
// is a breach.
func (e *entry) definite() bool {
	if e.clients != 1 || e.lines != e.attempts {
		return false
	}
	for _, c := range e.calls {
		if c.arrived != 1 || c.complete != 1 {
			return false
		}
	}
	var room [4]seen
	for _, s := range e.doors(room[:]) {
		if s.door == unknownDoor || s.called != s.sure+s.may {
			return false
		}
	}
	return (e.outcome == load.AtClient || e.outcome == load.NotStarted || e.attempts > 0) && e.sameAnswer() && e.missing(nil) == ""
}

// faults are the rules that an entry breaks when nothing more can come, each with what is wrong.
func (e *entry) faults(k key, doors []door, cut func(call) bool) []Breach {
	var all []Breach
	fault := func(rule int, what string, args ...any) {
		all = append(all, Breach{Rule: rule, What: fmt.Sprintf(what, args...)})
	}
	if k.stream == foreign {
		e.faultsOfForeign(fault)
		return all
	}
	e.faultsOfClient(fault)
	var room [4]seen
	for _, s := range e.doors(room[:]) {
		switch {
		case s.door == unknownDoor:
			fault(3, "nginx asked an address that is no instance's")
		case s.called < s.sure:
			fault(3, "nginx had %s from %s, which recorded %s", count(s.sure, "answer"), doors[s.door], count(s.called, "arrival"))
		case s.called > 0 && s.sure+s.may+s.never == 0:
			fault(4, "%s recorded %s, and nginx never asked it", doors[s.door], count(s.called, "arrival"))
		case s.called > s.sure+s.may:
			fault(3, "%s recorded %s, and nginx sent it %s", doors[s.door], count(s.called, "arrival"), count(s.sure+s.may, "attempt"))
		}
	}
	for _, c := range e.calls {
		switch {
		case c.arrived == 0:
			fault(3, "%s recorded the end of call %d and not its arrival", doors[c.door], c.number)
		case c.arrived > 1 || c.complete > 1:
			fault(3, "%s recorded call %d more than once", doors[c.door], c.number)
		}
	}
	if len(all) == 0 { // Else the answers differ because of that.
		e.faultsOfAnswers(fault, doors, cut)
	}
	return all
}

// faultsOfForeign are those of an id that nobody planned: one for what came first of client, nginx and instance.
func (e *entry) faultsOfForeign(fault func(int, string, ...any)) {
	switch {
	case e.clients > 0:
		fault(1, "the client made a request that nobody planned")
	case e.lines > 0:
		fault(2, "nginx had %s that nobody planned", count(e.lines, "request"))
	default:
		fault(4, "%s that nobody planned", count(len(e.calls), "arrival"))
	}
}

// faultsOfClient are those of rules 1 and 2.
func (e *entry) faultsOfClient(fault func(int, string, ...any)) {
	least := e.attempts - len(e.own)
	switch {
	case e.clients == 0:
		fault(1, "it was planned, and the client has no record of it")
		return
	case e.clients > 1:
		fault(1, "the client has %d records of it", e.clients)
	case e.outcome == load.NotStarted && e.attempts > 0:
		fault(1, "the client did not start it, and counts %s", count(e.attempts, "attempt"))
	case e.attempts == 0 && e.outcome != load.NotStarted && e.outcome != load.AtClient:
		fault(1, "the client has an answer (%s) without an attempt", e.outcome)
	}
	switch {
	case e.lines > e.attempts:
		fault(2, "nginx had it %s, and the client sent it %s", times(e.lines), times(e.attempts))
	case e.lines < least:
		fault(2, "the client sent it %s, and nginx had it %s", times(least), times(e.lines))
	}
}

// said puts into words what each witness has said.
func (e *entry) said(b *Breach, doors []door) {
	b.Client = "no record"
	if e.clients > 0 {
		b.Client = fmt.Sprintf("%s, %s%s", count(e.attempts, "attempt"), e.outcome, e.got.words(doors))
		if len(e.own) > 0 {
			b.Client += fmt.Sprintf("; %d perhaps unseen by nginx (%s)", len(e.own), strings.Join(e.own, ", "))
		}
	}
	words := map[fate]string{unsent: "nothing sent", doubtful: "sent, no header", answered: "header", expired: "header, deadline", noLive: "no live server"}
	var tried []string
	for _, w := range e.upstream {
		name := "an unknown address"
		if w.fate == noLive {
			name = "nobody"
		} else if w.door != unknownDoor {
			name = doors[w.door].String()
		}
		tried = append(tried, name+" ("+words[w.fate]+")")
	}
	b.Nginx = strings.Join(slices.Concat([]string{count(e.lines, "line")}, tried, e.words()), ", ")
	var calls []string
	for _, c := range e.calls {
		end := strings.TrimSpace(", completed " + c.code)
		if c.complete == 0 {
			end = ", not completed"
		}
		calls = append(calls, fmt.Sprintf("%s (pid %d, call %d%s)", doors[c.door], c.pid, c.number, end))
	}
	// Records of one call stand in the order in which they were read.
	slices.Sort(calls)
	b.Instances = "no record"
	if len(calls) > 0 {
		b.Instances = strings.Join(calls, ", ")
	}
}

// count is "1 line", "2 lines".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func times(n int) string {
	switch n {
	case 0:
		return "never"
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}
