package ledger

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// feed adds a history to a reconciler.
func feed(t testing.TB, r *Reconciler, all []any) {
	t.Helper()
	for _, one := range all {
		switch one := one.(type) {
		case record.Client:
			r.AddClientRecord(one)
		case record.AccessLogEntry:
			if err := r.AddAccessLogEntry(one); err != nil {
				t.Fatalf("%+v: %v", one, err)
			}
		case record.Call:
			r.AddCall(one)
		case record.Outgoing:
			r.AddOutgoing(one)
		case record.Event:
			r.AddEvent(one)
		}
	}
}

// reconcile is a history's reconciliation, and the requests that were emitted, by ID.
func reconcile(t testing.TB, h labtest.History) (Reconciliation, map[string]*Request) {
	t.Helper()
	emitted, finishing := make(map[string]*Request), false
	r := NewReconciler(h.Manifest, func(q *Request) {
		if emitted[q.ID] != nil {
			t.Errorf("%s is emitted twice", q.ID)
		}
		emitted[q.ID] = q
		if found := q.discrepancies(func(string, string) bool { return false }); !finishing && len(found) > 0 {
			t.Errorf("complete, with a discrepancy: %v", found)
		}
	})
	feed(t, r, h.Records)
	finishing = true
	return r.Finish(), emitted
}

// Each planned request is emitted once with all its records, in whatever order they come.
func TestLawfulHistoriesAreClean(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h, _ := Lawful(seed, 200)
			for round := range uint64(2) {
				if round > 0 {
					h.Records = Shuffled(h.Records, seed)
				}
				got, emitted := reconcile(t, h)
				if got.Count > 0 || len(got.Reasons) > 0 {
					t.Fatalf("%v %v", got.Reasons, got.Discrepancies)
				}
				if len(emitted) != 600 {
					t.Errorf("%d requests, want 600", len(emitted))
				}
				for _, r := range h.Records {
					c, ok := r.(record.Client)
					if !ok {
						continue
					}
					q := emitted[c.ID]
					if q == nil || q.Client == nil || !reflect.DeepEqual(*q.Client, c) || q.Load != c.Load || fmt.Sprintf("11.%s.%d.%d", c.Protocol, q.Load, q.N) != c.ID {
						t.Fatalf("%s is emitted as %+v", c.ID, q)
					}
					entries, calls := 0, 0
					for _, other := range h.Records {
						switch kindOf(other, c.ID) {
						case "nginx":
							entries++
						case record.Arrival:
							calls++
						}
					}
					if len(q.Entries) != entries || len(q.Executions) != calls {
						t.Errorf("%s has %d entries and %d executions, want %d and %d", c.ID, len(q.Entries), len(q.Executions), entries, calls)
					}
				}
			}
		})
	}
}

// An emitted request has nginx's attempts with instance, fate and entry, and the instance's two records.
func TestRequestKeepsItsRecords(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(1)
	one, two := m.Instances[0], m.Instances[1]
	c := labtest.OK("11.http.0.0", labtest.Planned(m, 0, 0))
	c.Attempts, c.Instance = 2, "whoami-2"
	first := record.AccessLogEntry{V: 1, ID: c.ID, End: seconds(c.Planned), Status: "502", Error: "502", Addr: one.HTTP, AddrStatus: "502", HeaderTime: "-", BytesSent: "0"}
	second := record.AccessLogEntry{V: 1, ID: c.ID, End: seconds(c.Planned), Status: "200", Addr: one.HTTP + ", " + two.HTTP, AddrStatus: "502, 200", HeaderTime: "-, 0.001", BytesSent: "0, 9"}
	arrival := record.Call{Event: record.Arrival, Time: c.Planned, Instance: "whoami-2", PID: 1, Start: "a", Call: 7, ID: c.ID, Protocol: scenario.HTTP}
	completion := arrival
	completion.Event, completion.Code = record.Completion, "200"
	_, emitted := reconcile(t, labtest.History{Manifest: m, Records: []any{first, completion, c, arrival, second}})
	at := func(i record.Instance) Endpoint { return Endpoint{i.Name, scenario.HTTP} }
	want := &Request{
		ID: c.ID, Client: &c, Entries: []record.AccessLogEntry{first, second},
		NginxAttempts: []Attempt{
			{record.Attempt{Addr: one.HTTP, Fate: record.Unsent, Status: "502", First: true}, at(one), 0},
			{record.Attempt{Addr: one.HTTP, Fate: record.Unsent, Status: "502", First: true}, at(one), 1},
			{record.Attempt{Addr: two.HTTP, Fate: record.GotHeader, Status: "200"}, at(two), 1},
		},
		Executions: []Execution{{Endpoint: at(two), Start: "a", Call: 7, Arrival: &arrival, Completion: &completion}},
		planned:    c.Planned,
	}
	if got := emitted[c.ID]; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// An instance that refuses nginx's certificate over TLS 1.3 does so after nginx has sent the request: the attempt is in doubt, although
// the instance has no record of it. Both are lawful, none or one execution, and never two.
func TestRefusedCertificateIsInDoubt(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(1)
	one, two := m.Instances[0], m.Instances[1]
	c := labtest.OK("11.http.0.0", labtest.Planned(m, 0, 0))
	c.Instance = "whoami-2"
	entry := record.AccessLogEntry{
		V: 1, ID: c.ID, End: seconds(c.Planned), Status: "200", Addr: one.HTTP + ", " + two.HTTP, AddrStatus: "502, 200", HeaderTime: "-, 0.001", BytesSent: "115, 234",
	}
	call := func(instance string, number uint64) (arrival, completion record.Call) {
		arrival = record.Call{Event: record.Arrival, Time: c.Planned, Instance: instance, PID: 1, Start: instance, Call: number, ID: c.ID, Protocol: scenario.HTTP}
		completion = arrival
		completion.Event, completion.Code = record.Completion, "200"
		return arrival, completion
	}
	for refused, want := range map[int]int{0: 0, 1: 0, 2: 1} { // discrepancies by executions at the instance that refused
		arrival, completion := call("whoami-2", 1)
		h := labtest.History{Manifest: m, Records: []any{entry, c, arrival, completion}}
		for n := range refused {
			arrival, completion := call("whoami-1", uint64(n+1))
			h.Records = append(h.Records, arrival, completion)
		}
		got, emitted := reconcile(t, h)
		q := emitted[c.ID]
		if q == nil || len(q.NginxAttempts) != 2 || q.NginxAttempts[0].Fate != record.InDoubt {
			t.Fatalf("%d executions: %+v", refused, q)
		}
		found := slices.DeleteFunc(got.Discrepancies, func(d Discrepancy) bool { return d.ID != c.ID })
		if len(found) != want {
			t.Errorf("%d executions: %v, want %d discrepancies", refused, found, want)
		}
	}
}

// Nothing waits in a queue: a request is emitted with its last lawful record, and one in doubt by Finish.
func TestRequestIsEmittedWhenItsRecordsAreComplete(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(2)
	var emitted []string
	r := NewReconciler(m, func(q *Request) { emitted = append(emitted, q.ID) })
	for i, one := range labtest.Ordinary(m, 0) {
		if feed(t, r, []any{one}); (len(emitted) == 1) != (i == 3) {
			t.Fatalf("%v is emitted after %d records", emitted, i+1)
		}
	}
	doubtful := labtest.History{Manifest: m, Records: labtest.Ordinary(m, 1)}
	Drop(record.Completion)(&doubtful, "11.http.0.1")
	feed(t, r, doubtful.Records)
	if len(emitted) != 1 {
		t.Errorf("%v", emitted)
	}
	if r.Finish(); len(emitted) != 6 || emitted[1] != "11.http.0.1" {
		t.Errorf("%v after Finish", emitted)
	}
}

// Also an attempt in doubt is complete only with the completion of its call.
func TestRequestInDoubtWaitsForItsCompletion(t *testing.T) {
	t.Parallel()
	h := call(record.Client{Outcome: record.Incomplete, Reason: record.Deadline, Code: "DeadlineExceeded"}, "", "Canceled")
	entry(func(l *record.AccessLogEntry) { l.Status, l.HeaderTime = clientLeft, "-" })(&h, "11.grpc.1.0")
	h.Records[1], h.Records[3] = h.Records[3], h.Records[1] // The completion is the last.
	emitted := 0
	r := NewReconciler(h.Manifest, func(*Request) { emitted++ })
	for i, one := range h.Records {
		if feed(t, r, []any{one}); (emitted == 1) != (i == 3) {
			t.Errorf("%d emitted after %d records", emitted, i+1)
		}
	}
}

// Two starts of an instance count their calls from 1 and may have the same pid: so one request has two executions.
func TestExecutionsOfTwoStartsAreTwo(t *testing.T) {
	t.Parallel()
	h := call(record.Client{Outcome: record.OK, Code: "OK", Instance: "whoami-1"}, "0", "OK")
	client(func(c *record.Client) { c.Attempts = 2 })(&h, "11.grpc.1.0")
	first := h.Records[0].(record.Call)
	first.Start = "killed"
	h.Records = append(h.Records, first, record.AccessLogEntry{
		ID: first.ID, End: seconds(first.Time), Status: "502", Error: "502", Addr: h.Instances[0].GRPC, AddrStatus: "502", HeaderTime: "-", BytesSent: "1",
	})
	got, emitted := reconcile(t, h)
	if q := emitted[first.ID]; got.Count > 0 || len(q.Executions) != 2 || q.Executions[0].Start != "a" || q.Executions[1].Start != "killed" {
		t.Errorf("%v, %+v", got.Discrepancies, q)
	}
}

// A corruption changes one request of a history, and names the rules that this breaks.
type corruption struct {
	name  string
	spoil func(h *labtest.History, id string)
	rules []int
}

func client(edit func(*record.Client)) func(*labtest.History, string) {
	return change("client", edit)
}

func entry(edit func(*record.AccessLogEntry)) func(*labtest.History, string) {
	return change("nginx", edit)
}

func completion(edit func(*record.Call)) func(*labtest.History, string) {
	return change(record.Completion, edit)
}

var corruptions = []corruption{
	{"client record is lost", Drop("client"), []int{1}},
	{"every record is lost", Drop("client", "nginx", record.Arrival, record.Completion), []int{1}},
	{"second client record", repeat[record.Client]("client", nil), []int{1}},
	{"access-log entry is lost", Drop("nginx"), []int{2, 4}},
	{"access-log entry and instance records are lost", Drop("nginx", record.Arrival, record.Completion), []int{2}},
	{"second access-log entry", repeat[record.AccessLogEntry]("nginx", nil), []int{2, 3}},
	{"second access-log entry without attempts", repeat("nginx", func(l *record.AccessLogEntry) {
		l.Addr, l.AddrStatus, l.HeaderTime, l.BytesSent = "", "", "", ""
	}), []int{2}},
	{"instance records are lost", Drop(record.Arrival, record.Completion), []int{3}},
	{"arrival is lost", Drop(record.Arrival), []int{3}},
	{"one more arrival", repeat(record.Arrival, func(c *record.Call) { c.Call += 1 << 32 }), []int{3}},
	{"one more arrival at another start of the instance", repeat(record.Arrival, func(c *record.Call) { c.Start += "b" }), []int{3}},
	{"arrival recorded twice", repeat[record.Call](record.Arrival, nil), []int{3}},
	{"arrival elsewhere", repeat(record.Arrival, func(c *record.Call) {
		c.Instance = map[string]string{"whoami-1": "whoami-2", "whoami-2": "whoami-3", "whoami-3": "whoami-1"}[c.Instance]
	}), []int{4}},
	{"arrival at the other listener", repeat(record.Arrival, func(c *record.Call) {
		c.Protocol = map[string]string{scenario.HTTP: scenario.GRPC, scenario.GRPC: scenario.HTTP}[c.Protocol]
	}), []int{4}},
	{"another address in the access-log entry", entry(func(l *record.AccessLogEntry) {
		l.Addr = strings.NewReplacer("1", "2", "2", "3", "3", "1").Replace(l.Addr[len(l.Addr)-1:])
		l.Addr = map[bool]string{true: "127.0.0.1:900", false: "127.0.0.1:800"}[strings.Contains(l.ID, "grpc")] + l.Addr
	}), []int{3, 4}},
	{"unknown address", entry(func(l *record.AccessLogEntry) { l.Addr = "127.0.0.9:1" }), []int{3, 4}},
	{"nginx sent nothing", entry(func(l *record.AccessLogEntry) { l.HeaderTime, l.BytesSent = "-", "0" }), []int{3}},
	{"client record has an attempt too many", client(func(c *record.Client) { c.Attempts++ }), []int{2}},
	{"response without an attempt", client(func(c *record.Client) { c.Attempts = 0 }), []int{1, 2}},
	{"dropped, and sent", client(func(c *record.Client) { c.Outcome = record.Dropped }), []int{1}},
	{"over the limit in flight, and sent", client(func(c *record.Client) {
		c.Outcome, c.Reason = record.Incomplete, record.InFlightLimit
	}), []int{1}},
}

// Each corruption of a lawful history is found: it, and nothing else.
func TestCorruptionsAreFound(t *testing.T) {
	t.Parallel()
	for seed, c := range corruptions {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, _ := Lawful(uint64(seed), 100)
			id := Plain(h, uint64(seed))
			c.spoil(&h, id)
			for round := range uint64(3) {
				if round > 0 {
					h.Records = Shuffled(h.Records, round)
				}
				got, _ := reconcile(t, h)
				var rules []int
				for _, d := range got.Discrepancies {
					if rules = append(rules, d.Rule); d.ID != id || d.What == "" || d.Client == "" || d.Nginx == "" || d.Instances == "" {
						t.Errorf("%+v", d)
					}
				}
				if !slices.Equal(rules, c.rules) || got.Count != len(rules) || len(got.Reasons) == 0 {
					t.Errorf("discrepancies %v, want rules %v of %s", got.Discrepancies, c.rules, id)
				}
			}
		})
	}
}

func TestForeignIDsAreFound(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"7.http.0.0", "11.http.0.99", "11.grpc.0.1", "11.http.0.01", "11.http.0.+1", "11.http.3.1", "elsewhere", "11.http.0.1.2"} {
		for rule, foreign := range map[int]any{
			1: record.Client{ID: id, Outcome: record.OK, Attempts: 1},
			2: record.AccessLogEntry{ID: id},
			4: record.Call{Event: record.Arrival, ID: id, Instance: "whoami-1", Protocol: scenario.HTTP},
		} {
			h, _ := Lawful(1, 3)
			h.Records = append(h.Records, foreign)
			got, emitted := reconcile(t, h)
			if got.Count != 1 || got.Discrepancies[0].Rule != rule || got.Discrepancies[0].ID != id || len(emitted) != 9 {
				t.Errorf("%T of %s: %v, %d requests", foreign, id, got.Discrepancies, len(emitted))
			}
		}
	}
}

var lateRecords = map[string]func(*labtest.History, string){
	"client": repeat[record.Client]("client", nil), "nginx": repeat[record.AccessLogEntry]("nginx", nil),
	record.Arrival: repeat[record.Call](record.Arrival, nil), record.Completion: repeat[record.Call](record.Completion, nil),
}

// late feeds 50 ordinary requests and, after the sixth, one more record of the first.
func late(t *testing.T, kind string, maxClosed int) (Reconciliation, *Request) {
	t.Helper()
	h := labtest.History{Manifest: labtest.Manifest(50)}
	h.Planned = h.Planned[:1]
	for n := range 50 {
		h.Records = append(h.Records, labtest.Ordinary(h.Manifest, n)...)
		if n == 5 {
			lateRecords[kind](&h, "11.http.0.0")
		}
	}
	var first *Request
	r := NewReconciler(h.Manifest, func(q *Request) {
		if q.N == 0 {
			first = q
		}
	})
	r.maxClosed = maxClosed
	feed(t, r, h.Records)
	return r.Finish(), first
}

// A record that comes after its request was emitted is reported with the request's other records while those are kept, later without them. What was
// emitted does not change.
func TestLateRecordIsADiscrepancy(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]struct {
		kept []int
		gone int
	}{"client": {[]int{1}, 1}, "nginx": {[]int{2, 3}, 2}, record.Arrival: {[]int{3}, 4}, record.Completion: {[]int{3}, 4}} {
		got, first := late(t, kind, 10)
		var rules []int
		for _, d := range got.Discrepancies {
			if rules = append(rules, d.Rule); !strings.Contains(d.Nginx, "whoami-1 (HTTP) (header)") {
				t.Errorf("%s: nginx's records are not shown: %v", kind, d)
			}
		}
		if !slices.Equal(rules, want.kept) {
			t.Errorf("%s: rules %v, want %v", kind, rules, want.kept)
		}
		if len(first.FurtherClients) > 0 || len(first.Entries) != 1 || len(first.Executions) != 1 || len(first.Executions[0].Further) > 0 {
			t.Errorf("%s: the emitted request has changed: %+v", kind, first)
		}
		got, _ = late(t, kind, 3)
		if got.Count != 1 || got.Discrepancies[0].Rule != want.gone || got.Discrepancies[0].ID != "11.http.0.0" || got.Discrepancies[0].Client != "reconciled" {
			t.Errorf("%s: %v, want rule %d", kind, got.Discrepancies, want.gone)
		}
	}
}

func TestFirstDiscrepanciesAreKept(t *testing.T) {
	t.Parallel()
	h := labtest.History{Manifest: labtest.Manifest(500)}
	for n := range 500 {
		h.Records = append(h.Records, record.Call{Event: record.Arrival, ID: fmt.Sprintf("11.http.0.%d", n), Instance: "whoami-1", Protocol: scenario.HTTP})
	}
	for seed := range uint64(3) {
		got, _ := reconcile(t, labtest.History{Manifest: h.Manifest, Records: Shuffled(h.Records, seed)})
		// No client record of any load, and arrivals without an access-log entry.
		if got.Count != 1500+500 || len(got.Discrepancies) != MaxDiscrepancies || got.Discrepancies[0].ID != "11.http.0.0" || got.Discrepancies[MaxDiscrepancies-1].ID != "11.http.0.49" {
			t.Errorf("%d, %d kept: %v", got.Count, len(got.Discrepancies), got.Discrepancies[0])
		}
	}
}

// A flood of records that wait for others ends in a reason, not in all of the memory.
func TestOpenRequestsAreBounded(t *testing.T) {
	t.Parallel()
	const room = 1000
	r := NewReconciler(labtest.Manifest(2*room), func(*Request) {})
	r.maxOpen = room
	for n := range 3 * room / 2 {
		if err := r.AddAccessLogEntry(record.AccessLogEntry{ID: fmt.Sprintf("11.http.0.%d", n)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.open) != room {
		t.Errorf("%d are open", len(r.open))
	}
	if got := r.Finish(); !slices.Contains(got.Reasons, "more than 1000 requests waited for records at once: 500 records could not be matched, and the metrics lack their requests") {
		t.Errorf("%v", got.Reasons)
	}
}

// A request with several discrepancies is one, and a late record of it makes it no other.
func TestContradictoryRequestsAreCountedOnce(t *testing.T) {
	t.Parallel()
	h, _ := Lawful(1, 100)
	Drop("nginx")(&h, Plain(h, 0)) // Rules 2 and 4.
	id := Plain(h, 1)
	for range 3 {
		lateRecords["client"](&h, id)
	}
	h.Records = append(h.Records, record.AccessLogEntry{ID: "elsewhere"})
	r := NewReconciler(h.Manifest, func(*Request) {})
	r.maxClosed = 1
	feed(t, r, h.Records)
	if got := r.Finish(); got.Count != 6 || got.Reasons[0] != "the records of client, nginx and instances contradict each other in 6 places of 3 requests" {
		t.Errorf("%q %v", got.Reasons, got.Discrepancies)
	}
}

// Memory holds what is open and what was emitted last, however much there was.
func TestMemoryIsBoundedByWhatIsOpen(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(2_000)
	emitted := 0
	r := NewReconciler(m, func(*Request) { emitted++ })
	r.maxClosed = 100
	for n := range 2_000 {
		feed(t, r, labtest.Ordinary(m, n))
	}
	if emitted != 2_000 || len(r.open) != 0 || len(r.closed) != 100 || len(r.queue) != 100 {
		t.Errorf("%d emitted, %d open, %d closed, %d queued", emitted, len(r.open), len(r.closed), len(r.queue))
	}
}

// Where every process has the pid 1, instance and start say which of them was killed.
func TestKilledStartIsKnownByItsInstanceAndID(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(3)
	m.Planned = []int{3, 0, 0}
	h := labtest.History{Manifest: m}
	for n, start := range [][2]string{{"whoami-1", "first"}, {"whoami-1", "second"}, {"whoami-2", "first"}} {
		id := fmt.Sprintf("11.http.0.%d", n)
		one := labtest.History{Manifest: m, Records: labtest.Ordinary(m, n)}
		Drop(record.Completion)(&one, id)
		change(record.Arrival, func(c *record.Call) { c.Instance, c.Start, c.Call = start[0], start[1], 1 })(&one, id)
		entry(func(l *record.AccessLogEntry) {
			l.Addr = map[string]string{"whoami-1": m.Instances[0].HTTP, "whoami-2": m.Instances[1].HTTP}[start[0]]
		})(&one, id)
		client(func(c *record.Client) { c.Instance = start[0] })(&one, id)
		h.Records = append(h.Records, one.Records...)
	}
	died := func(instance, start string) any {
		return record.Event{Event: record.ProcessEvent, Kind: record.Died, Process: instance, PID: 1, Start: start, Exit: &record.Exit{Signal: "SIGKILL"}}
	}
	for name, c := range map[string]struct {
		events []any
		want   []string
	}{
		"neither is killed":             {nil, []string{"11.http.0.0", "11.http.0.1", "11.http.0.2"}},
		"first is killed":               {[]any{died("whoami-1", "first")}, []string{"11.http.0.1", "11.http.0.2"}},
		"second is killed":              {[]any{died("whoami-1", "second")}, []string{"11.http.0.0", "11.http.0.2"}},
		"first of whoami-2 is killed":   {[]any{died("whoami-2", "first")}, []string{"11.http.0.0", "11.http.0.1"}},
		"both of an instance":           {[]any{died("whoami-1", "first"), died("whoami-1", "second")}, []string{"11.http.0.2"}},
		"start is unknown":              {[]any{died("whoami-1", "")}, []string{"11.http.0.0", "11.http.0.1", "11.http.0.2"}},
		"start of another is not there": {[]any{died("whoami-2", "second")}, []string{"11.http.0.0", "11.http.0.1", "11.http.0.2"}},
	} {
		got, _ := reconcile(t, labtest.History{Manifest: m, Records: append(slices.Clone(h.Records), c.events...)})
		var ids []string
		for _, d := range got.Discrepancies {
			if ids = append(ids, d.ID); d.Rule != 6 {
				t.Errorf("%s: %v", name, d)
			}
		}
		if !slices.Equal(ids, c.want) {
			t.Errorf("%s: discrepancies of %v, want %v", name, ids, c.want)
		}
	}
}

// A start that its ID does not identify, or that the lab did not make, is a reason, whatever its calls.
func TestAmbiguousStartsAreReasons(t *testing.T) {
	t.Parallel()
	const (
		unknown  = "records/instances.jsonl has 6 records of instances whose start is not in records/events.jsonl"
		repeated = "records/events.jsonl has 2 starts of instances without an ID, or with one that another start has"
	)
	started := func(instance, start string) any {
		return record.Event{Event: record.ProcessEvent, Kind: record.Started, Process: instance, Start: start}
	}
	m := labtest.Manifest(3)
	m.Planned = []int{3, 0, 0}
	calls := slices.Concat(labtest.Ordinary(m, 0), labtest.Ordinary(m, 1), labtest.Ordinary(m, 2))
	same := labtest.History{Manifest: m, Records: slices.Clone(calls)}
	for i, r := range same.Records {
		if c, ok := r.(record.Call); ok {
			c.Start = "s"
			same.Records[i] = c
		}
	}
	one, two, three := started("whoami-1", "whoami-1"), started("whoami-2", "whoami-2"), started("whoami-3", "whoami-3")
	for name, c := range map[string]struct {
		records []any
		want    []string
	}{
		"each start is known":       {append(slices.Clone(calls), one, two, three), nil},
		"another start, of no call": {append(slices.Clone(calls), one, two, three, started("whoami-1", "again")), nil},
		"no start is known":         {calls, []string{unknown}},
		"start of another instance": {append(slices.Clone(calls), started("whoami-3", "whoami-1"), started("whoami-1", "whoami-2"), started("whoami-2", "whoami-3")), []string{unknown}},
		"one ID at two instances":   {append(same.Records, started("whoami-1", "s"), started("whoami-2", "s"), started("whoami-3", "t")), []string{"records/instances.jsonl has 2 records of", repeated}},
		"one ID twice":              {append(slices.Clone(calls), one, two, three, one), []string{repeated}},
		"start without an ID":       {append(slices.Clone(calls), one, two, three, started("whoami-1", ""), started("whoami-2", "")), []string{repeated}},
		"start of nginx":            {append(slices.Clone(calls), one, two, three, started(scenario.Nginx, ""), started(scenario.Nginx, "")), nil},
	} {
		got, _ := reconcile(t, labtest.History{Manifest: m, Records: c.records})
		if len(got.Reasons) != len(c.want) || got.Count > 0 {
			t.Errorf("%s: %q %v, want %q", name, got.Reasons, got.Discrepancies, c.want)
			continue
		}
		for i, want := range c.want {
			if !strings.HasPrefix(got.Reasons[i], want) {
				t.Errorf("%s: %q, want %q", name, got.Reasons, c.want)
			}
		}
	}
}

// Whatever a line holds, it is read or refused, and the result is the same.
func FuzzAccessLogEntry(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"11.http.0.0","end":1795513838.423,"upstream_addr":"127.0.0.1:8001, 127.0.0.1:8002","upstream_header_time":"-, 0.001","upstream_bytes_sent":"0, 246"}`))
	f.Add([]byte(`{"v":1,"id":"11.grpc.1.0","upstream_addr":"127.0.0.1:9001 : whoami_grpc","upstream_header_time":"0.1 : -","upstream_bytes_sent":"7 : 0","grpc_status_header":"4"}`))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var l record.AccessLogEntry
		if err := json.Unmarshal(text, &l); err != nil || l.V != record.AccessLogVersion || l.ID == "" {
			return
		}
		attempts, wrong := l.Attempts()
		if wrong == nil && len(attempts) > 1+strings.Count(l.Addr, ", ")+strings.Count(l.Addr, " : ") {
			t.Errorf("%d attempts in %q", len(attempts), l.Addr)
		}
		r := NewReconciler(labtest.Manifest(1), func(*Request) {})
		if took := r.AddAccessLogEntry(l); (took == nil) != (wrong == nil) {
			t.Errorf("%v, and the reconciler says %v", wrong, took)
		}
		r.Finish()
	})
}

// An instance counts its arrivals: one that is removed, or given to another request, is missed, also where nginx cannot know of it.
func TestArrivalsAreCounted(t *testing.T) {
	t.Parallel()
	last := func(start string) func(any) bool {
		return func(r any) bool {
			c, ok := r.(record.Call)
			return ok && c.Start == start && c.Call == 9
		}
	}
	for name, c := range map[string]struct {
		spoil func(h *labtest.History)
		want  string // part of a reason; "": none is wanted
	}{
		"none":          {func(*labtest.History) {}, ""},
		"removed":       {func(h *labtest.History) { h.Records = slices.DeleteFunc(h.Records, last("s0")) }, "whoami-1 counted "},
		"of one killed": {func(h *labtest.History) { h.Records = slices.DeleteFunc(h.Records, last("s1")) }, ""},
		"of another start": {func(h *labtest.History) {
			edit(h, last("s0"), func(c *record.Call) { c.Start, c.Instance = "s2", "whoami-3" })
		}, "whoami-3 counted "},
		"another number": {func(h *labtest.History) { edit(h, last("s0"), func(c *record.Call) { c.Call = 8 }) }, "whoami-1 counted "},
	} {
		h, _ := Lawful(1, 200)
		c.spoil(&h)
		got, _ := reconcile(t, h)
		reasons := strings.Join(got.Reasons, "\n")
		if !strings.Contains(reasons, c.want) || c.want == "" && strings.Contains(reasons, " counted ") {
			t.Errorf("%s: %q, want %q", name, got.Reasons, c.want)
		}
	}
}

// edit changes the calls for which is holds.
func edit(h *labtest.History, is func(any) bool, change func(*record.Call)) {
	for i, r := range h.Records {
		if is(r) {
			c := r.(record.Call)
			change(&c)
			h.Records[i] = c
		}
	}
}
