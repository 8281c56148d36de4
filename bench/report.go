package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"trivet/bench/stats"
)

// Row is one row of the table. Without B its blocks have values of A alone, which have no ratio.
type Row struct {
	What     string          `json:"what"`
	Metric   string          `json:"metric,omitempty"`
	A        string          `json:"a,omitempty"`
	B        string          `json:"b,omitempty"`
	Rate     float64         `json:"rate,omitempty"`     // the fixed rate, in requests/s
	Blocks   [][2]float64    `json:"blocks,omitempty"`   // means of A and B, in the order of measurement
	Estimate *stats.Estimate `json:"estimate,omitempty"` // of the ratio A/B, or of the value
	Bar      *stats.Bar      `json:"bar,omitempty"`
	Verdict  stats.Verdict   `json:"verdict"`
	Why      string          `json:"why,omitempty"`
}

// values returns the blocks' values of A (0) or B (1).
func (r *Row) values(side int) []float64 {
	var all []float64
	for _, b := range r.Blocks {
		all = append(all, b[side])
	}
	return all
}

// judge fills in the estimate and the verdict.
func (r *Row) judge() {
	for _, v := range append(r.values(0), r.values(1)...) {
		if v <= 0 && r.B != "" {
			r.Verdict, r.Why = stats.Errors, "a slice was too short to measure anything"
			return
		}
	}
	if len(r.Blocks) == 0 {
		return
	}
	e := stats.Mean(r.values(0))
	if r.B != "" {
		e = stats.Ratio(r.Blocks)
	}
	r.Verdict = stats.Judge(e, r.Bar)
	if !math.IsInf(e.High, 0) { // JSON has no infinity, and an infinite interval says nothing.
		r.Estimate = &e
	}
}

// text returns the table for people.
func (b *bench) text(took time.Duration) string {
	var s strings.Builder
	w := tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tmetric\tA\tB\tA/B [95 %]\tbar\tverdict")
	last := ""
	var notes []string
	for _, r := range b.table {
		what := r.What
		if what == last {
			what = ""
		}
		last = r.What
		bar := "-"
		if r.Bar != nil {
			bar = r.Bar.String()
		}
		verdict := string(r.Verdict)
		if r.Why != "" {
			n := slices.Index(notes, r.Why)
			if n < 0 {
				n, notes = len(notes), append(notes, r.Why)
			}
			verdict = fmt.Sprintf("%s (%d)", verdict, n+1)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", what, r.Metric, r.column(0), r.column(1), r.ratio(), bar, verdict)
	}
	w.Flush()
	for n, note := range notes {
		fmt.Fprintf(&s, "(%d) %s\n", n+1, note)
	}
	fmt.Fprintf(&s, "A and B: medians of the blocks (least-most). %d blocks of %v slices, seed %d, in %s on %d CPUs, %s, nginx %s\n",
		b.blocks, b.options.slice, b.seed, took.Round(time.Second), runtime.NumCPU(), runtime.Version(), b.nginxAt.Version)
	return s.String()
}

// column returns what stands under A (0) or B (1): the name, the median and the range.
func (r *Row) column(side int) string {
	name := [2]string{r.A, r.B}[side]
	values := r.values(side)
	if name == "" || len(values) == 0 {
		return name
	}
	text := name + " " + number(stats.Quantile(values, 0.5))
	if len(values) > 1 {
		text += fmt.Sprintf(" (%s-%s)", number(stats.Quantile(values, 0)), number(stats.Quantile(values, 1)))
	}
	return text
}

func (r *Row) ratio() string {
	switch {
	case r.B == "" && r.Estimate != nil && r.Bar != nil:
		return fmt.Sprintf("[%s, %s]", number(r.Estimate.Low), number(r.Estimate.High))
	case r.B == "" || len(r.Blocks) == 0 || r.Verdict == stats.Errors && r.Estimate == nil:
		return ""
	case r.Estimate == nil:
		return fmt.Sprintf("%.2f", stats.Ratio(r.Blocks).Mean)
	}
	return fmt.Sprintf("%.2f [%.2f, %.2f]", r.Estimate.Mean, r.Estimate.Low, r.Estimate.High)
}

// number formats three digits, or all of those before the point.
func number(v float64) string {
	switch magnitude := math.Abs(v); {
	case magnitude >= 100:
		return fmt.Sprintf("%.0f", v)
	case magnitude >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// save writes the machine-readable copy.
func (b *bench) save(took time.Duration) error {
	text, err := json.MarshalIndent(map[string]any{
		"v": 2, "time": time.Now().UTC(), "seconds": math.Round(took.Seconds()), "cpus": runtime.NumCPU(), "go": runtime.Version(),
		"nginx": b.nginxAt.Version.String(), "blocks": b.blocks, "slice_ms": b.options.slice.Milliseconds(), "seed": b.seed, "smoke": b.smoke, "rows": b.table,
	}, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.json), 0o755); err != nil {
		return err
	}
	return os.WriteFile(b.json, append(text, '\n'), 0o644)
}
