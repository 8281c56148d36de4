package report

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// columns are where the cells of a table's line begin, in characters: after at least two blanks, or at the start of the line.
func columns(line string) (at []int, cells []string) {
	runes, from := []rune(line+"  "), -1
	for i := range len(runes) - 1 {
		blank := runes[i] == ' ' && runes[i+1] == ' '
		switch {
		case from < 0 && runes[i] != ' ':
			from = i
		case from >= 0 && blank:
			at, cells, from = append(at, from), append(cells, string(runes[from:i])), -1
		}
	}
	return at, cells
}

// table are the rows of the first table whose header has that cell, without the header; each has all its cells under those of the header.
func table(t *testing.T, text, cell string) (rows [][]string) {
	t.Helper()
	var header []int
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		at, cells := columns(line)
		if header == nil {
			if strings.Contains(line, cell) {
				header = at
			}
			continue
		}
		if len(cells) < len(header)-1 {
			return rows
		}
		if len(cells) == len(header)-1 || at[0] == header[1] { // The phase's name stands in its first row.
			at, cells = append([]int{header[0]}, at...), append([]string{""}, cells...)
		}
		for i, want := range header {
			if at[i] != want {
				t.Errorf("cell %d begins at %d, its header at %d: %q\n%s", i, at[i], want, line, text)
				break
			}
		}
		if n := utf8.RuneCountInString(line); n > 120 {
			t.Errorf("%d characters: %s", n, line)
		}
		rows = append(rows, cells)
	}
	return rows
}

func TestTextColumnsLineUp(t *testing.T) {
	t.Parallel()
	for _, instances := range []int{1, 3, 4, 5, 60} {
		e := oneVariant()
		e.Scenarios[0].Instances = instances
		all := flawless(t, e.Scenarios[0])
		all.refuse(t, 0, 50, "502")
		text := asText(one(t, e, all), false)
		rows := table(t, text, "requests")
		if len(rows) != 6 {
			t.Fatalf("%d rows, want two for each phase and for the total:\n%s", len(rows), text)
		}
		if got := strings.Join(rows[2][:10], "|"); got != "during|http|50|1|3ms|-|3ms|1|0|0" {
			t.Errorf("%d instances: %s", instances, got)
		}
		shares := map[int]string{1: "-1 50", 3: "-1 17", 4: "-1 12", 5: "-1 10 to -1 10", 60: "-41 0 to -1 1"}[instances]
		if !strings.HasPrefix(rows[3][10], shares) {
			t.Errorf("%d instances: shares %q, want %q", instances, rows[3][10], shares)
		}
	}
}

func TestTitleSaysWhatRan(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]Variant{
		"3 instances, 1 nginx worker":                            {Instances: 3, Workers: 1},
		"1 instance and 2 of front, 2 nginx workers, TLS":        {Instances: 1, Front: 2, Workers: 2, TLS: true},
		"3 instances and 1 of front, 2 nginx workers, TLS, mTLS": {Instances: 3, Front: 1, Workers: 2, TLS: true, MTLS: true},
	} {
		if got := v.fleet(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

const golden = `one: Is 1 < 2 & "so" on?

  3 instances, 2 nginx workers, 2s
    phase   group  requests  failed  p50  p99  max  attempts/req  dup  in-doubt  first attempts
    before  http   50        0       3ms  -    3ms  1             0    0         -1 17  -2 17  -3 16
            grpc   50        0       3ms  -    3ms  1             0    0         -1 17  -2 17  -3 16
    during  http   50        1       3ms  -    3ms  1             0    0         -1 17  -2 16  -3 17
            grpc   50        0       3ms  -    3ms  1             0    0         -1 17  -2 16  -3 17
    total   http   100       1       3ms  -    3ms  1             0    0         -1 34  -2 33  -3 33
            grpc   100       0       3ms  3ms  3ms  1             0    0         -1 34  -2 33  -3 33
    during.http: 1 failed: 1 nginx error; codes: 502 1; planned 10ms to 10ms after the start of the phase; next OK at 30ms; fair since 0s

`

// What people read, as they read it.
func TestTextOfAnExperiment(t *testing.T) {
	t.Parallel()
	r := one(t, oneVariant(), refused(t))
	text := asText(r, false)
	if !strings.HasPrefix(text, golden) {
		t.Errorf("got\n%s\nwant\n%s", text, golden)
	}
	for _, line := range []string{
		`\n  passed  before\.http\.failed == 0 +before\.http\.failed = 0\n`,
		`\n  FAILED  during\.http\.failed == 0 +during\.http\.failed = 1\n`,
		`\n\n  1 of 100 failed\.\n\none: FAILED: 5 of 6 expectations passed\n\nRun directory: ` + regexp.QuoteMeta(r.Dir) + `\n$`,
	} {
		if !regexp.MustCompile(line).MatchString(text) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	colored := asText(r, true)
	if plain := regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(colored, ""); plain != text || plain == colored {
		t.Errorf("with color the text is another, or has none:\n%q", colored)
	}
}

func TestTextOfSeveralExperimentsHasASummary(t *testing.T) {
	t.Parallel()
	dir := index(t, oneVariant(), twoVariants())
	only(t).write(t, filepath.Join(dir, "1-one", scenario.Only))
	interrupted := flawless(t, twoVariants().Scenarios[0])
	interrupted.end(t, record.Event{Event: record.Interrupted, Error: "terminated\nby a\tsignal"})
	interrupted.write(t, filepath.Join(dir, "2-two", "plain"))
	text := asText(from(t, dir), false)
	for _, want := range []string{
		"\n    INTERRUPTED: interrupted: terminated\n      by a signal\n",
		"\n  other: another (3 instances, 2 nginx workers, 2s)\n    INTERRUPTED: never begun: the run was interrupted before\n",
		"\npassed       one  6 of 6 expectations passed\nINTERRUPTED  two  interrupted: terminated\n\nRun directory: ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// What is wrong comes first, and the table soon after it, however much is wrong.
func TestTextOfManyReasonsIsCut(t *testing.T) {
	t.Parallel()
	all := only(t)
	clear(all[record.AccessLogFile])
	for range 30 {
		all.event(t, record.Event{
			Event: record.ActionDone, Phase: "during", Action: scenario.Reload, Process: scenario.Nginx, Error: "nginx refuses its configuration:\nnginx: [emerg] \x1b[31mno",
		})
	}
	r := one(t, oneVariant(), all)
	text := asText(r, false)
	if v := r.Experiments[0].Variants[0].Trials[0]; v.DiscrepancyCount != 400 || len(v.Kinds) != 2 || v.Kinds[0].Count != 200 || v.Kinds[1].Count != 200 {
		t.Errorf("%d discrepancies: %+v", v.DiscrepancyCount, v.Kinds)
	}
	const want = `
  3 instances, 2 nginx workers, 2s
    INVALID: phase during: reload nginx failed: nginx refuses its configuration: nginx: [emerg] [31mno (and 29 like it); run again, and if it comes again, look at the records and logs
      the records of client, nginx and instances contradict each other in 400 places of 200 requests
      rule 2 is broken 200 times, as by request 7.http.0.0: the client made 1 attempt that nginx must have logged, and the access log has 0
        client: 1 attempt, ok 200 from whoami-1 (HTTP)
        nginx: 0 access-log entries
        instances: whoami-1 (HTTP) (start whoami-1-a, call 1, completed 200)
      rule 4 is broken 200 times, as by request 7.http.0.0: whoami-1 (HTTP) recorded 1 arrival, and no access-log entry has an attempt at it
      trial directory: `
	if !strings.Contains(text, want) {
		t.Errorf("no %s in\n%s", want, text)
	}
	before, _, found := strings.Cut(text, "    phase   group")
	if n := strings.Count(before, "\n"); !found || n > 18 {
		t.Errorf("%d lines before the table:\n%s", n, text)
	}
	checkFormats(t, r)
}

// A run that does not decide every expectation is invalid, also if it decides another: the last line says so, and nothing else.
func TestInconclusiveExpectationMakesTheRunInvalid(t *testing.T) {
	t.Parallel()
	const few, false_, true_ = "fair(before.http)", "during.http.failed == 0", "before.http.failed == 0"
	for _, test := range []struct {
		expect []string
		want   Verdict
		last   string
	}{
		{[]string{true_}, Passed, "one: passed: 1 of 1 expectation passed"},
		{[]string{true_, false_}, Failed, "one: FAILED: 1 of 2 expectations passed"},
		{[]string{true_, few}, Invalid, "one: INVALID: 1 of 2 expectations inconclusive"},
		{[]string{few, false_}, Invalid, "one: INVALID: 1 of 2 expectations inconclusive"},
		{[]string{few, few}, Invalid, "one: INVALID: 2 of 2 expectations inconclusive"},
	} {
		r := one(t, expect(oneVariant(), test.expect...), refused(t))
		e, text := r.Experiments[0], asText(r, false)
		if r.Verdict != test.want || r.Code != test.want.Code() || e.Verdict != test.want || (e.Answer == "") != (test.want == Invalid) {
			t.Errorf("%q: %s, exit code %d, answer %q", test.expect, r.Verdict, r.Code, e.Answer)
		}
		if !strings.Contains(text, "\n"+test.last+"\n\nRun directory: ") {
			t.Errorf("%q: no %q in\n%s", test.expect, test.last, text)
		}
		if test.want == Invalid {
			head := "one: Is 1 < 2 & \"so\" on?\n\n  INVALID: an expectation is inconclusive: fair(before.http): inconclusive: of 50 first attempts a skew"
			if !strings.HasPrefix(text, head) || !strings.Contains(text, "\n  INCONCLUSIVE  fair(before.http)") {
				t.Errorf("%q: no %q in\n%s", test.expect, head, text)
			}
		}
		checkFormats(t, r)
		var page strings.Builder
		if err := Markdown(&page, r); err != nil || !strings.Contains(page.String(), "\n"+strings.TrimPrefix(test.last, "one: ")+". nginx 1.22.1") {
			t.Errorf("%v: %s", err, page.String())
		}
	}
}

// The headline is the service time. Where the generator was late, a line says what a client would have waited from the planned start.
func TestTextHasServiceTimeAndNamesTheGeneratorsLateness(t *testing.T) {
	t.Parallel()
	for late, want := range map[int64]string{
		900:    "",
		20_000: "\n    before.http: latency from the planned start: p50 23ms, p99 -: the generator was late (p50 20ms, p99 -)\n",
	} {
		all := only(t)
		for i, text := range all[record.ClientFile] {
			all[record.ClientFile][i] = strings.Replace(strings.Replace(text, `"latency_us":3000`, fmt.Sprintf(`"latency_us":%d`, 3000+late), 1), `"late_us":0`, fmt.Sprintf(`"late_us":%d`, late), 1)
		}
		r := one(t, oneVariant(), all)
		text := asText(r, false)
		if rows := table(t, text, "requests"); strings.Join(rows[0][4:7], "|") != "3ms|-|3ms" {
			t.Errorf("%q", rows[0])
		}
		if strings.Contains(text, "planned start") != (want != "") || !strings.Contains(text, want) {
			t.Errorf("%d µs: no %q in\n%s", late, want, text)
		}
	}
}

// They are counted too where the client retried and then got another response, and there is a line for it.
func TestTextHasLocalRepliesThatWereRetried(t *testing.T) {
	t.Parallel()
	all := only(t)
	all.refuse(t, 1, 70, "Unavailable")
	for n := range 2 { // Of a second attempt, which comes first here: the client retries.
		more := only(t)
		more.refuse(t, 1, 60+n, "Unavailable")
		all[record.AccessLogFile] = append(all[record.AccessLogFile], more[record.AccessLogFile][perLoad+60+n])
		all[record.ClientFile][perLoad+60+n] = strings.Replace(all[record.ClientFile][perLoad+60+n], `"attempts":1`, `"attempts":2`, 1)
	}
	r := one(t, expect(oneVariant(), "total.grpc.local_replies == 3 && total.grpc.nginx_errors == 1 && total.http.local_replies == 0"), all)
	if r.Verdict != Passed {
		t.Errorf("%s: %+v, %q", r.Verdict, r.Experiments[0].Expectations, r.Experiments[0].Variants[0].Trials[0].Reasons)
	}
	if want := "\n    during.grpc: nginx generated 3 error responses; clients retried 2 of them\n"; !strings.Contains(asText(r, false), want) {
		t.Errorf("no %q in\n%s", want, asText(r, false))
	}
}

func TestFailuresAreOneLine(t *testing.T) {
	t.Parallel()
	ms := func(n time.Duration) *time.Duration { n *= time.Millisecond; return &n }
	for _, test := range []struct {
		m    measure.Metrics
		want string
	}{
		{measure.Metrics{Failed: 3, NginxErrors: 2, InstanceErrors: 1, Codes: map[string]int{"200": 9, "502": 2, "500": 1}, Recovery: measure.Recovery{FirstFailure: ms(5), LastFailure: ms(1234)}},
			"3 failed: 2 nginx errors, 1 instance error; codes: 500 1, 502 2; planned 5ms to 1.23s after the start of the phase"},
		// A gRPC call without a response has both a code and a reason: they are not two failures.
		{measure.Metrics{Failed: 4, Incomplete: 4, Codes: map[string]int{"OK": 9, "DeadlineExceeded": 3, "Unavailable": 1}, Reasons: map[string]int{record.Deadline: 3, record.Reset: 1},
			Recovery: measure.Recovery{FirstFailure: ms(0), LastFailure: ms(0), Recovered: true, FirstSuccess: ms(7), FairAtEnd: true, FairSince: ms(0), FairResponses: 30}},
			"4 failed: 4 incomplete; codes: DeadlineExceeded 3, Unavailable 1; reasons: deadline 3, reset 1; planned 0s to 0s after the start of the phase; next OK at 7ms; fair since 0s"},
		// Two responses of a hundred requests are one of each of two instances, which says nothing.
		{measure.Metrics{Failed: 98, Incomplete: 98, Recovery: measure.Recovery{FirstFailure: ms(0), LastFailure: ms(990), FairAtEnd: true, FairSince: ms(0), FairResponses: 29}},
			"98 failed: 98 incomplete; planned 0s to 990ms after the start of the phase; too few OK responses per second to judge the shares"},
		{measure.Metrics{Failed: 2, InstanceErrors: 2, FailedLater: 1, Recovery: measure.Recovery{FirstFailure: ms(1), LastFailure: ms(2)}},
			"2 failed: 2 instance errors; planned 1ms to 2ms after the start of the phase; 1 ended in a later phase: requests count in the phase in which they were planned"},
		// Dropped requests have reasons too, and did not fail.
		{measure.Metrics{Failed: 3, Incomplete: 3, Dropped: 5, Reasons: map[string]int{record.Refused: 1, record.Overdue: 5, record.InFlightLimit: 2},
			Recovery: measure.Recovery{FirstFailure: ms(0), LastFailure: ms(0)}},
			"3 failed: 3 incomplete; reasons: in_flight_limit 2, refused 1; planned 0s to 0s after the start of the phase"},
	} {
		if got := failures(test.m, 3); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestRowsLeaveOutAGroupThatIsAnother(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ groups, want string }{
		{"http/http", "http"},
		{"http/http grpc/grpc", "http grpc"},
		{"http/http web/http", "web"}, // One load with a name: the protocol's row would be the same.
		{"http/http/30 web/http/30 grpc/grpc/5", "web grpc"},
		{"http/http/30 slow/http/10", "http slow"}, // Another load has no name: the protocol's row is the only one with its requests.
		{"http/http web/http more/http grpc/grpc", "http web more grpc"},
		{"grpc/grpc calls/grpc http/http web/http", "calls web"},
	} {
		var p measure.Phase
		for group := range strings.FieldsSeq(test.groups) {
			name, protocol, _ := strings.Cut(group, "/")
			protocol, requests, _ := strings.Cut(protocol, "/")
			n, _ := strconv.Atoi(requests)
			p.Groups = append(p.Groups, measure.Group{Name: name, Protocol: protocol, Metrics: measure.Metrics{Requests: n}})
		}
		var got []string
		for _, g := range rows(p) {
			got = append(got, g.Name)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: got %q, want %s", test.groups, got, test.want)
		}
	}
}

func TestLineHasSingleSpacesAndNoControlCharacters(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "a  b": "a b", " a\n\tb\r\n": "a b", "a\x1b[31mb\x00": "a [31mb", "é × µ \u009b1m": "é × µ 1m", "\v\f": "",
	} {
		if got := line(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// An invalid variant names its trial directory, and a command that prints what was recorded of the first request.
func TestTextOfInvalidVariantLeadsToTheRecords(t *testing.T) {
	t.Parallel()
	r := one(t, oneVariant(), contradictory(t))
	text, dir := asText(r, false), filepath.Join(r.Dir, "1-one", scenario.Only)
	if !strings.Contains(text, "\n      trial directory: "+dir+"\n") {
		t.Errorf("no trial directory in\n%s", text)
	}
	_, command, found := strings.Cut(text, "\n      its records: ")
	command, _, _ = strings.Cut(command, "\n")
	output, err := exec.CommandContext(t.Context(), "sh", "-c", command).Output()
	if lines := strings.Count(string(output), `"id":"7.http.0.3"`); !found || err != nil || lines != 3 || lines != strings.Count(string(output), "\n") {
		t.Errorf("%s: %v, %d lines:\n%s", command, err, lines, output)
	}
	if text := asText(one(t, oneVariant(), only(t)), false); strings.Contains(text, "trial directory") {
		t.Errorf("a valid variant has a trial directory:\n%s", text)
	}
}
