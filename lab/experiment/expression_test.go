package experiment

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// many is small, with as many requests as expectations need; of few there are few, and none before.
var many = strings.NewReplacer("http, rate: 10/s}", "http, rate: 60000/s}", "grpc, rate: 10/s}", "grpc, rate: 100/s}, {protocol: http, name: few, rate: {phases: {during: 10/s}}}").Replace(
	strings.ReplaceAll(small, "load:\n  - {protocol: http, rate: 10/s}\n  - {protocol: grpc, rate: 10/s}\n", "load: [{protocol: http, rate: 10/s},\n\n{protocol: grpc, rate: 10/s}]\n"))

func TestExpectationsThatSayNothingAreRefused(t *testing.T) {
	t.Parallel()
	whole := "during.http is many metrics: name one, like during.http.failed"
	const missing = "an expectation that reads a metric without a value is inconclusive"
	for expect, want := range map[string]string{
		// What reads metrics in a roundabout way could read a missing one unseen.
		`all([during.http], .latency.p99 < duration("1s"))`:            "10: " + whole,
		`[during.http][0].latency.p99 < duration("1s")`:                "6: " + whole,
		`[during.http] == [before.http]`:                               "6: " + whole,
		`(true ? during : before).http.latency.p99 < duration("1s")`:   "13: during is many metrics: name one, like during.http.failed",
		`!fair([during.http][0])`:                                      "12: " + whole,
		`get(during.http, "latency").p99 < duration("1s")`:             "9: " + whole,
		`!during.http.Fair().Passed`:                                   "18: unknown metric Fair: want requests, dropped, ",
		`during.http.latency == during.grpc.latency`:                   "5: during.http.latency is many metrics: name one, like during.http.latency.p99",
		`let l = during.http.latency; l == l`:                          "34: l is many metrics: name one, like l.p99",
		`toJSON(during.http.recovery) != ""`:                           "12: during.http.recovery is many metrics",
		`$env["during"].http.latency.p99 < duration("1s")`:             "5: unknown name $env",
		`during.http.latency.p99 == nil`:                               "32: nil and ?. are not supported: " + missing,
		`during.http.latency.p99 != nil`:                               "32: nil and ?. are not supported: " + missing,
		`during.http.latency?.p99 != duration("1s")`:                   "26: nil and ?. are not supported: " + missing,
		`during.http.codes?.OK != 1`:                                   "24: nil and ?. are not supported: " + missing,
		`(during.http.latency.p99 ?? duration("0s")) < duration("1s")`: "30: ?? is not supported: " + missing,

		`!binomial(during.http, "whoami-1", -0.3)`: "6: a share of -0.3: want one above 0 and below 1",
		`!binomial(during.http, "whoami-1", 1)`:    "6: a share of 1: want one above 0 and below 1",
		`!binomial(during.http, "whoami-4", 0.3)`:  "28: unknown instance whoami-4: did you mean whoami-1?",

		`during.http.latency.p99 < duration("xyz")`:                     `31: time: invalid duration "xyz"`,
		`during.http.failed > 3 && duration("xyz") > duration("1s")`:    `31: time: invalid duration "xyz"`,
		`during.http.failed < date("foo").Year()`:                       "26: invalid date foo",
		`during.http.failed < int("x")`:                                 "26: invalid operation: int(x)",
		`during.http.failed % 0 == 1`:                                   "24: a division by 0 has no value",
		`during.http.failed > 1 / 0`:                                    "28: a division by 0 has no value",
		`during.http.failed < len(1..10000000)`:                         "31: memory budget exceeded",
		`during.http.failed < len(repeat("x", 100000000))`:              "30: memory budget exceeded",
		`during.http.latency.p99 / during.grpc.latency.p99 > 2`:         "29: invalid operation: / (mismatched types duration and duration)",
		`if during.http.failed > 3 { 5 } else { false }`:                "5: is no condition",
		`during.http.failed == 999; before.http.failed == 0`:            "5: several expressions, of which only the last would count",
		`let x = 1; during.http.failed == 999; before.http.failed == 0`: "35: several expressions, of which only the last would count",
		`during.http.failed == 0 && now() > date("2020-01-01")`:         "32: unknown name now",
		// Keys that the counts never have, which would count as 0.
		`let k = "nope"; during.http.codes[k] == 0`:                              `38: during.http.codes never has "nope": want OK, Canceled`,
		`during.http.codes["5" + "0x"] == 0`:                                     `22: during.http.codes never has "50x": want OK, `,
		`let c = during.http.codes; c["nope"] == 0`:                              `33: c never has "nope": want OK, `,
		`let c = during.http.codes; c.Unavalable == 0`:                           `34: c never has "Unavalable": did you mean Unavailable?`,
		`let m = during.http; m.reasons["dead" + "lime"] == 0`:                   `35: m.reasons never has "deadlime": did you mean deadline?`,
		`let m = during.http; m.reasons.deadlime == 0`:                           `36: reasons never has "deadlime": did you mean deadline?`,
		`all(["nope"], during.http.codes[#] == 0)`:                               `36: during.http.codes never has "nope": want OK, `,
		`[during.http.codes][0]["nope"] == 0`:                                    `27: [during.http.codes][0] never has "nope": want OK, `,
		`[during.http.codes][0][503] == 0`:                                       `27: the keys of [during.http.codes][0] are text: want "503"`,
		`{"a": during.http.reasons}.a.nope == 0`:                                 `34: {a: during.http.reasons}.a never has "nope": want deadline, `,
		`let f = during.http.first_attempts; f["whoami-4"] == 0`:                 `42: f never has "whoami-4": did you mean whoami-1?`,
		`sum(map(1..4, during.http.ok_by_instance["whoami-" + string(#)])) >= 0`: `45: during.http.ok_by_instance never has "whoami-4": did you mean whoami-1?`,
		`not ("50x" in during.http.codes)`:                                       `19: in does not say how often: compare the count, like during.http.codes["50x"] > 0`,

		`true`:                   "5: reads no metric: it says the same whatever is measured",
		`[1, 2, 3] == [1, 2, 3]`: "5: reads no metric",
	} {
		refused(t, expect, want)
	}
}

func TestExpectationsThatNeverChangeAreRefused(t *testing.T) {
	t.Parallel()
	for expect, want := range map[string]string{
		`during.http.failed >= 0`:                                                               "5: is true whatever is measured: it says nothing",
		`during.http.failed == during.http.failed`:                                              "5: is true whatever is measured",
		`during.http.failed < during.http.failed`:                                               "5: is false whatever is measured",
		`during.http.latency.p99 >= during.http.latency.p50`:                                    "5: is true whatever is measured",
		`during.http.latency.p99 >= during.http.service_time.p99`:                               "5: is true whatever is measured",
		`during.http.ok + during.http.failed + during.http.dropped == during.http.requests`:     "5: is true whatever is measured",
		`all([], during.http.failed == 0)`:                                                      "5: is true whatever is measured",
		`any([], during.http.failed == 0)`:                                                      "5: is false whatever is measured",
		`during.http.failed == 0 || true`:                                                       "5: is true whatever is measured",
		`during.http.failed <= 60010`:                                                           "5: is true whatever is measured",
		`during.http.failed > 60010`:                                                            "5: is false whatever is measured",
		`during.http.requests == 60010`:                                                         "5: is true whatever is measured",
		`during.http.failed > (1 + 1) / 6 || during.http.failed == 0`:                           "5: is true whatever is measured",
		`during.http.recovery.failed == (during.http.failed > 0)`:                               "5: is true whatever is measured",
		`not during.http.recovery.failed || during.http.recovery.last_failure < duration("1s")`: "5: is true whatever is measured",
		`let c = during.http.codes; c.Unavailable == 0`:                                         "5: is true whatever is measured",
		`during.http.codes.Unavailable == 0`:                                                    `23: codes never has "Unavailable" over HTTP, where codes are numbers: want codes["200"], codes["502"]`,
		`during.grpc.codes["503"] == 0`:                                                         `23: codes never has "503": want OK, `,
		`during.http.latency.p999 < duration("1s") && fair(during.few)`:                         "5: is false whatever is measured, or has no value: ",
		`fair(during.few)`:                                                                      "5: never has a value: fair(during.few): inconclusive: ",
		`binomial(during.grpc, "whoami-1", 0.5)`:                                                "5: never has a value: binomial(",
		`during.few.latency.p99 < duration("1s")`:                                               "5: never has a value: during.few.latency.p99 has no value, as p50 needs 2 requests, p90 10, p99 100 and p999 1000; planned: 10 requests of few in phase during",
		`before.few.failed == 0`:                                                                "5: no request of few is planned in phase before: nothing can be read there",
	} {
		if !leftOut(len(expect)) {
			refused(t, expect, want)
		}
	}
}

// refused checks that an expectation is refused: want is the column after "- '" and the message.
func refused(t *testing.T, expect, want string) {
	t.Helper()
	_, folded := parse("x.yaml", []byte(strings.Replace(many, "during.http.failed == 0", "|-\n    "+expect, 1)))
	// The same on one line says where.
	quoted := "'" + strings.ReplaceAll(expect, "'", "''") + "'"
	_, placed := parse("x.yaml", []byte(strings.Replace(many, "during.http.failed == 0", quoted, 1)))
	column, message, _ := strings.Cut(want, ": ")
	all := unjoin(placed.join())
	if len(all) == 0 || folded.join() == nil {
		t.Errorf("%s is accepted: %v, %v", expect, placed.join(), folded.join())
		return
	}
	d, ok := errors.AsType[*Diagnostic](all[0])
	if !ok || !strings.HasPrefix(d.Message, clip(expect)+": "+message) || fmt.Sprint(d.Column-1) != column && column != "5" || d.Line != 9 {
		t.Errorf("%s\ngot  %v\nwant %s", expect, all, want)
	}
}

func TestExpectationsThatSaySomethingAreAccepted(t *testing.T) {
	t.Parallel()
	for _, expect := range []string{
		`during.http.failed / during.http.requests < 0.01`,
		`during.http.failed % during.http.requests == 0`,
		`during.http.requests == 0 || during.http.failed / during.http.requests < 0.01`,
		`max(values(during.http.first_attempts)) - min(values(during.http.first_attempts)) <= 1`,
		`all([before.http.failed, during.http.failed], # < 5)`,
		`let p99 = during.http.latency.p99; p99 < duration("1s") and p99.Seconds() < 1`,
		`let l = during.http.latency; l.p99 < duration("1s")`,
		`let f = during.http; !fair(f)`,
		`during.http.latency.p99 < 2 * before.http.latency.p99`,
		`sum(map(1..3, during.http.codes["200"] * #)) > 0`,
		`during.http.codes[string(100 + 100)] > 0`,
		`let c = during.http.codes; c["503"] + c.Unavailable == 0`,
		`sum(map(1..3, during.http.first_attempts["whoami-" + string(#)])) > 100`,
		`[during.http.codes][0]["503"] + {"a": during.http.codes}.a["503"] == 0`,
		`[before.http.failed, during.http.failed][0] == 0`,
		`!binomial(during.http, "whoami-" + "1", 0.3)`,
		`!binomial(during.http, "whoami-1", during.http.amplification / 2)`,
	} {
		text := strings.Replace(many, "during.http.failed == 0", "'"+expect+"'", 1)
		if _, d := parse("x.yaml", []byte(text)); d.join() != nil {
			t.Error(d.join())
		}
	}
}
