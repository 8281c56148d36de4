package experiment

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"trivet/lab/ledger"
)

// Expectations that would hold whatever happened, or could never be asked, each with what is said against it.
func TestExpectationsWithoutSense(t *testing.T) {
	t.Parallel()
	many := "during.http is many figures: name one, like during.http.failed"
	for expect, want := range map[string]string{
		// What is read in a roundabout way could have no value, and nobody would see it.
		`let l = during.http.latency; l.p99 < duration("1s")`:           "13: during.http.latency is many figures: name one, like during.http.latency.p99",
		`all([during.http], .latency.p99 < duration("1s"))`:             "10: " + many,
		`[during.http][0].latency.p99 < duration("1s")`:                 "6: " + many,
		`(true ? during : before).http.latency.p99 < duration("1s")`:    "13: during is many figures: name one, like during.http.failed",
		`let f = during.http; !fair(f)`:                                 "13: " + many,
		`!fair([during.http][0])`:                                       "6: the arguments of fair must be written out, like fair(run.http)",
		`!binomial(during.http, "whoami-" + "1", 0.3)`:                  "6: the arguments of binomial must be written out",
		`!binomial(during.http, "whoami-1", during.http.amplification)`: "6: the arguments of binomial must be written out",
		`during.http["late" + "ncy"].p99 < duration("1s")`:              "5: " + many,
		`get(during.http, "latency").p99 < duration("1s")`:              "9: " + many,
		`!during.http.Fair().Holds`:                                     "6: " + many,
		`during.http.latency == during.grpc.latency`:                    "5: during.http.latency is many figures",
		`$env["during"].http.latency.p99 < duration("1s")`:              "5: unknown name $env",

		`!binomial(during.http, "whoami-1", -0.3)`: "6: a share of -0.3: want one between 0 and 1",
		`!binomial(during.http, "whoami-1", 1)`:    "6: a share of 1: want one between 0 and 1",
		`!binomial(during.http, "whoami-4", 0.3)`:  "6: there is no whoami-4 among 3 instances: did you mean whoami-1?",

		`during.http.latency.p99 < duration("xyz")`:                     `31: time: invalid duration "xyz"`,
		`during.http.failed > 3 && duration("xyz") > duration("1s")`:    `31: time: invalid duration "xyz"`,
		`during.http.failed < date("foo").Year()`:                       "26: invalid date foo",
		`during.http.failed < int("x")`:                                 "26: invalid operation: int(x)",
		`during.http.failed % 0 == 1`:                                   "24: a division by 0 has no value",
		`during.http.failed / (1 - 1) > 1`:                              "24: a division by 0 has no value",
		`during.http.failed > 1 / 0`:                                    "28: a division by 0 has no value",
		`during.http.failed < len(1..10000000)`:                         "31: memory budget exceeded",
		`during.http.failed < len(repeat("x", 100000000))`:              "30: memory budget exceeded",
		`during.http.latency.p99 / during.grpc.latency.p99 > 2`:         "29: invalid operation: / (mismatched types duration and duration)",
		`if during.http.failed > 3 { 5 } else { false }`:                "5: is no condition",
		`during.http.failed == 999; before.http.failed == 0`:            "5: several expressions, of which the last alone would count",
		`let x = 1; during.http.failed == 999; before.http.failed == 0`: "35: several expressions, of which the last alone would count",
		`during.http.failed == 0 && now() > date("2020-01-01")`:         "32: now() is another time whenever the report is made",
		`true`:                   "5: reads no figure: it says the same whatever is measured",
		`[1, 2, 3] == [1, 2, 3]`: "5: reads no figure",
	} {
		_, faults := parse("x.yaml", []byte(strings.Replace(small, "during.http.failed == 0", "|-\n    "+expect, 1)))
		// The same on one line says where.
		quoted := "'" + strings.ReplaceAll(expect, "'", "''") + "'"
		_, placed := parse("x.yaml", []byte(strings.Replace(small, "during.http.failed == 0", quoted, 1)))
		column, message, _ := strings.Cut(want, ": ")
		all := unjoin(placed.join())
		if len(all) == 0 || faults.join() == nil {
			t.Errorf("%s is accepted: %v, %v", expect, placed.join(), faults.join())
			continue
		}
		f, ok := errors.AsType[*Fault](all[0])
		if !ok || !strings.HasPrefix(f.Message, clip(expect)+": "+message) || fmt.Sprint(f.Column-1) != column && column != "5" || f.Line != 9 {
			t.Errorf("%s\ngot  %v\nwant %s", expect, all, want)
		}
	}
}

// What is not there under one variant is found, and so is what makes sense.
func TestExpectationsWithSense(t *testing.T) {
	t.Parallel()
	for _, expect := range []string{
		`during.http.failed / during.http.requests < 0.01`,
		`during.http.failed % during.http.requests == 0`,
		`during.http.requests == 0 || during.http.failed / during.http.requests < 0.01`,
		`max(values(during.http.first_attempts)) - min(values(during.http.first_attempts)) <= 1`,
		`all([before.http.failed, during.http.failed], # < 5)`,
		`let p99 = during.http.latency.p99; p99 < duration("1s") and p99.Seconds() < 1`,
		`during.http.latency.p99 < 2 * before.http.latency.p99`,
		`(during?.http).latency.p99 < duration("1s")`, // The language reads it as if it were written out.
		`sum(map(1..3, during.http.codes["200"] * #)) >= 0`,
		`during.http.codes[string(100 + 100)] >= 0`,
		`[before.http.failed, during.http.failed][0] == 0`,
	} {
		text := strings.Replace(small, "during.http.failed == 0", "'"+expect+"'", 1)
		if _, faults := parse("x.yaml", []byte(text)); faults.join() != nil {
			t.Error(faults.join())
		}
	}
}

// A division by 0 is neither true nor false of anything.
func TestJudgeADivisionByNothing(t *testing.T) {
	t.Parallel()
	none := func(string, string, string) (ledger.Figures, bool) { return ledger.Figures{OK: 3}, true }
	for expect, why := range map[string]string{
		`during.http.ok / during.http.failed > 3`:                                   "during.http.failed",
		`not (during.http.ok / during.http.failed > 3)`:                             "during.http.failed",
		`not (during.http.failed / during.http.failed > 3)`:                         "during.http.failed",
		`during.http.ok % during.http.failed == 0`:                                  "during.http.failed",
		`during.http.ok / (2 * during.http.amplification) > 3`:                      "2 * during.http.amplification",
		`any([during.http.failed], 1 / # > 3)`:                                      "#",
		`let n = during.http.failed; during.http.ok / n > 3`:                        "n",
		`during.http.failed == 0 || during.http.ok / during.http.failed > 3`:        "",
		`(during.http.failed == 0 ? 1 : during.http.ok / during.http.failed) < 1.5`: "",
	} {
		got, err := experimentOf(t, "-", "", expect).Judge(none)
		want := "has no value: " + why + " is 0, and nothing can be divided by that"
		if why == "" && (err != nil || !got[0].Held) || why != "" && (err == nil || got[0].Held || got[0].Err != want) {
			t.Errorf("%s: %+v, %v", expect, got, err)
		}
	}
}
