package ledger

import (
	"fmt"
	"strings"
	"testing"
)

func TestKindsDifferInMoreThanNumbersAndNames(t *testing.T) {
	t.Parallel()
	var r Reconciliation
	add := func(rule int, n int64, what string) {
		r.add(key{n: n}, Discrepancy{Rule: rule, ID: fmt.Sprint(n), What: what})
	}
	add(2, 7, "the client made 2 attempts that nginx must have logged, and the access log has 0")
	add(2, 3, "the client made 1 attempt that nginx must have logged, and the access log has 0")
	add(2, 5, "the client made 1 attempt, and the access log has 2")
	add(4, 3, "whoami-2 (HTTP) recorded 1 arrival, and no access-log entry has an attempt at it")
	add(4, 9, "whoami-10 (gRPC) recorded 12 arrivals, and no access-log entry has an attempt at it")
	add(4, 8, "whoami-1 (HTTP) recorded 1 arrival, and no access-log entry has an attempt at it")
	add(1, 1, "it took 1.5ms")
	add(1, 2, "it took 800µs")
	add(3, 1, "it took 800µs")
	r.sortKinds()
	var got strings.Builder
	for _, k := range r.Kinds {
		fmt.Fprintf(&got, "%d of rule %d as %s; ", k.Count, k.Example.Rule, k.Example.ID)
	}
	if want := "3 of rule 4 as 3; 2 of rule 1 as 1; 2 of rule 2 as 3; 1 of rule 2 as 5; 1 of rule 3 as 1; "; got.String() != want {
		t.Errorf("got  %s\nwant %s", got.String(), want)
	}
}
