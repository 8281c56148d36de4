package ledger

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// each changes every record of a type.
func each[T any](edit func(int, *T)) func(*labtest.History, string) {
	return func(h *labtest.History, _ string) {
		n := 0
		for i, r := range h.Records {
			if r, ok := r.(T); ok {
				edit(n, &r)
				h.Records[i] = r
				n++
			}
		}
	}
}

// all applies several changes.
func all(edits ...func(*labtest.History, string)) func(*labtest.History, string) {
	return func(h *labtest.History, id string) {
		for _, edit := range edits {
			edit(h, id)
		}
	}
}

// serve gives a client record another service time, and keeps its sum.
func serve(us int64) func(*record.Client) {
	return func(c *record.Client) { c.Service, c.Latency = us, c.Late+us }
}

// lasting makes a request last for a time, in all its records.
func lasting(took time.Duration) func(*labtest.History, string) {
	return func(h *labtest.History, id string) {
		var start time.Time
		client(func(c *record.Client) {
			start = c.Planned.Add(time.Duration(c.Late) * time.Microsecond)
			serve(took.Microseconds())(c)
		})(h, id)
		entry(func(l *record.AccessLogEntry) {
			l.End, l.Duration = seconds(start.Add(took)), float64((took-2*time.Millisecond).Milliseconds())/1000
		})(h, id)
	}
}

// withoutDurations takes the instances' durations away, so that only nginx's can show what is wrong with the client's.
var withoutDurations = each(func(_ int, c *record.Call) {
	c.Duration, c.Time = 0, c.Time.Add(-time.Duration(c.Duration)*time.Microsecond)
})

// sent reports whether a client record has a service time.
func sent(c *record.Client) bool { return c.Outcome != record.Dropped && c.Service > 0 }

func divided(by int64, part int) func(*labtest.History, string) {
	return each(func(i int, c *record.Client) {
		if sent(c) && i%part == 0 {
			serve(c.Service / by)(c)
		}
	})
}

var tenfold = each(func(_ int, c *record.Client) {
	if sent(c) {
		serve(10 * c.Service)(c)
	}
})

// Times that contradict each other are noticed: as discrepancies of single requests where those can tell, else by the distribution.
// Where every request reaches its deadline, none has a response to compare; but the generator's stalls are known, and nginx shares its
// machine.
func TestStallsExplainTimesOfRequestsWithoutResponse(t *testing.T) {
	t.Parallel()
	for stalled, want := range map[time.Duration]int{0: 1, time.Second: 0} {
		m := labtest.Manifest(1)
		c := labtest.OK("11.http.0.0", labtest.Planned(m, 0, 0))
		c.Late, c.Service, c.Latency, c.Stalled = 0, 2_000_000, 2_000_000, stalled.Microseconds()
		c.Outcome, c.Reason, c.Code, c.Instance, c.MaybeUnlogged = record.Incomplete, record.Deadline, "", "", []string{record.Deadline}
		end := c.Planned.Add(4 * time.Second)
		entry := record.AccessLogEntry{
			V: 1, ID: c.ID, End: seconds(end), Duration: 3.9, Status: "499", Addr: m.Instances[0].HTTP, AddrStatus: "-", HeaderTime: "-", BytesSent: "0",
		}
		got, _ := reconcile(t, labtest.History{Manifest: m, Records: []any{c, entry}})
		found := slices.DeleteFunc(got.Discrepancies, func(d Discrepancy) bool { return d.ID != c.ID })
		if len(found) != want {
			t.Errorf("stalled %v: %v, want %d discrepancies", stalled, found, want)
		}
	}
}

func TestForgedTimesAreFound(t *testing.T) {
	t.Parallel()
	const long = 203 * time.Millisecond
	for name, c := range map[string]struct {
		spoil  func(*labtest.History, string)
		rule   int    // of the request's discrepancy; 0: none is wanted
		reason string // part of one
	}{
		"planned in another phase":        {client(func(c *record.Client) { c.Planned = c.Planned.Add(4 * time.Second) }), 1, ""},
		"planned a nanosecond later":      {client(func(c *record.Client) { c.Planned = c.Planned.Add(1) }), 1, ""},
		"all planned in another phase":    {each(func(_ int, c *record.Client) { c.Planned = c.Planned.Add(-time.Millisecond) }), 1, ""},
		"service times of 1 µs":           {each(func(_ int, c *record.Client) { serve(min(1, c.Service))(c) }), 0, "rule 7"},
		"a tenth of each":                 {divided(10, 1), 0, "rule 7"},
		"a tenth of half":                 {divided(10, 2), 0, "rule 7"},
		"service times of 1 µs, by nginx": {all(withoutDurations, each(func(_ int, c *record.Client) { serve(min(1, c.Service))(c) })), 0, "requests took the client at most 1"},
		"a tenth of each, by nginx":       {all(withoutDurations, divided(10, 1)), 0, "ms longer on average"},
		"a tenth of half, by nginx":       {all(withoutDurations, divided(10, 2)), 0, "responses ended at the client before nginx sent them"},
		"203 ms turned into 100 µs":       {all(withoutDurations, lasting(long), client(serve(100))), 7, ""},
		"203 ms turned into 2 s":          {all(lasting(long), client(serve(10*long.Microseconds()))), 7, ""},
		"ten times each":                  {tenfold, 0, "from nginx to the client"},
		"nginx took 9 s":                  {entry(func(l *record.AccessLogEntry) { l.Duration = 9 }), 7, ""},
		"nginx took 9 s for each":         {each(func(_ int, l *record.AccessLogEntry) { l.Duration = 9 }), 7, ""},
		"nginx took three times as long":  {each(func(_ int, l *record.AccessLogEntry) { l.Duration *= 3 }), 0, "ms longer on average"},
		"an instance took 9 s":            {completion(func(c *record.Call) { c.Duration = 9_000_000 }), 7, ""},
		"an instance took 2 µs longer": {func(h *labtest.History, id string) {
			completion(func(c *record.Call) { c.Duration = service(*h, id) + 2 })(h, id)
		}, 7, ""},
		"nginx ended a second later":   {entry(func(l *record.AccessLogEntry) { l.End++ }), 7, ""},
		"nginx ended a second earlier": {entry(func(l *record.AccessLogEntry) { l.End -= 1.1 }), 7, ""},
		"each ended a second later":    {each(func(_ int, l *record.AccessLogEntry) { l.End++ }), 0, "differ from the client's by 999"},
		"arrival a second earlier":     {change(record.Arrival, func(c *record.Call) { c.Time = c.Time.Add(-time.Second) }), 7, ""},
		"completion a second later":    {completion(func(c *record.Call) { c.Time = c.Time.Add(time.Second) }), 7, ""},
		"nothing":                      {func(*labtest.History, string) {}, 0, ""},
		"a request of 203 ms":          {lasting(long), 0, ""},
		"an instance took as long": {func(h *labtest.History, id string) {
			completion(func(c *record.Call) { c.Duration = service(*h, id) + 1 })(h, id)
		}, 0, ""},
		"client was late by a second":        {client(func(c *record.Client) { serve(c.Service + 900_000)(c) }), 0, ""},
		"generator stalled for two seconds":  {client(func(c *record.Client) { c.Stalled = 2_000_000; serve(c.Service + 2_500_000)(c) }), 0, ""},
		"nginx logged 90 ms later":           {entry(func(l *record.AccessLogEntry) { l.End += 0.09 }), 0, ""},
		"clock was set back":                 {set(-2 * time.Second), 0, ""},
		"clock was set forward":              {set(90 * time.Second), 0, ""},
		"nginx was paused":                   {all(paused(scenario.Nginx), entry(func(l *record.AccessLogEntry) { l.End += 1.9; l.Duration += 1.9 })), 0, ""},
		"worker was paused":                  {all(paused(scenario.WorkerName(1)), entry(func(l *record.AccessLogEntry) { l.End += 1.9 })), 0, ""},
		"instance was paused, nginx was not": {all(paused("whoami-1"), entry(func(l *record.AccessLogEntry) { l.End += 1.9 })), 7, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := Lawful(3, 300)
			id := survivor(h, scenario.HTTP)
			c.spoil(&h, id)
			got, _ := reconcile(t, h)
			var text strings.Builder
			text.WriteString(strings.Join(got.Reasons, "\n"))
			for _, d := range got.Discrepancies {
				fmt.Fprintf(&text, "\nrule %d", d.Rule)
			}
			found := slices.ContainsFunc(got.Discrepancies, func(d Discrepancy) bool { return d.ID == id && d.Rule == c.rule })
			switch {
			case c.rule == 0 && c.reason == "" && (got.Count > 0 || len(got.Reasons) > 0):
				t.Errorf("%q %v", got.Reasons, got.Discrepancies)
			case c.rule > 0 && !found && got.Count < MaxDiscrepancies || !strings.Contains(text.String(), c.reason):
				t.Errorf("want rule %d at %s, %q; got %q, %v", c.rule, id, c.reason, got.Reasons, got.Discrepancies[:min(3, len(got.Discrepancies))])
			}
		})
	}
}

// service is a request's service time in its client record.
func service(h labtest.History, id string) int64 {
	i := slices.IndexFunc(h.Records, func(r any) bool { return kindOf(r, id) == "client" })
	return h.Records[i].(record.Client).Service
}

// set is the wall clock set in the fifth second: nginx and the instances follow it, the client does not.
func set(by time.Duration) func(*labtest.History, string) {
	return func(h *labtest.History, id string) {
		at := h.Begin.Add(4500 * time.Millisecond)
		each(func(_ int, l *record.AccessLogEntry) {
			if l.When().After(at) {
				l.End += by.Seconds()
			}
		})(h, id)
		each(func(_ int, c *record.Call) {
			if c.Time.After(at) {
				c.Time = c.Time.Add(by)
			}
		})(h, id)
	}
}

// paused is a pause of a process while a request is open.
func paused(process string) func(*labtest.History, string) {
	return func(h *labtest.History, id string) {
		i := slices.IndexFunc(h.Records, func(r any) bool { return kindOf(r, id) == "client" })
		at := h.Records[i].(record.Client).Planned
		for kind, after := range map[string]time.Duration{scenario.Pause: time.Millisecond, scenario.Resume: 2 * time.Second} {
			for _, event := range []string{record.ActionStarted, record.ActionDone} {
				h.Records = append(h.Records, record.Event{Time: at.Add(after), Event: event, Action: kind, Process: process})
			}
		}
		slices.SortStableFunc(h.Records, func(a, b any) int {
			x, isEvent := a.(record.Event)
			y, other := b.(record.Event)
			if !isEvent || !other {
				return 0
			}
			return x.Time.Compare(y.Time)
		})
	}
}
