package ledger

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// killing is an action on a process from one time to another, since the load began.
func killing(m record.Manifest, kind, process string, from, to time.Duration) []any {
	return []any{
		record.Event{Time: m.Begin.Add(from), Event: record.ActionStarted, Action: kind, Process: process},
		record.Event{Time: m.Begin.Add(to), Event: record.ActionDone, Action: kind, Process: process},
	}
}

// What nginx had not logged when an action killed it is lawfully missing, and counted; the same without such an action is not lawful.
func TestRequestsThatAKilledNginxDidNotLog(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(1) // Its request is planned in the middle, at 5.25 s.
	m.Planned = []int{1, 0, 0}
	const id, at, ms = "11.http.0.0", 5250 * time.Millisecond, time.Millisecond
	resetAfterHeader := client(func(c *record.Client) { c.Outcome, c.Reason = record.Incomplete, record.Reset })
	reset := client(func(c *record.Client) {
		c.Outcome, c.Reason, c.Code, c.Instance, c.MaybeUnlogged = record.Incomplete, record.Reset, "", "", []string{record.Reset}
	})
	again := client(func(c *record.Client) { c.Attempts, c.MaybeUnlogged = 2, []string{record.ConnectionClosed} })
	elsewhereToo := repeat(record.Arrival, func(c *record.Call) { c.Instance, c.Start = "whoami-2", "b" })
	nginx := func(from, to time.Duration) []any { return killing(m, scenario.Kill, scenario.Nginx, from, to) }
	stopped := []any{
		record.Event{Time: m.Begin.Add(at), Event: record.ActionStarted, Action: scenario.Restart, Process: scenario.Nginx},
		record.Event{Time: m.Begin.Add(at + 10*ms), Event: record.ProcessEvent, Kind: record.Stopped, Process: scenario.Nginx, Exit: &record.Exit{Signal: "SIGKILL"}},
	}
	for name, c := range map[string]struct {
		spoil    func(*labtest.History, string)
		events   []any
		lawful   bool
		unlogged bool
	}{
		"reset before a header":                  {all(reset, Drop("nginx")), nginx(at, at+ms), true, true},
		"reset after a header":                   {all(resetAfterHeader, Drop("nginx")), nginx(at, at+ms), true, true},
		"whole response just before the kill":    {Drop("nginx"), nginx(at+50*ms, at+60*ms), true, true},
		"whole response long before the kill":    {Drop("nginx"), nginx(at+250*ms, at+260*ms), false, false},
		"began after the kill":                   {all(reset, Drop("nginx")), nginx(at-10*ms, at-5*ms), false, false},
		"no kill":                                {all(reset, Drop("nginx")), nil, false, false},
		"worker was killed":                      {all(reset, Drop("nginx")), killing(m, scenario.Kill, scenario.WorkerName(2), at, at+ms), true, true},
		"instance was killed":                    {all(reset, Drop("nginx")), killing(m, scenario.Kill, "whoami-1", at, at+ms), false, false},
		"nginx was reloaded":                     {all(reset, Drop("nginx")), killing(m, scenario.Reload, scenario.Nginx, at, at+ms), false, false},
		"did not stop":                           {all(reset, Drop("nginx")), stopped, true, true},
		"stopped by itself":                      {all(reset, Drop("nginx")), stopped[:1], false, false},
		"killed while it was paused":             {all(reset, Drop("nginx")), slices.Concat(killing(m, scenario.Pause, scenario.Nginx, at, at+ms), nginx(at+9*time.Second, at+9*time.Second)), true, true},
		"killed long after it was resumed":       {all(reset, Drop("nginx")), slices.Concat(killing(m, scenario.Pause, scenario.Nginx, at, at+ms), killing(m, scenario.Resume, scenario.Nginx, at+ms, at+2*ms), nginx(at+9*time.Second, at+9*time.Second)), false, false},
		"sent again, and executed twice":         {all(again, elsewhereToo), nginx(at, at+ms), true, true},
		"sent again, without a kill":             {all(again, elsewhereToo), nil, false, false},
		"logged, and executed twice":             {elsewhereToo, nginx(at, at+ms), false, false},
		"logged, and its execution is lost":      {Drop(record.Arrival, record.Completion), nginx(at, at+ms), false, false},
		"response of an instance without a call": {all(client(elsewhere), Drop("nginx")), nginx(at, at+ms), false, false},
		"all is there":                           {func(*labtest.History, string) {}, nginx(at, at+ms), true, false},
		"refused while nginx was down":           {all(reset, Drop("nginx", record.Arrival, record.Completion)), nginx(at, at+ms), true, false},
	} {
		h := labtest.History{Manifest: m, Records: labtest.Ordinary(m, 0)}
		c.spoil(&h, id)
		h.Records = append(h.Records, c.events...)
		got, emitted := reconcile(t, h)
		if (got.Count == 0) != c.lawful || emitted[id].Unlogged != c.unlogged && c.lawful {
			t.Errorf("%s: unlogged %v, %v", name, emitted[id].Unlogged, got.Discrepancies)
		}
	}
}

// Only a request that the lab announced is a probe, and only as often as it did: an ID alone hides nothing.
func TestProbesAreThoseThatWereAnnounced(t *testing.T) {
	t.Parallel()
	m := labtest.Manifest(1)
	m.Planned = []int{0, 0, 0}
	const id = record.ProbeIDPrefix + "a"
	announced := record.Event{Event: record.Probe, ID: id}
	entry := record.AccessLogEntry{ID: id, End: 1, Addr: m.Instances[0].HTTP, HeaderTime: "0.001", BytesSent: "9"}
	call := record.Call{Event: record.Arrival, Instance: "whoami-1", Start: "a", Call: 1, ID: id, Protocol: scenario.HTTP}
	other := call
	other.Call = 2
	for name, c := range map[string]struct {
		records []any
		rule    int
	}{
		"announced":                         {[]any{announced, entry, call}, 0},
		"to an instance":                    {[]any{announced, call}, 0},
		"reached nothing":                   {[]any{announced}, 0},
		"announced, and read later":         {[]any{call, entry, announced}, 0},
		"not announced":                     {[]any{entry, call}, 2},
		"not announced, at an instance":     {[]any{call}, 4},
		"another was":                       {[]any{record.Event{Event: record.Probe, ID: id + "b"}, entry, call}, 2},
		"sent twice":                        {[]any{announced, entry, call, entry, other}, 2},
		"announced twice, and sent twice":   {[]any{announced, announced, entry, call, entry, other}, 0},
		"executed more often than sent":     {[]any{announced, entry, call, other}, 2},
		"to an instance, and executed more": {[]any{announced, call, other}, 4},
		"of the load generator":             {[]any{announced, record.Client{ID: id, Outcome: record.OK, Attempts: 1}, entry, call}, 1},
	} {
		got, emitted := reconcile(t, labtest.History{Manifest: m, Records: c.records})
		if rules := fmt.Sprint(got.Count); c.rule == 0 && got.Count > 0 || c.rule > 0 && (got.Count != 1 || got.Discrepancies[0].Rule != c.rule) || len(emitted) > 0 {
			t.Errorf("%s: %s, %v", name, rules, got.Discrepancies)
		}
	}
}
