package measure

import (
	"fmt"
	"time"

	"trivet/internal/words"
	"trivet/lab/ledger"
)

// MaxLateness is how late the generator may be without counting as late, and the lab with an action. Latency runs from the planned start
// all the same.
const MaxLateness = 250 * time.Millisecond

// harmless is the part of a request's time for which the generator may stall: a stream that is held open for seconds survives many a
// pause that does not matter to it.
const harmless = 10

// A startLimit is the part of a load's requests in one phase that may be sent later than a bound.
type startLimit struct {
	part  float64
	bound time.Duration
}

// startLimits are all. What is sent late is sent together: nginx and its instances then have another load than the planned one, with bursts
// that no reading of the times can take out. Everything else that the generator may have changed is in the adjusted reading.
var startLimits = [...]startLimit{{0.01, MaxLateness}, {0.20, 100 * time.Millisecond}}

// stalledPart is the part of a load's requests in one phase during which the generator may stall: planned in equal distances, they show how
// much of the time it did. Beyond it both readings say little.
const stalledPart = 0.20

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
	// Causes before what they may have caused: a worker that ended leaves attempts without an entry.
	all = append(all, t.machine.reasons(t.events.paused)...)
	all = append(all, t.events.reasons...)
	all = append(all, r.Reasons...)
	all = append(all, t.generatorReasons()...)
	return append(all, t.events.open()...)
}

// generatorReasons say what the generator did not send as planned: that was not measured.
func (t *Trial) generatorReasons() []string {
	var all []string
	everything := 0
	for i, l := range t.manifest.Scenario.Loads {
		for p, phase := range t.manifest.Scenario.Phases {
			c := t.readings[i][0][p].measured
			where := fmt.Sprintf("load %s, phase %s: ", l.Name, phase.Name)
			if c.Requests > 0 && c.Dropped == c.Requests {
				all = append(all, where+fmt.Sprintf("none of %s was sent", words.Count(c.Requests, "request")))
			}
			for _, why := range c.late(l.Deadline) {
				all = append(all, where+why)
			}
		}
		whole := t.readings[i][0][len(t.manifest.Scenario.Phases)].measured
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

// late says, for one load in one phase, whether the generator was too late, stalled too often, or took responses after their deadline.
func (c *counters) late(deadline time.Duration) []string {
	var all []string
	handled := c.Requests - c.Dropped
	for i, l := range startLimits {
		if float64(c.over[i]) > l.part*float64(handled) {
			all = append(all, fmt.Sprintf("the generator sent %d of %s more than %v late; the limit is %v %%; %s", c.over[i], words.Count(handled, "request"), l.bound, 100*l.part, advice))
			break
		}
	}
	if float64(c.stalled) > stalledPart*float64(handled) {
		all = append(all, fmt.Sprintf("the generator stalled during %d of %s, for a tenth of their time or more; the limit is %v %%; %s", c.stalled, words.Count(handled, "request"), 100*stalledPart, advice))
	}
	if c.expired > 0 {
		all = append(all, fmt.Sprintf("%d of %s were OK after the deadline of %v", c.expired, words.Count(handled, "request"), deadline))
	}
	return all
}
