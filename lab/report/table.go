package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"trivet/lab/experiment"
	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// table writes a variant's metrics, a row for each phase and group, and the notes on them.
func (t Text) table(v Variant) {
	measured := slices.IndexFunc(v.Trials, func(t Trial) bool { return len(t.Phases) > 0 })
	if measured < 0 {
		return
	}
	table := tabwriter.NewWriter(t, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "    phase\tgroup\trequests\tfailed\tp50\tp99\tmax\tattempts/req\tdup\tin-doubt\tfirst attempts")
	var notes []string
	for i, p := range v.Trials[measured].Phases {
		name := p.Name
		for _, g := range rows(p) {
			all := v.groups(i, g.Name)
			fmt.Fprintf(table, "    %s\t%s\t%s\n", name, g.Name, strings.Join(all.cells(), "\t"))
			name = ""
			if p.Name != scenario.Total {
				notes = append(notes, all.notes(p.Name)...)
			}
		}
		if p.Name != scenario.Total {
			notes = append(notes, v.machineNotes(i)...)
		}
	}
	table.Flush()
	for _, note := range notes {
		fmt.Fprintf(t, "    %s\n", note)
	}
}

// groups are those of one name in one phase, of each trial of a variant that was measured.
type groups struct {
	of        []measure.Group
	trials    []int // their numbers
	instances int
	target    bool // its instances have names of their own
}

func (v Variant) groups(phase int, name string) groups {
	all := groups{instances: v.Instances, target: v.onTarget() != nil}
	for n, t := range v.Trials {
		if phase >= len(t.Phases) {
			continue
		}
		i := slices.IndexFunc(t.Phases[phase].Groups, func(g measure.Group) bool { return g.Name == name })
		all.of, all.trials = append(all.of, t.Phases[phase].Groups[i]), append(all.trials, n+1)
	}
	return all
}

// cells are the columns of a row but for the phase and the group.
func (g groups) cells() []string {
	count := func(of func(measure.Metrics) int) string { return g.counts(of).String() }
	return []string{
		count(func(m measure.Metrics) int { return m.Requests }), g.failed(),
		g.time(func(m measure.Metrics) *time.Duration { return m.ServiceTime.P50 }),
		g.time(func(m measure.Metrics) *time.Duration { return m.ServiceTime.P99 }),
		g.time(func(m measure.Metrics) *time.Duration { return m.ServiceTime.Max }),
		g.known("amplification", say(median(g.of, func(g measure.Group) *float64 { return g.Metrics.Amplification }))),
		g.known("duplicated", count(func(m measure.Metrics) int { return m.Duplicated })),
		g.known("in_doubt", count(func(m measure.Metrics) int { return m.InDoubt })), g.known("first_attempts", g.shares()),
	}
}

// known is a cell, or what stands in the place of a metric that the trials could not have.
func (g groups) known(metric, cell string) string {
	for _, one := range g.of {
		if one.Metrics.Unknown(metric) != "" {
			return say[int](nil)
		}
	}
	return cell
}

// adjusted is a group's other reading.
func adjusted(g measure.Group) measure.Metrics {
	if g.Adjusted != nil {
		return *g.Adjusted
	}
	return g.Metrics
}

// A span is from the smallest count to the largest.
type span struct{ least, most int }

func (s span) String() string {
	if s.least == s.most {
		return fmt.Sprint(s.least)
	}
	return fmt.Sprintf("%d–%d", s.least, s.most)
}

func (s span) add(n int) span { return span{min(s.least, n), max(s.most, n)} }

// counts are one of each trial.
func (g groups) counts(of func(measure.Metrics) int) span {
	first := of(g.of[0].Metrics)
	all := span{first, first}
	for _, one := range g.of {
		all = all.add(of(one.Metrics))
	}
	return all
}

// failed is how many requests failed, and between how many that is if failures are in doubt.
func (g groups) failed() string {
	measured := g.counts(func(m measure.Metrics) int { return m.Failed })
	all := measured
	for _, one := range g.of {
		all = all.add(adjusted(one).Failed)
	}
	if all == measured {
		return measured.String()
	}
	return fmt.Sprintf("%v (%v)", measured, all)
}

// time is the median of a time, and the other end of what it may have been if that differs: less without a stall, more with the requests
// whose failures are in doubt.
func (g groups) time(of func(measure.Metrics) *time.Duration) string {
	measured := median(g.of, func(g measure.Group) *time.Duration { return of(g.Metrics) })
	other := median(g.of, func(g measure.Group) *time.Duration { return of(adjusted(g)) })
	switch {
	case !differs(measured, other):
		return say(measured)
	case *other < *measured:
		return fmt.Sprintf("%s (≥%s)", say(measured), say(other))
	}
	return fmt.Sprintf("%s (≤%s)", say(measured), say(other))
}

// median is that of the values of the trials that have one.
func median[T time.Duration | float64](groups []measure.Group, of func(measure.Group) *T) *T {
	var values []T
	for _, g := range groups {
		if value := of(g); value != nil {
			values = append(values, *value)
		}
	}
	n := len(values)
	if n == 0 {
		return nil
	}
	slices.Sort(values)
	middle := (values[(n-1)/2] + values[n/2]) / 2
	return &middle
}

// maxShares is the number of instances whose shares fit into a line of 120 characters; if trials differ, one less.
const maxShares = 4

// names are the instances whose shares a row has: those of whoami, unless all of its requests went to others.
func (g groups) names() []string {
	var others []string
	whoami := false
	for _, one := range g.of {
		for name := range one.Metrics.FirstAttempts {
			if !scenario.IsFront(name) && !g.target {
				whoami = true
			} else if !slices.Contains(others, name) {
				others = append(others, name)
			}
		}
	}
	slices.SortFunc(others, scenario.CompareNames)
	if len(others) > 0 && !whoami || g.target {
		return others
	}
	return append(scenario.InstanceNames(g.instances), others...)
}

// shares are the first attempts by instance; of many instances the smallest and the largest.
func (g groups) shares() string {
	var all []string
	least, most, differ := 0, 0, 0
	names := g.names()
	first := make([]span, len(names))
	for n, name := range names {
		first[n] = g.counts(func(m measure.Metrics) int { return m.FirstAttempts[name] })
		all = append(all, fmt.Sprintf("%s %v", strings.TrimPrefix(name, "whoami"), first[n]))
		if first[n].least < first[least].least {
			least = n
		}
		if first[n].most > first[most].most {
			most = n
		}
		if first[n].least != first[n].most {
			differ = 1
		}
	}
	if len(names) > maxShares-differ {
		return all[least] + " to " + all[most]
	}
	return strings.Join(all, "  ")
}

// machineNotes are the lines below the table on the machine in a phase: of the trial in which the system waited the most, if it was busy.
func (v Variant) machineNotes(phase int) []string {
	worst, note := 0, ""
	delay := func(trial int) float64 {
		if d := v.Trials[trial].Phases[phase].Groups[0].Metrics.RunDelay; d != nil {
			return *d
		}
		return 0
	}
	for n, t := range v.Trials {
		if phase >= len(t.Phases) {
			continue
		}
		if text := machine(t.Phases[phase]); text != "" && (note == "" || delay(n) > delay(worst)) {
			worst, note = n, text
		}
	}
	if note == "" {
		return nil
	}
	where := v.Trials[worst].Phases[phase].Name
	if len(v.Trials) > 1 {
		where += fmt.Sprintf(", trial %d", worst+1)
	}
	return []string{where + ": " + note}
}

// notes are the lines below the table on a row, of the trial with most to say.
func (g groups) notes(phase string) []string {
	worst, notes := 0, []string{}
	for i, one := range g.of {
		if these := noteworthy(one.Metrics, g.instances); i == 0 || cmp.Or(cmp.Compare(len(these), len(notes)), cmp.Compare(one.Metrics.Failed, g.of[worst].Metrics.Failed)) > 0 {
			worst, notes = i, these
		}
	}
	where := phase + "." + g.of[0].Name
	if len(g.of) > 1 {
		where += fmt.Sprintf(", trial %d", g.trials[worst])
	}
	for i := range notes {
		notes[i] = where + ": " + notes[i]
	}
	return notes
}

// say writes a value that may be missing.
func say[T any](value *T) string {
	if value == nil {
		return "-"
	}
	return experiment.Say(*value)
}

// rows are the groups of a phase, without a protocol's whose requests are all of one load with a name: its row would be the same. (A load
// without a name is in the protocol's group only: if there is one, the protocol has more requests than the load with a name.)
// The calls that are made for a group's requests have rows where the group has one.
func rows(p measure.Phase) []measure.Group {
	var requests []measure.Group
	for _, g := range p.Groups {
		if _, depth := scenario.Hop(g.Name); depth == 0 {
			requests = append(requests, g)
		}
	}
	return slices.DeleteFunc(slices.Clone(p.Groups), func(g measure.Group) bool {
		of, _ := scenario.Hop(g.Name)
		same := slices.DeleteFunc(slices.Clone(requests), func(other measure.Group) bool { return other.Protocol != of })
		return len(same) == 2 && same[0].Metrics.Requests == same[1].Metrics.Requests
	})
}
