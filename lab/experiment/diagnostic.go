package experiment

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"trivet/internal/nearest"
)

// A Diagnostic is one error in an experiment's file. Read and Test return all of them, joined, in the file's order.
type Diagnostic struct {
	File         string // as the caller named it
	Line, Column int    // from 1
	Message      string
}

func (d *Diagnostic) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", d.File, d.Line, d.Column, d.Message)
}

// A position is a place in a file.
type position struct{ line, column int }

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.line, q.line), cmp.Compare(p.column, q.column))
}

// diagnostics collects the errors of one file.
type diagnostics struct {
	file string
	all  []*Diagnostic
}

func (d *diagnostics) add(at position, format string, args ...any) {
	d.all = append(d.all, &Diagnostic{d.file, at.line, at.column, fmt.Sprintf(format, args...)})
}

// join returns all diagnostics as one error, each once: variants share much of a file, so each of them finds the same error.
func (d *diagnostics) join() error {
	slices.SortStableFunc(d.all, func(a, b *Diagnostic) int {
		return position{a.Line, a.Column}.compare(position{b.Line, b.Column})
	})
	var errs []error
	known := map[Diagnostic]bool{}
	for _, one := range d.all {
		if !known[*one] {
			known[*one] = true
			errs = append(errs, one)
		}
	}
	return errors.Join(errs...)
}

// hint ends a message about an unknown name: with the one that is meant, or, if none is near, with all that there are.
func hint(name string, known []string) string {
	return cmp.Or(nearest.Hint(name, known), ": want "+clip(strings.Join(known, ", ")))
}
