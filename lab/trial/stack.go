package trial

import (
	"context"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A Stack runs already, and trials can be run on it: each starts a System of it, which starts no instances of its own.
type Stack interface {
	// Target says what the stack is, and which records it gives.
	Target() record.Target
	Instances() []record.Instance
	Nginx() string // its version; "" if that is unknown
	// Can reports whether its systems can carry out an operation.
	Can(o scenario.Operation) bool
	// Edits, PreStop and Through report whether a scenario may have such settings: what its systems change for them, Stop changes back.
	Edits() bool
	PreStop() bool
	Through() bool
	// Start is a Start: it makes the changes of the scenario, and begins to read the stack's records.
	Start(ctx context.Context, s scenario.Scenario, dir string, observe func(record.Event)) (System, error)
}
