package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/internal/hop"
	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A planter makes up requests whose receivers call others.
type planter struct {
	*rand.Rand
	labtest.History
	calls  map[string]uint64 // arrivals, by instance
	wild   bool              // attempts fail, nginx tries the next instance, and one start is killed
	counts map[int]Want      // by depth
}

// treeHops are those of all loads: four calls, one of them of a retried one.
var treeHops = []string{"grpc*3,http:front", "grpc*2"}

// plant is a history of n requests of each load.
func plant(seed uint64, n int, wild bool) *planter {
	p := &planter{Rand: rand.New(rand.NewPCG(seed, 3)), History: labtest.History{Manifest: labtest.Manifest(n)}, calls: make(map[string]uint64), wild: wild, counts: make(map[int]Want)}
	p.Scenario.Front = 2
	for i := range 2 {
		p.Instances = append(p.Instances, record.Instance{Name: scenario.FrontName(i + 1), HTTP: fmt.Sprint("127.0.0.1:", 8101+i), GRPC: fmt.Sprint("127.0.0.1:", 9101+i)})
	}
	for _, i := range p.Instances {
		p.Records = append(p.Records, record.Event{V: record.EventVersion, Time: p.Begin, Event: record.ProcessEvent, Kind: record.Started, Process: i.Name, PID: 1, Start: "s" + i.Name})
	}
	if wild {
		p.Records = append(p.Records, record.Event{V: record.EventVersion, Time: p.Begin, Event: record.ProcessEvent, Kind: record.Died, Process: "whoami-2", PID: 1, Start: "swhoami-2", Exit: &record.Exit{Signal: "SIGKILL"}})
	}
	for load := range p.Planned {
		l := &p.Scenario.Loads[load]
		l.Hops, l.Deadline = treeHops, time.Second
		route, err := p.Scenario.Route(load)
		if err != nil {
			panic(err)
		}
		for i := range n {
			c := labtest.OK(fmt.Sprintf("11.%s.%d.%d", l.Protocol, load, i), labtest.Planned(p.Manifest, load, i))
			c.Protocol, c.Load, c.Service, c.Latency = l.Protocol, load, 64_000, 64_100
			from := c.Planned.Add(100 * time.Microsecond)
			attempts := 1
			if load == 1 {
				attempts = 3
			}
			got := p.call(c.ID, hop.Call{Protocol: l.Protocol, Service: hop.Whoami, Attempts: attempts}, route, from, from.Add(64*time.Millisecond), 0)
			c.Attempts, c.Code, c.Instance = got.attempts, got.code, got.instance
			if c.Outcome = record.OK; got.code != "OK" && got.code != "200" {
				c.SetError("error")
			}
			p.Records = append(p.Records, c)
		}
	}
	return p
}

// Plant is a history of n requests of each load whose receivers call others, and what must be counted of them, by depth.
func Plant(seed uint64, n int) (labtest.History, map[int]Want) {
	p := plant(seed, n, true)
	return p.History, p.counts
}

func (p *planter) add(depth int, name string) {
	if p.counts[depth].Counts == nil {
		p.counts[depth] = Want{Counts: make(map[string]int)}
	}
	p.counts[depth].Counts[name]++
}

// got is what a caller got.
type got struct {
	attempts int
	code     string
	instance string // "": nginx responded
}

// call makes up a call and all that follows from it, between two times.
func (p *planter) call(id string, c hop.Call, r hop.Route, from, to time.Time, depth int) (g got) {
	p.add(depth, "requests")
	grpc := c.Protocol == hop.GRPC
	for g.attempts < c.Attempts {
		g.attempts++
		begin := from.Add(to.Sub(from) * time.Duration(g.attempts-1) / time.Duration(c.Attempts)).Add(10 * time.Microsecond)
		end := begin.Add(to.Sub(from)/time.Duration(c.Attempts) - 20*time.Microsecond)
		l := record.AccessLogEntry{V: record.AccessLogVersion, ID: id, End: float64(end.UnixMilli()) / 1000, Duration: float64(end.Sub(begin).Milliseconds()) / 1000}
		var addrs, headers, sent, status []string
		attempt := func(instance int, header, bytes, came string) {
			addr := p.Instances[instance].HTTP
			if grpc {
				addr = p.Instances[instance].GRPC
			}
			addrs, headers, sent, status = append(addrs, addr), append(headers, header), append(sent, bytes), append(status, came)
			p.add(depth, "nginx_attempts")
		}
		pick := func() int {
			if c.Service == hop.Front {
				return 3 + p.IntN(2)
			}
			return p.IntN(3)
		}
		if p.wild && p.IntN(6) == 0 { // In doubt: executed or not, and nginx tries the next instance.
			x := pick()
			attempt(x, "-", "9", "502")
			if p.IntN(2) == 0 {
				p.execute(id, c, r, x, g.attempts, begin, begin.Add(end.Sub(begin)/2), depth)
			}
		}
		switch {
		case p.wild && p.IntN(6) == 0: // nginx responds by itself.
			attempt(pick(), "-", "0", "502")
			g.code, g.instance = code(c.Protocol, "502"), ""
			l.Error = "502"
		default:
			x := pick()
			g.code, g.instance = p.execute(id, c, r, x, g.attempts, begin, end, depth), p.Instances[x].Name
			attempt(x, "0.001", "9", map[bool]string{true: "200", false: g.code}[grpc])
		}
		respond(&l, grpc, g.code)
		l.Addr, l.HeaderTime, l.BytesSent, l.AddrStatus = strings.Join(addrs, ", "), strings.Join(headers, ", "), strings.Join(sent, ", "), strings.Join(status, ", ")
		p.Records = append(p.Records, l)
		if g.code != "Unavailable" {
			break
		}
	}
	return g
}

// execute makes up an execution, and returns its code.
func (p *planter) execute(id string, c hop.Call, r hop.Route, instance, attempt int, from, to time.Time, depth int) string {
	p.add(depth, "executions")
	name := p.Instances[instance].Name
	p.calls[name]++
	call := record.Call{
		V: record.CallVersion, Event: record.Arrival, Time: from.Add(10 * time.Microsecond), Instance: name, PID: 1, Start: "s" + name, Call: p.calls[name], ID: id, Protocol: c.Protocol,
	}
	if attempt > 1 {
		call.PreviousAttempts = fmt.Sprint(attempt - 1)
	}
	p.Records = append(p.Records, call)
	code := code(c.Protocol, "200")
	killed := p.wild && name == "whoami-2" && p.IntN(3) == 0
	if p.wild && p.IntN(8) == 0 { // It fails before it calls.
		code = map[string]string{scenario.HTTP: "500", scenario.GRPC: "Internal"}[c.Protocol]
		r.Calls = nil
	}
	for n, next := range r.Calls {
		began, ended := from.Add(50*time.Microsecond), to.Add(-100*time.Microsecond)
		g := p.call(hop.ChildID(id, attempt-1, n+1), next, r.Next(n), began, ended, depth+1)
		o := record.Outgoing{Call: call, Attempts: g.attempts}
		o.Event, o.PreviousAttempts, o.ID, o.Protocol, o.Code, o.Time, o.Duration = record.OutgoingCall, "", hop.ChildID(id, attempt-1, n+1), next.Protocol, g.code, ended, ended.Sub(began).Microseconds()
		if g.code != "OK" && g.code != "200" {
			code = map[string]string{scenario.HTTP: "502", scenario.GRPC: "Unavailable"}[c.Protocol]
		}
		if killed && p.IntN(2) == 0 {
			p.counts[depth+1].Counts["requests"]--
			continue // It was killed before it could record this.
		}
		p.Records = append(p.Records, o)
	}
	call.Event, call.Code, call.Time = record.Completion, code, to.Add(-20*time.Microsecond)
	call.Duration = call.Time.Sub(from.Add(10 * time.Microsecond)).Microseconds()
	if killed { // After its response, as far as nginx knows.
		return code
	}
	p.Records = append(p.Records, call)
	return code
}

// Calls that instances make belong to the request that they were made for, whatever is retried, executed twice or killed, and in whatever
// order the records come.
func TestLawfulTreesAreClean(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p := plant(seed, 40, seed > 0)
			for round := range uint64(2) {
				h := p.History
				if round > 0 {
					h.Records = Shuffled(h.Records, seed)
				}
				found, emitted := reconcile(t, h)
				if found.Count > 0 || len(found.Reasons) > 0 || len(emitted) != 120 {
					t.Fatalf("%d requests; %v %v", len(emitted), found.Reasons, found.Discrepancies)
				}
				have := make(map[int]map[string]int)
				for id, root := range emitted {
					if root.Client.ID != id {
						t.Fatalf("%s is emitted as %s", root.Client.ID, id)
					}
					for q := range root.All {
						if have[q.Depth] == nil {
							have[q.Depth] = make(map[string]int)
						}
						have[q.Depth]["requests"] += len(q.Clients())
						have[q.Depth]["executions"] += len(q.Executions)
						have[q.Depth]["nginx_attempts"] += len(q.NginxAttempts)
					}
				}
				for depth, want := range p.counts {
					for name, n := range want.Counts {
						if have[depth][name] != n {
							t.Errorf("depth %d: %s is %d, want %d", depth, name, have[depth][name], n)
						}
					}
				}
			}
		})
	}
}

// A tree is emitted with its last record, without waiting for the end of the trial.
func TestTreeIsEmittedWhenItIsComplete(t *testing.T) {
	t.Parallel()
	p := plant(1, 5, false)
	emitted := 0
	r := NewReconciler(p.Manifest, func(*Request) { emitted++ })
	feed(t, r, Shuffled(p.Records, 1))
	if emitted != 15 || r.waiting != 0 {
		t.Errorf("%d emitted, %d requests and calls are open", emitted, r.waiting)
	}
}

func outgoing(edit func(*record.Outgoing)) func(*labtest.History, string) {
	return change(record.OutgoingCall, edit)
}

// below does something to each request below an ID, and to itself.
func below(spoil func(*labtest.History, string)) func(*labtest.History, string) {
	return func(h *labtest.History, id string) {
		ids := make(map[string]bool)
		for _, r := range h.Records {
			if c, ok := r.(record.Call); ok && (c.ID == id || strings.HasPrefix(c.ID, id+".")) {
				ids[c.ID] = true
			}
		}
		for one := range ids {
			spoil(h, one)
		}
	}
}

// treeCorruptions are of a call that succeeded at once, and of the rules that this breaks.
var treeCorruptions = []corruption{
	{"outgoing record is lost", Drop(record.OutgoingCall), []int{1}},
	{"outgoing record is doubled", repeat[record.Outgoing](record.OutgoingCall, nil), []int{1, 2}},
	{"outgoing record is of no call", outgoing(func(o *record.Outgoing) { o.Call.Call += 1000 }), []int{1}},
	{"outgoing record is of another start", outgoing(func(o *record.Outgoing) { o.Start = "t" }), []int{1}},
	{"outgoing record is of another instance", outgoing(func(o *record.Outgoing) { o.Instance = "front-9" }), []int{1}},
	{"all that a call left is lost", below(Drop(record.OutgoingCall, "nginx", record.Arrival, record.Completion)), []int{1}},
	{"all that a call left but its outgoing record is lost", below(Drop("nginx", record.Arrival, record.Completion)), []int{2}},
	{"access-log entry of a call is lost", Drop("nginx"), []int{2, 4}},
	{"access-log entry of a call is doubled", repeat[record.AccessLogEntry]("nginx", nil), []int{2, 3}},
	{"execution of a call is doubled", repeat(record.Arrival, func(c *record.Call) { c.Call += 1000 }), []int{3}},
	{"call is doubled", all(repeat[record.AccessLogEntry]("nginx", nil), repeat(record.Arrival, func(c *record.Call) { c.Call += 1000 })), []int{2}},
	{"execution of a call is lost", Drop(record.Arrival, record.Completion), []int{3}},
	{"completion of a call is lost", Drop(record.Completion), []int{6}},
	{"arrival of a call elsewhere", change(record.Arrival, func(c *record.Call) { c.Instance = "whoami-9" }), []int{3, 4}},
	{"attempt of a caller too many", outgoing(func(o *record.Outgoing) { o.Attempts++ }), []int{2}},
	{"attempt of a caller that was not logged", outgoing(func(o *record.Outgoing) { o.Attempts, o.MaybeUnlogged = 2, []string{record.TransparentRetry} }), nil},
	{"caller got another code than nginx sent", outgoing(func(o *record.Outgoing) {
		o.Code = map[string]string{"OK": "NotFound", "200": "404"}[o.Code]
	}), []int{5}},
	{"nginx sent another code than the caller got", entry(func(l *record.AccessLogEntry) {
		if l.Trailer = "13"; !strings.Contains(l.Addr, ":90") {
			l.Status = "404"
		}
	}), []int{5}},
	{"call took longer than the execution that made it", outgoing(func(o *record.Outgoing) { o.Duration += 1_000_000 }), []int{7}},
	{"call ended after the execution that made it", outgoing(func(o *record.Outgoing) { o.Time = o.Time.Add(150 * time.Millisecond) }), []int{7}},
	{"call began before the execution that made it", outgoing(func(o *record.Outgoing) { o.Time = o.Time.Add(-150 * time.Millisecond) }), []int{7}},
	{"execution of a call took longer than the call", completion(func(c *record.Call) { c.Duration += 1_000_000 }), []int{7}},
	{"execution of a call before the call", change(record.Arrival, func(c *record.Call) { c.Time = c.Time.Add(-time.Second) }), []int{7}},
	{"client has a record of a call", func(h *labtest.History, id string) {
		h.Records = append(h.Records, labtest.OK(id, h.Begin))
	}, []int{1}},
	{"call of a retry that was none", func(h *labtest.History, id string) {
		last := strings.LastIndexByte(id, '.')
		retried := id[:last] + "-2" + id[last:]
		for i, r := range h.Records {
			switch r := r.(type) {
			case record.Outgoing:
				if r.ID == id {
					r.ID = retried
				}
				h.Records[i] = r
			case record.Call:
				if r.ID == id {
					r.ID = retried
				}
				h.Records[i] = r
			case record.AccessLogEntry:
				if r.ID == id {
					r.ID = retried
				}
				h.Records[i] = r
			}
		}
	}, []int{1}},
}

// Each corruption of a call is found, in it or in the requests that it was made for or that were made for it, and nowhere else.
func TestCorruptionsOfCallsAreFound(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{".1", ".2", ".1.1", ".2.1"} {
		for n, c := range treeCorruptions {
			t.Run(fmt.Sprint(suffix, " ", c.name), func(t *testing.T) {
				t.Parallel()
				p := plant(uint64(n), 8, false)
				root := "11.grpc.1.7"
				c.spoil(&p.History, root+suffix)
				for round := range uint64(2) {
					if round > 0 {
						p.Records = Shuffled(p.Records, round)
					}
					found, _ := reconcile(t, p.History)
					var rules []int
					for _, d := range found.Discrepancies {
						if rules = append(rules, d.Rule); !strings.HasPrefix(d.ID, root) || d.What == "" || d.Client == "" || d.Nginx == "" || d.Instances == "" {
							t.Errorf("%+v", d)
						}
					}
					missed := slices.ContainsFunc(c.rules, func(rule int) bool { return !slices.Contains(rules, rule) })
					if missed || len(c.rules) == 0 && found.Count > 0 {
						t.Errorf("rules %v, want %v of %s: %v", rules, c.rules, root+suffix, found.Discrepancies)
					}
				}
			})
		}
	}
}

// A call that no request asks for is foreign, whatever it was made by.
func TestUnplannedCallsAreFound(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{".3", ".0", ".01", ".1.2", ".1.1.1", ".2.1.1.1", "-1.1", "-6.1", ".2-2.1", "-2", ".1-", ".", ".1.", ".1x", "-.1"} {
		for rule, foreign := range map[int]any{
			1: record.Outgoing{Call: record.Call{Event: record.OutgoingCall, Instance: "whoami-1", Start: "s", Call: 1, Protocol: scenario.GRPC, Code: "OK"}, Attempts: 1},
			2: record.AccessLogEntry{},
			4: record.Call{Event: record.Arrival, Instance: "whoami-1", Start: "s", Call: 1, Protocol: scenario.GRPC},
		} {
			p := plant(1, 3, false)
			id := "11.grpc.1.0" + suffix
			switch f := foreign.(type) {
			case record.Outgoing:
				f.ID = id
				foreign = f
			case record.AccessLogEntry:
				f.ID = id
				foreign = f
			case record.Call:
				f.ID = id
				foreign = f
			}
			p.Records = append(p.Records, foreign)
			found, _ := reconcile(t, p.History)
			if found.Count != 1 || found.Discrepancies[0].Rule != rule || found.Discrepancies[0].ID != id {
				t.Errorf("%T of %s: %v", foreign, id, found.Discrepancies)
			}
		}
	}
}

// A flood of calls that no execution made is bounded like one of requests.
func TestOpenCallsAreBounded(t *testing.T) {
	t.Parallel()
	p := plant(1, 100, false)
	r := NewReconciler(p.Manifest, func(*Request) {})
	r.maxOpen = 50
	for n := range 100 {
		for _, suffix := range []string{".1", ".2", ".1.1", "-2.1", "-3.1-2.1"} {
			if err := r.AddAccessLogEntry(record.AccessLogEntry{ID: fmt.Sprintf("11.grpc.1.%d%s", n, suffix)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if r.waiting != 50 || r.excess == 0 {
		t.Errorf("%d are open, %d records were too many", r.waiting, r.excess)
	}
	r.Finish()
}
