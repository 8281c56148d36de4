package measure

import (
	"fmt"
	"time"

	"trivet/internal/words"
	"trivet/lab/ledger"
)

// MaxLateness is how late the generator may be without counting as late, and the lab with an action. Latency runs from the planned start
// all the same. A process with the higher priority was seen to wait up to 143 ms for one of two cores, with ten others on them: that is
// a busy machine, and still the plan.
const MaxLateness = 250 * time.Millisecond

// harmless is the part of a request's time for which the generator may stall: a stream that is held open for seconds survives many a
// pause that does not matter to it.
const harmless = 10

// A latenessLimit is the part of a load's requests in one phase for which the generator may be later than a bound.
type latenessLimit struct {
	part  float64
	bound time.Duration
}

// latenessLimits are all; the first is also what counts as late. If p99 is the generator's own, it is no measurement; a generator that
// is less late, but much of the time, spoils the rest as well. Of 26 runs on two cores, beside two busy loops and other work, the first
// limit made 2 invalid; a tenth over 100 ms and half over 25 ms would have made 4 more invalid, these did 1, whose median was off by
// 100 ms.
var latenessLimits = [...]latenessLimit{{0.01, MaxLateness}, {0.20, 100 * time.Millisecond}, {0.50, 50 * time.Millisecond}}

const advice = "plan fewer requests per second, or give the generator more of the machine"

// reasons are why the trial is invalid, but for what is wrong with the files.
func (t *Trial) reasons(r ledger.Reconciliation) []string {
	all := []string{}
	if t.events.killed { // The first: discrepancies follow from it.
		planned := 0
		for _, n := range t.manifest.Planned {
			planned += n
		}
		all = append(all, fmt.Sprintf("the generator did not finish and was killed: %d of %s have no record; %s", t.unrecorded, words.Count(planned, "planned request"), advice))
	}
	all = append(all, r.Reasons...)
	all = append(all, t.generatorReasons()...)
	all = append(all, t.events.reasons...)
	return append(all, t.events.open()...)
}

// generatorReasons say what the generator did not send as planned: that was not measured.
func (t *Trial) generatorReasons() []string {
	var all []string
	everything := 0
	for i, l := range t.manifest.Scenario.Loads {
		for p, phase := range t.manifest.Scenario.Phases {
			c := t.readings[i][p].measured
			where := fmt.Sprintf("load %s, phase %s: ", l.Name, phase.Name)
			if c.Requests > 0 && c.Dropped == c.Requests {
				all = append(all, where+fmt.Sprintf("none of %s was sent", words.Count(c.Requests, "request")))
			}
			for _, why := range c.late(l.Deadline) {
				all = append(all, where+fmt.Sprintf("the generator was late or stalled: %s; %s", why, advice))
			}
		}
		whole := t.readings[i][len(t.manifest.Scenario.Phases)].measured
		everything += whole.Requests
		if whole.Dropped > 0 {
			all = append(all, fmt.Sprintf("load %s: the generator dropped %d of %s, each more than a second overdue; %s",
				l.Name, whole.Dropped, words.Count(whole.Requests, "request"), advice))
		}
	}
	if everything == 0 {
		all = append(all, "there is no record of any request")
	}
	return all
}

// late says, for one load in one phase, which is the first lateness limit that was exceeded, and whether responses were read too late to be any.
func (c *counters) late(deadline time.Duration) []string {
	var all []string
	sent := c.Requests - c.Dropped
	for i, l := range latenessLimits {
		if float64(c.over[i]) > l.part*float64(sent) {
			all = append(all, fmt.Sprintf("%d of %s by more than %v; the limit is %v %%", c.over[i], words.Count(sent, "request"), l.bound, 100*l.part))
			break
		}
	}
	if c.expired > 0 {
		all = append(all, fmt.Sprintf("%d of %s were OK long after the deadline of %v", c.expired, words.Count(sent, "request"), deadline))
	}
	return all
}
