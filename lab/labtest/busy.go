package labtest

import (
	"slices"
	"strings"
)

// ofBusyMachines are parts of the reasons for which a trial is invalid because its machine was too busy, as it is when tests run at the
// same time.
var ofBusyMachines = []string{
	"the generator sent", "the generator stalled", "the generator dropped", "requests was sent", "other programs used", "has no sample", "give the lab more of the machine",
	"outlasted the phase",
}

// Busy reports whether a busy machine is why a trial is invalid.
func Busy(reason string) bool {
	return slices.ContainsFunc(ofBusyMachines, func(part string) bool { return strings.Contains(reason, part) })
}
