package ledger

import (
	"cmp"
	"fmt"
	"slices"
)

// MaxDiscrepancies is how many discrepancies a Reconciliation keeps: those of the first requests.
const MaxDiscrepancies = 100

// A Discrepancy is a rule that the records of a request break. The rules:
//
//  1. Each planned request has one client record: dropped, or a number of attempts and an outcome.
//  2. Each client attempt has one access-log entry, or a reason of the client's why it may have none (MaybeUnlogged); each entry belongs
//     to a client attempt.
//  3. An nginx attempt with a response header has exactly one arrival at that instance; one for which nothing was sent has none; one for
//     which something was sent and no header came (it is in doubt) has none or one.
//  4. Each arrival belongs to an nginx attempt.
//  5. The response that the client recorded is one that an access-log entry records: from the same instance, or from nginx, with the
//     same status.
//  6. Each whole response that nginx got from an instance has a completion there with the same status, unless the instance was killed.
type Discrepancy struct {
	Rule      int    `json:"rule"`
	ID        string `json:"id"`
	What      string `json:"what"`      // in a sentence
	Client    string `json:"client"`    // what each source recorded
	Nginx     string `json:"nginx"`     //
	Instances string `json:"instances"` //
}

func (d Discrepancy) String() string {
	return fmt.Sprintf("rule %d, %s: %s (client: %s; nginx: %s; instances: %s)", d.Rule, d.ID, d.What, d.Client, d.Nginx, d.Instances)
}

// A Reconciliation is the result of a Reconciler.
type Reconciliation struct {
	Discrepancies []Discrepancy // the first MaxDiscrepancies of them
	Count         int           // of discrepancies
	Reasons       []string      // why the trial is invalid, a sentence each
}

// Clean reports whether no rule is broken.
func (r Reconciliation) Clean() bool { return r.Count == 0 }

// Valid reports whether nothing in the records makes the trial invalid.
func (r Reconciliation) Valid() bool { return len(r.Reasons) == 0 }

// discrepancies keeps the first by request, in whatever order they are found.
type discrepancies struct {
	first []keyed
	count int
}

type keyed struct {
	key
	Discrepancy
}

func (d *discrepancies) add(k key, one Discrepancy) {
	d.count++
	i, _ := slices.BinarySearchFunc(d.first, keyed{k, one}, func(x, y keyed) int {
		return cmp.Or(x.compare(y.key), cmp.Compare(x.Rule, y.Rule), cmp.Compare(x.What, y.What))
	})
	if i >= MaxDiscrepancies {
		return
	}
	d.first = slices.Insert(d.first, i, keyed{k, one})
	d.first = d.first[:min(len(d.first), MaxDiscrepancies)]
}

func (d *discrepancies) kept() []Discrepancy {
	all := []Discrepancy{}
	for _, one := range d.first {
		all = append(all, one.Discrepancy)
	}
	return all
}
