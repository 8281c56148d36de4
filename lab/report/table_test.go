package report

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trivet/lab/measure"
	"trivet/lab/record"
)

// reading is a group with a service time of all percentiles, and with failures.
func reading(service time.Duration, failed int) measure.Metrics {
	l := measure.Latency{Count: 100 - failed, P50: &service, P99: &service, Max: &service}
	amplification := 1.5
	return measure.Metrics{
		Requests: 100, OK: 100 - failed, Failed: failed, Duplicated: failed, Amplification: &amplification, Latency: l, ServiceTime: l,
		FirstAttempts: map[string]int{"whoami-1": 50 + failed, "whoami-2": 50},
	}
}

// What a stall or a busy machine could have changed stands in the table, where that is noticeable.
func TestTableShowsUncertainty(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for _, test := range []struct {
		measured, adjusted time.Duration
		failed, sure       int
		want               string
	}{
		{228 * ms, 3 * ms, 3, 0, "3 (0–3)|228ms (≥3ms)"},
		{228 * ms, 220 * ms, 3, 3, "3|228ms"}, // less than a tenth
		{3 * ms, 2100 * time.Microsecond, 3, 2, "3 (2–3)|3ms"},
		{1140 * ms, 1360 * ms, 9, 0, "9 (0–9)|1.14s (≤1.36s)"}, // with what took longest and then failed
		{3 * ms, 1900 * time.Microsecond, 0, 0, "0|3ms (≥1.9ms)"},
	} {
		other := reading(test.adjusted, test.sure)
		g := groups{instances: 2, of: []measure.Group{{Metrics: reading(test.measured, test.failed), Adjusted: &other}}}
		if got := strings.Join(g.cells()[1:3], "|"); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
	g := groups{instances: 2, of: []measure.Group{{Metrics: reading(228*ms, 3)}}}
	if got, want := strings.Join(g.cells(), "|"), "100|3|228ms|228ms|228ms|1.5|3|0|-1 53  -2 50"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTableOfTrialsHasMediansAndRanges(t *testing.T) {
	t.Parallel()
	var g groups
	g.instances = 2
	for i, service := range []time.Duration{5, 2, 100} {
		g.of, g.trials = append(g.of, measure.Group{Name: "http", Metrics: reading(service*time.Millisecond, i)}), append(g.trials, i+1)
	}
	if got, want := strings.Join(g.cells(), "|"), "100|0–2|5ms|5ms|5ms|1.5|0–2|0|-1 50–52  -2 50"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	g.of, g.trials = g.of[:2], g.trials[:2]
	if got := g.cells()[2]; got != "3.5ms" {
		t.Errorf("the median of 2 and 5 ms is %s", got)
	}
	g.of[0].Metrics.ServiceTime = measure.Latency{} // None was OK.
	if got := g.cells()[2]; got != "2ms" {
		t.Errorf("the median of one value, 2 ms, is %s", got)
	}
	if notes := g.notes("during"); len(notes) != 1 || !strings.HasPrefix(notes[0], "during.http, trial 2: 1 failed: ") {
		t.Errorf("%q", notes)
	}
}

// A reader sees that a system did not keep up, and that the machine was too busy to say more.
func TestNotesOnSaturationAndTheMachine(t *testing.T) {
	t.Parallel()
	knee, little, much := 210.0, 0.05, 1.1
	second, long := time.Second, time.Second+1
	saturated := func(s measure.Saturation) measure.Metrics {
		return measure.Metrics{Saturation: s, Latency: measure.Latency{Max: &long}}
	}
	for want, m := range map[string]measure.Metrics{
		"": {Saturation: measure.Saturation{Peak: 203}},
		"1 failed: 1 nginx error; planned - to - after the start of the phase":                                                      {Saturation: measure.Saturation{Saturated: true}, Latency: measure.Latency{Max: &second}, Failed: 1, NginxErrors: 1},
		"1 response came from nginx's cache|2 requests unlogged: nginx was killed, and what it did with open requests is not known": {Cached: 1, Unlogged: 2},
		"saturated: the system kept up to 210 requests/s; at most 203 OK responses ended in a second":                               saturated(measure.Saturation{Saturated: true, Knee: &knee, Peak: 203}),
		"saturated: the system did not keep up even in the first second; at most 203 OK responses ended in a second":                saturated(measure.Saturation{Saturated: true, Peak: 203}),
	} {
		if got := strings.Join(noteworthy(m, 3), "|"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, test := range []struct {
		delay, other *float64
		want         string
	}{
		{nil, nil, ""},
		{&little, &little, ""},
		{&little, &much, "during: nginx-worker-1 waited for a CPU 5 % of the time, and other programs used 1.1 CPUs"},
		{&much, &little, "during: nginx-worker-1 waited for a CPU 110 % of the time, and other programs used 0.1 CPUs"},
	} {
		p := measure.Phase{Name: "during", Groups: []measure.Group{{Name: "http", Metrics: measure.Metrics{RunDelay: test.delay, OtherCPUs: test.other}}}, Processes: []measure.Process{
			{Name: "generator", Delay: time.Hour}, {Name: "nginx-worker-1", Delay: time.Minute}, {Name: "whoami-1", Delay: time.Second},
		}}
		v := Variant{Instances: 3, Trials: []Trial{{Phases: []measure.Phase{p}}}}
		if got := strings.Join(v.machineNotes(0), "|"); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// Of several trials the line is about the one in which the system waited the most.
func TestNoteOnTheMachineIsOfTheBusiestTrial(t *testing.T) {
	t.Parallel()
	v := Variant{Instances: 3}
	for _, delay := range []float64{0.3, 0.5, 0.4} {
		v.Trials = append(v.Trials, Trial{Phases: []measure.Phase{{
			Name: "during", Groups: []measure.Group{{Metrics: measure.Metrics{RunDelay: &delay, OtherCPUs: &delay}}}, Processes: []measure.Process{{Name: "nginx", Delay: time.Second}},
		}}})
	}
	v.Trials = append(v.Trials, Trial{}) // Never begun.
	if got, want := strings.Join(v.machineNotes(0), "|"), "during, trial 2: nginx waited for a CPU 50 % of the time, and other programs used 0.5 CPUs"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReasonsAreCountedAndCut(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	Text{&b, false}.reasons("  ", Invalid, []string{"one", "phase 2; stop it", "one", "three", "phase 3; stop it", "four", "five", "six"})
	const want = `  INVALID: one (and 1 like it); run again, and if it comes again, look at the records and logs
    phase 2; stop it (and 1 like it)
    three
    four
    and 2 more; ` + "`trivet report --format json`" + ` has all reasons
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// Each trial is read from its own directory, and the worst one counts.
func TestReportOnTrials(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(records)
		want  Verdict
		text  []string
	}{
		{"passed", func(records) {}, Passed, []string{"\n  3 instances, 2 nginx workers, 2s; medians of 2 trials\n", "\none: passed: 1 of 1 expectation passed\n"}},
		{"failed", func(r records) { r.refuse(t, 0, 20, "502") }, Failed, []string{
			"before  http   50        0–1     3ms", "\n    before.http, trial 2: 1 failed: 1 nginx error;", "\n  FAILED  before.http.failed == 0  before.http.failed = 0.5 (0 to 1)\n",
		}},
		{"invalid", func(r records) { r[record.AccessLogFile][3] = "" }, Invalid, []string{
			"\n    INVALID: trial 2: the records of client, nginx and instances contradict each other in ", "trial directory: ", "/only-2\n",
		}},
	} {
		e := expect(oneVariant(), "before.http.failed == 0")
		e.Trials = 2
		dir := index(t, e)
		only(t).write(t, filepath.Join(dir, "1-one", "only-1"))
		second := only(t).trial(2)
		test.spoil(second)
		second.write(t, filepath.Join(dir, "1-one", "only-2"))
		r := from(t, dir)
		text := asText(r, false)
		if r.Verdict != test.want || len(r.Experiments[0].Variants[0].Trials) != 2 {
			t.Errorf("%s: %s", test.name, r.Verdict)
		}
		for _, want := range test.text {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", test.name, want, text)
			}
		}
		checkFormats(t, r)
		cases := asJUnit(t, r).Suites[0].Cases
		for i := range 2 {
			if want := fmt.Sprintf("trial %d is valid", i+1); cases[i].Name != want || (cases[i].Error != nil) != (test.want == Invalid && i == 1) {
				t.Errorf("%s: %+v, want %s", test.name, cases[i], want)
			}
		}
	}
}

// compared is the report on two variants with so many trials each, in which plain fails 1, 2 and so on times as many requests as other.
func compared(t *testing.T, trials int) *Run {
	t.Helper()
	e := expect(twoVariants(), "plain.total.http.failed > other.total.http.failed", "plain.total.http.failed > 2 * other.total.http.failed")
	e.Trials = trials
	dir := index(t, e)
	for _, s := range e.Scenarios {
		for trial := 1; trial <= trials; trial++ {
			all, n := flawless(t, s), 2
			if s.Variant == "plain" {
				n = 2 * trial
			}
			for i := range n {
				all.refuse(t, 0, 10*i, "502")
			}
			all.trial(trial).write(t, filepath.Join(dir, "1-one", fmt.Sprintf("%s-%d", s.Variant, trial)))
		}
	}
	return from(t, dir)
}

// A comparison over trials says its size, in all formats; one that holds in some trials decides nothing.
func TestComparisonOverTrialsHasItsSize(t *testing.T) {
	t.Parallel()
	r := compared(t, 4)
	const size = "plain.total.http.failed 5 (2 to 8), other.total.http.failed 2: ratio 2.5 (1 to 4: 88 %)"
	e, text := r.Experiments[0], asText(r, false)
	for i, held := range []int{3, 2} {
		want := fmt.Sprintf("passed in %d of 4 trials; %s", held, size)
		if x := e.Expectations[i]; !x.Inconclusive || measured(x) != want {
			t.Errorf("%+v, want %s", x, want)
		}
		if !strings.Contains(text, "\n      "+want+"\n") {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if r.Verdict != Invalid || r.Code != 3 {
		t.Errorf("%s, exit code %d", r.Verdict, r.Code)
	}
	checkFormats(t, r)
}
