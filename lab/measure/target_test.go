package measure

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// targets are what a trial may have records of.
var targets = map[string]func(*record.Manifest){
	"all records": func(m *record.Manifest) { m.Target.AccessLog, m.Target.Calls = true, true },
	"no calls":    func(m *record.Manifest) { m.Target.AccessLog = true },
	"past nginx": func(m *record.Manifest) {
		m.Target.AccessLog, m.Target.Calls, m.Scenario.Through = true, true, scenario.ThroughService
	},
	"client alone": func(m *record.Manifest) { m.Instances = nil },
}

// onTarget is the history of 30 requests in a second on a target that changes, with requests of others in between. The machines of nginx
// and the instances have clocks of their own.
func onTarget(t *testing.T, change func(*record.Manifest)) labtest.History {
	t.Helper()
	m := labtest.Manifest(30)
	m.Scenario.Loads, m.Planned = m.Scenario.Loads[:1], m.Planned[:1]
	m.Scenario.Phases = []scenario.Phase{{Name: "a", For: time.Second}}
	m.Scenario.Loads[0].Rate.PerSecond = []float64{30}
	m.Target = &record.Target{Kind: scenario.Kubernetes, Name: "k8s:lab", Nginxes: 1, Changes: true}
	all := m.Instances
	change(&m)
	h := labtest.History{Manifest: m}
	event := func(at time.Duration, e record.Event) {
		e.V, e.Time = record.EventVersion, m.Begin.Add(at)
		h.Records = append(h.Records, e)
	}
	for i, one := range all {
		e := record.Event{Event: record.ProcessEvent, Kind: record.Started, Process: one.Name, Start: one.Name}
		if i == 2 && m.Instances != nil { // It comes during the trial, and its event after its first records.
			h.Instances, e.Instance = m.Instances[:2], &one
			event(500*time.Millisecond, e)
		} else if m.Target.Calls {
			event(-time.Second, e)
		}
	}
	event(0, record.Event{Event: record.PhaseStarted, Phase: "a"})
	event(5*time.Second, record.Event{Event: record.Ended})
	whole := h.Manifest
	whole.Instances = all
	accessLog, calls := m.Has()
	for n := range 30 {
		for _, r := range labtest.Ordinary(whole, n) {
			switch one := r.(type) {
			case record.Call:
				if one.Call, one.Time = 500+2*one.Call, one.Time.Add(-time.Hour); calls {
					others := one
					others.Call, others.ID = one.Call+1, fmt.Sprint("others-", n)
					h.Records = append(h.Records, one, others)
				}
			case record.AccessLogEntry:
				if one.End += 7000; accessLog {
					others := one
					others.ID = fmt.Sprint("others-", n)
					h.Records = append(h.Records, one, others)
				}
			default:
				h.Records = append(h.Records, r)
			}
		}
	}
	return h
}

// A mutation changes records of one request: of those of its kind it returns what remains.
type mutation struct {
	of     string // record.ClientFile …
	change func(any) []any
}

func lost(any) []any      { return nil }
func doubled(r any) []any { return []any{r, r} }

func altered[T any](change func(*T)) func(any) []any {
	return func(r any) []any {
		one := r.(T)
		change(&one)
		return []any{one}
	}
}

var mutations = map[string]mutation{
	"client's record lost":      {"client", lost},
	"client's record doubled":   {"client", doubled},
	"client's instance altered": {"client", altered(func(c *record.Client) { c.Instance = "whoami-1" })},
	"client's instance removed": {"client", altered(func(c *record.Client) { c.Instance = "" })},
	"client's code altered":     {"client", altered(func(c *record.Client) { c.Code = "201" })},
	"client's failure hidden":   {"client", altered(func(c *record.Client) { c.Attempts = 2 })},
	"client's request dropped": {"client", altered(func(c *record.Client) {
		c.Outcome, c.Reason, c.Code, c.Instance, c.Attempts, c.Service, c.Latency = record.Dropped, record.Overdue, "", "", 0, 0, 0
	})},
	"client's planned start moved": {"client", altered(func(c *record.Client) { c.Planned = c.Planned.Add(time.Millisecond) })},
	"client's time shortened":      {"client", altered(func(c *record.Client) { c.Service, c.Latency = 1, 101 })},
	"entry lost":                   {"entry", lost},
	"entry doubled":                {"entry", doubled},
	"entry's id altered":           {"entry", altered(func(l *record.AccessLogEntry) { l.ID = "11.http.0.99" })},
	"entry's address altered":      {"entry", altered(func(l *record.AccessLogEntry) { l.Addr = "127.0.0.1:8001" })},
	"entry's address unknown":      {"entry", altered(func(l *record.AccessLogEntry) { l.Addr = "10.0.0.9:8000" })},
	"entry's status altered":       {"entry", altered(func(l *record.AccessLogEntry) { l.Status, l.AddrStatus = "500", "500" })},
	"entry's duration altered":     {"entry", altered(func(l *record.AccessLogEntry) { l.Duration = 9 })},
	"entry's attempt added": {"entry", altered(func(l *record.AccessLogEntry) {
		l.Addr, l.AddrStatus, l.HeaderTime, l.BytesSent = "127.0.0.1:8001, "+l.Addr, "502, 200", "-, 0.001", "0, 254"
	})},
	"arrival lost":              {"arrival", lost},
	"arrival doubled":           {"arrival", doubled},
	"arrival's id altered":      {"arrival", altered(func(c *record.Call) { c.ID = "11.http.0.99" })},
	"arrival's number altered":  {"arrival", altered(func(c *record.Call) { c.Call += 1000 })},
	"arrival's start altered":   {"arrival", altered(func(c *record.Call) { c.Start = "other" })},
	"completion lost":           {"completion", lost},
	"completion doubled":        {"completion", doubled},
	"completion's code altered": {"completion", altered(func(c *record.Call) { c.Code = "500" })},
	"completion's time altered": {"completion", altered(func(c *record.Call) { c.Duration = 9_000_000 })},
	"call by another instance":  {"call", altered(func(c *record.Call) { c.Instance = "whoami-1"; c.Start = "whoami-1" })},
	"call lost":                 {"call", lost},
	"call doubled as another": {"call", func(r any) []any {
		other := r.(record.Call)
		other.Call += 1000
		return []any{r, other}
	}},
	"call added for others": {"call", func(r any) []any {
		other := r.(record.Call)
		other.Call, other.ID = other.Call+1, "other"
		return []any{r, other}
	}},
}

// is is the kind of a record, as mutations name it.
func is(r any) (kind, id string) {
	switch r := r.(type) {
	case record.Client:
		return "client", r.ID
	case record.AccessLogEntry:
		return "entry", r.ID
	case record.Call:
		if r.Event == record.Arrival {
			return "arrival", r.ID
		}
		return "completion", r.ID
	}
	return "", ""
}

// unnoticed are the mutations that no source contradicts, by what there is; docs/ledger.md lists them.
var unnoticed = map[string][]string{
	// An attempt for which nothing was sent is known to nginx alone, and an edit may have removed x-instance.
	"all records": {"entry's attempt added", "client's instance removed"},
	// With no duration in the entry nothing contradicts the client's time.
	"no calls":     {"entry's attempt added", "client's instance removed", "client's time shortened"},
	"past nginx":   {},
	"client alone": {"client's instance altered", "client's instance removed", "client's code altered", "client's failure hidden", "client's time shortened"},
}

// Whatever is lost, doubled or altered of a trial on a target is found, as far as there are records that contradict it.
func TestMutationsOfATargetsRecordsAreFound(t *testing.T) {
	t.Parallel()
	for what, change := range targets {
		h := onTarget(t, change)
		wantOthers := 30
		if accessLog, calls := h.Has(); !accessLog && !calls {
			wantOthers = 0
		}
		if r := closed(t, open(t, labtest.TrialDir(t, h.Manifest, h.Files(t)))); len(r.Reasons) > 0 || r.Others != wantOthers {
			t.Errorf("%s, as recorded: %q %v, %d requests of others", what, r.Reasons, r.Discrepancies, r.Others)
		}
		for _, name := range slices.Sorted(maps.Keys(mutations)) {
			m, changed := mutations[name], 0
			mutated := h
			mutated.Records = nil
			for _, r := range h.Records {
				kind, id := is(r)
				if id == "11.http.0.14" && (kind == m.of || m.of == "call" && (kind == "arrival" || kind == "completion")) {
					mutated.Records = append(mutated.Records, m.change(r)...)
					changed++
				} else {
					mutated.Records = append(mutated.Records, r)
				}
			}
			if changed == 0 {
				continue // There are no such records.
			}
			r := closed(t, open(t, labtest.TrialDir(t, mutated.Manifest, mutated.Files(t))))
			if found, want := len(r.Reasons)+r.DiscrepancyCount > 0, !slices.Contains(unnoticed[what], name); found != want {
				t.Errorf("%s: %s: %q %v", what, name, strings.Join(r.Reasons, "; "), r.Discrepancies)
			}
		}
	}
}
