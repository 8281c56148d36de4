package ledger

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"trivet/lab/load"
)

const (
	// settledKept is how many requests that are all accounted for stay in memory, so that a record which comes too late is still
	// judged beside the others.
	settledKept = 4096
	// mostOpen bounds the requests that wait for a witness, at about half a kilobyte each. Where more wait, something is wrong with
	// all of them.
	mostOpen = 250_000
)

// errNoRecord is in the error about a record that makes no sense.
var errNoRecord = errors.New("no record")

// A Book joins what the witnesses say of each request, record by record, in whatever order they come, and counts.
//
// A request that is all accounted for is dropped soon. One in doubt stays until Settle: nginx may have its line still to write, and an
// instance that was stopped may execute what it has been sent whenever it goes on, long after the caller has left, so that no time is
// long enough.
type Book struct {
	scene   Scene
	seed    string // with which ids begin
	doors   []door
	byAddr  map[string]int32
	byName  map[door]int32
	streams []stream
	entries map[key]*entry
	settled []key // the queue of what can be dropped; the oldest first
	tallies []*tally
	whole   []*course // of each load, over all phases
	diary   diary
	killed  map[process]bool // lives of instances that ended without a word

	breaches breaches
	keep     int // settled entries
	room     int // for entries
	excess   int // records for which there was none
}

// A door is where an instance takes a protocol.
type door struct{ instance, protocol string }

func (d door) String() string {
	if d.protocol == load.GRPC {
		return d.instance + " (gRPC)"
	}
	return d.instance + " (HTTP)"
}

// A process is one life of an instance.
type process struct {
	instance string
	pid      int
}

// A stream is what is left of the requests of one load that have been dropped.
type stream struct {
	recorded ids // those with a client record
	dropped  ids
}

// NewBook is an empty book.
func NewBook(s Scene) *Book {
	b := &Book{
		scene: s, seed: strconv.FormatUint(s.Seed, 10) + ".", byAddr: make(map[string]int32), byName: make(map[door]int32), entries: make(map[key]*entry),
		streams: make([]stream, len(s.Loads)), diary: newDiary(s), killed: make(map[process]bool), keep: settledKept, room: mostOpen,
	}
	for _, i := range s.Instances {
		b.byAddr[i.HTTP] = b.door(i.Name, load.HTTP)
		b.byAddr[i.GRPC] = b.door(i.Name, load.GRPC)
	}
	for range s.Loads {
		b.whole = append(b.whole, newCourse(s.end()))
		for _, p := range s.Phases {
			b.tallies = append(b.tallies, newTally(p.For))
		}
	}
	return b
}

func (b *Book) door(instance, protocol string) int32 {
	d := door{instance, protocol}
	i, ok := b.byName[d]
	if !ok {
		i = int32(len(b.doors))
		b.doors, b.byName[d] = append(b.doors, d), i
	}
	return i
}

// key is what an id names: SEED.PROTOCOL.STREAM.N as planned, or something foreign.
func (b *Book) key(id string) key {
	rest, seeded := strings.CutPrefix(id, b.seed)
	protocol, rest, _ := strings.Cut(rest, ".")
	index, number, _ := strings.Cut(rest, ".")
	s, known := ordinal(index)
	n, numbered := ordinal(number)
	if !seeded || !known || !numbered || s >= int64(len(b.scene.Loads)) || protocol != b.scene.Loads[s].Protocol || n >= int64(b.scene.Loads[s].Planned) {
		return key{stream: foreign, id: id}
	}
	return key{stream: int32(s), n: n}
}

// ordinal is a number as strconv writes it, from 0 on.
func ordinal(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil && (s == "0" || s[0] != '0')
}

func (b *Book) id(k key) string {
	if k.stream == foreign {
		return k.id
	}
	return fmt.Sprintf("%d.%s.%d.%d", b.scene.Seed, b.scene.Loads[k.stream].Protocol, k.stream, k.n)
}

// entry is the entry of k; nil if it has been dropped, or there is no room for another.
func (b *Book) entry(k key) (e *entry, dropped bool) {
	if e := b.entries[k]; e != nil {
		return e, false
	}
	if k.stream != foreign && b.streams[k.stream].dropped.has(k.n) {
		return nil, true
	}
	if len(b.entries) >= b.room {
		b.excess++
		return nil, false
	}
	e = &entry{}
	b.entries[k] = e
	return e, false
}

// late tells of a record that came when its request had long been accounted for.
func (b *Book) late(k key, rule int, what string) {
	b.breaches.add(k, Breach{Rule: rule, ID: b.id(k), What: what, Client: "accounted for", Nginx: "accounted for", Instances: "accounted for"})
}

// Client takes a record of the client's. The error wraps what is no record.
func (b *Book) Client(r load.Record) error {
	switch r.Outcome {
	case load.OK, load.ByInstance, load.ByNginx, load.AtClient, load.NotStarted:
	default:
		return fmt.Errorf("%w: outcome %q", errNoRecord, r.Outcome)
	}
	k := b.key(r.ID)
	e, dropped := b.entry(k)
	if dropped {
		b.late(k, 1, "the client has one more record of it")
		return nil
	}
	if k.stream != foreign && !b.streams[k.stream].recorded.has(k.n) {
		b.streams[k.stream].recorded.add(k.n)
		b.countClient(int(k.stream), r, b.moment(r))
	}
	if e == nil {
		return nil
	}
	if e.clients++; e.clients == 1 {
		e.attempts, e.own, e.outcome, e.planned = r.Attempts, r.Own, r.Outcome, b.moment(r)
		e.got = b.got(k, r)
	}
	b.settle(k, e)
	return nil
}

// moment is when a request was planned. What is outside of the run belongs to its first or last instant.
func (b *Book) moment(r load.Record) moment {
	start := min(max(r.Planned.Sub(b.scene.Begin), 0), b.scene.end()-1)
	return moment{b.scene.phaseAt(start), int64(start), int64(start) + r.Latency*int64(time.Microsecond)}
}

// Nginx takes a line of nginx's. The error wraps what is no record.
func (b *Book) Nginx(l NginxLine) error {
	attempts, err := l.attempts()
	if err != nil {
		return fmt.Errorf("%w: %w", errNoRecord, err)
	}
	if strings.HasPrefix(l.ID, OwnID) {
		return nil
	}
	k := b.key(l.ID)
	e, dropped := b.entry(k)
	if dropped {
		b.late(k, 2, "nginx had it once more than the client sent it")
	}
	if e == nil {
		return nil
	}
	e.lines++
	for _, a := range attempts {
		w := where{door: unknownDoor, fate: a.fate, first: a.first}
		if door, ok := b.byAddr[a.addr]; ok {
			w.door = door
		}
		e.upstream = append(e.upstream, w)
	}
	e.answers = append(e.answers, answerOf(l, attempts, int32(len(e.upstream)-1)))
	b.settle(k, e)
	return nil
}

// Call takes a record of an instance's. The error wraps what is no record.
func (b *Book) Call(c Call) error {
	if c.ID == "" || c.Instance == "" || c.Event != Arrival && c.Event != Completion || c.Protocol != load.HTTP && c.Protocol != load.GRPC {
		return fmt.Errorf("%w: id %q, instance %q, event %q, protocol %q", errNoRecord, c.ID, c.Instance, c.Event, c.Protocol)
	}
	if strings.HasPrefix(c.ID, OwnID) {
		return nil
	}
	k, door := b.key(c.ID), b.door(c.Instance, c.Protocol)
	e, dropped := b.entry(k)
	if dropped {
		b.late(k, 4, fmt.Sprintf("%s recorded one more %s", b.doors[door], c.Event))
	}
	if e == nil {
		return nil
	}
	at := e.call(call{door: door, pid: c.PID, number: c.Call})
	if c.Event == Arrival {
		at.arrived++
	} else {
		at.complete++
		at.code = c.Code
	}
	b.settle(k, e)
	return nil
}

// call is the entry's call like that one, which two records may tell of.
func (e *entry) call(like call) *call {
	for i := range e.calls {
		if c := &e.calls[i]; c.pid == like.pid && c.number == like.number && c.door == like.door {
			return c
		}
	}
	e.calls = append(e.calls, like)
	return &e.calls[len(e.calls)-1]
}

// settle queues an entry that is all accounted for, and drops the oldest of those.
func (b *Book) settle(k key, e *entry) {
	if k.stream == foreign || e.queued || !e.definite() {
		return
	}
	e.queued = true
	b.settled = append(b.settled, k)
	if len(b.settled) <= b.keep {
		return
	}
	k = b.settled[0]
	b.settled = b.settled[1:]
	e = b.entries[k]
	if e.queued = false; !e.definite() {
		return // Something came too late; it stays, to be judged.
	}
	b.countPath(int(k.stream), e)
	b.streams[k.stream].dropped.add(k.n)
	delete(b.entries, k)
}

// Event takes an event of the laboratory's.
func (b *Book) Event(e Event) {
	if e.Event == ProcessIs && (e.Kind == died || e.Kind == stopped && e.Exit != wellDone) {
		b.killed[process{e.Name, e.PID}] = true
	}
	b.diary.take(e)
}

// wellDone is how an instance ends that has drained.
const wellDone = "exit code 0"

// Ending is the event that the run ended with: Ended, Broke or Interrupted; none if there was no such event yet.
func (b *Book) Ending() Event { return b.diary.ending }

// Settle judges everything that is open: no record can come any more.
func (b *Book) Settle() Balance {
	for k, e := range b.entries {
		if e.clients > 0 && k.stream != foreign {
			b.countPath(int(k.stream), e)
		}
		for _, breach := range e.faults(k, b.doors, b.cut) {
			breach.ID = b.id(k)
			e.said(&breach, b.doors)
			b.breaches.add(k, breach)
		}
	}
	b.lost()
	b.entries, b.settled = make(map[key]*entry), nil
	balance := Balance{Breaches: b.breaches.kept(), Total: b.breaches.total}
	balance.Reasons = b.reasons(balance)
	return balance
}

// lost finds requests of which no witness has said anything.
func (b *Book) lost() {
	for s := range b.streams {
		planned := int64(b.scene.Loads[s].Planned)
		for n := range b.streams[s].recorded.missing(planned) {
			k := key{stream: int32(s), n: n}
			if b.entries[k] == nil {
				b.breaches.add(k, Breach{Rule: 1, ID: b.id(k), What: "it was planned, and no witness has a record of it", Client: "no record", Nginx: "0 lines", Instances: "no record"})
			}
		}
	}
}
