package report

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"trivet/lab/experiment"
	"trivet/lab/ledger"
	"trivet/lab/load"
)

// columns are where the cells of a table's line begin, in characters: after two blanks or more, or at the beginning.
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

func TestTextLinesUp(t *testing.T) {
	t.Parallel()
	for _, instances := range []int{1, 3, 4, 5, 60} {
		all := told(t, instances)
		all.refused(t, 0, 50, "502")
		text := strings.Replace(oneVariant, "seed: 7", fmt.Sprintf("seed: 7\nfleet: {instances: %d}", instances), 1)
		said := asText(one(t, text, all), false)
		rows := table(t, said, "requests")
		if len(rows) != 6 {
			t.Fatalf("%d rows, want two for each phase and for the run:\n%s", len(rows), said)
		}
		if got := strings.Join(rows[2][:10], "|"); got != "during|http|50|1|3ms|3ms|3ms|×1|0|0" {
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
    phase   calls  requests  failed  p50  p99  max  attempts  twice  unknown  first attempts
    before  http   50        0       3ms  3ms  3ms  ×1        0      0        -1 17  -2 17  -3 16
            grpc   50        0       3ms  3ms  3ms  ×1        0      0        -1 17  -2 17  -3 16
    during  http   50        1       3ms  3ms  3ms  ×1        0      0        -1 17  -2 16  -3 17
            grpc   50        0       3ms  3ms  3ms  ×1        0      0        -1 17  -2 16  -3 17
    run     http   100       1       3ms  3ms  3ms  ×1        0      0        -1 34  -2 33  -3 33
            grpc   100       0       3ms  3ms  3ms  ×1        0      0        -1 34  -2 33  -3 33
    during.http: 1 failed, 1 answered by nginx (502 1), planned 10ms to 10ms after the phase began; the next OK at 30ms; shares even from 0s

`

// What people read, as they read it.
func TestText(t *testing.T) {
	t.Parallel()
	all := told(t, 3)
	all.refused(t, 0, 50, "502")
	r := one(t, oneVariant, all)
	said := asText(r, false)
	if !strings.HasPrefix(said, golden) {
		t.Errorf("got\n%s\nwant\n%s", said, golden)
	}
	for _, line := range []string{
		`\n  held    before\.http\.failed == 0 +before\.http\.failed = 0\n`,
		`\n  FAILED  during\.http\.failed == 0 +during\.http\.failed = 1\n`,
		`\n\n  1 of 100 failed\.\n\none: FAILED: 4 of 6 expectations\n\nRun folder: ` + regexp.QuoteMeta(r.Folder) + `\n$`,
	} {
		if !regexp.MustCompile(line).MatchString(said) {
			t.Errorf("no %q in\n%s", line, said)
		}
	}
	coloured := asText(r, true)
	if plain := regexp.MustCompile(`\x1b\[\d+m`).ReplaceAllString(coloured, ""); plain != said || plain == coloured {
		t.Errorf("with colour it says something else, or has none:\n%q", coloured)
	}
}

// Several experiments are summed up at the end.
func TestTextOfSeveral(t *testing.T) {
	t.Parallel()
	dir := index(t, oneVariant, twoVariants)
	told(t, 3).write(t, filepath.Join(dir, "1-one", experiment.Only))
	interrupted := told(t, 3)
	interrupted.end(t, ledger.Event{Event: ledger.Interrupted, Error: "terminated\nby\tsomebody"})
	interrupted.write(t, filepath.Join(dir, "2-two", "plain"))
	said := asText(made(t, dir), false)
	for _, want := range []string{
		"\n    INTERRUPTED\n      it was interrupted: terminated\n",
		"\n  other: another (3 instances, 2 nginx workers, 2s)\n    INTERRUPTED\n      it was never begun: the run was interrupted before\n",
		"\nheld         one  6 of 6 expectations\nINTERRUPTED  two  it was interrupted: terminated\n\nRun folder: ",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
}

// Whatever there is to complain of, the page stays one that can be read.
func TestTextOfManyFaults(t *testing.T) {
	t.Parallel()
	all := told(t, 3)
	clear(all[ledger.NginxFile])
	for range 30 {
		all.event(t, ledger.Event{Event: ledger.ActionDone, Phase: "during", Verb: "reload", Target: "nginx", Error: "nginx refuses its configuration:\nnginx: [emerg] \x1b[31mno"})
	}
	r := one(t, oneVariant, all)
	said := asText(r, false)
	if r.Experiments[0].Variants[0].Total < 100 {
		t.Errorf("%d breaches", r.Experiments[0].Variants[0].Total)
	}
	for _, want := range []string{
		"\n      phase during: reload nginx failed: nginx refuses its configuration: nginx: [emerg] [31mno\n",
		"\n      and 21 more reasons; `trivet report --format json` has all\n",
		"\n      and 390 more; `trivet report --format json` has the first 100\n",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
	if n := strings.Count(said, "      rule "); n != mostTold {
		t.Errorf("%d breaches are told", n)
	}
	everyFormat(t, r)
}

// Answers that nginx made itself are counted also where the client then got another, and told where it is so.
func TestAnswersOfNginxs(t *testing.T) {
	t.Parallel()
	all := told(t, 3)
	all.refused(t, 1, 70, "Unavailable")
	for n := range 2 { // Of a second attempt, which comes first here: the client tries again.
		refused := told(t, 3)
		refused.refused(t, 1, 60+n, "Unavailable")
		all[ledger.NginxFile] = append(all[ledger.NginxFile], refused[ledger.NginxFile][perLoad+60+n])
		all[ledger.ClientFile][perLoad+60+n] = strings.Replace(all[ledger.ClientFile][perLoad+60+n], `"attempts":1`, `"attempts":2`, 1)
	}
	text := strings.Replace(oneVariant, "  - fair(run.http)\n", "  - run.grpc.nginx_answers == 3 && run.grpc.by_nginx == 1 && run.http.nginx_answers == 0\n", 1)
	dir := index(t, text)
	all.write(t, filepath.Join(dir, "1-one", experiment.Only))
	r := made(t, dir)
	e := r.Experiments[0]
	if last := e.Expectations; len(last) == 0 || !last[len(last)-1].Held {
		t.Errorf("%+v, %q", last, e.Variants[0].Reasons)
	}
	if want := "\n    during.grpc: nginx made 3 answers itself, 1 of them the last that the client got\n"; !strings.Contains(asText(r, false), want) {
		t.Errorf("no %q in\n%s", want, asText(r, false))
	}
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	ms := time.Millisecond
	for _, test := range []struct {
		f    ledger.Figures
		want string
	}{
		{ledger.Figures{Failed: 3, ByNginx: 2, ByInstance: 1, Codes: map[string]int{"200": 9, "502": 2, "500": 1}, Recovery: ledger.Recovery{FirstFailure: 5 * ms, LastFailure: 1234 * ms}},
			"3 failed, 2 answered by nginx, 1 answered by an instance (500 1, 502 2), planned 5ms to 1.23s after the phase began"},
		// A gRPC call without an answer has both a code and a reason: they are not two failures.
		{ledger.Figures{Failed: 4, AtClient: 4, Codes: map[string]int{"OK": 9, "DeadlineExceeded": 3, "Unavailable": 1}, Reasons: map[string]int{load.Deadline: 3, load.Reset: 1},
			Recovery: ledger.Recovery{Recovered: true, FirstSuccess: 7 * ms, FairAtEnd: true}},
			"4 failed, 4 without an answer: deadline 3, reset 1 (DeadlineExceeded 3, Unavailable 1), planned 0s to 0s after the phase began; the next OK at 7ms; shares even from 0s"},
		// What was never sent has reasons too, and did not fail.
		{ledger.Figures{Failed: 1, AtClient: 1, NotStarted: 7, Reasons: map[string]int{load.Refused: 1, load.Overdue: 5, load.TooMany: 2}},
			"1 failed, 1 without an answer: refused 1, planned 0s to 0s after the phase began"},
	} {
		if got := trouble(test.f); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestRows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ calls, want string }{
		{"http/http", "http"},
		{"http/http grpc/grpc", "http grpc"},
		{"http/http web/http", "web"}, // One load of another name: the protocol's row would say the same.
		{"http/http/30 web/http/30 grpc/grpc/5", "web grpc"},
		{"http/http/30 slow/http/10", "http slow"}, // Another load has no name, and what befell that must be seen.
		{"http/http web/http more/http grpc/grpc", "http web more grpc"},
		{"grpc/grpc calls/grpc http/http web/http", "calls web"},
	} {
		var p Phase
		for call := range strings.FieldsSeq(test.calls) {
			name, protocol, _ := strings.Cut(call, "/")
			protocol, requests, _ := strings.Cut(protocol, "/")
			n, _ := strconv.Atoi(requests)
			p.Calls = append(p.Calls, Calls{Name: name, Protocol: protocol, Figures: ledger.Figures{Requests: n}})
		}
		var got []string
		for _, c := range rows(p) {
			got = append(got, c.Name)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: got %q, want %s", test.calls, got, test.want)
		}
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "a  b": "a b", " a\n\tb\r\n": "a b", "a\x1b[31mb\x00": "a [31mb", "é × µ \u009b1m": "é × µ 1m", "\v\f": "",
	} {
		if got := line(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
