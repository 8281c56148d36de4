package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"trivet/lab/load"
)

func client(change func(*load.Record)) func(*history, string) {
	return changed("client", func(r any) any { c := r.(load.Record); change(&c); return c })
}

func line(change func(*NginxLine)) func(*history, string) {
	return changed("nginx", func(r any) any { l := r.(NginxLine); change(&l); return l })
}

func completion(change func(*Call)) func(*history, string) {
	return changed(Completion, func(r any) any { c := r.(Call); change(&c); return c })
}

func became(outcome, code, instance string) func(*history, string) {
	return client(func(r *load.Record) { r.Outcome, r.Code, r.Instance = outcome, code, instance })
}

// nobodyAnswers makes of a request that was answered one that nginx answered, in its own words alone.
func nobodyAnswers(h *history, id string) {
	line(func(l *NginxLine) {
		l.Status, l.Trailer, l.HeaderTime, l.BytesSent, l.Error, l.AddrStatus = "502", "", "-", "0", "502", "502"
		if strings.Contains(id, load.GRPC) {
			l.Status, l.HeaderStatus = "200", "14"
		}
	})(h, id)
	drop(Arrival, Completion)(h, id)
}

// What the witnesses say of one request's answer, where each of them alone may be right.
var disagreements = []struct {
	name     string
	protocol string
	spoil    func(*history, string)
	rule     int
}{
	{"ok, and nginx answered 502", load.HTTP, nobodyAnswers, 5},
	{"ok, and nginx answered UNAVAILABLE", load.GRPC, nobodyAnswers, 5},
	{"nginx/502, and it was ok", load.HTTP, became(load.ByNginx, "502", ""), 5},
	{"nginx/Unavailable, and it was ok", load.GRPC, became(load.ByNginx, "Unavailable", ""), 5},
	{"nginx/502, and an instance answered it", load.HTTP, func(h *history, id string) {
		became(load.ByNginx, "502", "")(h, id)
		line(func(l *NginxLine) { l.Status, l.AddrStatus = "502", "502" })(h, id)
		completion(func(c *Call) { c.Code = "502" })(h, id)
	}, 5},
	{"instance/500, and it was ok", load.HTTP, client(func(r *load.Record) { r.Outcome, r.Code = load.ByInstance, "500" }), 5},
	{"instance/Internal, and it was ok", load.GRPC, client(func(r *load.Record) { r.Outcome, r.Code = load.ByInstance, "Internal" }), 5},
	{"UNKNOWN, and it was ok", load.GRPC, client(func(r *load.Record) { r.Outcome, r.Code = load.ByInstance, "Unknown" }), 5},
	{"another 2xx", load.HTTP, client(func(r *load.Record) { r.Code = "204" }), 5},
	{"another instance", load.HTTP, client(elsewhere), 5},
	{"another instance over gRPC", load.GRPC, client(elsewhere), 5},
	{"an instance that there is not", load.HTTP, client(func(r *load.Record) { r.Instance = "whoami-9" }), 5},
	{"half an answer of another instance", load.GRPC, client(func(r *load.Record) {
		elsewhere(r)
		r.Outcome, r.Code, r.Reason = load.AtClient, "Internal", load.Reset
	}), 5},
	{"half an answer of another status", load.HTTP, client(func(r *load.Record) { r.Outcome, r.Code, r.Reason = load.AtClient, "502", load.Reset }), 5},
	{"nginx's status", load.HTTP, line(func(l *NginxLine) { l.Status = "502" }), 5},
	{"nginx's status over gRPC", load.GRPC, line(func(l *NginxLine) { l.Status = "502" }), 5},
	{"nginx's status of the instance", load.HTTP, line(func(l *NginxLine) { l.AddrStatus = "502" }), 5},
	{"nginx's status of the instance over gRPC", load.GRPC, line(func(l *NginxLine) { l.AddrStatus = "502" }), 5},
	{"nginx's trailer", load.GRPC, line(func(l *NginxLine) { l.Trailer = "14" }), 5},
	{"no trailer", load.GRPC, line(func(l *NginxLine) { l.Trailer = "" }), 5},
	{"an error of nginx's", load.HTTP, line(func(l *NginxLine) { l.Error = "502" }), 5},
	{"no header", load.HTTP, line(func(l *NginxLine) { l.HeaderTime = "-" }), 5},
	{"no header over gRPC", load.GRPC, line(func(l *NginxLine) { l.HeaderTime = "-" }), 5},
	{"the completion's code", load.HTTP, completion(func(c *Call) { c.Code = "500" }), 6},
	{"the completion's code over gRPC", load.GRPC, completion(func(c *Call) { c.Code = "Internal" }), 6},
	{"no completion", load.HTTP, drop(Completion), 6},
	{"no completion over gRPC", load.GRPC, drop(Completion), 6},
}

// elsewhere names another instance.
func elsewhere(r *load.Record) {
	r.Instance = map[string]string{"whoami-1": "whoami-2", "whoami-2": "whoami-3", "whoami-3": "whoami-1"}[r.Instance]
}

// What one witness says of an answer and another does not is found, and nothing else.
func TestDisagreementsAreFound(t *testing.T) {
	t.Parallel()
	for seed, d := range disagreements {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			h := lawful(uint64(seed), 100)
			id := survivor(h, d.protocol)
			d.spoil(&h, id)
			for round := range uint64(3) {
				book := NewBook(h.Scene)
				if round > 0 {
					book.keep, h = 0, h.shuffled(round)
				}
				h.feed(t, book)
				wantBreaches(t, book.Settle(), id, d.rule)
			}
		})
	}
}

// wantBreaches wants breaches of one request and of that rule. (What one line tells in another way may break both rules of answers.)
func wantBreaches(t *testing.T, b Balance, id string, rule int) {
	t.Helper()
	found := false
	for _, one := range b.Breaches {
		if found = found || one.Rule == rule; one.ID != id || one.Rule < 5 {
			t.Errorf("%v", one)
		}
	}
	if !found || b.Balanced() || b.Valid() {
		t.Errorf("no breach of rule %d at %s: %v", rule, id, b.Breaches)
	}
}

// survivor is a plain request at an instance that was not killed.
func survivor(h history, protocol string) string {
	for skip := uint64(0); ; skip++ {
		id := plain(h, skip)
		of := slices.IndexFunc(h.said, func(s said) bool { r, ok := s.record.(load.Record); return ok && r.ID == id })
		if r := h.said[of].record.(load.Record); r.Protocol == protocol && r.Instance != "whoami-2" {
			return id
		}
	}
}

// called is what is said of one gRPC call: by the client, by a trailer in nginx's line, and by the code of the completion.
func called(r load.Record, trailer, code string) []said {
	s := stage(1)
	at := s.Begin
	r.V, r.ID, r.Protocol, r.Stream, r.Planned, r.Attempts = 1, "11.grpc.1.0", load.GRPC, 1, at, 1
	c := Call{V: 1, Event: Arrival, Time: at, Instance: "whoami-1", PID: 7, Call: 1, ID: r.ID, Protocol: load.GRPC}
	end := c
	end.Event, end.Code = Completion, code
	l := NginxLine{V: 1, ID: r.ID, Status: "200", Trailer: trailer, Addr: s.Instances[0].GRPC, AddrStatus: "200", HeaderTime: "0.001", BytesSent: "1"}
	return []said{{at, c}, {at, end}, {at, l}, {at, r}}
}

// What may differ lawfully is no breach.
func TestWhatMayDiffer(t *testing.T) {
	t.Parallel()
	ok := load.Record{Outcome: load.OK, Code: "OK", Instance: "whoami-1"}
	watched := ok
	watched.Messages = 3
	late := load.Record{Outcome: load.AtClient, Reason: load.Deadline, Code: "DeadlineExceeded", Instance: "whoami-1"}
	with := func(h []said, change func(*NginxLine)) []said {
		l := h[2].record.(NginxLine)
		change(&l)
		h[2].record = l
		return h
	}
	left := func(l *NginxLine) { l.Status = callerLeft }
	cut := func(h []said, kind, exit string) []said {
		h[1] = said{h[0].at, Event{V: 1, Event: ProcessIs, Kind: kind, Name: "whoami-1", PID: 7, Exit: exit}}
		return h
	}
	for name, test := range map[string]struct {
		said  []said
		holds bool
	}{
		"ok":                                 {called(ok, "0", "OK"), true},
		"a watcher hung up":                  {with(called(watched, "", "Canceled"), left), true},
		"who did not watch cannot":           {with(called(ok, "", "Canceled"), left), false},
		"the deadline and the whole answer":  {called(late, "0", "OK"), true},
		"a deadline, of which each tells":    {called(late, "4", "Unknown"), true},
		"UNKNOWN":                            {called(load.Record{Outcome: load.ByInstance, Code: "Unknown", Instance: "whoami-1"}, "14", "Unavailable"), true},
		"killed after its answer":            {cut(called(ok, "0", "OK"), died, "signal SIGKILL"), true},
		"stopped, and it had to be killed":   {cut(called(ok, "0", "OK"), stopped, "signal SIGKILL"), true},
		"drained, and did not tell":          {cut(called(ok, "0", "OK"), stopped, wellDone), false},
		"ready, and did not tell":            {cut(called(ok, "0", "OK"), "ready", ""), false},
		"drained, and its caller had left":   {with(cut(called(late, "", ""), stopped, wellDone), left), true},
		"the answer of one who does not say": {called(load.Record{Outcome: load.OK, Code: "OK"}, "0", "OK"), true},
	} {
		book := NewBook(stage(1))
		h := history{Scene: book.scene, said: test.said}
		h.feed(t, book)
		balance := book.Settle()
		told := slices.DeleteFunc(balance.Breaches, func(b Breach) bool { return b.ID != "11.grpc.1.0" })
		if (len(told) == 0) != test.holds {
			t.Errorf("%s: %v", name, told)
		}
	}
}

// A foreign answer over gRPC has a code that grpc-go makes of HTTP's status.
func TestAForeignAnswer(t *testing.T) {
	t.Parallel()
	for status, holds := range map[string]bool{"502": true, "200": false, callerLeft: false} {
		book := NewBook(stage(1))
		l := NginxLine{V: 1, ID: "11.grpc.1.0", Status: status, Error: "502"}
		r := load.Record{V: 1, ID: l.ID, Protocol: load.GRPC, Planned: book.scene.Begin, Outcome: load.ByNginx, Code: "Unavailable", Attempts: 1}
		h := history{Scene: book.scene, said: []said{{r.Planned, l}, {r.Planned, r}}}
		h.feed(t, book)
		balance := book.Settle()
		if fmt.Sprint(balance.Total) != map[bool]string{true: "2", false: "3"}[holds] { // Two were planned beside it.
			t.Errorf("%s: %v", status, balance.Breaches)
		}
	}
}
