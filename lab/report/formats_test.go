package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"trivet/lab/experiment"
	"trivet/lab/ledger"
)

// everyFormat makes the report in all formats, and fails on what none of them may have.
func everyFormat(t *testing.T, r *Run) {
	t.Helper()
	document := asJSON(t, r)
	if bytes.Contains(document, []byte("null")) {
		t.Errorf("a list or an object is null: %s", document)
	}
	cases, failures, errs := 0, 0, 0
	for _, e := range r.Experiments {
		cases += len(e.Variants) + len(e.Expectations)
		for _, v := range e.Variants {
			if v.Verdict != Held {
				errs++
			}
		}
		for _, j := range e.Expectations {
			if !j.Held {
				failures++
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
		if want := fmt.Sprintf("\n%s: %s: ", e.Name, shout(e.Verdict)); !strings.Contains(text, want) {
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

func asText(r *Run, colour bool) string {
	var b strings.Builder
	Text{&b, colour}.Run(r)
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

// asJUnit reads what is written as somebody else would, and compares the sums with what is there.
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
		bad := [2]int{}
		for _, c := range s.Cases {
			if c.Name == "" || c.Class == "" || c.File == "" || c.Failure != nil && c.Error != nil {
				t.Errorf("%+v", c)
			}
			if c.Failure != nil {
				bad[0]++
			}
			if c.Error != nil {
				bad[1]++
			}
		}
		if s.Tests != len(s.Cases) || s.Failures != bad[0] || s.Errors != bad[1] {
			t.Errorf("suite %s counts %d, %d, %d", s.Name, s.Tests, s.Failures, s.Errors)
		}
		tests, failures, errs = tests+s.Tests, failures+s.Failures, errs+s.Errors
	}
	if all.Tests != tests || all.Failures != failures || all.Errors != errs {
		t.Errorf("all count %d, %d, %d", all.Tests, all.Failures, all.Errors)
	}
	return all
}

// The names of fields are what other programs read: one that is to be renamed or taken away raises Version.
func TestJSONKeys(t *testing.T) {
	t.Parallel()
	all := told(t, 3)
	all.refused(t, 0, 50, "502")
	spoilt := told(t, 3)
	spoilt[ledger.NginxFile][3] = ""
	keys := map[string]bool{}
	for _, r := range []*Run{one(t, oneVariant, all), one(t, oneVariant, spoilt)} {
		var document any
		if err := json.Unmarshal(asJSON(t, r), &document); err != nil {
			t.Fatal(err)
		}
		collect(keys, "", document)
	}
	got := strings.Join(slices.Sorted(maps.Keys(keys)), "\n") + "\n"
	golden := filepath.Join("testdata", "keys.txt")
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("%s: %v; the keys are:\n%s", golden, err, got)
	}
}

// counts are objects whose keys are data.
var counts = regexp.MustCompile(`\.(codes|reasons|firstAttempts|answers)$`)

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

func TestJSONSaysWhatTheReportSays(t *testing.T) {
	t.Parallel()
	all := told(t, 3)
	all.refused(t, 0, 50, "502")
	r := one(t, oneVariant, all)
	var read Run
	document := asJSON(t, r)
	if err := json.Unmarshal(document, &read); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(asJSON(t, &read), document) {
		t.Error("what was read is written in another way")
	}
	f := read.Experiments[0].Variants[0].Phases[1].Calls[0].Figures
	if read.V != Version || read.Verdict != Failed || read.Code != 1 || f.Failed != 1 || f.ByNginx != 1 || f.Codes["502"] != 1 || f.FailedAttempts != 1 {
		t.Errorf("%+v", f)
	}
	if !bytes.Contains(document, []byte(`Is 1 < 2 & \"so\" on?`)) {
		t.Errorf("the question is escaped for HTML: %s", document)
	}
}

// special is what a code or a name may hold that means something in XML, in a table, in a terminal, or nothing anywhere.
const special = "<&>\"'\x00\x01\x1b[31m\t\r\n\u0085\ufffe]]>%s é"

// strange are records in which an instance has answered with a code like no other.
func strange(t *testing.T) records {
	t.Helper()
	all := told(t, 3)
	all.refused(t, 1, 75, special)
	return all
}

func TestSpecialCharacters(t *testing.T) {
	t.Parallel()
	text := strings.Replace(oneVariant, "  - before.http.failed == 0\n", "  - len(during.grpc.codes) == 1 && \"<&>\" != \"\"\n", 1)
	r := one(t, text, strange(t))
	everyFormat(t, r)
	all := asJUnit(t, r)
	var got string
	for _, c := range all.Suites[0].Cases {
		if strings.HasPrefix(c.Name, "len(") {
			got = c.Failure.Message
			if c.Name != `len(during.grpc.codes) == 1 && "<&>" != ""` || c.Failure.Text != c.Failure.Message || c.Failure.Type != "failed" || c.Line != 8 {
				t.Errorf("%+v", c)
			}
		}
	}
	if !strings.Contains(got, `<&>"'`) || !strings.Contains(got, "]]>%s é") {
		t.Errorf("measured: %q", got)
	}
	if p := all.Suites[0].Properties[0]; p.Name != "question" || p.Value != `Is 1 < 2 & "so" on?` {
		t.Errorf("%+v", p)
	}
	if told := asText(r, false); !strings.Contains(told, `OK: 49}`) || !strings.Contains(told, `]]>%s é`) || strings.Contains(told, "[31m\n") {
		t.Errorf("the text:\n%s", told)
	}
}

func TestJUnit(t *testing.T) {
	t.Parallel()
	dir := index(t, twoVariants, oneVariant)
	for _, variant := range []string{"plain", "other"} {
		all := told(t, 3)
		if variant == "other" {
			all.refused(t, 0, 50, "502")
		}
		all.write(t, filepath.Join(dir, "1-one", variant))
	}
	spoilt := told(t, 3)
	spoilt[ledger.NginxFile][3] = ""
	spoilt.write(t, filepath.Join(dir, "2-two", experiment.Only))
	r := made(t, dir)
	everyFormat(t, r)
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
				if !strings.Contains(c.Error.Text, "rule 1, 7.http.0.3") && !strings.Contains(c.Error.Text, "rule 2, 7.http.0.3") {
					t.Errorf("the breach is not told: %s", c.Error.Text)
				}
			case c.Output != nil:
				mark += " " + *c.Output
			}
			got = append(got, fmt.Sprintf("%s:%d %s: %s: %s", c.File, c.Line, c.Class, c.Name, mark))
		}
	}
	want := []string{
		"experiments/one.yaml:0 one.plain: the run is valid: ok", "experiments/one.yaml:0 one.other: the run is valid: ok",
		"experiments/one.yaml:7 one.plain: run.http.failed == 0: ok run.http.failed = 0",
		"experiments/one.yaml:7 one.other: run.http.failed == 0: failed run.http.failed = 1",
		"experiments/one.yaml:8 one: plain.run.http.failed == other.run.http.failed: failed plain.run.http.failed = 0; other.run.http.failed = 1",
		"experiments/two.yaml:0 two: the run is valid: invalid the ledger does not balance: the witnesses' words do not fit together in 2 places",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	dir := index(t, twoVariants, oneVariant)
	for _, folder := range []string{"1-one/plain", "1-one/other", "2-two/only"} {
		told(t, 3).write(t, filepath.Join(dir, folder))
	}
	var page strings.Builder
	if err := Markdown(&page, made(t, dir)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## [one](one.yaml)\n\n**Which is better?**\n\n- `plain`: as it is\n- `other`: another\n",
		"held: 3 of 3 expectations. nginx 1.22.1, seed 7, 2 CPUs, 2s for each variant. `trivet run experiments/one.yaml`\n",
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

// A report that cannot be written to its end is an error, wherever it stopped.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	r := one(t, oneVariant, told(t, 3))
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
