package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
)

// A row is one of the table.
type row struct {
	what   string
	values []float64 // of the blocks
	unit   string
	limit  string // in words; "": none
	met    func(float64) bool
	note   string // why it cannot be judged
}

// median of the values, and how far they reach.
func (r row) median() (median, least, most float64) {
	sorted := slices.Sorted(slices.Values(r.values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]
}

// verdict is in bench's words. A limit is reached if all blocks meet it, and not if none does.
func (r row) verdict() string {
	met := 0
	for _, v := range r.values {
		if r.met != nil && r.met(v) {
			met++
		}
	}
	switch {
	case r.note != "":
		return "errors"
	case r.met == nil:
		return "-"
	case met == len(r.values):
		return "reached"
	case met == 0:
		return "not reached"
	}
	return "inconclusive"
}

func exitCode(rows []row, smoke bool) int {
	code := exitOK
	for _, r := range rows {
		switch verdict := r.verdict(); {
		case smoke: // It judges nothing: a busy machine may be late.
		case verdict == "errors":
			return exitErrors
		case verdict == "not reached":
			code = exitMissed
		}
	}
	return code
}

func print(w io.Writer, o options, rows []row) {
	fmt.Fprintf(w, "The page of trivet up at %.0f requests/s, %d CPUs, %d blocks of %v\n\n", o.rate, runtime.NumCPU(), o.blocks, o.slice)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "what\tmedian (least–most)\tlimit\tverdict")
	for _, r := range rows {
		median, least, most := r.median()
		verdict := r.verdict()
		if o.smoke {
			verdict = "smoke"
		}
		if r.note != "" {
			verdict += ": " + r.note
		}
		limit := r.limit
		if limit == "" {
			limit = "-"
		}
		fmt.Fprintf(table, "%s\t%.3g %s (%.3g–%.3g)\t%s\t%s\n", r.what, median, r.unit, least, most, limit, verdict)
	}
	_ = table.Flush()
}
