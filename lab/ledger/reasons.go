package ledger

import (
	"fmt"

	"trivet/lab/load"
)

// mostLate is the part of the starts that may be late.
const mostLate = 0.01

// reasons are all that makes the run invalid, but for what is wrong with the files.
func (b *Book) reasons(balance Balance) []string {
	all := []string{}
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
		}
		everything += planned
		if sum.NotStarted > 0 {
			all = append(all, fmt.Sprintf("load %s: the generator did not send %d of %d requests (%s); plan fewer a second, or give it more of the machine",
				l.Name, sum.NotStarted, planned, notStarted(sum.Reasons)))
		}
		if sent := planned - sum.NotStarted; float64(sum.Late) > mostLate*float64(sent) {
			all = append(all, fmt.Sprintf("load %s: the generator was late: %d of %d requests began more than %v after their time; plan fewer a second, or give it more of the machine",
				l.Name, sum.Late, sent, Lateness))
		}
	}
	if everything == 0 {
		all = append(all, "there is no record of any request")
	}
	return all
}

func notStarted(reasons map[string]int) string {
	return fmt.Sprintf("%d because their time had passed, %d because too many were in flight", reasons[load.Overdue], reasons[load.TooMany])
}
