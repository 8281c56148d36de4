package draft

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"trivet/lab/scenario"
)

// expect are the expectations that any good configuration meets, and in comments what more could be expected.
func (p *plan) expect(variants []variant) *yaml.Node {
	list := sequence()
	say := func(comment string, conditions []string) {
		for i, condition := range conditions {
			n := text(condition)
			if i == 0 {
				n.HeadComment = comment
			}
			list.Content = append(list.Content, n)
		}
	}
	state := effects{}
	for _, a := range slices.Concat(p.prepared.prepare(), p.Actions) {
		state.do(a)
	}
	some, all := state.serve(p.Instances)
	paused := slices.Contains(slices.Collect(maps.Values(state)), scenario.Pause)
	last := p.phases[len(p.phases)-1]
	isLast := func(ph phase) bool { return ph.name == last.name && ph.kind == since }
	if last.kind == steady {
		say("Nothing was done, so nothing may fail.", p.total("%s.failed == 0"))
	}
	say("Nothing was done yet, so nothing may fail.", p.conditions("%s.failed == 0", p.brief(), func(ph phase) bool { return ph.kind == before }))
	if some && !paused {
		say("Whatever failed, in the end requests succeed again.", p.conditions("not %[1]s.recovery.failed or %[1]s.recovery.recovered", p.groups(), isLast))
	}
	fair := p.conditions("%s.recovery.fair_at_end", p.groups(), isLast)
	even := !slices.ContainsFunc(variants, func(v variant) bool { return !shipped(v.Edits) })
	if all && even {
		say("Every instance serves again, so each gets its share of the requests.", fair)
	}
	if condition := "%s.ok > 0"; len(list.Content) == 0 {
		if !some && len(p.Actions) == 0 {
			condition = "%s.ok == 0"
		}
		say("", p.total(condition))
	}
	if !all || even {
		fair = nil
	}
	list.Content[len(list.Content)-1].FootComment = p.suggestions(last, fair)
	return list
}

// total is a condition on each protocol in the whole trial.
func (p *plan) total(format string) (all []string) {
	for _, group := range p.groups() {
		all = append(all, fmt.Sprintf(format, scenario.Total+"."+group))
	}
	return all
}

// brief are the groups of requests that are not held open: a stream that began before an action may be broken by it.
func (p *plan) brief() (all []string) {
	streams := slices.ContainsFunc(p.loads, func(l load) bool { return l.hold > 0 })
	for _, group := range p.groups() {
		if group == scenario.HTTP || !streams {
			all = append(all, group)
		}
	}
	for _, l := range p.loads {
		if streams && l.protocol == scenario.GRPC && l.hold == 0 {
			all = append(all, l.name)
		}
	}
	return all
}

// conditions are one for each group, on all of some phases in which it has requests.
func (p *plan) conditions(format string, groups []string, of func(phase) bool) (all []string) {
	for _, group := range groups {
		var parts []string
		for _, ph := range p.phases {
			if of(ph) && p.planned(ph, group) {
				parts = append(parts, fmt.Sprintf(format, ph.name+"."+group))
			}
		}
		if len(parts) > 0 {
			all = append(all, strings.Join(parts, " && "))
		}
	}
	return all
}

// planned reports whether a group has a request in a phase for certain, wherever its requests fall.
func (p *plan) planned(ph phase, group string) bool {
	for _, l := range p.loads {
		if (l.protocol == group || l.name == group) && l.rates[ph.name]*(ph.to-ph.from).Seconds() >= 2 {
			return true
		}
	}
	return false
}

// percentile is the highest that a group of requests is sure to have in a phase if none fails; "" for none.
func (p *plan) percentile(ph phase, group string) string {
	requests := 0.0
	for _, l := range p.loads {
		if l.protocol == group || l.name == group {
			requests += max(0, math.Floor(l.rates[ph.name]*(ph.to-ph.from).Seconds())-1)
		}
	}
	switch {
	case requests >= 100:
		return "p99"
	case requests >= 10:
		return "p90"
	case requests >= 2:
		return "p50"
	}
	return ""
}

// suggestions are comments that show how to expect more.
func (p *plan) suggestions(last phase, fair []string) string {
	group := p.groups()[0]
	lines := []string{"# To expect more, run it, read the report, and write what you would accept, for example:"}
	for _, ph := range p.phases {
		if ph.kind == during && p.planned(ph, group) {
			lines = append(lines, fmt.Sprintf("# - %[1]s.failed <= 0.01 * %[1]s.requests", ph.name+"."+group))
			break
		}
	}
	if len(p.Actions) > 0 {
		lines = append(lines, fmt.Sprintf("# - total.%s.duplicated == 0 # none was executed twice", group))
	}
	for _, group := range p.brief() {
		if percentile := p.percentile(last, group); percentile != "" {
			lines = append(lines, fmt.Sprintf("# - %s.%s.service_time.%s < duration(\"100ms\")", last.name, group, percentile))
			break
		}
	}
	for _, condition := range fair {
		lines = append(lines, "# - "+condition+" # if this configuration balances evenly, and has ejected none by then")
	}
	return strings.Join(lines, "\n")
}
