package experiment

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// experimentOf reads a file, and gives it these expectations and this answer, which no check before the run has seen.
func experimentOf(t *testing.T, answer string, variants string, expect ...string) *File {
	t.Helper()
	text := strings.Replace(small, "question: Q?", "question: Q?\nanswer: '-'\n"+variants, 1)
	text, _, _ = strings.Cut(text, "expect:")
	text += "expect:\n" + strings.Repeat("  - total.http.failed == 0\n", len(expect))
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	f.Answer = answer
	for i, e := range expect {
		f.Expect[i].Text = e
	}
	return f
}

// measured is 3 failures of 300 HTTP requests in phase during, and none otherwise; in variant few 1.
func measured(variant, phase, name string) (measure.Metrics, bool) {
	p99, longest := 123456789*time.Nanosecond, 2*time.Second
	m := measure.Metrics{
		Requests: 300, OK: 300, NginxAttempts: 300, Amplification: new(1.0),
		FirstAttempts: map[string]int{"whoami-1": 20000, "whoami-2": 20000, "whoami-3": 20000},
		Latency:       measure.Latency{Count: 300, P99: &p99, Max: &longest},
		RoundRobin:    measure.RoundRobin{WholeUpstream: true, Configurations: 1, Workers: 2, Instances: 3, Spread: 0},
	}
	if phase == "during" && name == "http" {
		m.Failed, m.OK, m.Codes, m.Amplification = 3, 297, map[string]int{"502": 3, "200": 297}, new(1.0123456)
		if variant == "few" {
			m.Failed, m.OK = 1, 299
		}
	}
	return m, phase == "before" || phase == "during" || phase == scenario.Total
}

// once is one trial in which nothing is in doubt.
func once(m func(variant, phase, group string) (measure.Metrics, bool)) Measures {
	return func(variant string, _ int, phase, group string) (measured, adjusted measure.Metrics, ok bool) {
		measured, ok = m(variant, phase, group)
		return measured, measured, ok
	}
}

// judge evaluates one expectation.
func judge(t *testing.T, expect string, m func(variant, phase, group string) (measure.Metrics, bool)) ExpectationResult {
	t.Helper()
	all := Judge(experimentOf(t, "-", "", expect).Experiment, once(m))
	if len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	return all[0]
}

func TestExpectationPassesOrFailsByWhatWasMeasured(t *testing.T) {
	t.Parallel()
	m, _ := measured(scenario.Only, scenario.Total, "http")
	for _, c := range []struct {
		expect   string
		passed   bool
		measured string
	}{
		{`during.http.failed == 0`, false, "during.http.failed = 3"},
		{`during.http.failed <= during.http.requests / 100`, true, "during.http.failed = 3; during.http.requests = 300"},
		{`during.http.failed == 3 and before.http.failed == 0`, true, "during.http.failed = 3; before.http.failed = 0"},
		{`before.http.failed > 0 && during.http.failed == 3`, false, "before.http.failed = 0"}, // What decided it.
		{`during.http.latency.p99 < duration("250ms")`, true, "during.http.latency.p99 = 123ms"},
		{`during.http.latency.p99 > duration("250ms")`, false, "during.http.latency.p99 = 123ms"},
		{`during.http.latency.p99 < 2 * before.http.latency.max`, true, "during.http.latency.p99 = 123ms; before.http.latency.max = 2s"},
		{`during.http.latency.p99 == during.grpc.latency.p99`, true, "during.http.latency.p99 = 123ms; during.grpc.latency.p99 = 123ms"},
		{`during.http.codes["502"] == 3 && during.http.codes["503"] == 0`, true, `during.http.codes["502"] = 3; during.http.codes["503"] = 0`},
		{`during.grpc.codes.Unavailable == 0`, true, `during.grpc.codes.Unavailable = 0`},
		{`len(during.http.codes) == 2`, true, `during.http.codes = {200: 297, 502: 3}`},
		{`during.http.amplification < 1.01`, false, "during.http.amplification = 1.01"},
		{`not during.http.recovery.failed`, true, "during.http.recovery.failed = false"},
		{`fair(total.http)`, true, "fair(total.http): " + m.Fair().Explanation},
		{`!fair_without_zone(total.http)`, false, "fair_without_zone(total.http): " + m.FairWithoutZone().Explanation},
		{`binomial(total.http, "whoami-1", 1/3)`, true, `binomial(total.http, "whoami-1", 1 / 3): ` + m.Binomial("whoami-1", 1.0/3).Explanation},
		{`binomial(total.http, "whoami-1", 0.5)`, false, `binomial(total.http, "whoami-1", 0.5): ` + m.Binomial("whoami-1", 0.5).Explanation},
		{`let m = total.http; fair(m) && m.failed == 0`, true, "fair(m): " + m.Fair().Explanation + "; m.failed = 0"},
		{`let lost = during.http.failed; lost > 2`, true, "during.http.failed = 3"},
		{`let l = during.http.latency; l.p99 < l.max`, true, "l.p99 = 123ms; l.max = 2s"},
		{`all([before.http.failed, during.http.failed], # < 5)`, true, "before.http.failed = 0; during.http.failed = 3"},
		{`all(keys(during.http.codes), during.http.codes[#] > 1)`, true, "during.http.codes = {200: 297, 502: 3}"},
		{`let codes = during.http.codes; any(keys(codes), codes[#] == 3)`, true, "during.http.codes = {200: 297, 502: 3}"},
		{`let c = during.http.codes; c["50" + "2"] == 3`, true, `during.http.codes = {200: 297, 502: 3}; c["50" + "2"] = 3`},
		{`min(values(during.http.ok_by_instance)) == 0`, true, `during.http.ok_by_instance = {whoami-1: 0, whoami-2: 0, whoami-3: 0}`},
		{`during.http.latency.p99.Seconds() < 1`, true, "during.http.latency.p99 = 123ms"},
		{`let p99 = during.http.latency.p99; p99 < duration("1s") and p99.Seconds() < 1`, true, "during.http.latency.p99 = 123ms"},
	} {
		t.Run(c.expect, func(t *testing.T) {
			t.Parallel()
			want := ExpectationResult{Text: c.expect, Line: 11, Variant: scenario.Only, Passed: c.passed, Measured: c.measured}
			if got := judge(t, c.expect, measured); got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

const two = "variants: {plain: {}, few: {fleet: {instances: 2}}}"

func TestExpectationIsEvaluatedPerVariantUnlessItComparesThem(t *testing.T) {
	t.Parallel()
	f := experimentOf(t, "{plain.during.http.failed} or {few.during.http.failed}, {plain.total.http.latency.p99}, {plain.during.http.failed > 1 ? \"many\" : \"few\"}.", two,
		"during.http.failed == 3", "plain.during.http.failed > few.during.http.failed")
	want := []ExpectationResult{
		{Text: "during.http.failed == 3", Line: 11, Variant: "plain", Passed: true, Measured: "during.http.failed = 3"},
		{Text: "during.http.failed == 3", Line: 11, Variant: "few", Passed: false, Measured: "during.http.failed = 1"},
		{Text: "plain.during.http.failed > few.during.http.failed", Line: 12, Passed: true, Measured: "plain.during.http.failed = 3; few.during.http.failed = 1"},
	}
	if got := Judge(f.Experiment, once(measured)); !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got, want := Answer(f.Experiment, once(measured)), "3 or 1, 123ms, many."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestJudgeNeedsNoFile(t *testing.T) {
	t.Parallel()
	f := experimentOf(t, "{plain.during.http.failed}", two, "during.http.failed == 3", "plain.during.http.failed > few.during.http.failed")
	text, err := json.Marshal(f.Experiment)
	if err != nil {
		t.Fatal(err)
	}
	var e scenario.Experiment
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	if got := Judge(e, once(measured)); !slices.Equal(got, Judge(f.Experiment, once(measured))) || len(got) != 3 || !got[0].Passed {
		t.Errorf("%+v", got)
	}
	if got := Answer(e, once(measured)); got != "3" {
		t.Error(got)
	}
	if got := Judge(scenario.Experiment{Expect: e.Expect}, once(measured)); len(got) != 2 || !got[0].Inconclusive || got[0].Passed {
		t.Errorf("without a scenario: %+v", got)
	}
}

func TestOnlyVariantCanBeNamed(t *testing.T) {
	t.Parallel()
	f := experimentOf(t, "{sole.during.http.failed}", "variants: {sole: {}}", "sole.during.http.failed == 3")
	if got := Judge(f.Experiment, once(measured)); len(got) != 1 || !got[0].Passed || got[0].Variant != "" {
		t.Errorf("%+v", got)
	}
	if got := Answer(f.Experiment, once(measured)); got != "3" {
		t.Error(got)
	}
}

func TestExpectationWithoutMetricsIsInconclusive(t *testing.T) {
	t.Parallel()
	f := experimentOf(t, "{during.http.failed}", "", "during.http.failed == 0", "[1, 2][during.http.failed] == 1")
	none := func(string, string, string) (measure.Metrics, bool) { return measure.Metrics{}, false }
	got := Judge(f.Experiment, once(none))
	if len(got) != 2 || got[0].Passed || !got[0].Inconclusive || got[0].Error != "no metrics of http in phase during, variant only" {
		t.Errorf("%+v", got)
	}
	if got := Answer(f.Experiment, once(none)); got != "(during.http.failed: no metrics of http in phase during, variant only)" {
		t.Error(got)
	}
	got = Judge(f.Experiment, once(measured))
	if got[0].Error != "" || got[1].Passed || !got[1].Inconclusive || got[1].Error == "" || strings.Contains(got[1].Error, "\n") {
		t.Errorf("%+v", got)
	}
}

// As in a run directory of another trivet, which kept what this one cannot evaluate.
func TestExpectationThatCannotBeCompiledIsInconclusive(t *testing.T) {
	t.Parallel()
	e := experimentOf(t, "{during.http.failed}", "", "during.http.failed == 0").Experiment
	e.Answer, e.Expect = "{gone}", []scenario.Expectation{{Text: "during.http.gone == 0", Line: 3}}
	got := Judge(e, once(measured))
	if len(got) != 1 || got[0].Passed || !got[0].Inconclusive || got[0].Line != 3 || !strings.HasPrefix(got[0].Error, "unknown metric gone: want requests, dropped, ") {
		t.Errorf("%+v", got)
	}
	if got := Answer(e, once(measured)); got != "(gone: unknown name gone: want before, during, total)" {
		t.Error(got)
	}
}

// failing is an nginx that fails everything: no metric of OK requests has a value, and no fairness check can tell.
func failing(string, string, string) (measure.Metrics, bool) {
	return measure.Metrics{Requests: 300, Failed: 300, FailedAttempts: 300, RoundRobin: measure.RoundRobin{WholeUpstream: true, Instances: 3}}, true
}

// Neither a condition about a missing value passes, nor its opposite.
func TestExpectationThatReadsAMissingValueIsInconclusive(t *testing.T) {
	t.Parallel()
	const p99 = "during.http.latency.p99 has no value"
	for expect, want := range map[string]string{
		`during.http.latency.p99 < duration("250ms")`:                                     p99,
		`during.http.latency.p99 > duration("250ms")`:                                     p99,
		`not (during.http.latency.p99 < duration("250ms"))`:                               p99,
		`during.http.latency.p99 != duration("250ms")`:                                    p99,
		`during.http.latency.p99 == during.grpc.latency.p99`:                              p99,
		`during.http.latency.p99 in [during.grpc.latency.p99]`:                            p99,
		`during.http.latency.p99 not in [duration("1s")]`:                                 p99,
		`[during.http.latency.p99] == [during.grpc.latency.p99]`:                          p99,
		`let l = during.http.latency; l.p99 != l.p50`:                                     "l.p99 has no value",
		`let p = during.http.latency.p99; p != duration("1s")`:                            p99,
		`all([during.http.latency.p99], # != duration("1s"))`:                             p99,
		`none([during.http.latency.p99], # > duration("1s"))`:                             p99,
		`len([during.http.latency.p99]) == 1`:                                             p99,
		`string(during.http.latency.p99) != "1s"`:                                         p99,
		`type(during.http.latency.p99) == "nil"`:                                          p99,
		`(during.http.failed > 0 ? during.http.latency.p99 : duration("0s")).Hours() < 1`: p99,
		`during.http.latency["p99"] != duration("1s")`:                                    p99,
		`{"a": during.http.latency.p99}.a != duration("1s")`:                              p99,
		`during.http.latency.p99.Seconds() < 1`:                                           p99,
		`during.http.amplification < 2`:                                                   "during.http.amplification has no value",
		`during.http.amplification != 2`:                                                  "during.http.amplification has no value",
		`-during.http.amplification < 2`:                                                  "during.http.amplification has no value",
		`during.http.recovery.first_success < duration("1h")`:                             "during.http.recovery.first_success has no value",
		`during.http.recovery.first_success > duration("1h")`:                             "during.http.recovery.first_success has no value",
		`during.http.recovery.fair_since < duration("1h")`:                                "during.http.recovery.fair_since has no value",
		`get(during.http.codes, "503") != 1`:                                              `get(during.http.codes, "503") has no value`,
		`first(values(during.http.codes)) != 1`:                                           `first(values(during.http.codes)) has no value`,
		`fair(total.http)`:                                                                "fair(total.http): inconclusive: 300 attempts failed",
		`!fair(total.http)`:                                                               "fair(total.http): inconclusive: 300 attempts failed",
		`let m = total.http; !fair(m)`:                                                    "fair(m): inconclusive: 300 attempts failed",
		`not binomial(total.http, "whoami-1", .5)`:                                        "inconclusive: 300 attempts failed",
	} {
		got := judge(t, expect, failing)
		if got.Passed || !got.Inconclusive || !strings.Contains(got.Error, want) {
			t.Errorf("%s: %+v, want %s", expect, got, want)
		}
	}
	for _, expect := range []string{
		"during.http.latency.count == 0", "not during.http.recovery.recovered", "not during.http.recovery.fair_at_end",
		`during.http.ok == 0 || during.http.latency.p99 < duration("1s")`, // The language does not read it.
	} {
		if got := judge(t, expect, failing); !got.Passed || got.Inconclusive {
			t.Errorf("%s: %+v", expect, got)
		}
	}
}

// A division by 0 is neither true nor false of anything.
func TestExpectationThatDividesByZeroIsInconclusive(t *testing.T) {
	t.Parallel()
	none := func(string, string, string) (measure.Metrics, bool) {
		return measure.Metrics{OK: 3, Amplification: new(0.0)}, true
	}
	for expect, want := range map[string]string{
		`during.http.ok / during.http.failed > 3`:                                   "during.http.ok / during.http.failed has no value: it is +Inf",
		`not (during.http.ok / during.http.failed > 3)`:                             "during.http.ok / during.http.failed has no value",
		`not (during.http.failed / during.http.failed > 3)`:                         "during.http.failed / during.http.failed has no value: it is NaN",
		`during.http.ok % during.http.failed == 0`:                                  "divide by zero",
		`during.http.ok / (2 * during.http.amplification) > 3`:                      "during.http.ok / (2 * during.http.amplification) has no value",
		`during.http.ok / during.http.amplification != 3`:                           "has no value",
		`1 / during.http.failed in [1]`:                                             "has no value",
		`any([during.http.failed], 1 / # > 3)`:                                      "1 / # has no value",
		`let n = during.http.failed; during.http.ok / n > 3`:                        "during.http.ok / n has no value",
		`during.http.ok ** 400 > 1 && 10 ** 400 > during.http.failed`:               "has no value: it is +Inf",
		`mean(values(during.http.codes)) < 1`:                                       "",
		`during.http.failed == 0 || during.http.ok / during.http.failed > 3`:        "passes",
		`(during.http.failed == 0 ? 1 : during.http.ok / during.http.failed) < 1.5`: "passes",
	} {
		got := judge(t, expect, none)
		if want == "passes" && !got.Passed || want != "passes" && want != "" && (got.Passed || !got.Inconclusive || !strings.Contains(got.Error, want)) {
			t.Errorf("%s: %+v, want %s", expect, got, want)
		}
	}
}

// What the check before the run did not evaluate.
func TestExpectationThatLooksUpAnUnknownKeyIsInconclusive(t *testing.T) {
	t.Parallel()
	for expect, want := range map[string]string{
		`let k = "nope"; during.http.failed == 0 || during.http.codes[k] == 0`:                    `during.http.codes never has "nope"`,
		`few.during.http.failed == 0 || {"a": few.during.http.first_attempts}.a["whoami-3"] == 0`: `never has "whoami-3": did you mean whoami-1?`,
	} {
		got := Judge(experimentOf(t, "-", two, expect).Experiment, once(measured))
		if !got[0].Inconclusive || got[0].Passed || !strings.Contains(got[0].Error, want) {
			t.Errorf("%s: %+v, want %s", expect, got, want)
		}
	}
}

func TestAnswerIsEmptyWithoutOne(t *testing.T) {
	t.Parallel()
	f, err := Read("testdata/good/kill-one.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := Answer(f.Experiment, once(measured)); got != "" {
		t.Error(got)
	}
}
