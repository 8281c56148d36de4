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

// Row is one row of the table. Either Pairs has the values of both sides, in the order in which they were measured, or Values those of
// one alone, which has no ratio.
type Row struct {
	What     string          `json:"what"`
	Figure   string          `json:"figure,omitempty"`
	A        string          `json:"a,omitempty"`
	B        string          `json:"b,omitempty"`
	Rate     float64         `json:"rate,omitempty"` // the fixed rate, in requests a second
	Pairs    [][2]float64    `json:"pairs,omitempty"`
	Values   []float64       `json:"values,omitempty"`
	Estimate *stats.Estimate `json:"estimate,omitempty"` // of the ratio A/B, or of the value
	Bar      *stats.Bar      `json:"bar,omitempty"`
	Verdict  stats.Verdict   `json:"verdict"`
	Why      string          `json:"why,omitempty"`
}

// judge fills in the estimate and the verdict. A ratio to nothing, or of it, is none.
func (r *Row) judge() {
	for _, p := range r.Pairs {
		if p[0] <= 0 || p[1] <= 0 {
			r.Verdict, r.Why = stats.Errors, "a slice was too short to measure anything"
			return
		}
	}
	var e stats.Estimate
	if r.Pairs != nil {
		e = stats.Ratio(r.Pairs)
	} else {
		e = stats.Mean(r.Values)
	}
	r.Verdict = stats.Judge(e, r.Bar)
	if !math.IsInf(e.High, 0) { // JSON has no infinity, and an interval without an end says nothing.
		r.Estimate = &e
	}
}

func (b *bench) add(r Row) { b.table = append(b.table, r) }

// text is the table as people read it.
func text(table []Row, took time.Duration) string {
	var s strings.Builder
	w := tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tfigure\tA\tB\tA/B [95 %]\tbar\tverdict")
	last := ""
	var notes []string
	for _, r := range table {
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", what, r.Figure, r.column(0), r.column(1), r.ratio(), bar, verdict)
	}
	w.Flush()
	for n, note := range notes {
		fmt.Fprintf(&s, "(%d) %s\n", n+1, note)
	}
	fmt.Fprintf(&s, "A and B: medians, with their spread (least to most); measured in %s on %d CPUs, %s\n", took.Round(time.Second), runtime.NumCPU(), runtime.Version())
	return s.String()
}

// column is what stands under A (0) or B (1): the name, the median and the spread.
func (r Row) column(side int) string {
	name := [2]string{r.A, r.B}[side]
	var values []float64
	for _, p := range r.Pairs {
		values = append(values, p[side])
	}
	if side == 0 && r.Values != nil {
		values = r.Values
	}
	if len(values) == 0 {
		return name
	}
	text := strings.TrimSpace(name + " " + number(stats.Median(values)))
	if len(values) > 1 {
		text += fmt.Sprintf(" (%s-%s)", number(stats.Quantile(values, 0)), number(stats.Quantile(values, 1)))
	}
	return text
}

func (r Row) ratio() string {
	switch {
	case r.Pairs == nil:
		if r.Estimate == nil || r.Bar == nil {
			return ""
		}
		return fmt.Sprintf("[%s, %s]", number(r.Estimate.Low), number(r.Estimate.High))
	case r.Verdict == stats.Errors && r.Estimate == nil:
		return ""
	case r.Estimate == nil:
		return fmt.Sprintf("%.2f", stats.Ratio(r.Pairs).Mean)
	}
	return fmt.Sprintf("%.2f [%.2f, %.2f]", r.Estimate.Mean, r.Estimate.Low, r.Estimate.High)
}

// number writes three digits, or all of those before the point.
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
		"v": 1, "time": time.Now().UTC(), "seconds": math.Round(took.Seconds()), "cpus": runtime.NumCPU(), "go": runtime.Version(),
		"nginx": b.nginxAt.Version.String(), "slice_ms": b.options.slice.Milliseconds(), "smoke": b.smoke, "rows": b.table,
	}, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.json), 0o755); err != nil {
		return err
	}
	return os.WriteFile(b.json, append(text, '\n'), 0o644)
}
