package ledger

import (
	"cmp"
	"fmt"
	"slices"
)

// MaxDiscrepancies is how many discrepancies a Reconciliation keeps: those of the first requests.
const MaxDiscrepancies = 100

// A Discrepancy is a rule that the records of a request break: one of the six in docs/records.md.
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

// A Reconciliation is the result of a Reconciler.
type Reconciliation struct {
	Discrepancies []Discrepancy // the first MaxDiscrepancies of them
	Count         int           // of discrepancies
	Reasons       []string      // why the trial is invalid, a sentence each
}

// discrepancies keeps the first by request, in whatever order they are found.
type discrepancies struct {
	first []Discrepancy
	count int
}

func (d *discrepancies) add(k key, one Discrepancy) {
	d.count++
	one.key = k
	i, _ := slices.BinarySearchFunc(d.first, one, func(x, y Discrepancy) int {
		return cmp.Or(x.key.compare(y.key), cmp.Compare(x.Rule, y.Rule), cmp.Compare(x.What, y.What))
	})
	if i >= MaxDiscrepancies {
		return
	}
	d.first = slices.Insert(d.first, i, one)
	d.first = d.first[:min(len(d.first), MaxDiscrepancies)]
}
