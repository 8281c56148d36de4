package report

import (
	"fmt"
	"slices"
	"strings"

	"trivet/internal/words"
)

// What stands before a table fits on a screen beside it; JSON has all of it.
const (
	maxReasons = 4
	maxKinds   = 4
)

// reasons writes a verdict with the reasons for it, the first in the verdict's line.
func (t Text) reasons(indent string, verdict Verdict, all []string) {
	all = once(all)
	for i, reason := range all[:min(len(all), maxReasons)] {
		reason = line(reason)
		if i == 0 {
			reason = t.paint(colors[verdict], emphasize(verdict)) + ": " + remedied(verdict, reason)
		} else {
			reason = "  " + reason
		}
		fmt.Fprintf(t, "%s%s\n", indent, reason)
	}
	if more := len(all) - maxReasons; more > 0 {
		fmt.Fprintf(t, "%s  and %d more; `trivet report --format json` has all reasons\n", indent, more)
	}
}

// once is the first reason of each kind, with the number of others that differ in numbers only.
func once(all []string) []string {
	var first []string
	more := map[string]int{}
	for _, reason := range all {
		kind := words.Kind(reason)
		if more[kind]++; more[kind] == 1 {
			first = append(first, reason)
		}
	}
	for i, reason := range first {
		if n := more[words.Kind(reason)] - 1; n > 0 {
			first[i] = fmt.Sprintf("%s (and %d like it)", reason, n)
		}
	}
	return first
}

// remedied is a reason with what to do, unless it says that by itself, after a semicolon.
func remedied(verdict Verdict, reason string) string {
	switch {
	case verdict != Invalid || strings.Contains(reason, "; "):
		return reason
	case strings.HasPrefix(reason, inconclusive):
		return reason + "; change the expectation, or run again on a machine that does nothing else"
	}
	return reason + "; run again, and if it comes again, look at the records and logs"
}

// inconclusive begins the reason against an experiment whose variants are valid.
const inconclusive = "an expectation is inconclusive: "

// reasons are those of the trials with the variant's verdict, the first of them.
func (v Variant) reasons() (all []string, first Trial) {
	for i, t := range slices.Backward(v.Trials) {
		if t.Verdict != v.Verdict {
			continue
		}
		reasons := slices.Clone(t.Reasons)
		if len(v.Trials) > 1 {
			for j := range reasons {
				reasons[j] = fmt.Sprintf("trial %d: %s", i+1, reasons[j])
			}
		}
		all, first = append(reasons, all...), t
	}
	return all, first
}

// problems writes why a variant has not passed: the reasons, an example of each kind of discrepancy, and where to look further. Of several
// trials the first with that verdict is shown.
func (t Text) problems(v Variant) {
	reasons, first := v.reasons()
	t.reasons("    ", v.Verdict, reasons)
	for i, k := range first.Kinds[:min(len(first.Kinds), maxKinds)] {
		d := k.Example
		fmt.Fprintf(t, "      rule %d is broken %s, as by request %s: %s\n", d.Rule, words.Count(k.Count, "time"), line(d.ID), line(d.What))
		if i == 0 {
			fmt.Fprintf(t, "        client: %s\n        nginx: %s\n        instances: %s\n", line(d.Client), line(d.Nginx), line(d.Instances))
		}
	}
	if more := len(first.Kinds) - maxKinds; more > 0 {
		fmt.Fprintf(t, "      and %s more; `trivet report --format json` has all\n", words.Count(more, "kind"))
	}
	if v.Verdict == Invalid {
		t.records(first)
	}
}

// records says where they are, and how to find those of the first example.
func (t Text) records(of Trial) {
	fmt.Fprintf(t, "      trial directory: %s\n", of.Dir)
	if len(of.Kinds) > 0 && !strings.ContainsAny(of.Dir+of.Kinds[0].Example.ID, "'\n") {
		fmt.Fprintf(t, "      its records: cd '%s' && grep -hF '\"%s\"' records/*.jsonl logs/access.log\n", of.Dir, of.Kinds[0].Example.ID)
	}
}
