package ledger

import (
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

func became(outcome, code, instance string) func(*labtest.History, string) {
	return client(func(r *record.Client) { r.Outcome, r.Code, r.Instance = outcome, code, instance })
}

// localReply turns a request that an instance responded to into one with a local reply, in nginx's and the instance's records.
func localReply(h *labtest.History, id string) {
	entry(func(l *record.AccessLogEntry) {
		l.Status, l.Trailer, l.HeaderTime, l.BytesSent, l.Error, l.AddrStatus = "502", "", "-", "0", "502", "502"
		if strings.Contains(id, scenario.GRPC) {
			l.Status, l.HeaderStatus = "200", "14"
		}
	})(h, id)
	Drop(record.Arrival, record.Completion)(h, id)
}

// disagreements are responses that two sources record differently, though each of them alone may be right.
var disagreements = []struct {
	name     string
	protocol string
	spoil    func(*labtest.History, string)
	rule     int
}{
	{"ok, and nginx sent 502", scenario.HTTP, localReply, 5},
	{"ok, and nginx sent UNAVAILABLE", scenario.GRPC, localReply, 5},
	{"nginx error 502, and it was ok", scenario.HTTP, became(record.NginxError, "502", ""), 5},
	{"nginx error Unavailable, and it was ok", scenario.GRPC, became(record.NginxError, "Unavailable", ""), 5},
	{"nginx error 502, and it came from an instance", scenario.HTTP, func(h *labtest.History, id string) {
		became(record.NginxError, "502", "")(h, id)
		entry(func(l *record.AccessLogEntry) { l.Status, l.AddrStatus = "502", "502" })(h, id)
		completion(func(c *record.Call) { c.Code = "502" })(h, id)
	}, 5},
	{"instance error 500, and it was ok", scenario.HTTP, client(func(r *record.Client) { r.Outcome, r.Code = record.InstanceError, "500" }), 5},
	{"instance error Internal, and it was ok", scenario.GRPC, client(func(r *record.Client) { r.Outcome, r.Code = record.InstanceError, "Internal" }), 5},
	{"UNKNOWN, and it was ok", scenario.GRPC, client(func(r *record.Client) { r.Outcome, r.Code = record.InstanceError, "Unknown" }), 5},
	{"another 2xx", scenario.HTTP, client(func(r *record.Client) { r.Code = "204" }), 5},
	{"another instance", scenario.HTTP, client(elsewhere), 5},
	{"another instance over gRPC", scenario.GRPC, client(elsewhere), 5},
	{"unknown instance", scenario.HTTP, client(func(r *record.Client) { r.Instance = "whoami-9" }), 5},
	{"incomplete response of another instance", scenario.GRPC, client(func(r *record.Client) {
		elsewhere(r)
		r.Outcome, r.Code, r.Reason = record.Incomplete, "Internal", record.Reset
	}), 5},
	{"response of another instance after the deadline", scenario.HTTP, func(h *labtest.History, id string) {
		client(func(r *record.Client) { elsewhere(r); r.SetExpired() })(h, id)
	}, 5},
	{"incomplete response with another status", scenario.HTTP, client(func(r *record.Client) { r.Outcome, r.Code, r.Reason = record.Incomplete, "502", record.Reset }), 5},
	{"nginx's status", scenario.HTTP, entry(func(l *record.AccessLogEntry) { l.Status = "502" }), 5},
	{"nginx's status over gRPC", scenario.GRPC, entry(func(l *record.AccessLogEntry) { l.Status = "502" }), 5},
	{"upstream status", scenario.HTTP, entry(func(l *record.AccessLogEntry) { l.AddrStatus = "502" }), 5},
	{"upstream status over gRPC", scenario.GRPC, entry(func(l *record.AccessLogEntry) { l.AddrStatus = "502" }), 5},
	{"nginx's trailer", scenario.GRPC, entry(func(l *record.AccessLogEntry) { l.Trailer = "14" }), 5},
	{"no trailer", scenario.GRPC, entry(func(l *record.AccessLogEntry) { l.Trailer = "" }), 5},
	{"local reply", scenario.HTTP, entry(func(l *record.AccessLogEntry) { l.Error = "502" }), 5},
	{"no header", scenario.HTTP, entry(func(l *record.AccessLogEntry) { l.HeaderTime = "-" }), 5},
	{"no header over gRPC", scenario.GRPC, entry(func(l *record.AccessLogEntry) { l.HeaderTime = "-" }), 5},
	{"code of the completion", scenario.HTTP, completion(func(c *record.Call) { c.Code = "500" }), 6},
	{"code of the completion over gRPC", scenario.GRPC, completion(func(c *record.Call) { c.Code = "Internal" }), 6},
	{"no completion", scenario.HTTP, Drop(record.Completion), 6},
	{"no completion over gRPC", scenario.GRPC, Drop(record.Completion), 6},
}

// elsewhere names another instance.
func elsewhere(r *record.Client) {
	r.Instance = map[string]string{"whoami-1": "whoami-2", "whoami-2": "whoami-3", "whoami-3": "whoami-1"}[r.Instance]
}

// A response that two sources record differently is found, and nothing else.
func TestDisagreementsAreFound(t *testing.T) {
	t.Parallel()
	for seed, d := range disagreements {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			h, _ := Lawful(uint64(seed), 100)
			id := survivor(h, d.protocol)
			d.spoil(&h, id)
			for round := range uint64(3) {
				if round > 0 {
					h.Records = Shuffled(h.Records, round)
				}
				got, _ := reconcile(t, h)
				found := false
				for _, one := range got.Discrepancies {
					// What one entry says differently may break both rules of responses.
					if found = found || one.Rule == d.rule; one.ID != id || one.Rule < 5 {
						t.Errorf("%v", one)
					}
				}
				if !found || len(got.Reasons) == 0 {
					t.Errorf("no discrepancy of rule %d at %s: %v", d.rule, id, got.Discrepancies)
				}
			}
		})
	}
}

// survivor is a plain request at an instance that was not killed.
func survivor(h labtest.History, protocol string) string {
	for skip := uint64(0); ; skip++ {
		id := Plain(h, skip)
		i := slices.IndexFunc(h.Records, func(r any) bool { return kindOf(r, id) == "client" })
		if c := h.Records[i].(record.Client); c.Protocol == protocol && c.Instance != "whoami-2" {
			return id
		}
	}
}

// call is all records of one gRPC call: the client's, an access-log entry with a trailer, and a completion with a code.
func call(c record.Client, trailer, code string) labtest.History {
	m := labtest.Manifest(1)
	m.Planned = []int{0, 1, 0}
	c.ID, c.Protocol, c.Load, c.Attempts, c.Planned = "11.grpc.1.0", scenario.GRPC, 1, 1, labtest.Planned(m, 1, 0)
	arrival := record.Call{Event: record.Arrival, Time: c.Planned, Instance: "whoami-1", Start: "a", PID: 1, Call: 1, ID: c.ID, Protocol: scenario.GRPC}
	completion := arrival
	completion.Event, completion.Code = record.Completion, code
	l := record.AccessLogEntry{ID: c.ID, End: seconds(c.Planned), Status: "200", Trailer: trailer, Addr: m.Instances[0].GRPC, AddrStatus: "200", HeaderTime: "0.001", BytesSent: "1"}
	return labtest.History{Manifest: m, Records: []any{arrival, completion, l, c}}
}

// seconds is a time as access-log entries have it.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func TestLawfulDifferencesAreNone(t *testing.T) {
	t.Parallel()
	ok := record.Client{Outcome: record.OK, Code: "OK", Instance: "whoami-1"}
	watched := ok
	watched.Messages = 3
	late := record.Client{Outcome: record.Incomplete, Reason: record.Deadline, Code: "DeadlineExceeded", Instance: "whoami-1"}
	clientLeft := func(h labtest.History) labtest.History {
		entry(func(l *record.AccessLogEntry) { l.Status = clientLeft })(&h, "11.grpc.1.0")
		return h
	}
	// ended replaces the completion by an event of the process.
	ended := func(h labtest.History, kind string, exit *record.Exit) labtest.History {
		h.Records[1] = record.Event{Event: record.ProcessEvent, Kind: kind, Process: "whoami-1", PID: 1, Start: "a", Exit: exit}
		return h
	}
	killed := &record.Exit{Signal: "SIGKILL"}
	for name, c := range map[string]struct {
		history labtest.History
		lawful  bool
	}{
		"ok":                                       {call(ok, "0", "OK"), true},
		"watch canceled after messages":            {clientLeft(call(watched, "", "Canceled")), true},
		"unary call canceled, and ok":              {clientLeft(call(ok, "", "Canceled")), false},
		"deadline at the client, whole response":   {call(late, "0", "OK"), true},
		"deadline, recorded by each":               {call(late, "4", "Unknown"), true},
		"UNKNOWN of grpc-go":                       {call(record.Client{Outcome: record.InstanceError, Code: "Unknown", Instance: "whoami-1"}, "14", "Unavailable"), true},
		"killed after its response":                {ended(call(ok, "0", "OK"), record.Died, killed), true},
		"asked to stop, and had to be killed":      {ended(call(ok, "0", "OK"), record.Stopped, killed), true},
		"drained without a completion":             {ended(call(ok, "0", "OK"), record.Stopped, &record.Exit{}), false},
		"ready without a completion":               {ended(call(ok, "0", "OK"), record.Ready, nil), false},
		"drained after its client had left":        {clientLeft(ended(call(late, "", ""), record.Stopped, &record.Exit{})), true},
		"response without x-instance":              {call(record.Client{Outcome: record.OK, Code: "OK"}, "0", "OK"), true},
		"completion with a code that is not final": {call(ok, "0", "103"), true},
		"completion with another code":             {call(ok, "0", "Internal"), false},
	} {
		if got, _ := reconcile(t, c.history); (got.Count == 0) != c.lawful {
			t.Errorf("%s: %v", name, got.Discrepancies)
		}
	}
}

// An instance that executed the call and sent no header is not the one whose header the client read.
func TestHeaderOfAnotherInstanceIsADiscrepancy(t *testing.T) {
	t.Parallel()
	for instance, lawful := range map[string]bool{"whoami-1": true, "whoami-2": false} {
		h := call(record.Client{Outcome: record.Incomplete, Reason: record.Reset, Code: "Internal", Instance: instance}, "0", "OK")
		client(func(c *record.Client) { c.Attempts = 2 })(&h, "11.grpc.1.0")
		second := h.Records[0].(record.Call)
		second.Instance = "whoami-2"
		inDoubt := record.AccessLogEntry{ID: second.ID, End: seconds(second.Time), Status: "502", Error: "502", Addr: h.Instances[1].GRPC, AddrStatus: "502", HeaderTime: "-", BytesSent: "1"}
		h.Records = append(h.Records, second, inDoubt)
		if got, _ := reconcile(t, h); (got.Count == 0) != lawful {
			t.Errorf("%s: %v", instance, got.Discrepancies)
		}
	}
}

// Each of two whole responses with the same code wants a completion of its own.
func TestEachWholeResponseNeedsACompletion(t *testing.T) {
	t.Parallel()
	for _, event := range []string{record.Completion, record.Arrival} {
		h := call(record.Client{Outcome: record.OK, Code: "OK", Instance: "whoami-1"}, "0", "OK")
		client(func(c *record.Client) { c.Attempts = 2 })(&h, "11.grpc.1.0")
		second := h.Records[0].(record.Call)
		second.Call = 2
		h.Records = append(h.Records, h.Records[2], second)
		if event == record.Completion {
			second.Event, second.Code = record.Completion, "OK"
			h.Records = append(h.Records, second)
		}
		if got, _ := reconcile(t, h); (got.Count == 0) != (event == record.Completion) {
			t.Errorf("%s: %v", event, got.Discrepancies)
		}
	}
}

// A local reply that is not gRPC has a code that grpc-go makes from the HTTP status.
func TestLocalReplyOverHTTPGetsCodeOfGRPC(t *testing.T) {
	t.Parallel()
	for status, lawful := range map[string]bool{"502": true, "200": false, clientLeft: false} {
		h := call(record.Client{Outcome: record.NginxError, Code: "Unavailable"}, "", "")
		h.Records = []any{record.AccessLogEntry{ID: "11.grpc.1.0", End: seconds(h.Records[3].(record.Client).Planned), Status: status, Error: "502"}, h.Records[3]}
		if got, _ := reconcile(t, h); (got.Count == 0) != lawful {
			t.Errorf("%s: %v", status, got.Discrepancies)
		}
	}
}

// What nginx answers without an instance, or after one, is lawful where its access-log entry shows it, and only there.
func TestRepliesWithoutAnInstance(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(1)
	m.Planned = []int{1, 0, 0}
	const id = "11.http.0.0"
	noAttempt := entry(func(l *record.AccessLogEntry) { l.Addr, l.AddrStatus, l.HeaderTime, l.BytesSent = "", "", "", "" })
	noCall := Drop(record.Arrival, record.Completion)
	cache := func(status string) func(*labtest.History, string) {
		return entry(func(l *record.AccessLogEntry) { l.Cache = status })
	}
	failed := entry(func(l *record.AccessLogEntry) { l.AddrStatus, l.HeaderTime, l.BytesSent = "502", "-", "0" })
	notModified := all(entry(func(l *record.AccessLogEntry) { l.AddrStatus = "304" }), completion(func(c *record.Call) { c.Code = "304" }))
	serverError := all(entry(func(l *record.AccessLogEntry) { l.AddrStatus = "500" }), completion(func(c *record.Call) { c.Code = "500" }))
	responds := func(outcome, code string) func(*labtest.History, string) {
		return all(became(outcome, code, ""), entry(func(l *record.AccessLogEntry) { l.Status = code }))
	}
	for name, c := range map[string]struct {
		spoil  func(*labtest.History, string)
		lawful bool
	}{
		"from the cache":                                {all(noAttempt, noCall, cache("HIT")), true},
		"from the cache, not found":                     {all(noAttempt, noCall, cache("HIT"), became(record.InstanceError, "404", "whoami-1"), entry(func(l *record.AccessLogEntry) { l.Status = "404" })), true},
		"not from the cache":                            {all(noAttempt, noCall), false},
		"not in the cache":                              {all(noAttempt, noCall, cache("MISS")), false},
		"first time":                                    {cache("MISS"), true},
		"first time, without a call":                    {all(cache("MISS"), noCall), false},
		"from the cache, with another status":           {all(noAttempt, noCall, cache("HIT"), entry(func(l *record.AccessLogEntry) { l.Status = "404" })), false},
		"from the cache, with a call":                   {all(noAttempt, cache("HIT")), false},
		"stale, as no instance can be reached":          {all(failed, noCall, cache("STALE")), true},
		"stale, as an instance failed":                  {all(serverError, cache("STALE")), true},
		"stale, and that instance has no call":          {all(serverError, noCall, cache("STALE")), false},
		"stale of another instance":                     {all(serverError, cache("STALE"), client(elsewhere)), true},
		"not modified":                                  {all(notModified, cache("REVALIDATED")), true},
		"not modified, without a cache":                 {notModified, false},
		"return 204":                                    {all(noAttempt, noCall, responds(record.OK, "204")), true},
		"return 204, and an instance has a call":        {all(noAttempt, responds(record.OK, "204")), false},
		"return 204, and an instance is named":          {all(noAttempt, noCall, responds(record.OK, "204"), became(record.OK, "204", "whoami-1")), false},
		"redirect":                                      {all(noAttempt, noCall, responds(record.NginxError, "301")), true},
		"page instead of an error of nginx's":           {all(failed, noCall, responds(record.OK, "200")), true},
		"page instead of an error of an instance's":     {all(serverError, responds(record.OK, "200")), true},
		"page instead of an error, and no call":         {all(serverError, noCall, responds(record.OK, "200")), false},
		"local reply, and the client has another":       {all(noAttempt, noCall, responds(record.OK, "204"), became(record.OK, "200", "")), false},
		"sent by an instance, and the name is withheld": {became(record.OK, "200", ""), true},
	} {
		h := labtest.History{Manifest: m, Records: labtest.Ordinary(m, 0)}
		c.spoil(&h, id)
		if got, _ := reconcile(t, h); (got.Count == 0) != c.lawful {
			t.Errorf("%s: %v", name, got.Discrepancies)
		}
	}
}
