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

	"trivet/lab/experiment"
	"trivet/lab/ledger"
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
			fmt.Fprintf(table, "%s\t%s\t%s\n", shout(e.Verdict), e.Name, e.outcome())
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
				return v.Reasons[0]
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
	fmt.Fprintf(t, "%s: %s\n", t.paint(bold, e.Name), e.Question)
	for _, v := range e.Variants {
		t.variant(e, v)
	}
	fmt.Fprintln(t)
	t.expectations(e)
	if e.Answer != "" {
		fmt.Fprintf(t, "\n  %s\n", e.Answer)
	}
	fmt.Fprintf(t, "\n%s: %s: %s\n\n", e.Name, t.paint(colours[e.Verdict], shout(e.Verdict)), e.outcome())
}

func (t Text) variant(e Experiment, v Variant) {
	title := fmt.Sprintf("%d %s, %d %s, %v", v.Instances, plural(v.Instances, "instance"), v.Workers, plural(v.Workers, "nginx worker"), e.Length)
	if v.Name != experiment.Only {
		title = v.Name + ": " + cmp.Or(v.About, "the same under another setting") + " (" + title + ")"
	}
	fmt.Fprintf(t, "\n  %s\n", title)
	table := tabwriter.NewWriter(t, 0, 0, 2, ' ', 0)
	if v.book != nil {
		fmt.Fprintln(table, "    phase\tcalls\trequests\tfailed\tp50\tp99\tmax\tattempts\ttwice\tunknown\tfirst attempts")
	}
	for _, p := range v.Phases {
		for i, c := range p.Calls {
			name := p.Name
			if i > 0 {
				name = ""
			}
			f := c.Figures
			fmt.Fprintf(table, "    %s\t%s\t%d\t%d\t%s\t%s\t%s\t×%.3g\t%d\t%d\t%s\n", name, c.Name, f.Requests, f.Failed, ms(f.Latency, f.Latency.P50),
				ms(f.Latency, f.Latency.P99), ms(f.Latency, f.Latency.Max), f.Amplification, f.ExecutedTwice, f.UnknownToNginx, shares(f.FirstAttempts))
		}
	}
	table.Flush()
	for _, p := range v.Phases {
		for _, c := range p.Calls {
			if c.Figures.Failed > 0 && p.Name != WholeRun {
				fmt.Fprintf(t, "    %s.%s: %s\n", p.Name, c.Name, trouble(c.Figures))
			}
		}
	}
	if v.Verdict != Held {
		t.reasons(v)
	}
}

// mostTold is how many breaches are told; all that are kept are in the JSON.
const mostTold = 10

func (t Text) reasons(v Variant) {
	fmt.Fprintf(t, "    %s\n", t.paint(colours[v.Verdict], shout(v.Verdict)))
	for _, r := range v.Reasons {
		fmt.Fprintf(t, "      %s\n", r)
	}
	for _, b := range v.Breaches[:min(len(v.Breaches), mostTold)] {
		fmt.Fprintf(t, "      rule %d, request %s: %s\n        client: %s\n        nginx: %s\n        instances: %s\n", b.Rule, b.ID, b.What, b.Client, b.Nginx, b.Instances)
	}
	if more := v.Total - mostTold; more > 0 {
		fmt.Fprintf(t, "      and %d more; `trivet report --as json` has the first %d\n", more, ledger.MostBreaches)
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
		fmt.Fprintf(table, "  %s\t%s\t%s\n", mark, j.Text, measured(j))
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

// shares are counts by instance, in the order of the instances' numbers.
func shares(counts map[string]int) string {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(len(a)-len(b), cmp.Compare(a, b)) })
	var all []string
	for _, name := range names {
		all = append(all, fmt.Sprintf("%s %d", strings.TrimPrefix(name, "whoami"), counts[name]))
	}
	return strings.Join(all, "  ")
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
	text := fmt.Sprintf("%d failed, %s (%s), planned %s to %s after the phase began", f.Failed, strings.Join(who, ", "), strings.Join(how(f), ", "),
		experiment.Say(f.Recovery.FirstFailure), experiment.Say(f.Recovery.LastFailure))
	if f.Recovery.Recovered {
		text += "; well from " + experiment.Say(f.Recovery.FirstSuccess)
	}
	if f.Recovery.FairAtEnd {
		text += "; shares even from " + experiment.Say(f.Recovery.FairAgain)
	}
	return text
}

// how are the codes and reasons of failures with their counts.
func how(f ledger.Figures) []string {
	all := make(map[string]int)
	for code, n := range f.Codes {
		if code != "200" && code != "OK" {
			all[code] = n
		}
	}
	for reason, n := range f.Reasons {
		if f.NotStarted == 0 {
			all[reason] = n
		}
	}
	var told []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		told = append(told, fmt.Sprintf("%s %d", name, all[name]))
	}
	return told
}

func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}
