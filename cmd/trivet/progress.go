package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"trivet/lab/experiment"
	"trivet/lab/ledger"
)

// view shows how a run gets on: on a terminal in one line that changes, elsewhere in a line whenever a phase begins, and every few
// seconds.
type view struct {
	w        io.Writer
	terminal bool

	mu     sync.Mutex
	files  []*experiment.File
	shown  bool      // the line that changes is there
	told   time.Time // when, elsewhere
	phase  string    // told last
	before sample
	rates  map[string]float64
}

// sample is how many requests had ended at a time.
type sample struct {
	at    time.Time
	ended map[string]int
}

// newsEvery is the longest silence, where there is no line that changes.
const newsEvery = 2 * time.Second

func newView(w io.Writer, files []*experiment.File) *view {
	return &view{w: w, terminal: isTerminal(w), files: files}
}

// begin tells how much there is to do.
func (v *view) begin() {
	variants, length := 0, time.Duration(0)
	for _, f := range v.files {
		variants += len(f.Variants)
		length += f.Length() * time.Duration(len(f.Variants))
	}
	fmt.Fprintf(v.w, "trivet: %d %s, %d %s, %v of load\n", len(v.files), plural(len(v.files), "experiment"), variants, plural(variants, "variant"), length)
}

// watch is a trial.Series's Watch.
func (v *view) watch(f *experiment.File, variant experiment.Variant, book *ledger.Ledger) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if book == nil {
		v.before, v.rates, v.phase = sample{}, nil, ""
		v.show(fmt.Sprintf("%s: starting %d %s and nginx", title(f, variant), variant.Instances, plural(variant.Instances, "instance")), true)
		return
	}
	live := book.Live()
	if live.Phase == "" {
		return
	}
	v.measure(live)
	at := max(0, min(time.Since(book.Scene().Begin), f.Length()))
	text := fmt.Sprintf("%s, %s, %.1fs of %v:%s", title(f, variant), live.Phase, at.Seconds(), f.Length(), v.counts(live))
	news := live.Phase != v.phase
	v.phase = live.Phase
	v.show(text, news)
}

func title(f *experiment.File, variant experiment.Variant) string {
	if variant.Name == experiment.Only {
		return f.Name
	}
	return f.Name + ", " + variant.Name
}

// measure renews the rates about once a second.
func (v *view) measure(live ledger.Live) {
	now := sample{time.Now(), make(map[string]int)}
	for protocol, c := range live.Protocols {
		now.ended[protocol] = c.OK + c.Failed
	}
	passed := now.at.Sub(v.before.at)
	if v.before.ended != nil && passed < time.Second {
		return
	}
	if v.before.ended != nil {
		v.rates = make(map[string]float64)
		for protocol, n := range now.ended {
			v.rates[protocol] = float64(n-v.before.ended[protocol]) / passed.Seconds()
		}
	}
	v.before = now
}

func (v *view) counts(live ledger.Live) string {
	var b strings.Builder
	for _, protocol := range slices.Backward(slices.Sorted(maps.Keys(live.Protocols))) {
		c := live.Protocols[protocol]
		fmt.Fprintf(&b, "  %s %d ok, %d failed", protocol, c.OK, c.Failed)
		if c.NotStarted > 0 {
			fmt.Fprintf(&b, ", %d not sent", c.NotStarted)
		}
		if rate, ok := v.rates[protocol]; ok {
			fmt.Fprintf(&b, ", %.0f/s", rate)
		}
	}
	return b.String()
}

// show shows a text now, or, where every text is a line of its own, if it is news or the last was long ago.
func (v *view) show(text string, news bool) {
	switch {
	case v.terminal:
		fmt.Fprint(v.w, "\r\x1b[K", clip(text, width(v.w)-1))
		v.shown = true
	case news || time.Since(v.told) >= newsEvery:
		fmt.Fprintln(v.w, "trivet:", text)
		v.told = time.Now()
	}
}

// clip shortens a text to at most so many characters: what does not fit into a terminal's line goes on in the next, and stays there. Of
// a terminal that does not know its width, most is negative, and nothing is cut.
func clip(text string, most int) string {
	if most < 0 || utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most])
}

// clear makes room for lines that stay.
func (v *view) clear() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shown {
		fmt.Fprint(v.w, "\r\x1b[K")
		v.shown = false
	}
}
