package report

import (
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
		`\n  passed        before\.http\.failed == 0 +before\.http\.failed = 0\n`,
		`\n  FAILED        during\.http\.failed == 0 +during\.http\.failed = 1\n`,
		`\n\n  1 of 100 failed\.\n\none: FAILED: 4 of 6 expectations passed\n\nRun directory: ` + regexp.QuoteMeta(r.Dir) + `\n$`,
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
		"\n    INTERRUPTED\n      interrupted: terminated\n",
		"\n  other: another (3 instances, 2 nginx workers, 2s)\n    INTERRUPTED\n      never begun: the run was interrupted before\n",
		"\npassed       one  6 of 6 expectations passed\nINTERRUPTED  two  interrupted: terminated\n\nRun directory: ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// The text stays one page, however much is wrong.
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
	if r.Experiments[0].Variants[0].DiscrepancyCount < 100 {
		t.Errorf("%d discrepancies", r.Experiments[0].Variants[0].DiscrepancyCount)
	}
	for _, want := range []string{
		"\n      phase during: reload nginx failed: nginx refuses its configuration: nginx: [emerg] [31mno\n",
		"\n      and 21 more; `trivet report --format json` has all reasons\n",
		"\n      and 390 more; `trivet report --format json` has the first 100 discrepancies\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "      rule "); n != maxReasons {
		t.Errorf("%d discrepancies are written", n)
	}
	// Two rules of a request share its records.
	if n := strings.Count(text, "        nginx: 0 access-log entries\n"); n != maxReasons/2 {
		t.Errorf("the records of %d requests are written, want %d:\n%s", n, maxReasons/2, text)
	}
	checkFormats(t, r)
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
		t.Errorf("%s: %+v, %q", r.Verdict, r.Experiments[0].Expectations, r.Experiments[0].Variants[0].Reasons)
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
			Recovery: measure.Recovery{FirstFailure: ms(0), LastFailure: ms(0), Recovered: true, FirstSuccess: ms(7), FairAtEnd: true, FairSince: ms(0)}},
			"4 failed: 4 incomplete; codes: DeadlineExceeded 3, Unavailable 1; reasons: deadline 3, reset 1; planned 0s to 0s after the start of the phase; next OK at 7ms; fair since 0s"},
		// Dropped requests have reasons too, and did not fail.
		{measure.Metrics{Failed: 3, Incomplete: 3, Dropped: 5, Reasons: map[string]int{record.Refused: 1, record.Overdue: 5, record.InFlightLimit: 2},
			Recovery: measure.Recovery{FirstFailure: ms(0), LastFailure: ms(0)}},
			"3 failed: 3 incomplete; reasons: in_flight_limit 2, refused 1; planned 0s to 0s after the start of the phase"},
	} {
		if got := failures(test.m); got != test.want {
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
	_, command, found := strings.Cut(text, "\n      its first request: ")
	command, _, _ = strings.Cut(command, "\n")
	output, err := exec.CommandContext(t.Context(), "sh", "-c", command).Output()
	if lines := strings.Count(string(output), `"id":"7.http.0.3"`); !found || err != nil || lines != 3 || lines != strings.Count(string(output), "\n") {
		t.Errorf("%s: %v, %d lines:\n%s", command, err, lines, output)
	}
	if text := asText(one(t, oneVariant(), only(t)), false); strings.Contains(text, "trial directory") {
		t.Errorf("a valid variant has a trial directory:\n%s", text)
	}
}
