package ledger

import (
	"cmp"
	"fmt"
	"slices"
)

// MostBreaches is how many breaches a Balance keeps: those of the first requests.
const MostBreaches = 100

// A Breach is a request of which the witnesses' words do not fit together. The rules:
//
//  1. Each planned request has one client record: not started, or so many attempts and an outcome.
//  2. Each of the client's attempts has one line in nginx's log, or a reason of the client's own why it may have none; each line belongs
//     to an attempt of the client's.
//  3. An attempt of nginx's with a response header has exactly one arrival at that instance; one for which nothing was sent has none; one
//     for which something was sent and no header came has none or one.
//  4. Each arrival belongs to an attempt of nginx's.
//  5. The answer that the client tells of is one that a line of nginx's tells of: from the same instance, or from nginx, with the same status.
//  6. Each whole answer that nginx got from an instance has a completion there, with the same status, unless the instance was killed.
type Breach struct {
	Rule      int    `json:"rule"`
	ID        string `json:"id"`
	What      string `json:"what"`      // in a sentence
	Client    string `json:"client"`    // what each witness said
	Nginx     string `json:"nginx"`     //
	Instances string `json:"instances"` //
}

func (b Breach) String() string {
	return fmt.Sprintf("rule %d, %s: %s (client: %s; nginx: %s; instances: %s)", b.Rule, b.ID, b.What, b.Client, b.Nginx, b.Instances)
}

// A Balance is what a ledger comes to.
type Balance struct {
	Breaches []Breach `json:"breaches"` // the first MostBreaches of them
	Total    int      `json:"total"`    // of breaches
	Reasons  []string `json:"reasons"`  // all that makes the run invalid, a sentence each
}

// Balanced tells that no rule is broken.
func (b Balance) Balanced() bool { return b.Total == 0 }

// Valid tells that the run can be judged: what was measured may be good or bad, but it was measured.
func (b Balance) Valid() bool { return len(b.Reasons) == 0 }

// breaches keeps the first by request, whatever the order in which they are found.
type breaches struct {
	first []keyed
	total int
}

type keyed struct {
	key
	Breach
}

func (b *breaches) add(k key, breach Breach) {
	b.total++
	one := keyed{k, breach}
	i, _ := slices.BinarySearchFunc(b.first, one, func(x, y keyed) int {
		return cmp.Or(cmp.Compare(uint32(x.stream), uint32(y.stream)), cmp.Compare(x.n, y.n), cmp.Compare(x.id, y.id),
			cmp.Compare(x.Rule, y.Rule), cmp.Compare(x.What, y.What))
	})
	if i >= MostBreaches {
		return
	}
	b.first = slices.Insert(b.first, i, one)
	b.first = b.first[:min(len(b.first), MostBreaches)]
}

func (b *breaches) kept() []Breach {
	all := []Breach{}
	for _, one := range b.first {
		all = append(all, one.Breach)
	}
	return all
}
