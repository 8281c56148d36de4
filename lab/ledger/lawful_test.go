package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Want is what must be counted.
type Want struct {
	Counts        map[string]int // by the metrics' names in expectations
	FirstAttempts map[string]int // by instance
}

// author makes up a history.
type author struct {
	*rand.Rand
	labtest.History
	records []timed
	want    map[[2]int]*Want // by load and phase
	calls   [3]uint64        // of each instance
}

// timed is a record, and when it is written.
type timed struct {
	at     time.Time
	record any
}

// Lawful is a history of n requests per load that keeps all rules, in the order of its times, and what must be counted of it, by load and
// phase. During it whoami-2 is killed. Every process has the pid 1.
func Lawful(seed uint64, n int) (labtest.History, map[[2]int]*Want) {
	h := &author{Rand: rand.New(rand.NewPCG(seed, 1)), History: labtest.History{Manifest: labtest.Manifest(n)}, want: make(map[[2]int]*Want)}
	h.Scenario.Phases[1].Do = []scenario.Action{
		{Process: &scenario.ProcessAction{Kind: scenario.Kill, Names: []string{"whoami-2"}}}, {Process: &scenario.ProcessAction{Kind: scenario.Reload, Names: []string{scenario.Nginx}}},
	}
	for load := range h.Planned {
		h.Scenario.Loads[load].Deadline = 15 * time.Millisecond // A response takes at most 14.
		i := 0
		for offset := range h.Scenario.Loads[load].Rate.Offsets(h.Scenario.Length()) {
			h.request(load, i, offset)
			i++
		}
	}
	h.probes()
	at := func(d time.Duration, e record.Event) {
		e.V, e.Time = record.EventVersion, h.Begin.Add(d)
		h.add(e.Time, e)
	}
	at(-time.Second, record.Event{Event: record.ProcessEvent, Kind: record.Started, Process: scenario.Nginx})
	for i, instance := range h.Instances {
		at(-time.Second, record.Event{Event: record.ProcessEvent, Kind: record.Started, Process: instance.Name, PID: 1, Start: fmt.Sprint("s", i)})
	}
	at(0, record.Event{Event: record.PhaseStarted, Phase: "before"})
	at(3500*time.Millisecond, record.Event{Event: record.PhaseStarted, Phase: "during"})
	at(3501*time.Millisecond, record.Event{Event: record.ActionStarted, Phase: "during", Action: scenario.Kill, Process: "whoami-2"})
	at(3502*time.Millisecond, record.Event{Event: record.ProcessEvent, Kind: record.Died, Process: "whoami-2", PID: 1, Start: "s1", Exit: &record.Exit{Signal: "SIGKILL"}})
	at(3503*time.Millisecond, record.Event{Event: record.ActionDone, Phase: "during", Action: scenario.Kill, Process: "whoami-2"})
	at(3504*time.Millisecond, record.Event{Event: record.ActionStarted, Phase: "during", Operation: 1, Action: scenario.Reload, Process: scenario.Nginx})
	at(3600*time.Millisecond, record.Event{Event: record.ActionDone, Phase: "during", Operation: 1, Action: scenario.Reload, Process: scenario.Nginx})
	at(7500*time.Millisecond, record.Event{Event: record.PhaseStarted, Phase: "after"})
	at(time.Minute, record.Event{Event: record.Ended})
	slices.SortStableFunc(h.records, func(a, b timed) int { return a.at.Compare(b.at) })
	for _, r := range h.records {
		h.Records = append(h.Records, r.record)
	}
	return h.History, h.want
}

func (h *author) add(at time.Time, r any) { h.records = append(h.records, timed{at, r}) }

// probes are the lab's own requests, which are not counted.
func (h *author) probes() {
	for i := range 5 {
		at, id := h.Begin.Add(-time.Duration(i)*time.Millisecond), fmt.Sprint(record.ProbeIDPrefix, i)
		h.add(at, record.Event{V: record.EventVersion, Time: at, Event: record.Probe, ID: id})
		h.add(at, h.call(id, scenario.HTTP, at, 0))
		h.add(at, h.entry(id, at, "200", attempt{0, record.GotHeader}))
	}
}

func (h *author) call(id, protocol string, at time.Time, instance int) record.Call {
	h.calls[instance]++
	return record.Call{
		V: record.CallVersion, Event: record.Arrival, Time: at, Instance: h.Instances[instance].Name, PID: 1, Start: fmt.Sprint("s", instance), Call: h.calls[instance], ID: id,
		Protocol: protocol,
	}
}

// An attempt is one of nginx's in the making.
type attempt struct {
	instance int
	fate     record.Fate
}

// entry is an access-log entry whose response has that code. Its attempts stand in one pass, or in one each.
func (h *author) entry(id string, at time.Time, code string, attempts ...attempt) record.AccessLogEntry {
	l := record.AccessLogEntry{V: record.AccessLogVersion, ID: id, End: float64(at.UnixMilli()) / 1000}
	respond(&l, strings.Contains(id, ".grpc."), code)
	var addrs, headers, sent, status []string
	for _, a := range attempts {
		addr := h.Instances[a.instance].HTTP
		if strings.Contains(id, ".grpc.") {
			addr = h.Instances[a.instance].GRPC
		}
		header, bytes, came := "-", "0", "502"
		switch a.fate {
		case record.InDoubt:
			bytes = "254"
		case record.GotHeader:
			header, bytes, came = "0.001", "254", l.Status
		case record.Expired:
			header, bytes, came, l.HeaderStatus = "0.001", "254", "200", "4"
		case record.NoLive:
			addr = "whoami_upstream"
		}
		addrs, headers, sent, status = append(addrs, addr), append(headers, header), append(sent, bytes), append(status, came)
	}
	separator := []string{", ", " : "}[h.IntN(2)]
	for _, list := range []struct {
		to   *string
		from []string
	}{{&l.Addr, addrs}, {&l.HeaderTime, headers}, {&l.BytesSent, sent}, {&l.AddrStatus, status}} {
		*list.to = strings.Join(list.from, separator)
	}
	return l
}

// respond fills in the response: an instance's, unless nginx generates it.
func respond(l *record.AccessLogEntry, grpc bool, code string) {
	l.Status = code
	if !grpc {
		return
	}
	switch l.Status = "200"; code {
	case "":
		l.Status = "499"
	case "OK":
		l.Trailer = "0"
	case "Internal":
		l.Trailer = "13"
	case "Unavailable":
		l.HeaderStatus = "14"
	case "ResourceExhausted":
		l.HeaderStatus = "8"
	}
}

// request makes up one request and all its records.
func (h *author) request(load, n int, planned time.Duration) {
	l := h.Scenario.Loads[load]
	c := record.Client{
		V: record.ClientVersion, ID: fmt.Sprintf("%d.%s.%d.%d", h.Scenario.Seed, l.Protocol, load, n), Load: load, Protocol: l.Protocol,
		Planned: h.Begin.Add(planned), Late: h.Int64N(900), Outcome: record.OK, Code: code(l.Protocol, "200"), Attempts: 1,
	}
	c.Service = 5000 + h.Int64N(9000)
	key := [2]int{load, h.Scenario.PhaseAt(planned)}
	w := h.want[key]
	if w == nil {
		w = &Want{Counts: make(map[string]int), FirstAttempts: make(map[string]int)}
		h.want[key] = w
	}
	start, before := c.Planned.Add(time.Duration(c.Late)*time.Microsecond), w.Counts["executions"]
	at, end := start, start.Add(time.Duration(c.Service)*time.Microsecond)
	entries := h.plot(&c)
	for i, attempts := range entries {
		for _, a := range attempts {
			at = at.Add(time.Duration(h.IntN(1000)) * time.Microsecond)
			h.execute(&c, at, end, a, w)
		}
		began, logged := at, at
		if i == len(entries)-1 {
			logged = end.Add(-time.Duration(h.IntN(1000)) * time.Microsecond)
		}
		h.add(logged, h.log(&c, began, logged, attempts, i == len(entries)-1, w))
	}
	w.Counts["requests"]++
	if !c.Sent() {
		c.Late, c.Service = 0, 0
	}
	switch c.Outcome {
	case record.Dropped:
		w.Counts["dropped"]++
	case record.OK:
		w.Counts["ok"]++
	default:
		w.Counts["failed"]++
	}
	switch executed := w.Counts["executions"] - before; {
	case executed > 1:
		w.Counts["duplicated"]++
	case executed == 0 && c.Sent():
		w.Counts["not_executed"]++
	}
	c.Latency = c.Late + c.Service
	if ended := planned + time.Duration(c.Latency)*time.Microsecond; h.Scenario.PhaseAt(ended) > key[1] && c.Outcome != record.OK && c.Outcome != record.Dropped {
		w.Counts["failed_later"]++
	}
	h.add(c.Planned.Add(time.Duration(c.Latency)*time.Microsecond), c)
	w.Counts["client_attempts"] += c.Attempts
}

// code is an HTTP status, or the gRPC code that means the same.
func code(protocol, status string) string {
	if protocol == scenario.HTTP {
		return status
	}
	return map[string]string{"200": "OK", "500": "Internal", "502": "Unavailable", "429": "ResourceExhausted"}[status]
}

// log is the access-log entry of a client attempt: with what the client got, if it is the last.
func (h *author) log(c *record.Client, began, at time.Time, attempts []attempt, last bool, w *Want) record.AccessLogEntry {
	failed := len(attempts) == 0 || attempts[len(attempts)-1].fate != record.GotHeader && attempts[len(attempts)-1].fate != record.Expired
	response := c.Code
	switch {
	case !last, failed && c.Outcome != record.NginxError:
		response = code(c.Protocol, "502")
	case expired(c):
		response = code(c.Protocol, "200")
	case c.Outcome == record.Incomplete:
		response = map[string]string{scenario.HTTP: "499"}[c.Protocol]
	}
	l := h.entry(c.ID, at, response, attempts...)
	l.Duration = float64(at.Sub(began).Milliseconds()) / 1000
	if failed && h.IntN(4) > 0 || failed && (!last || c.Outcome == record.NginxError) {
		l.Error = "502"
		w.Counts["local_replies"]++
	}
	first := true
	for _, a := range attempts {
		if first && a.fate != record.NoLive {
			w.FirstAttempts[h.Instances[a.instance].Name]++
		}
		first = strings.Contains(l.Addr, " : ")
	}
	return l
}

// plot makes up how a request went, and puts it into the client's record. It returns the attempts of each access-log entry.
func (h *author) plot(c *record.Client) [][]attempt {
	x, y, z := h.IntN(3), h.IntN(3), h.IntN(3)
	incomplete := func(reason string, attempts int, unlogged ...string) {
		c.Outcome, c.Reason, c.Attempts, c.MaybeUnlogged, c.Code, c.Instance = record.Incomplete, reason, attempts, unlogged, "", ""
		if reason == record.Deadline {
			c.Service += 10_000
		}
		if c.Protocol == scenario.GRPC {
			c.Code = map[string]string{record.Deadline: "DeadlineExceeded", record.Reset: "Internal"}[reason]
		}
	}
	ok := attempt{z, record.GotHeader}
	c.Instance = h.Instances[z].Name
	if h.IntN(3) > 0 {
		return [][]attempt{{ok}}
	}
	switch h.IntN(16) {
	case 0:
		incomplete(record.Overdue, 0)
		c.Outcome, c.Code = record.Dropped, ""
		return nil
	case 1: // The next instance, after one that refused.
		return [][]attempt{{{x, record.Unsent}, ok}}
	case 2: // And after one that was killed.
		return [][]attempt{{{x, record.InDoubt}, {y, record.Unsent}, ok}}
	case 3:
		c.Outcome, c.Code, c.Instance = record.NginxError, code(c.Protocol, "502"), ""
		return [][]attempt{{{x, record.NoLive}}}
	case 4: // A retry of the client.
		c.Attempts = 2
		return [][]attempt{{{x, record.InDoubt}}, {ok}}
	case 5:
		incomplete(record.Deadline, 1, record.Deadline)
		return nil
	case 6:
		incomplete(record.Deadline, 1, record.Deadline)
		return [][]attempt{{{x, record.InDoubt}}}
	case 7: // net/http sends it again, or a transparent retry.
		c.Attempts, c.MaybeUnlogged = 2, []string{record.ConnectionClosed}
		return [][]attempt{{ok}}
	case 8:
		incomplete(record.Deadline, 3, record.Deadline)
		return [][]attempt{{{x, record.InDoubt}}, {{y, record.Unsent}, {x, record.InDoubt}}}
	case 9: // nginx makes no attempt.
		c.Outcome, c.Code, c.Instance = record.NginxError, code(c.Protocol, "429"), ""
		return [][]attempt{{}}
	case 10:
		return h.expire(c, attempt{x, record.Expired})
	case 11:
		c.Outcome, c.Code = record.InstanceError, code(c.Protocol, "500")
		return [][]attempt{{ok}}
	case 12: // The error came before the request was written: only the access-log entry has the code.
		if c.Protocol == scenario.GRPC {
			c.Outcome, c.Code, c.Instance, c.Attempts = record.NginxError, "Unknown", "", 2
			return [][]attempt{{{x, record.Unsent}}, {{x, record.Unsent}}}
		}
		return [][]attempt{{ok}}
	case 13:
		incomplete(record.InFlightLimit, 0)
		return nil
	case 14: // A whole response, after the deadline.
		incomplete(record.Deadline, 1)
		c.Instance = h.Instances[z].Name
		if c.Protocol == scenario.HTTP {
			c.Code = "200"
		}
		return [][]attempt{{ok}}
	default:
		incomplete(record.Reset, 1, record.Reset)
		return [][]attempt{{ok}}
	}
}

// expired reports whether a whole response came after the deadline.
func expired(c *record.Client) bool { return c.Reason == record.Deadline && c.Instance != "" }

// expire is a deadline in the headers: over gRPC of a handler, or of grpc-go, which does not name the instance; execute decides.
func (h *author) expire(c *record.Client, a attempt) [][]attempt {
	if c.Protocol == scenario.HTTP {
		c.Instance = h.Instances[a.instance].Name
		return [][]attempt{{{a.instance, record.GotHeader}}}
	}
	c.Outcome, c.Code, c.Instance = record.NginxError, "DeadlineExceeded", ""
	if h.IntN(2) == 0 {
		c.Outcome, c.Instance = record.InstanceError, h.Instances[a.instance].Name
	}
	return [][]attempt{{a}}
}

// execute makes up the instance's records of an attempt.
func (h *author) execute(c *record.Client, at, end time.Time, a attempt, w *Want) {
	arrives, code := a.fate == record.GotHeader, c.Code
	switch a.fate {
	case record.InDoubt:
		arrives, code = h.IntN(2) == 0, "Canceled"
		w.Counts["in_doubt"]++
	case record.Expired:
		arrives = c.Instance != ""
	case record.NoLive:
		w.Counts["no_live_upstreams"]++
	}
	switch {
	case expired(c):
		code = map[string]string{scenario.HTTP: "200", scenario.GRPC: "OK"}[c.Protocol]
	case c.Outcome == record.Incomplete && a.fate == record.GotHeader:
		code = map[string]string{scenario.HTTP: "499", scenario.GRPC: "Canceled"}[c.Protocol]
	}
	// Of the instances only whoami-2 is killed.
	ends := arrives && (a.instance != 1 || h.IntN(2) == 0)
	if a.fate != record.NoLive {
		w.Counts["nginx_attempts"]++
	}
	if a.fate == record.InDoubt || a.fate == record.Unsent {
		w.Counts["failed_attempts"]++
	}
	if !arrives {
		return
	}
	w.Counts["executions"]++
	call := h.call(c.ID, c.Protocol, at, a.instance)
	h.add(at, call)
	if ends {
		took := time.Duration(h.Int64N(int64(5 * time.Second))) // A paused instance continues whenever it is resumed.
		if a.fate == record.GotHeader || a.fate == record.Expired {
			took = time.Duration(h.Int64N(int64(end.Sub(at)))) // The client has the response of this one.
		}
		call.Event, call.Time, call.Code, call.Duration = record.Completion, at.Add(took), code, took.Microseconds()
		h.add(call.Time, call)
	}
}

// Shuffled is records in another order: only events keep theirs.
func Shuffled(records []any, seed uint64) []any {
	rng := rand.New(rand.NewPCG(seed, 2))
	all := slices.Clone(records)
	isEvent := func(r any) bool { _, ok := r.(record.Event); return ok }
	events := slices.DeleteFunc(slices.Clone(all), func(r any) bool { return !isEvent(r) })
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i, r := range all {
		if isEvent(r) {
			all[i], events = events[0], events[1:]
		}
	}
	return all
}

// kindOf is what a record is, if it is of that request: "client", "nginx", record.Arrival or record.Completion.
func kindOf(r any, id string) string {
	switch r := r.(type) {
	case record.Client:
		if r.ID == id {
			return "client"
		}
	case record.AccessLogEntry:
		if r.ID == id {
			return "nginx"
		}
	case record.Call:
		if r.ID == id {
			return r.Event
		}
	case record.Outgoing:
		if r.ID == id {
			return r.Event
		}
	}
	return ""
}

// Drop removes records of one request, of some kinds.
func Drop(kinds ...string) func(h *labtest.History, id string) {
	return func(h *labtest.History, id string) {
		h.Records = slices.DeleteFunc(h.Records, func(r any) bool { return slices.Contains(kinds, kindOf(r, id)) })
	}
}

// repeat adds the first record of a kind once more, changed, as the last of all. A nil edit leaves it as it is.
func repeat[T any](kind string, edit func(*T)) func(h *labtest.History, id string) {
	return func(h *labtest.History, id string) {
		i := slices.IndexFunc(h.Records, func(r any) bool { return kindOf(r, id) == kind })
		r := h.Records[i].(T)
		if edit != nil {
			edit(&r)
		}
		h.Records = append(h.Records, r)
	}
}

// change changes the first record of a kind.
func change[T any](kind string, edit func(*T)) func(h *labtest.History, id string) {
	return func(h *labtest.History, id string) {
		i := slices.IndexFunc(h.Records, func(r any) bool { return kindOf(r, id) == kind })
		r := h.Records[i].(T)
		edit(&r)
		h.Records[i] = r
	}
}

// Plain is the ID of a request with one record of each kind and one nginx attempt; skip of them are left out.
func Plain(h labtest.History, skip uint64) string {
	for _, r := range h.Records {
		c, ok := r.(record.Client)
		if !ok || c.Outcome != record.OK || c.Attempts != 1 {
			continue
		}
		kinds, attempts := make(map[string]int), 1
		for _, other := range h.Records {
			kinds[kindOf(other, c.ID)]++
			if l, ok := other.(record.AccessLogEntry); ok && l.ID == c.ID {
				attempts += strings.Count(l.Addr, ",") + strings.Count(l.Addr, " : ")
			}
		}
		if kinds[record.Arrival] == 1 && kinds[record.Completion] == 1 && attempts == 1 {
			if skip == 0 {
				return c.ID
			}
			skip--
		}
	}
	panic("no plain request")
}
