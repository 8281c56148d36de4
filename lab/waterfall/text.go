package waterfall

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"trivet/lab/trace"
)

// Text draws traces on a terminal.
type Text struct {
	io.Writer
	Width int  // in characters; 0: 100
	Color bool // with escape sequences
}

const (
	usualWidth = 100
	leastWidth = 60
	mostWidth  = 200
)

// Draw draws a trace.
func (w Text) Draw(t *trace.Trace) {
	if w.Width == 0 {
		w.Width = usualWidth
	}
	width := min(max(w.Width, leastWidth), mostWidth)
	all := rows(t)
	fmt.Fprintln(w, w.paint(bold, clip(heading(t), width)))
	tree, duration, note := 0, 0, 0
	for _, r := range all {
		tree = max(tree, length(r.lines+r.label))
		duration, note = max(duration, length(r.took)), max(note, length(r.note))
	}
	tree, note = min(tree, width*2/5), min(note, width/5)
	bars := width - tree - duration - note - 3*2
	begin, end := t.Bounds()
	fmt.Fprintln(w, w.paint(dim, strings.Repeat(" ", tree+2)+axis(bars, end.Sub(begin))))
	for _, r := range all {
		name := clip(r.lines+r.label, tree)
		fmt.Fprintf(w, "%s%s  %s  %s  %s\n", w.paint(colorOf(r.span), name), strings.Repeat(" ", tree-length(name)), w.paint(colorOf(r.span), bar(r, bars)),
			strings.Repeat(" ", duration-length(r.took))+r.took, w.paint(resultColor(r.span), clip(r.note, note)))
	}
	fmt.Fprintln(w)
	for _, text := range notes(t) {
		for _, line := range wrap(text, width) {
			fmt.Fprintln(w, w.paint(dim, line))
		}
	}
}

// axis names the begin, the middle and the end of the bars.
func axis(width int, whole time.Duration) string {
	left, middle, right := "0", Brief(whole/2, false), Brief(whole, false)
	text := left + strings.Repeat(" ", max(1, width/2-length(left)-length(middle)/2)) + middle
	return text + strings.Repeat(" ", max(1, width-length(text)-length(right))) + right
}

// fills are characters for a whole cell, its right half and its left half. Without color they tell results apart.
var fills = map[trace.Result][3]rune{
	trace.OK:      {'█', '▐', '▌'},
	trace.Failed:  {'▓', '▓', '▓'},
	trace.InDoubt: {'░', '░', '░'},
}

// bar is a row's bar, in half cells. It has at least one.
func bar(r row, width int) string {
	halves := float64(2 * width)
	from := min(int(math.Floor(r.from*halves+0.25)), 2*width-1)
	to := max(from+1, min(int(math.Ceil(r.to*halves-0.25)), 2*width))
	fill := fills[r.span.Result]
	cells := make([]rune, width)
	for i := range cells {
		left, right := 2*i >= from && 2*i < to, 2*i+1 >= from && 2*i+1 < to
		switch {
		case left && right:
			cells[i] = fill[0]
		case right:
			cells[i] = fill[1]
		case left:
			cells[i] = fill[2]
		default:
			cells[i] = ' '
		}
	}
	return string(cells)
}

// Escape sequences. Kinds of spans have the colors of SVG, and red and yellow are for what went wrong.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
	purple = "35"
	cyan   = "36"
)

var kindColors = map[trace.Kind]string{trace.Client: cyan, trace.Nginx: green, trace.Attempt: green, trace.Instance: blue, trace.Hop: purple}

func colorOf(s *trace.Span) string {
	if color := resultColor(s); color != "" {
		return color
	}
	return kindColors[s.Kind]
}

func resultColor(s *trace.Span) string {
	switch s.Result {
	case trace.Failed:
		return red
	case trace.InDoubt:
		return yellow
	}
	return ""
}

func (w Text) paint(color, text string) string {
	if !w.Color || color == "" || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func length(s string) int { return utf8.RuneCountInString(s) }

// clip shortens a text to at most so many characters.
func clip(s string, most int) string {
	if length(s) <= most {
		return s
	}
	return string([]rune(s)[:max(0, most-1)]) + "…"
}

// wrap breaks a text between words.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && length(line)+1+length(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}
