package trial

import (
	"context"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A Stack runs already, and trials can be run on it: each starts a System of it, which starts no instances of its own.
//
// What a trial on it is measured from are the client's records, those of the sources that its Target names, in the files of package
// record, and the events of its System:
//
//   - Started, with Process and Start, for each start of an instance, once, when its first record is read. For an instance that
//     System.Instances did not have it has Instance, too; such an event may also come without a Start, and any number of them.
//   - Died for what was killed or crashed, Stopped for what ended as requested. Exit may be nil: then Stopped is taken for a clean end. A
//     Start may be missing: then every start of the instance has ended. Events name instances as they name themselves, while an action on
//     whoami-2 is on the second of System.Instances. A kill, drain or restart wants one of these events within ten seconds of its end.
//   - Probe for each request of the system's own, before it is sent.
//
// Records of requests of others may stay in the files: they are ignored, and counted. The numbers of the arrivals in a start may begin
// anywhere, but none may be missing between two of the trial's.
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
