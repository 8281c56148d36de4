// Package waterfall draws a trace: a row per span, with a bar from its begin to its end.
package waterfall

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"trivet/internal/words"
	"trivet/lab/trace"
)

// A row is a span as it is drawn.
type row struct {
	span     *trace.Span
	lines    string // of the tree, before the label
	label    string
	took     string
	note     string
	from, to float64 // of the whole, 0 to 1
}

// rows are the spans of a trace in the order of the tree.
func rows(t *trace.Trace) []row {
	begin, end := t.Bounds()
	whole := max(end.Sub(begin), time.Microsecond)
	var all []row
	var add func(spans []*trace.Span, before string, top bool)
	add = func(spans []*trace.Span, before string, top bool) {
		for i, s := range spans {
			branch, below := "├ ", "│ "
			if i == len(spans)-1 {
				branch, below = "└ ", "  "
			}
			if top {
				branch, below = "", ""
			}
			all = append(all, row{
				span: s, lines: before + branch, label: words.Printable(label(s)), took: took(s), note: words.Printable(s.Note),
				from: float64(s.Begin.Sub(begin)) / float64(whole), to: float64(max(s.End.Sub(begin), s.Begin.Sub(begin))) / float64(whole),
			})
			add(s.Children, before+below, false)
		}
	}
	add(t.Roots, "", true)
	return all
}

// label is what a row is called: which process did what.
func label(s *trace.Span) string {
	switch s.Kind {
	case trace.Attempt:
		return s.Name
	case trace.Hop:
		return "call " + method(s.Name)
	}
	return s.Process + " " + method(s.Name)
}

// method is a gRPC method without its service, and any other text as it is.
func method(name string) string {
	name = strings.TrimPrefix(name, "POST ")
	if i := strings.LastIndexByte(name, '/'); i > 0 && name[0] == '/' && strings.Contains(name[:i], ".") {
		return name[i+1:]
	}
	return name
}

func took(s *trace.Span) string {
	if s.Unfinished {
		return "…"
	}
	return Brief(s.Took(), s.Kind == trace.Nginx || s.Kind == trace.Attempt)
}

// Brief is a duration with three digits; in whole milliseconds if its source counts these.
func Brief(d time.Duration, whole bool) string {
	ms := float64(d) / float64(time.Millisecond)
	digits := 0
	switch {
	case d == 0 && !whole:
		return "0"
	case d >= 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case whole || ms >= 100:
	case ms < 1:
		return strconv.FormatInt(d.Microseconds(), 10) + " µs"
	case ms < 10:
		digits = 2
	default:
		digits = 1
	}
	return strconv.FormatFloat(ms, 'f', digits, 64) + " ms"
}

// heading says what request it is and how it ended.
func heading(t *trace.Trace) string {
	text := t.Request
	if len(t.Roots) == 0 {
		return text
	}
	root := t.Roots[0]
	begin, end := t.Bounds()
	return text + "  " + words.Printable(root.Name) + "  " + words.Printable(root.Note) + ", " + Brief(cmp.Or(root.Took(), end.Sub(begin)), root.Kind != trace.Client)
}

// notes are the sentences below a drawing.
func notes(t *trace.Trace) []string {
	begin, _ := t.Bounds()
	all := []string{"Began " + begin.UTC().Format("2006-01-02 15:04:05.000") + " UTC; trace ID " + t.ID + "."}
	seen := make(map[string]bool)
	add := func(text string) {
		if !seen[text] {
			seen[text] = true
			all = append(all, text)
		}
	}
	for _, s := range t.All {
		for _, a := range s.Attributes {
			switch late, _ := a.Value.(int64); {
			case a.Key == "trivet.late_us" && late >= 1000:
				add(fmt.Sprintf("Sent %s after its planned start.", Brief(time.Duration(late)*time.Microsecond, false)))
			case a.Key == "error.message":
				add(fmt.Sprintf("The client's error: %s.", strings.TrimSuffix(words.Printable(fmt.Sprint(a.Value)), ".")))
			}
		}
		switch {
		case s.Note == "refused":
			add("refused: nginx got no connection, and sent nothing.")
		case s.Kind == trace.Attempt && s.Result == trace.InDoubt:
			add("in doubt: nginx sent the request and got no header, so it may have been executed.")
		case s.Unfinished:
			add("not completed: the instance recorded the arrival alone; it was killed, or the call still runs.")
		case s.Linked != "":
			add("Its attempts have several trace IDs: the client sent no traceparent.")
		}
	}
	return all
}
