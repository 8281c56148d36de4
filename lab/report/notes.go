package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"trivet/internal/words"
	"trivet/lab/experiment"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// enoughResponses is how many OK responses per second and instance are needed to judge shares: of fewer, one is more than a tenth.
const enoughResponses = 10

// noteworthy are the lines below a table about one of its rows.
func noteworthy(m measure.Metrics, instances int) []string {
	var notes []string
	if m.Failed > 0 {
		notes = append(notes, failures(m, instances))
	}
	if m.LocalReplies > m.NginxErrors {
		notes = append(notes, fmt.Sprintf("nginx generated %s; clients retried %d of them", words.Count(m.LocalReplies, "error response"), m.LocalReplies-m.NginxErrors))
	}
	if m.Cached > 0 {
		notes = append(notes, fmt.Sprintf("%s came from nginx's cache", words.Count(m.Cached, "response")))
	}
	if m.Unlogged > 0 {
		notes = append(notes, fmt.Sprintf("%s unlogged: nginx was killed, and what it did with open requests is not known", words.Count(m.Unlogged, "request")))
	}
	// Where requests failed at once, that says it already.
	if s := m.Saturation; s.Saturated && (m.Latency.Max != nil && *m.Latency.Max > time.Second || m.Reasons[record.InFlightLimit]+m.Reasons[record.Deadline] > 0) {
		kept := "the system did not keep up even in the first second"
		if s.Knee != nil {
			kept = fmt.Sprintf("the system kept up to %s requests/s", say(s.Knee))
		}
		notes = append(notes, fmt.Sprintf("saturated: %s; at most %s OK responses ended in a second", kept, experiment.Say(s.Peak)))
	}
	if differs(m.Latency.P50, m.ServiceTime.P50) || differs(m.Latency.P99, m.ServiceTime.P99) {
		notes = append(notes, fmt.Sprintf("latency from the planned start: p50 %s, p99 %s: the generator was late (p50 %s, p99 %s)",
			say(m.Latency.P50), say(m.Latency.P99), say(m.Lateness.P50), say(m.Lateness.P99)))
	}
	return notes
}

// When other programs took the CPUs, or the system wanted more of them than there are, a line says so.
const (
	busyCPUs  = 0.3 // of other programs, of which each window is starved in which the system waits; see package measure
	waitShare = 0.2 // of the phase: twice of what nginx and instances wait for each other on an idle machine
)

// machine says how the machine delayed the system in a phase; "" if it hardly did.
func machine(p measure.Phase) string {
	m := p.Groups[0].Metrics
	if m.OtherCPUs == nil || m.RunDelay == nil || *m.OtherCPUs < busyCPUs && *m.RunDelay < waitShare {
		return ""
	}
	longest := measure.Process{}
	for _, one := range p.Processes {
		if one.Delay > longest.Delay && one.Name != scenario.Generator && one.Name != scenario.Lab {
			longest = one
		}
	}
	return fmt.Sprintf("%s waited for a CPU %.0f %% of the time, and other programs used %.1f CPUs", longest.Name, 100**m.RunDelay, *m.OtherCPUs)
}

// differs reports whether two times differ so much that a reader should know: by more than a tenth, and by more than a millisecond.
func differs(x, y *time.Duration) bool {
	if x == nil || y == nil {
		return false
	}
	by := (*x - *y).Abs()
	return by > time.Millisecond && by > max(*x, *y)/10
}

// failures says how many requests failed, how, when, and when that was over.
func failures(m measure.Metrics, instances int) string {
	var kinds []string
	add := func(n int, text string) {
		if n > 0 {
			kinds = append(kinds, text)
		}
	}
	add(m.NginxErrors, words.Count(m.NginxErrors, "nginx error"))
	add(m.InstanceErrors, words.Count(m.InstanceErrors, "instance error"))
	add(m.Incomplete, fmt.Sprintf("%d incomplete", m.Incomplete))
	text := fmt.Sprintf("%d failed: %s", m.Failed, strings.Join(kinds, ", "))
	if codes := listed(m.Codes, "200", "OK"); codes != "" {
		text += "; codes: " + codes
	}
	if reasons := listed(m.Reasons, record.Overdue); reasons != "" {
		text += "; reasons: " + reasons
	}
	text += fmt.Sprintf("; planned %s to %s after the start of the phase", say(m.Recovery.FirstFailure), say(m.Recovery.LastFailure))
	if m.Recovery.Recovered {
		text += "; next OK at " + say(m.Recovery.FirstSuccess)
	}
	switch {
	case !m.Recovery.FairAtEnd:
	case m.Recovery.FairResponses < enoughResponses*instances:
		text += "; too few OK responses per second to judge the shares"
	default:
		text += "; fair since " + say(m.Recovery.FairSince)
	}
	if m.FailedLater > 0 {
		text += fmt.Sprintf("; %d ended in a later phase: requests count in the phase in which they were planned", m.FailedLater)
	}
	return text
}

// listed are counts by name, without the names that are not of failures.
func listed(counts map[string]int, without ...string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if !slices.Contains(without, name) {
			all = append(all, fmt.Sprintf("%s %d", line(name), counts[name]))
		}
	}
	return strings.Join(all, ", ")
}
