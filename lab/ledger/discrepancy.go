package ledger

import (
	"cmp"
	"fmt"
	"slices"
)

// MaxDiscrepancies is how many discrepancies a Reconciliation keeps: those of the first requests.
const MaxDiscrepancies = 100

// A Discrepancy is a rule that the records of a request break: one of the seven in docs/records.md.
type Discrepancy struct {
	Rule      int    `json:"rule"`
	ID        string `json:"id"`
	What      string `json:"what"`      // in a sentence
	Client    string `json:"client"`    // what each source recorded
	Nginx     string `json:"nginx"`     //
	Instances string `json:"instances"` //

	key key
}

func (d Discrepancy) String() string {
	return fmt.Sprintf("rule %d, %s: %s (client: %s; nginx: %s; instances: %s)", d.Rule, d.ID, d.What, d.Client, d.Nginx, d.Instances)
}

// Request is the request, as all sources recorded it: without the rule.
func (d Discrepancy) Request() Discrepancy {
	return Discrepancy{ID: d.ID, Client: d.Client, Nginx: d.Nginx, Instances: d.Instances}
}

// A Reconciliation is the result of a Reconciler.
type Reconciliation struct {
	Discrepancies []Discrepancy // the first MaxDiscrepancies of them
	Count         int           // of discrepancies
	Kinds         []Kind        // of all of them, the most frequent first
	Reasons       []string      // why the trial is invalid, a sentence each
	Others        int           // requests of others, on a target: they are ignored
}

// add keeps the first by request, in whatever order they are found.
func (r *Reconciliation) add(k key, one Discrepancy) {
	r.Count++
	one.key = k
	r.count(one)
	i, _ := slices.BinarySearchFunc(r.Discrepancies, one, func(x, y Discrepancy) int {
		return cmp.Or(x.key.compare(y.key), cmp.Compare(x.Rule, y.Rule), cmp.Compare(x.What, y.What))
	})
	if i >= MaxDiscrepancies {
		return
	}
	r.Discrepancies = slices.Insert(r.Discrepancies, i, one)
	r.Discrepancies = r.Discrepancies[:min(len(r.Discrepancies), MaxDiscrepancies)]
}
