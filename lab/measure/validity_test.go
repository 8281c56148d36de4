package measure

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
)

// checkReasons wants a reason with the text; if that is "", none but those that every short trial here has.
func checkReasons(t *testing.T, reasons []string, want string) {
	t.Helper()
	usual := func(r string) bool {
		for _, text := range []string{"contradict each other", "there is no record of any request", "did not finish", "did not start"} {
			if strings.Contains(r, text) && !strings.Contains(r, "generator") {
				return true
			}
		}
		return false
	}
	if want != "" && !slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(r, want) }) {
		t.Errorf("%q, want %q", reasons, want)
	}
	if want == "" && slices.ContainsFunc(reasons, func(r string) bool { return !usual(r) }) {
		t.Errorf("%q, want only the usual", reasons)
	}
}

// What the generator did not do as planned makes a trial invalid.
func TestDroppedAndLateRequestsMakeATrialInvalid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		late    int64 // of two of 100 requests
		dropped bool  // they are
		want    string
	}{
		{250_000, false, ""},
		{250_001, false, "load web, phase a: the generator sent 2 of 100 requests more than 250ms late; the limit is 1 %; plan fewer"},
		{0, true, "load web: the generator dropped 2 of 100 requests, each more than a second overdue; plan fewer"},
	} {
		p := plan(t, 3500*time.Millisecond)
		for n := range 100 {
			r := labtest.OK(fmt.Sprint("11.http.0.", n), p.manifest.Begin)
			if n < 2 {
				r.Late = c.late
				if c.dropped {
					r.Outcome, r.Attempts, r.Reason = record.Dropped, 0, record.Overdue
				}
			}
			p.add(r)
		}
		p.add(record.Event{Event: record.Ended})
		checkReasons(t, p.finish().Reasons, c.want)
	}
}

// The generator is judged in each phase and for each load by itself: how late it sent, and how often it stalled.
func TestLatenessLimits(t *testing.T) {
	t.Parallel()
	const short = 900 // µs
	ms := func(n int64) int64 { return n * 1000 }
	late := func(n, limit, percent int, unit string) string {
		return fmt.Sprintf("the generator sent %d of 100 requests more than %d%s late; the limit is %d %%", n, limit, unit, percent)
	}
	stalled := func(n int) string {
		return fmt.Sprintf("the generator stalled during %d of 100 requests, for a tenth of their time or more; the limit is 20 %%", n)
	}
	for _, c := range []struct {
		name          string
		late, stalled []int64 // µs; of so many of the phase's 100 requests
		service       int64   // µs; of all of them, besides what they are late
		want          string  // "": no such reason
	}{
		{"on time", nil, nil, short, ""},
		{"one is late", []int64{ms(900)}, nil, short, ""},
		{"two are late", []int64{ms(900), ms(251)}, nil, short, late(2, 250, 1, "ms")},
		{"one is late, and one survives a stall", []int64{ms(900)}, []int64{0, ms(251)}, short, ""},
		{"a fifth is late", slices.Repeat([]int64{ms(101)}, 20), nil, short, ""},
		{"more than a fifth is late", slices.Repeat([]int64{ms(101)}, 21), nil, short, late(21, 100, 20, "ms")},
		{"all are a little late", slices.Repeat([]int64{ms(100)}, 100), nil, short, ""},
		{"a fifth stalls", nil, slices.Repeat([]int64{ms(225)}, 20), short, ""},
		{"more than a fifth stalls", nil, slices.Repeat([]int64{ms(10)}, 21), short, stalled(21)},
		{"timers that wake late", nil, slices.Repeat([]int64{ms(9)}, 100), short, ""},
		{"stalls that long streams survive", nil, slices.Repeat([]int64{ms(90)}, 80), ms(1000), ""},
		{"stalls that shorter ones do not", nil, slices.Repeat([]int64{ms(101)}, 80), ms(1000), stalled(80)},
		{"OK at the deadline", nil, nil, ms(1000), ""},
		{"OK after the deadline", nil, nil, ms(1000) + 1, "100 of 100 requests were OK after the deadline of 1s"},
	} {
		// It is not diluted by the rest of the trial: phase b has a tenth of the requests.
		p := plan(t, time.Second, time.Second)
		for n := range 1000 {
			r := labtest.OK(fmt.Sprint("11.http.0.", n), p.manifest.Begin.Add(time.Duration(n%900)*time.Millisecond))
			if n >= 900 {
				r.Service = c.service
				r.Planned = r.Planned.Add(time.Second)
				if i := n - 900; i < len(c.late) {
					r.Late = c.late[i]
				}
				if i := n - 900; i < len(c.stalled) {
					r.Stalled = c.stalled[i]
				}
				r.Latency = r.Late + max(r.Service, r.Stalled)
			}
			p.add(r)
		}
		p.add(record.Event{Event: record.Ended})
		want := c.want
		if want != "" {
			want = "load web, phase b: " + want
		}
		checkReasons(t, p.finish().Reasons, want)
		if c.name == "a fifth stalls" {
			if l := p.metrics("b").Lateness; l.Count != 100 || *l.P90 < 224*time.Millisecond || *p.metrics("").Lateness.P50 > time.Millisecond || p.metrics("b").Late != 0 {
				t.Errorf("%+v", l)
			}
		}
	}
}

func TestPhaseInWhichNothingWasSentMakesATrialInvalid(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second, time.Second)
	p.request(0, time.Millisecond, record.OK, 1)
	c := labtest.OK("11.http.0.1", p.manifest.Begin.Add(time.Second))
	c.Outcome, c.Attempts = record.Dropped, 0
	p.add(c)
	if reasons := p.finish().Reasons; !slices.Contains(reasons, "load web, phase b: none of 1 request was sent") {
		t.Errorf("%q", reasons)
	}
}

// The count of discrepancies has a reason of its own, which stands before what else is wrong with a trial that ran to its end.
func TestDiscrepanciesAreTheFirstReason(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second)
	p.add(record.Event{Event: record.Ended})
	if got := p.finish(); got.DiscrepancyCount != 1000 || len(got.Discrepancies) != 100 || got.Reasons[0] != "the records of client, nginx and instances contradict each other in 1000 places of 1000 requests" {
		t.Errorf("%d discrepancies, %q", got.DiscrepancyCount, got.Reasons)
	}
}
