package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"trivet/lab/experiment"
	"trivet/lab/ledger"
	"trivet/lab/load"
)

// Text writes for people. With colour, for a terminal.
type Text struct {
	io.Writer
	Colour bool
}

const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

var colours = map[Verdict]string{Held: green, Failed: red, Invalid: yellow, Broke: red, Interrupted: yellow}

func (t Text) paint(code, text string) string {
	if !t.Colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Run writes all experiments, and sums up.
func (t Text) Run(r *Run) {
	for _, e := range r.Experiments {
		t.Experiment(e)
	}
	t.Sum(r)
}

// Sum writes what the experiments came to, and where the run folder is.
func (t Text) Sum(r *Run) {
	if len(r.Experiments) > 1 {
		table := tabwriter.NewWriter(t, 0, 0, 2, ' ', 0)
		for _, e := range r.Experiments {
			// No colour: its bytes would count as width.
			fmt.Fprintf(table, "%s\t%s\t%s\n", shout(e.Verdict), line(e.Name), e.outcome())
		}
		table.Flush()
		fmt.Fprintln(t)
	}
	fmt.Fprintf(t, "Run folder: %s\n", r.Folder)
}

// shout makes what is not well stand out, also without colour.
func shout(v Verdict) string {
	if v == Held {
		return string(v)
	}
	return strings.ToUpper(string(v))
}

// outcome is what an experiment came to, in a few words.
func (e Experiment) outcome() string {
	if len(e.Expectations) == 0 {
		for _, v := range e.Variants {
			if v.Verdict == e.Verdict {
				return line(v.Reasons[0])
			}
		}
	}
	held := 0
	for _, j := range e.Expectations {
		if j.Held {
			held++
		}
	}
	return fmt.Sprintf("%d of %d expectations", held, len(e.Expectations))
}

// Experiment writes one: its question, a table for each variant, what was expected, and the verdict.
func (t Text) Experiment(e Experiment) {
	fmt.Fprintf(t, "%s: %s\n", t.paint(bold, line(e.Name)), line(e.Question))
	for _, v := range e.Variants {
		t.variant(e, v)
	}
	if len(e.Expectations) > 0 {
		fmt.Fprintln(t)
		t.expectations(e)
	}
	if e.Answer != "" {
		fmt.Fprintf(t, "\n  %s\n", line(e.Answer))
	}
	fmt.Fprintf(t, "\n%s: %s: %s\n\n", line(e.Name), t.paint(colours[e.Verdict], shout(e.Verdict)), e.outcome())
}

func (t Text) variant(e Experiment, v Variant) {
	title := fmt.Sprintf("%d %s, %d %s, %v", v.Instances, plural(v.Instances, "instance"), v.Workers, plural(v.Workers, "nginx worker"), e.Length)
	if v.Name != experiment.Only {
		title = v.Name + ": " + cmp.Or(line(v.About), "the same under another setting") + " (" + title + ")"
	}
	fmt.Fprintf(t, "\n  %s\n", title)
	table := tabwriter.NewWriter(t, 0, 0, 2, ' ', 0)
	if len(v.Phases) > 0 {
		fmt.Fprintln(table, "    phase\tcalls\trequests\tfailed\tp50\tp99\tmax\tattempts\ttwice\tunknown\tfirst attempts")
	}
	for _, p := range v.Phases {
		for i, c := range rows(p) {
			name := p.Name
			if i > 0 {
				name = ""
			}
			f := c.Figures
			fmt.Fprintf(table, "    %s\t%s\t%d\t%d\t%s\t%s\t%s\t×%.3g\t%d\t%d\t%s\n", name, c.Name, f.Requests, f.Failed, ms(f.Latency, f.Latency.P50),
				ms(f.Latency, f.Latency.P99), ms(f.Latency, f.Latency.Max), f.Amplification, f.ExecutedTwice, f.UnknownToNginx, shares(f.FirstAttempts, v.Instances))
		}
	}
	table.Flush()
	for _, p := range v.Phases {
		for _, c := range rows(p) {
			if p.Name == WholeRun {
				continue
			}
			if c.Figures.Failed > 0 {
				fmt.Fprintf(t, "    %s.%s: %s\n", p.Name, c.Name, trouble(c.Figures))
			}
			if f := c.Figures; f.NginxAnswers > f.ByNginx {
				fmt.Fprintf(t, "    %s.%s: nginx made %d %s itself, %d of them the last that the client got\n", p.Name, c.Name, f.NginxAnswers, plural(f.NginxAnswers, "answer"), f.ByNginx)
			}
		}
	}
	if v.Verdict != Held {
		t.reasons(v)
	}
}

// mostTold is how many reasons and how many breaches are told; all that are kept are in the JSON.
const mostTold = 10

func (t Text) reasons(v Variant) {
	fmt.Fprintf(t, "    %s\n", t.paint(colours[v.Verdict], shout(v.Verdict)))
	for _, r := range v.Reasons[:min(len(v.Reasons), mostTold)] {
		fmt.Fprintf(t, "      %s\n", line(r))
	}
	if more := len(v.Reasons) - mostTold; more > 0 {
		fmt.Fprintf(t, "      and %d more reasons; `trivet report --format json` has all\n", more)
	}
	for _, b := range v.Breaches[:min(len(v.Breaches), mostTold)] {
		fmt.Fprintf(t, "      rule %d, request %s: %s\n        client: %s\n        nginx: %s\n        instances: %s\n", b.Rule, line(b.ID), line(b.What), line(b.Client), line(b.Nginx), line(b.Instances))
	}
	if more := v.Total - mostTold; more > 0 {
		fmt.Fprintf(t, "      and %d more; `trivet report --format json` has the first %d\n", more, ledger.MostBreaches)
	}
}

func (t Text) expectations(e Experiment) {
	table := tabwriter.NewWriter(t, 0, 0, 2, ' ', 0)
	for _, j := range e.Expectations {
		mark := "held"
		if !j.Held {
			mark = "FAILED"
		}
		if len(e.Variants) > 1 {
			mark += "\t" + cmp.Or(j.Variant, "(all)")
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", mark, line(j.Text), line(measured(j)))
	}
	table.Flush()
}

// ms is one value of a distribution, if there is any.
func ms(l ledger.Latency, d time.Duration) string {
	if l.Count == 0 {
		return "-"
	}
	return experiment.Say(d)
}

// mostShares is for how many instances a share each has room in a line of 120 characters.
const mostShares = 4

// shares are counts by instance; of many instances the smallest and the largest.
func shares(counts map[string]int, instances int) string {
	count := func(n int) int { return counts[fmt.Sprintf("whoami-%d", n+1)] }
	var all []string
	least, most := 0, 0
	for n := range instances {
		all = append(all, fmt.Sprintf("-%d %d", n+1, count(n)))
		if count(n) < count(least) {
			least = n
		}
		if count(n) > count(most) {
			most = n
		}
	}
	if instances > mostShares {
		return all[least] + " to " + all[most]
	}
	return strings.Join(all, "  ")
}

// rows are the calls of a phase, but for those of a protocol of which there is one load, of another name: that is the same. (A load without
// a name counts under its protocol's, with all others of it: then the protocol has more requests than the load that has one.)
func rows(p Phase) []Calls {
	return slices.DeleteFunc(slices.Clone(p.Calls), func(c Calls) bool {
		same := slices.DeleteFunc(slices.Clone(p.Calls), func(other Calls) bool { return other.Protocol != c.Protocol })
		return c.Name == c.Protocol && len(same) == 2 && same[0].Figures.Requests == same[1].Figures.Requests
	})
}

// trouble tells who failed requests, how, and when that was over.
func trouble(f ledger.Figures) string {
	var who []string
	for _, part := range []struct {
		n    int
		what string
	}{{f.ByNginx, "answered by nginx"}, {f.ByInstance, "answered by an instance"}, {f.AtClient, "without an answer"}} {
		if part.n > 0 {
			who = append(who, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	text := fmt.Sprintf("%d failed, %s", f.Failed, strings.Join(who, ", "))
	if reasons := listed(f.Reasons, load.Overdue, load.TooMany); reasons != "" {
		text += ": " + reasons
	}
	if codes := listed(f.Codes, "200", "OK"); codes != "" {
		text += " (" + codes + ")"
	}
	text += fmt.Sprintf(", planned %s to %s after the phase began", experiment.Say(f.Recovery.FirstFailure), experiment.Say(f.Recovery.LastFailure))
	if f.Recovery.Recovered {
		text += "; the next OK at " + experiment.Say(f.Recovery.FirstSuccess)
	}
	if f.Recovery.FairAtEnd {
		text += "; shares even from " + experiment.Say(f.Recovery.FairAgain)
	}
	return text
}

// listed are counts by name, but for names that are none of a failure.
func listed(counts map[string]int, but ...string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if !slices.Contains(but, name) {
			all = append(all, fmt.Sprintf("%s %d", line(name), counts[name]))
		}
	}
	return strings.Join(all, ", ")
}

// Printable is somebody's words, a file's or a program's, with a space for each control character: none breaks a table or commands a
// terminal.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// line is that, with single spaces.
func line(text string) string { return strings.Join(strings.Fields(Printable(text)), " ") }

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}
