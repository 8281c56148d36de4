package ledger

import (
	"cmp"
	"fmt"
	"slices"

	"trivet/internal/words"
)

// A Kind is the discrepancies of one rule whose sentences differ in numbers, instances and protocols only.
type Kind struct {
	Count   int         `json:"count"`
	Example Discrepancy `json:"example"` // that of the first request

	name string
}

// kind is the same for all discrepancies of a Kind.
func (d Discrepancy) kind() string { return fmt.Sprint(d.Rule, " ", words.Kind(d.What)) }

// count counts a discrepancy among those of its kind. Of more than MaxDiscrepancies kinds it leaves out the later ones.
func (r *Reconciliation) count(d Discrepancy) {
	name := d.kind()
	i := slices.IndexFunc(r.Kinds, func(k Kind) bool { return k.name == name })
	if i < 0 && len(r.Kinds) == MaxDiscrepancies {
		return
	}
	if i < 0 {
		r.Kinds = append(r.Kinds, Kind{Example: d, name: name})
		i = len(r.Kinds) - 1
	}
	k := &r.Kinds[i]
	k.Count++
	if d.key.compare(k.Example.key) < 0 {
		k.Example = d
	}
}

// sortKinds puts the most frequent kind first.
func (r *Reconciliation) sortKinds() {
	slices.SortFunc(r.Kinds, func(x, y Kind) int { return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.name, y.name)) })
}
