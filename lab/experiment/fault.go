package experiment

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// A Fault is one thing that is wrong with an experiment's file. Read and Test return all of them, joined, in the file's order.
type Fault struct {
	File         string // as it was named
	Line, Column int    // from 1
	Message      string
}

func (f *Fault) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Message)
}

// A spot is a place in a file.
type spot struct{ line, column int }

// faults collects what is wrong with one file.
type faults struct {
	file string
	all  []*Fault
}

func (f *faults) add(at spot, format string, args ...any) {
	f.all = append(f.all, &Fault{f.file, at.line, at.column, fmt.Sprintf(format, args...)})
}

// join is all faults as one error, each once: what several variants share is found in each of them.
func (f *faults) join() error {
	slices.SortStableFunc(f.all, func(a, b *Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	all := slices.CompactFunc(f.all, func(a, b *Fault) bool { return *a == *b })
	var errs []error
	for _, fault := range all {
		errs = append(errs, fault)
	}
	return errors.Join(errs...)
}
