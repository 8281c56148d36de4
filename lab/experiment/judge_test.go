package experiment

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trivet/lab/ledger"
)

// experimentOf reads a file with these expectations and this answer.
func experimentOf(t *testing.T, answer string, variants string, expect ...string) *File {
	t.Helper()
	text := strings.Replace(small, "question: Q?", fmt.Sprintf("question: Q?\nanswer: %q\n%s", answer, variants), 1)
	text, _, _ = strings.Cut(text, "expect:")
	text += "expect:\n"
	for _, e := range expect {
		text += fmt.Sprintf("  - '%s'\n", e)
	}
	path := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return f
}

// measured is 3 failures of 300 HTTP requests in phase during, and none otherwise; in variant few 1.
func measured(variant, phase, name string) (ledger.Figures, bool) {
	f := ledger.Figures{
		Requests: 300, OK: 300, NginxAttempts: 300, Amplification: 1,
		FirstAttempts: map[string]int{"whoami-1": 20000, "whoami-2": 20000, "whoami-3": 20000},
		Latency:       ledger.Latency{Count: 300, P99: 123456789 * time.Nanosecond, Max: 2 * time.Second},
		Turn:          ledger.Turn{Upstream: true, Generations: 1, Workers: 2, Instances: 3, Spread: 0},
	}
	if phase == "during" && name == "http" {
		f.Failed, f.OK, f.Codes, f.Amplification = 3, 297, map[string]int{"502": 3, "200": 297}, 1.0123456
		if variant == "few" {
			f.Failed, f.OK = 1, 299
		}
	}
	return f, phase == "before" || phase == "during" || phase == "run"
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		expect   string
		held     bool
		measured string
	}{
		{`during.http.failed == 0`, false, "during.http.failed = 3"},
		{`during.http.failed <= during.http.requests / 100`, true, "during.http.failed = 3; during.http.requests = 300"},
		{`during.http.failed == 3 and before.http.failed == 0`, true, "during.http.failed = 3; before.http.failed = 0"},
		{`before.http.failed > 0 && during.http.failed == 3`, false, "before.http.failed = 0; during.http.failed = 3"},
		{`during.http.latency.p99 < duration("250ms")`, true, "during.http.latency.p99 = 123ms"},
		{`during.http.latency.p99 > duration("250ms")`, false, "during.http.latency.p99 = 123ms"},
		{`during.http.latency.p99 < 2 * before.http.latency.max`, true, "during.http.latency.p99 = 123ms; before.http.latency.max = 2s"},
		{`during.http.codes["502"] == 3 && during.http.codes["503"] == 0`, true, `during.http.codes["502"] = 3; during.http.codes["503"] = 0`},
		{`during.grpc.codes.Unavailable == 0`, true, `during.grpc.codes.Unavailable = 0`},
		{`len(during.http.codes) == 2`, true, `during.http.codes = {200: 297, 502: 3}`},
		{`during.http.amplification < 1.01`, false, "during.http.amplification = 1.01"},
		{`not during.http.recovery.failed`, true, "during.http.recovery.failed = false"},
		{`fair(run.http)`, true, "fair(run.http): " + ledger.Figures{}.Fair().Why},
		{`!fair_without_zone(run.http)`, false, ""},
		{`binomial(run.http, "whoami-1", 1/3)`, true, ""},
		{`binomial(run.http, "whoami-1", 0.5)`, false, ""},
		{`let lost = during.http.failed; lost > 2`, true, "during.http.failed = 3"},
		{`all([before.http.failed, during.http.failed], # < 5)`, true, "before.http.failed = 0; during.http.failed = 3"},
	} {
		t.Run(c.expect, func(t *testing.T) {
			t.Parallel()
			got, err := experimentOf(t, "-", "", c.expect).Judge(measured)
			if err != nil || len(got) != 1 {
				t.Fatalf("%+v, %v", got, err)
			}
			j := got[0]
			if strings.Contains(c.expect, "fair") || strings.Contains(c.expect, "binomial") {
				figures, _ := measured(Only, "run", "http")
				law, why := ledger.Judgement{}, ""
				switch {
				case strings.HasPrefix(c.expect, "fair"):
					law, why = figures.Fair(), "fair(run.http): "
				case strings.Contains(c.expect, "without"):
					law, why = figures.FairWithoutZone(), "fair_without_zone(run.http): "
				case strings.Contains(c.expect, "1/3"):
					law, why = figures.Binomial("whoami-1", 1.0/3), `binomial(run.http, "whoami-1", 1 / 3): `
				default:
					law, why = figures.Binomial("whoami-1", 0.5), `binomial(run.http, "whoami-1", 0.5): `
				}
				c.measured = why + law.Why
				c.held = law.Holds != strings.HasPrefix(c.expect, "!")
			}
			if j.Held != c.held || j.Measured != c.measured || j.Text != c.expect || j.Variant != Only || j.Err != "" || j.Line == 0 {
				t.Errorf("%+v\nwant %v: %s", j, c.held, c.measured)
			}
		})
	}
}

const two = "variants: {plain: {}, few: {fleet: {instances: 2}}}"

func TestJudgeVariants(t *testing.T) {
	t.Parallel()
	f := experimentOf(t, "{plain.during.http.failed} or {few.during.http.failed}, {plain.run.http.latency.p99}, {plain.during.http.failed > 1 ? \"many\" : \"few\"}.", two,
		"during.http.failed == 3", "plain.during.http.failed > few.during.http.failed")
	got, err := f.Judge(measured)
	if err != nil {
		t.Fatal(err)
	}
	want := []Judgement{
		{Text: "during.http.failed == 3", Line: 11, Variant: "plain", Held: true, Measured: "during.http.failed = 3"},
		{Text: "during.http.failed == 3", Line: 11, Variant: "few", Held: false, Measured: "during.http.failed = 1"},
		{Text: "plain.during.http.failed > few.during.http.failed", Line: 12, Held: true, Measured: "plain.during.http.failed = 3; few.during.http.failed = 1"},
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got, want := f.Answered(measured), "3 or 1, 123ms, many."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestJudgeWhatCannotBeAsked(t *testing.T) {
	t.Parallel()
	f := experimentOf(t, "{during.http.failed}", "", "during.http.failed == 0", "[1, 2][during.http.failed] == 1")
	none := func(string, string, string) (ledger.Figures, bool) { return ledger.Figures{}, false }
	got, err := f.Judge(none)
	if err == nil || len(got) != 2 || got[0].Held || !strings.Contains(got[0].Err, "nothing was measured of grpc in phase before, variant only") {
		t.Errorf("%+v, %v", got, err)
	}
	if got := f.Answered(none); got != "(during.http.failed: nothing was measured of grpc in phase before, variant only)" {
		t.Error(got)
	}
	got, err = f.Judge(measured)
	if err == nil || !strings.Contains(err.Error(), "x.yaml:12:5: [1, 2][during.http.failed] == 1: ") || got[0].Err != "" || got[1].Held || got[1].Err == "" || strings.Contains(got[1].Err, "\n") {
		t.Errorf("%+v, %v", got, err)
	}
}

// What says nothing is not true, and neither is its opposite.
func TestJudgeWhatSaysNothing(t *testing.T) {
	t.Parallel()
	failing := func(string, string, string) (ledger.Figures, bool) {
		return ledger.Figures{Requests: 300, Failed: 300, FailedAttempts: 300, Turn: ledger.Turn{Upstream: true, Instances: 3}}, true
	}
	for expect, want := range map[string]string{
		`during.http.latency.p99 < duration("250ms")`:         "during.http.latency.p99 has no value: there was no such request",
		`during.http.latency.p99 > duration("250ms")`:         "during.http.latency.p99 has no value: there was no such request",
		`during.http.recovery.first_success < duration("1h")`: "during.http.recovery.first_success has no value: no request was OK after a failure",
		`during.http.recovery.first_success > duration("1h")`: "during.http.recovery.first_success has no value",
		`during.http.recovery.fair_again < duration("1h")`:    "during.http.recovery.fair_again has no value: the shares were not even at the end",
		`fair(run.http)`:                         "fair(run.http): cannot tell: 300 attempts failed",
		`!fair(run.http)`:                        "fair(run.http): cannot tell: 300 attempts failed",
		`not binomial(run.http, "whoami-1", .5)`: "cannot tell: 300 attempts failed",
	} {
		got, err := experimentOf(t, "-", "", expect).Judge(failing)
		if err == nil || len(got) != 1 || got[0].Held || !strings.Contains(got[0].Err, want) {
			t.Errorf("%s: %+v, %v", expect, got, err)
		}
	}
	got, err := experimentOf(t, "-", "", "during.http.latency.count == 0").Judge(failing)
	if err != nil || !got[0].Held {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNoAnswer(t *testing.T) {
	t.Parallel()
	f, err := Read("testdata/good/kill-one.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Answered(measured); got != "" {
		t.Error(got)
	}
}
