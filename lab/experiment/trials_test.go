package experiment

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// doubted is a variant whose second reading has no failure and is fast, in phase during; others are not in doubt.
func doubted(variant string, _ int, phase, _ string) (measured, adjusted measure.Metrics, ok bool) {
	slow, fast, stall, most := 228*time.Millisecond, 3*time.Millisecond, 240*time.Millisecond, 4*time.Millisecond
	m := measure.Metrics{
		Requests: 300, Failed: 3, OK: 297,
		Latency: measure.Latency{Count: 297, P99: &slow, Max: &stall}, Lateness: measure.Latency{Count: 300, Max: &stall},
	}
	adjusted = m
	if phase == "during" && variant != "few" {
		adjusted.Failed, adjusted.OK, adjusted.Latency.P99, adjusted.Latency.Max = 0, 300, &fast, &most
	}
	return m, adjusted, true
}

func TestExpectationThatDoubtDecidesIsInconclusive(t *testing.T) {
	t.Parallel()
	const stall = ": the generator stalled or was late, for up to 240ms"
	for expect, want := range map[string]string{
		`during.http.latency.p99 < duration("100ms")`: "during.http.latency.p99 is between 3ms and 228ms" + stall,
		`during.http.latency.p99 > duration("100ms")`: "during.http.latency.p99 is between 3ms and 228ms" + stall,
		`during.http.failed == 0`:                     "during.http.failed is between 0 and 3" + stall,
		`let l = during.http; l.failed > 2`:           "l.failed is between 0 and 3" + stall,
		// What lies between the readings, or mixes them.
		`during.http.latency.p99 > duration("100ms") && during.http.latency.p99 < duration("200ms")`: "during.http.latency.p99 is between 3ms and 228ms" + stall,
		`during.http.failed != 1`:                                     "during.http.failed is between 0 and 3" + stall,
		`during.http.latency.max < 2 * during.http.latency.p99`:       "during.http.latency.max is between 4ms and 240ms, during.http.latency.p99 is between 3ms and 228ms" + stall,
		`during.http.ok + during.http.failed == during.http.requests`: "passed",
		// One of both in doubt is enough, although the two agree when both are adjusted, and when neither is.
		`during.http.failed == during.grpc.failed`:                           "during.http.failed is between 0 and 3, during.grpc.failed is between 0 and 3" + stall,
		`during.http.latency.p99 < duration("500ms")`:                        "passed",
		`during.http.latency.p99 > duration("1s")`:                           "failed",
		`during.http.failed < 10`:                                            "passed",
		`before.http.failed == 3`:                                            "passed",
		`before.http.failed == 0`:                                            "failed",
		`during.http.failed == 0 || during.http.ok / during.http.failed > 1`: "passed",
	} {
		for _, variants := range []string{"", two} {
			text := expect
			if variants != "" {
				text = strings.NewReplacer("during.", "plain.during.", "before.", "plain.before.").Replace(expect)
				want = strings.ReplaceAll(strings.ReplaceAll(want, "during.", "plain.during."), "before.", "plain.before.")
			}
			got := Judge(experimentOf(t, "-", variants, text).Experiment, doubted)[0]
			is := map[bool]string{true: "passed", false: "failed"}[got.Passed]
			if got.Inconclusive {
				is = got.Error
			}
			if is != want {
				t.Errorf("%s: %+v, want %s", text, got, want)
			}
		}
	}
}

// An answer has both readings where they are not about the same.
func TestAnswerInDoubtHasBothReadings(t *testing.T) {
	t.Parallel()
	e := scenario.Experiment{Answer: "{before.http.failed}, {during.http.failed} failed; p99 {during.http.latency.p99}, ok {during.http.ok}, {during.http.failed > 1}"}
	e.Scenarios = experimentOf(t, "-", "", "during.http.failed == 0").Scenarios
	if got, want := Answer(e, doubted), "3, 3 (≥0) failed; p99 228ms (≥3ms), ok 297, true or false"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCombinationsOfManySets(t *testing.T) {
	t.Parallel()
	sets := make([]set, 9)
	for i := range sets {
		sets[i].group = string(rune('a' + i))
	}
	if got := combinations(sets[:8]); len(got) != 255 || len(got[254]) != 8 {
		t.Errorf("%d", len(got))
	}
	if got := combinations(sets); len(got) != 10 || len(got[0]) != 9 || len(got[9]) != 1 || got[9][0] != sets[8] {
		t.Errorf("%v", got)
	}
	if got := combinations(nil); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// failures are so many in each trial of a variant, of 300; -1: the latency, 10 ms for each failure, has no value.
func failures(of map[string][]int) Measures {
	return func(variant string, trial int, phase, _ string) (measured, adjusted measure.Metrics, ok bool) {
		n := of[variant][trial-1]
		m := measure.Metrics{Requests: 300, Failed: max(n, 0), OK: 300 - max(n, 0)}
		if p99 := time.Duration(n) * 10 * time.Millisecond; n >= 0 {
			m.Latency.P99 = &p99
		}
		return m, m, true
	}
}

func TestTrialsAreJudgedTogether(t *testing.T) {
	t.Parallel()
	type results = map[string][]int
	for _, c := range []struct {
		expect string
		of     results
		want   ExpectationResult
	}{
		{"during.http.failed == 0", results{"only": {0, 0, 0}}, ExpectationResult{Passed: true, Held: 3, Measured: "during.http.failed = 0"}},
		{"during.http.failed == 0", results{"only": {0, 3, 0}}, ExpectationResult{Held: 2, Measured: "during.http.failed = 0 (0 to 3)"}},
		{`during.http.latency.p99 < duration("1s")`, results{"only": {1, -1, 2}}, ExpectationResult{
			Inconclusive: true, Held: 2, Measured: "during.http.latency.p99 = 15ms (10ms to 20ms)",
			Error: "passed in 2 of 3 trials; trial 2: during.http.latency.p99 has no value"}},
		{`during.http.latency.p99 < duration("1s")`, results{"only": {1, -1, 200}}, ExpectationResult{Held: 1, Measured: "during.http.latency.p99 = 1.01s (10ms to 2s)"}},
		{"plain.during.http.failed > 2 * few.during.http.failed", results{"plain": {30, 40, 50}, "few": {10, 10, 10}}, ExpectationResult{
			Passed: true, Held: 3, Measured: "plain.during.http.failed = 40 (30 to 50); few.during.http.failed = 10",
			Size: "plain.during.http.failed 40 (30 to 50), few.during.http.failed 10: ratio 4 (3 to 5: 75 %)"}},
		{"plain.during.http.failed > 2 * few.during.http.failed", results{"plain": {10, 10, 10}, "few": {10, 5, 20}}, ExpectationResult{
			Held: 0, Measured: "plain.during.http.failed = 10; few.during.http.failed = 10 (5 to 20)",
			Size: "plain.during.http.failed 10, few.during.http.failed 10 (5 to 20): ratio 1 (0.5 to 2: 75 %)"}},
		{"plain.during.http.failed > few.during.http.failed", results{"plain": {10, 10, 10}, "few": {10, 0, 9}}, ExpectationResult{
			Inconclusive: true, Held: 2, Measured: "plain.during.http.failed = 10; few.during.http.failed = 9 (0 to 10)", Error: "passed in 2 of 3 trials",
			Size: "plain.during.http.failed 10, few.during.http.failed 9 (0 to 10)"}},
		{`plain.during.http.latency.p99 < duration("1s")`, results{"plain": {10, 20, 30}}, ExpectationResult{
			Passed: true, Held: 3, Measured: "plain.during.http.latency.p99 = 200ms (100ms to 300ms)"}},
		{"plain.during.http.failed > 0 and few.during.http.failed == 0", results{"plain": {1, 1, 1}, "few": {0, 0, 0}}, ExpectationResult{
			Passed: true, Held: 3, Measured: "plain.during.http.failed = 1; few.during.http.failed = 0"}},
	} {
		variants := ""
		if len(c.of) > 1 || c.of["plain"] != nil {
			variants = two + "\n"
			if c.of["few"] == nil {
				c.of["few"] = []int{0, 0, 0}
			}
		} else {
			c.want.Variant = scenario.Only
		}
		f := experimentOf(t, "-", variants+"trials: 3", c.expect)
		c.want.Text, c.want.Line, c.want.Trials = c.expect, f.Expect[0].Line, 3
		if got := Judge(f.Experiment, failures(c.of)); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s of %v\ngot  %+v\nwant %+v", c.expect, c.of, got, c.want)
		}
	}
}

func TestAnswerOfSeveralTrialsHasMedianAndRange(t *testing.T) {
	t.Parallel()
	f := experimentOf(t, `{plain.during.http.failed} and {few.during.http.failed}, {plain.during.http.latency.p99}, {plain.during.http.failed > 1 ? "many" : "few"}`,
		two+"\ntrials: 3", "during.http.failed == 0")
	const want = `2 (1 to 5) and 4, 20ms (10ms to 50ms), many or few`
	if got := Answer(f.Experiment, failures(map[string][]int{"plain": {5, 1, 2}, "few": {4, 4, 4}})); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// The table of W. J. Conover's and other books: for 6 values the smallest and the largest, for 9 the second, for 20 the sixth.
func TestIntervalOfTheMedian(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]struct {
		low, high   int
		probability float64
	}{
		2: {0, 1, 0.5}, 5: {0, 4, 0.9375}, 6: {0, 5, 0.96875}, 8: {0, 7, 0.9921875}, 9: {1, 7, 0.9609375}, 20: {5, 14, 0.9586105}, 50: {17, 32, 0.9671610},
	} {
		low, high, probability := medianInterval(n)
		if low != want.low || high != want.high || math.Abs(probability-want.probability) > 1e-6 {
			t.Errorf("%d: %d to %d, %g; want %+v", n, low, high, probability, want)
		}
	}
	if got := median([]float64{1, 2, 4, 100}); got != 3 {
		t.Error(got)
	}
}

func TestFactorIsNoPartOfASide(t *testing.T) {
	t.Parallel()
	f := experimentOf(t, "-", two, "plain.during.http.failed * 2 / 3 < 3 * few.during.http.failed", "plain.during.http.failed < 3", "not (plain.during.http.failed < few.during.http.failed)")
	var got []string
	for _, e := range f.Expect {
		compiled, err := compile(f.Experiment, nil, e.Text, true)
		if err != nil {
			t.Fatal(err)
		}
		if s := compiled[0].sides; s != nil {
			got = append(got, s.texts[:]...)
		}
	}
	if !slices.Equal(got, []string{"plain.during.http.failed", "few.during.http.failed"}) {
		t.Errorf("%q", got)
	}
}
