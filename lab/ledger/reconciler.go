// Package ledger reconciles the records that the client, nginx and the instances write about each request. It matches them by request
// ID and checks the seven rules of docs/records.md.
//
// A [Reconciler] takes records in any order and emits a [Request], which holds all records of one request, as soon as they are complete.
// It reads no files and measures nothing: package record reads, package measure counts.
package ledger

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"trivet/internal/words"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

const (
	// maxOpen bounds the requests that wait for records, at about 1.2 KB each. Where more wait, something is wrong with all of them.
	maxOpen = 100_000
	// recentlyClosed is how many requests that were complete stay in memory, so that a record which comes too late is shown beside the
	// others.
	recentlyClosed = 1024
)

// A Reconciler matches records by request ID, and checks the rules.
//
// A request is emitted when its records are complete: any further one would be a discrepancy. A request that is in doubt is emitted by
// Finish. Nginx may still have to write an entry, and an instance that was paused may execute what it was sent whenever it resumes, long
// after the client has left; so no time is long enough.
//
// A record that comes after its request was emitted is a discrepancy, and changes neither the emitted Request nor what was counted of
// it. The discrepancy shows what all sources recorded if the request is one of the last 1024 that were emitted, else "reconciled".
//
// Memory is bounded by what is open, requests and calls made for them that wait for a record, about 1.2 KB each and at most 100,000, by ten bytes per planned
// request, two of them for what was found and eight for its planned start, and by the starts of instances.
type Reconciler struct {
	manifest  record.Manifest
	emit      func(*Request)
	prefixes  []string              // of IDs, by load
	endpoints map[string][]Endpoint // by address; several only on a target
	lacks     lacks
	calls     [][]*plannedCall  // that each execution of a load's requests makes, by load
	open      map[key]*Request  // with the calls that were made for them
	waiting   int               // how many requests and calls open has
	closed    map[key]*Request  // those of queue
	queue     []key             // the oldest first
	offsets   [][]time.Duration // planned starts since the manifest's Begin, by load and number
	emitted   [][]bool          // by load and number
	found     Reconciliation
	wrong     [][]bool // which requests have a discrepancy, by load and number
	starts    starts   // of instances
	nginx     interruptions
	times     times
	probes    map[string]int // how often the lab announced each
	probing   map[string]int // on a target: records of what looks like a probe

	maxOpen, maxClosed int
	excess             int // records for which there was no room
	contradictory      int // requests with a discrepancy
}

// NewReconciler returns a Reconciler for the trial of a manifest. It calls emit once per planned request, with what is known of it. The
// Request does not change afterwards; emit may keep it. Requests beyond the 100,000 that may be open are not emitted.
func NewReconciler(m record.Manifest, emit func(*Request)) *Reconciler {
	r := &Reconciler{
		manifest: m, emit: emit, endpoints: make(map[string][]Endpoint), lacks: lacksOf(m), open: make(map[key]*Request),
		closed: make(map[key]*Request), found: Reconciliation{Discrepancies: []Discrepancy{}, Kinds: []Kind{}, Reasons: []string{}}, starts: newStarts(m.Target != nil), times: newTimes(m), probes: make(map[string]int), probing: make(map[string]int), maxOpen: maxOpen, maxClosed: recentlyClosed,
	}
	for load, n := range m.Planned {
		r.prefixes = append(r.prefixes, record.IDPrefix(m.Scenario.Seed, m.Scenario.Loads[load].Protocol, load))
		r.offsets = append(r.offsets, offsets(m.Scenario, load, n))
		route, _ := m.Scenario.Route(load) // Validate has seen to it.
		r.calls = append(r.calls, callsOf(route))
		r.emitted = append(r.emitted, make([]bool, max(0, n)))
		r.wrong = append(r.wrong, make([]bool, max(0, n)))
	}
	for _, i := range m.Instances {
		r.addEndpoints(i)
	}
	return r
}

// addEndpoints adds those of an instance. One that is known under the same address becomes the last.
func (r *Reconciler) addEndpoints(i record.Instance) {
	for address, at := range map[string]Endpoint{i.HTTP: {i.Name, scenario.HTTP}, i.GRPC: {i.Name, scenario.GRPC}} {
		if address != "" {
			r.endpoints[address] = append(slices.DeleteFunc(r.endpoints[address], func(e Endpoint) bool { return e == at }), at)
		}
	}
}

// offsets are the planned starts of a load's first n requests: all of them, unless the manifest counts more than the rate plans.
func offsets(s scenario.Scenario, load, n int) []time.Duration {
	all := make([]time.Duration, 0, max(0, n))
	for at := range s.Loads[load].Rate.Offsets(s.Length()) {
		if len(all) >= n {
			break
		}
		all = append(all, at)
	}
	return all
}

// newRequest is the request of a key, without records.
func (r *Reconciler) newRequest(k key) *Request {
	if k.load == Foreign {
		return &Request{ID: k.id, Load: Foreign}
	}
	q := &Request{ID: r.prefixes[k.load] + strconv.FormatInt(k.n, 10), Load: k.load, N: k.n, lacks: r.lacks}
	load := r.manifest.Scenario.Loads[k.load]
	q.grpc, q.body = load.Protocol == scenario.GRPC, load.Request.Body != "" || load.Request.BodySize > 0
	q.calls = r.calls[k.load]
	if k.n < int64(len(r.offsets[k.load])) {
		q.planned = r.manifest.Begin.Add(r.offsets[k.load][k.n])
	}
	return q
}

// A key is what an ID names: the n-th request of a load, or something foreign.
type key struct {
	load int   // Foreign: not planned
	n    int64 //
	id   string
}

func (k key) compare(other key) int {
	return cmp.Or(cmp.Compare(uint(k.load), uint(other.load)), cmp.Compare(k.n, other.n), cmp.Compare(k.id, other.id))
}

// Planned reports whether a request with this ID was planned.
func (r *Reconciler) Planned(id string) bool {
	k, path := r.key(id)
	return k.load != Foreign && len(path) == 0
}

// Load is the load that planned the request of an ID; false if none did.
func (r *Reconciler) Load(id string) (load int, planned bool) {
	k, path := r.key(id)
	return k.load, k.load != Foreign && len(path) == 0
}

// key is the key of the request that an ID is of, and the steps from it if the ID is that of a call that was made for it.
func (r *Reconciler) key(id string) (key, []step) {
	for load, prefix := range r.prefixes {
		number, ours := strings.CutPrefix(id, prefix)
		path := ""
		if i := strings.IndexAny(number, ".-"); i >= 0 {
			number, path = number[:i], number[i:]
		}
		if !ours || number != "0" && strings.HasPrefix(number, "0") {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 63)
		if err != nil || int64(n) >= int64(r.manifest.Planned[load]) {
			continue
		}
		if path, ok := steps(r.calls[load], r.manifest.Scenario.Loads[load].Protocol == scenario.GRPC, path); ok {
			return key{load: load, n: int64(n)}, path
		}
	}
	return key{load: Foreign, id: id}, nil
}

// add passes the request of an ID to change. A request that was emitted is judged by Finish; if it is no longer
// kept, the record is a discrepancy by itself.
func (r *Reconciler) add(id string, rule int, late string, change func(*Request)) {
	k, path := r.key(id)
	q := r.open[k]
	switch closed := r.closed[k]; {
	case q != nil:
	case closed != nil:
		q = closed.clone()
		q.late = true
		r.open[k] = q
		r.waiting += q.size()
		delete(r.closed, k)
	case k.load != Foreign && r.emitted[k.load][k.n]:
		r.find(k, Discrepancy{Rule: rule, ID: id, What: late, Client: "reconciled", Nginx: "reconciled", Instances: "reconciled"})
		return
	case r.waiting >= r.maxOpen:
		r.excess++
		return
	default:
		q = r.newRequest(k)
		r.open[k] = q
		r.waiting++
	}
	of := q
	for _, s := range path {
		next := of.child(s)
		if next == nil && r.waiting >= r.maxOpen {
			r.excess++
			return
		} else if next == nil {
			next = of.add(s)
			r.waiting++
		}
		of = next
	}
	change(of)
	if r.manifest.Target != nil {
		of.resolve(r.endpoints)
	}
	if k.load != Foreign && q.complete() { // With a late record it never is: that is one too many.
		r.close(k, q)
	}
}

// close emits a request whose records are complete.
func (r *Reconciler) close(k key, q *Request) {
	delete(r.open, k)
	r.waiting -= q.size()
	r.emitted[k.load][k.n] = true
	r.closed[k] = q
	if r.queue = append(r.queue, k); len(r.queue) > r.maxClosed {
		delete(r.closed, r.queue[0])
		r.queue = r.queue[1:]
	}
	r.compareTimes(k, q)
	r.emit(q)
}

// compareTimes is for a request that keeps the other rules.
func (r *Reconciler) compareTimes(k key, q *Request) {
	for one := range q.All {
		if one.parent != nil {
			if one.unrecorded() > 0 {
				continue // It is not known when that caller made it.
			}
			one = one.asWhole()
		}
		if one == nil {
			continue
		}
		r.times.add(k, one)
		if what := one.wrongDuration(); what != "" {
			r.find(k, one.discrepancy(7, what))
		}
	}
}

// find adds a discrepancy, and counts its request once. One of an ID that was not planned is the only one of its ID.
func (r *Reconciler) find(k key, d Discrepancy) {
	r.found.add(k, d)
	if k.load != Foreign {
		if r.wrong[k.load][k.n] {
			return
		}
		r.wrong[k.load][k.n] = true
	}
	r.contradictory++
}

// AddClientRecord adds a record of the client.
func (r *Reconciler) AddClientRecord(c record.Client) {
	r.add(c.ID, 1, "the client has a further record of it", func(q *Request) {
		if q.Client == nil {
			q.Client = &c
		} else {
			q.FurtherClients = append(q.FurtherClients, c)
		}
	})
}

// AddAccessLogEntry adds an entry of nginx's access log. The error is that of its Attempts; then it is not added.
func (r *Reconciler) AddAccessLogEntry(l record.AccessLogEntry) error {
	attempts, err := l.Attempts()
	if err != nil {
		return err
	}
	if r.ignored(l.ID, true) {
		return nil
	}
	r.add(l.ID, 2, "nginx has an access-log entry more than the client has attempts", func(q *Request) {
		q.Entries = append(q.Entries, l)
		for _, a := range attempts {
			q.NginxAttempts = append(q.NginxAttempts, r.attempt(a, len(q.Entries)-1))
		}
	})
	return nil
}

// attempt is one of nginx's, of an entry.
func (r *Reconciler) attempt(a record.Attempt, entry int) Attempt {
	one := Attempt{Attempt: a, Entry: entry}
	if all := r.endpoints[a.Addr]; len(all) > 0 {
		one.Endpoint = all[len(all)-1]
	}
	return one
}

// AddCall adds a record of an instance.
func (r *Reconciler) AddCall(c record.Call) {
	r.starts.call(c, r.Planned(c.ID))
	if r.ignored(c.ID, r.lacks.log && c.Event == record.Arrival) {
		return
	}
	r.add(c.ID, 4, fmt.Sprintf("%s recorded a further %s", c.Instance, c.Event), func(q *Request) {
		e := q.execution(c)
		switch {
		case c.Event == record.Arrival && e.Arrival == nil:
			e.Arrival = &c
		case c.Event == record.Completion && e.Completion == nil:
			e.Completion = &c
		default:
			e.Further = append(e.Further, c)
		}
	})
}

// AddOutgoing adds what an instance recorded of a call that it made.
func (r *Reconciler) AddOutgoing(o record.Outgoing) {
	r.starts.outgoing(o)
	if r.ignored(o.ID, false) {
		return
	}
	r.add(o.ID, 1, o.Instance+" recorded a further time that it made this call", func(q *Request) {
		q.Outgoing = append(q.Outgoing, o)
	})
}

// AddEvent adds an event of the lab: it takes how starts of instances began and ended, when actions paused or
// killed nginx, and which probes the lab sent.
func (r *Reconciler) AddEvent(e record.Event) {
	r.starts.event(e)
	r.nginx.event(e)
	if e.Event == record.Probe {
		r.probes[e.ID]++
	}
	if e.Event == record.ProcessEvent && e.Kind == record.Started {
		r.known(e.Instance)
	}
}

// Finish emits what is still open, judges it, and returns what is wrong with the records: no record can come any more.
func (r *Reconciler) Finish() Reconciliation {
	for _, k := range slices.SortedFunc(maps.Keys(r.open), key.compare) {
		q := r.open[k]
		if k.load == Foreign && r.probed(q) {
			continue
		}
		found := q.discrepancies(r.starts.killed)
		if len(found) > 0 && k.load != Foreign && r.unlogged(q) {
			found = q.discrepancies(r.starts.killed)
		}
		if k.load != Foreign && !q.late {
			r.emitted[k.load][k.n] = true
			if len(found) == 0 {
				r.compareTimes(k, q)
			}
			r.emit(q)
		}
		for _, d := range found {
			r.find(k, d)
		}
	}
	r.times.contradictions(r.nginx.paused, func(k key, q *Request, what string) { r.find(k, q.discrepancy(7, what)) })
	r.open, r.closed, r.queue, r.waiting = make(map[key]*Request), make(map[key]*Request), nil, 0
	if r.excess == 0 { // Else a request without any record looks like one for which there was no room.
		r.lost()
	}
	if r.found.Count > 0 {
		r.found.Reasons = append(r.found.Reasons, fmt.Sprintf("the records of client, nginx and instances contradict each other in %s of %s", words.Count(r.found.Count, "place"), words.Count(r.contradictory, "request")))
	}
	if r.excess > 0 {
		r.found.Reasons = append(r.found.Reasons, fmt.Sprintf("more than %d requests waited for records at once: %s could not be matched, and the metrics lack their requests", r.maxOpen, words.Count(r.excess, "record")))
	}
	r.found.Reasons = append(r.found.Reasons, r.times.reasons()...)
	r.found.Reasons = append(r.found.Reasons, r.starts.reasons()...)
	r.found.Others += r.othersProbes()
	r.found.sortKinds()
	return r.found
}

// unlogged marks a request, and each call that was made for it, of which nginx may have lost what it knew. It is false if there is none.
func (r *Reconciler) unlogged(q *Request) (any bool) {
	if r.lacks.log {
		return false
	}
	for one := range q.All {
		as := one
		if one.parent != nil {
			as = one.asWhole()
		}
		if as != nil && r.nginx.killed(as) {
			one.Unlogged, any = true, true
		}
	}
	return any
}

// probed reports whether a foreign request is one that the lab announced, and went no further than it sent it: its ID alone, which
// anything can send, makes it no probe.
func (r *Reconciler) probed(q *Request) bool {
	n := r.probes[q.ID]
	return n > 0 && q.Client == nil && len(q.Outgoing) == 0 && len(q.Entries) <= n && len(q.Executions) <= max(n, len(q.NginxAttempts))
}

// lost emits the requests of which no source has a record.
func (r *Reconciler) lost() {
	for load := range r.emitted {
		for n, emitted := range r.emitted[load] {
			if emitted {
				continue
			}
			k := key{load: load, n: int64(n)}
			q := r.newRequest(k)
			r.emit(q)
			r.find(k, q.discrepancy(1, "it was planned, and no source has a record of it"))
		}
	}
}
