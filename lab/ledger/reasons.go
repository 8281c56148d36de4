package ledger

import (
	"fmt"
	"time"

	"trivet/lab/load"
)

// reasons are all that makes the run invalid, but for what is wrong with the files.
func (b *Book) reasons(balance Balance) []string {
	all := []string{}
	if b.diary.still { // The first: that the books do not balance follows from it.
		missing, planned := b.missing()
		all = append(all, fmt.Sprintf("the generator stood still, and was killed: %d of %s have no record; plan fewer a second, or give it more of the machine",
			missing, count(planned, "planned request")))
	}
	if balance.Total > 0 {
		all = append(all, fmt.Sprintf("the ledger does not balance: the witnesses' words do not fit together in %s", count(balance.Total, "place")))
	}
	if b.excess > 0 {
		all = append(all, fmt.Sprintf("more than %d requests waited for a witness at once: %d records were not joined", b.room, b.excess))
	}
	all = append(all, b.reasonsOfGenerator()...)
	all = append(all, b.diary.reasons...)
	return append(all, b.diary.open()...)
}

// reasonsOfGenerator convict the generator: what it did not send as planned was not measured.
func (b *Book) reasonsOfGenerator() []string {
	var all []string
	everything := 0
	for i, l := range b.scene.Loads {
		sum, planned := newTally(0), 0
		for p, phase := range b.scene.Phases {
			t := b.tally(i, p)
			sum.add(t)
			if planned += t.Requests; t.Requests > 0 && t.NotStarted == t.Requests {
				all = append(all, fmt.Sprintf("load %s, phase %s: none of %d requests was sent", l.Name, phase.Name, t.Requests))
			}
			for _, r := range t.offPlan(l.Deadline) {
				all = append(all, fmt.Sprintf("load %s, phase %s: the generator was late, or stood still: %s; plan fewer a second, or give it more of the machine", l.Name, phase.Name, r))
			}
		}
		everything += planned
		if sum.NotStarted > 0 {
			all = append(all, fmt.Sprintf("load %s: the generator did not send %d of %d requests (%s); plan fewer a second, or give it more of the machine",
				l.Name, sum.NotStarted, planned, notStarted(sum.Reasons)))
		}
	}
	if everything == 0 {
		all = append(all, "there is no record of any request")
	}
	return all
}

// missing counts the requests that have no record of the client's, and all.
func (b *Book) missing() (missing, planned int) {
	for i, l := range b.scene.Loads {
		planned += l.Planned
		for range b.streams[i].recorded.missing(int64(l.Planned)) {
			missing++
		}
	}
	return missing, planned
}

// offPlan tells, for one load in one phase, of the first grade that does not hold, and of answers that were read too late to be any.
func (t *tally) offPlan(deadline time.Duration) []string {
	var all []string
	sent := t.Requests - t.NotStarted
	for i, g := range grades {
		if float64(t.over[i]) > g.part*float64(sent) {
			all = append(all, fmt.Sprintf("%d of %s by more than %v, where %v %% may be", t.over[i], count(sent, "request"), g.bound, 100*g.part))
			break
		}
	}
	if t.expired > 0 {
		all = append(all, fmt.Sprintf("%d of %s were ok long after the deadline of %v", t.expired, count(sent, "request"), deadline))
	}
	return all
}

func notStarted(reasons map[string]int) string {
	return fmt.Sprintf("%d because their time had passed, %d because too many were in flight", reasons[load.Overdue], reasons[load.TooMany])
}
