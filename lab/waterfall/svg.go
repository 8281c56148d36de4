package waterfall

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"time"

	"trivet/lab/trace"
)

// Sizes of the drawing, in pixels.
const (
	pageWidth = 960
	margin    = 16
	rowHeight = 22
	barHeight = 12
	treeWidth = 300
	timeWidth = 70
	noteWidth = 150
	indent    = 14 // per level of the tree
)

// style has the colors for light and dark pages. The file needs nothing from elsewhere.
const style = `<style>
:root{--paper:#fff;--ink:#1c2430;--dim:#667085;--grid:#e4e7ec;--client:#0e7490;--nginx:#15803d;--attempt:#4ade80;--instance:#2563eb;--hop:#9333ea;--failed:#dc2626;--in_doubt:#d97706}
@media(prefers-color-scheme:dark){:root{--paper:#12161c;--ink:#e6e9ee;--dim:#98a2b3;--grid:#2a313c;--client:#22d3ee;--nginx:#4ade80;--attempt:#15803d;--instance:#60a5fa;--hop:#c084fc;--failed:#f87171;--in_doubt:#fbbf24}}
text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:var(--ink)}
.title{font-weight:600;font-size:13px}.dim{fill:var(--dim)}.grid{stroke:var(--grid)}.page{fill:var(--paper)}.end{text-anchor:end}.middle{text-anchor:middle}
.client{fill:var(--client)}.nginx{fill:var(--nginx)}.attempt{fill:var(--attempt)}.instance{fill:var(--instance)}.hop{fill:var(--hop)}.failed{fill:var(--failed)}.in_doubt{fill:var(--in_doubt)}
</style>
`

// SVG draws a trace as an SVG file of its own, for light and dark pages.
func SVG(w io.Writer, t *trace.Trace) error {
	out := bufio.NewWriter(w)
	all, below := rows(t), notes(t)
	top := 2*margin + 34
	height := top + len(all)*rowHeight + len(below)*18 + 2*margin
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n",
		pageWidth, height, pageWidth, height, html.EscapeString(heading(t)))
	fmt.Fprintf(out, "%s<rect class=\"page\" width=\"100%%\" height=\"100%%\"/>\n<text class=\"title\" x=\"%d\" y=\"%d\">%s</text>\n", style, margin, margin+12, html.EscapeString(heading(t)))
	left, right := float64(margin+treeWidth), float64(pageWidth-margin-timeWidth-noteWidth)
	begin, end := t.Bounds()
	for i := range 5 {
		x := left + (right-left)*float64(i)/4
		fmt.Fprintf(out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/><text class=\"dim middle\" x=\"%.1f\" y=\"%d\">%s</text>\n",
			x, x, top-6, top+len(all)*rowHeight, x, top-10, Brief(end.Sub(begin)*time.Duration(i)/4, false))
	}
	for i, r := range all {
		drawRow(out, r, top+i*rowHeight, left, right)
	}
	for i, text := range below {
		fmt.Fprintf(out, "<text class=\"dim\" x=\"%d\" y=\"%d\">%s</text>\n", margin, top+len(all)*rowHeight+margin+(i+1)*18, html.EscapeString(clip(text, fits(pageWidth-2*margin))))
	}
	fmt.Fprintln(out, "</svg>")
	return out.Flush()
}

func drawRow(out io.Writer, r row, y int, left, right float64) {
	x := margin + indent*length(r.lines)/2
	class := string(r.span.Kind)
	noteClass := "dim"
	if r.span.Result != trace.OK {
		class, noteClass = string(r.span.Result), string(r.span.Result)
	}
	width := right - left
	text := y + barHeight + 2
	fmt.Fprintf(out, "<g><title>%s</title><text x=\"%d\" y=\"%d\">%s</text>", html.EscapeString(r.label+", "+r.took+", "+r.note), x, text,
		html.EscapeString(clip(r.label, fits(margin+treeWidth-x-8))))
	fmt.Fprintf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>", class, left+min(r.from*width, width-2), y+3, max(2, (r.to-r.from)*width), barHeight)
	fmt.Fprintf(out, "<text class=\"end\" x=\"%.0f\" y=\"%d\">%s</text><text class=\"%s\" x=\"%.0f\" y=\"%d\">%s</text></g>\n",
		right+timeWidth, text, html.EscapeString(r.took), noteClass, right+timeWidth+12, text, html.EscapeString(clip(r.note, fits(noteWidth-12))))
}

// fits is how many characters fit.
func fits(pixels int) int { return pixels * 10 / 73 }
