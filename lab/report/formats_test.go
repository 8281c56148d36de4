package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"trivet/lab/scenario"
)

// null is what a metric without a value is in JSON; nothing else may be.
var null = regexp.MustCompile(`"(mean|p50|p90|p99|p999|max|amplification|first_failure|last_failure|first_success|fair_since|run_delay|other_cpus|nginx_cpus|instance_cpus|knee)": null`)

// checkFormats makes the report in all formats, and fails on what none of them may have.
func checkFormats(t *testing.T, r *Run) {
	t.Helper()
	if document := null.ReplaceAll(asJSON(t, r), nil); bytes.Contains(document, []byte("null")) {
		t.Errorf("a list or an object is null: %s", document)
	}
	cases, failures, errs := 0, 0, 0
	for _, e := range r.Experiments {
		cases += len(e.Variants)*e.Trials + len(e.Expectations)
		for _, v := range e.Variants {
			for _, t := range v.Trials {
				if t.Verdict != Passed {
					errs++
				}
			}
		}
		for _, x := range e.Expectations {
			switch verdict(x) {
			case Failed:
				failures++
			case Invalid:
				errs++
			}
		}
	}
	if s := asJUnit(t, r); s.Tests != cases || s.Failures != failures || s.Errors != errs {
		t.Errorf("JUnit counts %d tests, %d failures, %d errors; want %d, %d, %d", s.Tests, s.Failures, s.Errors, cases, failures, errs)
	}
	text := asText(r, false)
	for _, c := range text {
		if c != '\n' && unicode.IsControl(c) {
			t.Errorf("the text has a control character %q:\n%s", c, text)
			break
		}
	}
	for _, e := range r.Experiments {
		if want := fmt.Sprintf("\n%s: %s: ", e.Name, emphasize(e.Verdict)); !strings.Contains(text, want) {
			t.Errorf("no %q in the text:\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if strings.TrimRight(line, " \n") != strings.TrimRight(line, "\n") {
			t.Errorf("a line ends in blanks: %q", line)
		}
	}
	var page bytes.Buffer
	if err := Markdown(&page, r); err != nil || !bytes.HasSuffix(page.Bytes(), []byte("\n")) {
		t.Errorf("%v: %s", err, page.String())
	}
}

func asText(r *Run, color bool) string {
	var b strings.Builder
	Text{&b, color}.Run(r)
	return b.String()
}

func asJSON(t *testing.T, r *Run) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := JSON(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// asJUnit reads what is written as another program does, and compares the sums with what is there.
func asJUnit(t *testing.T, r *Run) suites {
	t.Helper()
	var b bytes.Buffer
	if err := JUnit(&b, r); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if !strings.HasPrefix(text, `<?xml version="1.0" encoding="UTF-8"?>`) || !utf8.ValidString(text) {
		t.Errorf("no XML: %q", text)
	}
	for _, c := range text {
		if c < ' ' && !strings.ContainsRune("\t\n\r", c) {
			t.Errorf("a character that XML cannot have: %q", c)
		}
	}
	var all suites
	if err := xml.Unmarshal(b.Bytes(), &all); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	tests, failures, errs := 0, 0, 0
	for _, s := range all.Suites {
		failed, broken := 0, 0
		for _, c := range s.Cases {
			if c.Name == "" || c.Class == "" || c.File == "" || c.Failure != nil && c.Error != nil {
				t.Errorf("%+v", c)
			}
			if c.Failure != nil {
				failed++
			}
			if c.Error != nil {
				broken++
			}
		}
		if s.Tests != len(s.Cases) || s.Failures != failed || s.Errors != broken {
			t.Errorf("suite %s counts %d, %d, %d", s.Name, s.Tests, s.Failures, s.Errors)
		}
		tests, failures, errs = tests+s.Tests, failures+s.Failures, errs+s.Errors
	}
	if all.Tests != tests || all.Failures != failures || all.Errors != errs {
		t.Errorf("all count %d, %d, %d", all.Tests, all.Failures, all.Errors)
	}
	return all
}

// Other programs read the names of fields: to rename or to remove one raises Version.
func TestJSONKeysStay(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	described := oneVariant()
	described.Scenarios = variants("plain")
	for _, r := range []*Run{one(t, oneVariant(), refused(t)), one(t, oneVariant(), contradictory(t)), one(t, expect(oneVariant(), "fair(before.http)"), only(t)), compared(t, 3), from(t, index(t, described))} {
		var document any
		if err := json.Unmarshal(asJSON(t, r), &document); err != nil {
			t.Fatal(err)
		}
		collect(keys, "", document)
	}
	golden := filepath.Join("testdata", "keys.txt")
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var changes []string
	for key := range strings.FieldsSeq(string(text)) {
		if !keys[key] {
			changes = append(changes, "-"+key)
		}
		delete(keys, key)
	}
	for key := range keys {
		changes = append(changes, "+"+key)
	}
	if len(changes) > 0 {
		slices.Sort(changes)
		t.Errorf("keys of the JSON report; for a new one (+), add its line to %s; without one (-), programs that read it fail: raise Version\n%s", golden, strings.Join(changes, "\n"))
	}
}

// counts are objects whose keys are data.
var counts = regexp.MustCompile(`\.(codes|reasons|first_attempts|ok_by_instance)$`)

func collect(keys map[string]bool, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			if counts.MatchString(path) {
				key = "*"
			}
			collect(keys, path+"."+key, inner)
		}
	case []any:
		for _, inner := range v {
			collect(keys, path+"[]", inner)
		}
		return
	}
	if path != "" {
		keys[path] = true
	}
}

func TestJSONHoldsTheReport(t *testing.T) {
	t.Parallel()
	r := one(t, oneVariant(), refused(t))
	var read Run
	document := asJSON(t, r)
	if err := json.Unmarshal(document, &read); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(asJSON(t, &read), document) {
		t.Error("what was read is written in another way")
	}
	m := read.Experiments[0].Variants[0].Trials[0].Phases[1].Groups[0].Metrics
	if read.V != Version || read.Verdict != Failed || read.Code != 1 || m.Failed != 1 || m.NginxErrors != 1 || m.Codes["502"] != 1 || m.FailedAttempts != 1 {
		t.Errorf("%+v", m)
	}
	if !bytes.Contains(document, []byte(`Is 1 < 2 & \"so\" on?`)) {
		t.Errorf("the question is escaped for HTML: %s", document)
	}
}

// special has characters that XML, tables or terminals interpret, and invalid ones.
const special = "<&>\"'\x00\x01\x1b[31m\t\r\n\u0085\ufffe]]>%s é"

// An instance has responded with a code like no other.
func TestSpecialCharactersBreakNoFormat(t *testing.T) {
	t.Parallel()
	all := only(t)
	all.refuse(t, 1, 75, special)
	const strange = `len(during.grpc.codes) == 1 && "<&>" != ""`
	r := one(t, expect(oneVariant(), strange), all)
	checkFormats(t, r)
	s := asJUnit(t, r).Suites[0]
	c := s.Cases[1]
	if c.Name != strange || c.Failure == nil || c.Failure.Text != c.Failure.Message || c.Failure.Type != "failed" || c.Line != 7 {
		t.Fatalf("%+v", c)
	}
	if got := c.Failure.Message; !strings.Contains(got, `<&>"'`) || !strings.Contains(got, "]]>%s é") {
		t.Errorf("measured: %q", got)
	}
	if p := s.Properties[0]; p.Name != "question" || p.Value != `Is 1 < 2 & "so" on?` {
		t.Errorf("%+v", p)
	}
	if text := asText(r, false); !strings.Contains(text, `OK: 49}`) || !strings.Contains(text, `]]>%s é`) || strings.Contains(text, "[31m\n") {
		t.Errorf("the text:\n%s", text)
	}
}

func TestJUnitHasACaseForEachVariantAndExpectation(t *testing.T) {
	t.Parallel()
	dir := index(t, twoVariants(), oneVariant())
	for _, s := range twoVariants().Scenarios {
		all := flawless(t, s)
		if s.Variant == "other" {
			all.refuse(t, 0, 50, "502")
		}
		all.write(t, filepath.Join(dir, "1-one", s.Variant))
	}
	contradictory(t).write(t, filepath.Join(dir, "2-two", scenario.Only))
	r := from(t, dir)
	checkFormats(t, r)
	var got []string
	for _, s := range asJUnit(t, r).Suites {
		if s.Time != 4 && s.Name == "one" || s.Timestamp != "2026-11-24T12:00:00" {
			t.Errorf("%+v", s)
		}
		for _, c := range s.Cases {
			mark := "ok"
			switch {
			case c.Failure != nil:
				mark = c.Failure.Type + " " + c.Failure.Message
			case c.Error != nil:
				mark = c.Error.Type + " " + c.Error.Message
				if !strings.Contains(c.Error.Text, "7.http.0.3") {
					t.Errorf("the discrepancy is missing: %s", c.Error.Text)
				}
			case c.Output != nil:
				mark += " " + *c.Output
			}
			got = append(got, fmt.Sprintf("%s:%d %s: %s: %s", c.File, c.Line, c.Class, c.Name, mark))
		}
	}
	want := []string{
		"experiments/one.yaml:0 one.plain: the trial is valid: ok", "experiments/one.yaml:0 one.other: the trial is valid: ok",
		"experiments/one.yaml:7 one.plain: total.http.failed == 0: ok total.http.failed = 0",
		"experiments/one.yaml:7 one.other: total.http.failed == 0: failed total.http.failed = 1",
		"experiments/one.yaml:8 one: plain.total.http.failed == other.total.http.failed: failed plain.total.http.failed = 0; other.total.http.failed = 1",
		"experiments/two.yaml:0 two: the trial is valid: invalid the records of client, nginx and instances contradict each other in 2 places of 1 request; run again, and if it comes again, look at the records and logs",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMarkdownHasQuestionsAndAnswers(t *testing.T) {
	t.Parallel()
	dir := index(t, twoVariants(), oneVariant())
	for trial, s := range map[string]scenario.Scenario{"1-one/plain": twoVariants().Scenarios[0], "1-one/other": twoVariants().Scenarios[1], "2-two/only": oneVariant().Scenarios[0]} {
		flawless(t, s).write(t, filepath.Join(dir, trial))
	}
	var page strings.Builder
	if err := Markdown(&page, from(t, dir)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## [one](one.yaml)\n\n**Which is better?**\n\n- `plain`: as it is\n- `other`: another\n",
		"passed: 3 of 3 expectations passed. nginx 1.22.1, seed 7, 2 CPUs, 2s for each variant. `trivet run experiments/one.yaml`\n",
		"## [two](two.yaml)\n\n**Is 1 < 2 & \"so\" on?**\n\n0 of 100 failed.\n",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("no %q in\n%s", want, page.String())
		}
	}
}

// full takes some bytes, and no more.
type full struct{ left int }

var errFull = errors.New("no room")

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// Wherever the writing stopped.
func TestReportThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	r := one(t, oneVariant(), only(t))
	for name, format := range map[string]func(io.Writer, *Run) error{"JSON": JSON, "JUnit": JUnit, "Markdown": Markdown} {
		var whole bytes.Buffer
		if err := format(&whole, r); err != nil {
			t.Fatal(err)
		}
		for _, room := range []int{0, 10, 100, whole.Len() - 1} {
			if err := format(&full{room}, r); !errors.Is(err, errFull) {
				t.Errorf("%s with room for %d of %d bytes: %v", name, room, whole.Len(), err)
			}
		}
		if err := format(&full{whole.Len()}, r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A report needs no copy of the experiment's file, and no room for a configuration.
func TestReportNeedsRecordsOnly(t *testing.T) {
	dir := index(t, oneVariant())
	only(t).write(t, filepath.Join(dir, "1-one", scenario.Only))
	t.Setenv("TMPDIR", "/proc")
	if r := from(t, dir); r.Verdict != Passed {
		t.Errorf("%+v", r)
	}
}
