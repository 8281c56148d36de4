package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"trivet/internal/words"
	"trivet/lab/experiment"
	"trivet/lab/scenario"
)

// Text writes reports for people.
type Text struct {
	io.Writer
	Color bool // for a terminal
}

const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

var colors = map[Verdict]string{Passed: green, Failed: red, Invalid: yellow, Error: red, Interrupted: yellow}

func (t Text) paint(code, text string) string {
	if !t.Color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Run writes all experiments and the summary.
func (t Text) Run(r *Run) {
	for _, e := range r.Experiments {
		t.Experiment(e)
	}
	t.Summary(r)
}

// Summary writes the outcomes of the experiments, and where the run directory is.
func (t Text) Summary(r *Run) {
	if len(r.Experiments) > 1 {
		table := tabwriter.NewWriter(t, 0, 0, 2, ' ', 0)
		for _, e := range r.Experiments {
			// No color: its bytes would count as width.
			fmt.Fprintf(table, "%s\t%s\t%s\n", emphasize(e.Verdict), line(e.Name), e.outcome())
		}
		table.Flush()
		fmt.Fprintln(t)
	}
	fmt.Fprintf(t, "Run directory: %s\n", r.Dir)
}

// emphasize makes every verdict but the best stand out, without color too.
func emphasize(v Verdict) string {
	if v == Passed {
		return string(v)
	}
	return strings.ToUpper(string(v))
}

// outcome is an experiment's in a few words.
func (e Experiment) outcome() string {
	if len(e.Expectations) == 0 {
		for _, v := range e.Variants {
			if reasons, _ := v.reasons(); v.Verdict == e.Verdict && len(reasons) > 0 {
				return line(reasons[0])
			}
		}
	}
	n, word := 0, "passed"
	if e.Verdict == Invalid {
		word = "inconclusive"
	}
	for _, x := range e.Expectations {
		if outcome(x) == word {
			n++
		}
	}
	return fmt.Sprintf("%d of %s %s", n, words.Count(len(e.Expectations), "expectation"), word)
}

// Experiment writes one: its question, a table for each variant, the expectations, and the verdict.
func (t Text) Experiment(e Experiment) {
	fmt.Fprintf(t, "%s: %s\n", t.paint(bold, line(e.Name)), line(e.Question))
	if len(e.Reasons) > 0 {
		fmt.Fprintln(t)
		t.reasons("  ", e.Verdict, e.Reasons)
	}
	for _, v := range e.Variants {
		t.variant(e, v)
	}
	if len(e.Expectations) > 0 {
		fmt.Fprintln(t)
		t.expectations(e)
	}
	if e.Answer != "" {
		fmt.Fprintf(t, "\n  %s\n", strings.Join(wrapped(line(e.Answer), maxWidth-2), "\n  "))
	}
	fmt.Fprintf(t, "\n%s: %s: %s\n\n", line(e.Name), t.paint(colors[e.Verdict], emphasize(e.Verdict)), e.outcome())
}

func (t Text) variant(e Experiment, v Variant) {
	title := fmt.Sprintf("%s, %v", v.fleet(), e.Length)
	if e.Trials > 1 {
		title += fmt.Sprintf("; medians of %d trials", e.Trials)
	}
	if v.Name != scenario.Only {
		title = v.Name + ": " + cmp.Or(line(v.Description), "another configuration") + " (" + title + ")"
	}
	fmt.Fprintf(t, "\n  %s\n", title)
	if v.Verdict != Passed {
		t.problems(v)
	}
	t.target(v)
	t.table(v)
}

// fleet says in words what the variant ran on.
func (v Variant) fleet() string {
	if target := v.onTarget(); target != nil {
		text := target.Name
		if !target.Changes {
			text += ", " + words.Count(v.Instances, "instance")
		}
		if v.TLS {
			text += ", TLS"
		}
		return text
	}
	text := words.Count(v.Instances, "instance")
	if v.Front > 0 {
		text += fmt.Sprintf(" and %d of front", v.Front)
	}
	text += ", " + words.Count(v.Workers, "nginx worker")
	if v.TLS {
		text += ", TLS"
	}
	if v.MTLS {
		text += ", mTLS"
	}
	return text
}

// maxWidth is how many characters of a line a terminal of the usual width shows.
const maxWidth = 120

func (t Text) expectations(e Experiment) {
	variants, outcomes := len(e.Variants) > 1, 0
	for _, x := range e.Expectations {
		outcomes = max(outcomes, len(outcome(x)))
	}
	var rows [][3]string
	var marks, texts int // widths
	for _, x := range e.Expectations {
		mark := outcome(x)
		if !x.Passed {
			mark = strings.ToUpper(mark)
		}
		if variants {
			mark = fmt.Sprintf("%-*s  %s", outcomes, mark, cmp.Or(x.Variant, "(all)"))
		}
		row := [3]string{mark, line(x.Text), line(measured(x))}
		rows = append(rows, row)
		if marks = max(marks, utf8.RuneCountInString(mark)); fits(row) {
			texts = max(texts, utf8.RuneCountInString(row[1]))
		}
	}
	for _, row := range rows {
		between := fmt.Sprintf("%*s", texts-utf8.RuneCountInString(row[1])+2, "")
		if !fits(row) {
			between = "\n      "
		}
		fmt.Fprintf(t, "  %-*s  %s%s%s\n", marks, row[0], row[1], between, row[2])
	}
}

// fits reports whether an expectation and its values have room in one line.
func fits(row [3]string) bool { return utf8.RuneCountInString(row[0]+row[1]+row[2])+8 <= maxWidth }

// wrapped are the lines of a text, of at most so many characters where its words allow.
func wrapped(text string, width int) []string {
	var lines []string
	for word := range strings.FieldsSeq(text) {
		if last := len(lines) - 1; last >= 0 && utf8.RuneCountInString(lines[last]+" "+word) <= width {
			lines[last] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// outcome is passed, failed or inconclusive.
func outcome(x experiment.ExpectationResult) string {
	switch {
	case x.Passed:
		return string(Passed)
	case x.Inconclusive:
		return "inconclusive"
	}
	return string(Failed)
}

// line is the printable text with single spaces.
func line(text string) string { return strings.Join(strings.Fields(words.Printable(text)), " ") }
