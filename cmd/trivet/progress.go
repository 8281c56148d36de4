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

	"trivet/internal/words"
	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// progress shows the status of a run: on a terminal one line that changes, elsewhere a line when a phase begins and every few seconds.
type progress struct {
	w        io.Writer
	terminal bool

	mu     sync.Mutex
	all    []scenario.Experiment
	shown  bool      // the line that changes is on the terminal
	last   time.Time // of the last line elsewhere
	phase  string    // shown last
	before sample
	rates  map[string]float64
}

// sample is how many requests of each protocol had ended at a time.
type sample struct {
	at    time.Time
	ended map[string]int
}

// lineEvery is the longest time between two lines where there is no line that changes.
const lineEvery = 2 * time.Second

func newProgress(w io.Writer, all []scenario.Experiment) *progress {
	return &progress{w: w, terminal: isTerminal(w), all: all}
}

// begin prints how much there is to do.
func (p *progress) begin() {
	variants, length := 0, time.Duration(0)
	for _, e := range p.all {
		variants += len(e.Scenarios)
		length += e.Length()
	}
	fmt.Fprintf(p.w, "trivet: %s, %s, %v of load\n", words.Count(len(p.all), "experiment"), words.Count(variants, "variant"), length)
}

// watch is the Watch of a trial.Series.
func (p *progress) watch(e scenario.Experiment, s scenario.Scenario, trial int, t *measure.Trial) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t == nil {
		p.before, p.rates, p.phase = sample{}, nil, ""
		doing := fmt.Sprintf("starting %s and nginx", words.Count(s.Instances, "instance"))
		if s.Target != "" {
			doing = "preparing the target"
		}
		p.show(title(e, s, trial)+": "+doing, true)
		return
	}
	live := t.Progress()
	if live.Phase == "" {
		return
	}
	p.measure(live)
	at := max(0, min(time.Since(t.Manifest().Begin), s.Length()))
	text := fmt.Sprintf("%s, %s, %.1fs of %v:%s", title(e, s, trial), live.Phase, at.Seconds(), s.Length(), p.counts(live))
	news := live.Phase != p.phase
	p.phase = live.Phase
	p.show(text, news)
}

func title(e scenario.Experiment, s scenario.Scenario, trial int) string {
	text := s.Experiment
	if s.Variant != scenario.Only {
		text += ", " + s.Variant
	}
	if e.Trials > 1 {
		text += fmt.Sprintf(", trial %d of %d", trial, e.Trials)
	}
	return text
}

// measure computes the rates about once per second.
func (p *progress) measure(live measure.Progress) {
	now := sample{time.Now(), make(map[string]int)}
	for protocol, c := range live.Protocols {
		now.ended[protocol] = c.OK + c.Failed
	}
	passed := now.at.Sub(p.before.at)
	if p.before.ended != nil && passed < time.Second {
		return
	}
	if p.before.ended != nil {
		p.rates = make(map[string]float64)
		for protocol, n := range now.ended {
			p.rates[protocol] = float64(n-p.before.ended[protocol]) / passed.Seconds()
		}
	}
	p.before = now
}

func (p *progress) counts(live measure.Progress) string {
	var b strings.Builder
	for _, protocol := range slices.Backward(slices.Sorted(maps.Keys(live.Protocols))) {
		c := live.Protocols[protocol]
		fmt.Fprintf(&b, "  %s %d ok, %d failed", protocol, c.OK, c.Failed)
		if c.Dropped > 0 {
			fmt.Fprintf(&b, ", %d dropped", c.Dropped)
		}
		if rate, ok := p.rates[protocol]; ok {
			fmt.Fprintf(&b, ", %.0f/s", rate)
		}
	}
	return b.String()
}

// show shows a text: always in a line that changes, elsewhere if it is news or the last line was long ago.
func (p *progress) show(text string, news bool) {
	switch {
	case p.terminal:
		fmt.Fprint(p.w, "\r\x1b[K", clip(text, width(p.w)-1))
		p.shown = true
	case news || time.Since(p.last) >= lineEvery:
		fmt.Fprintln(p.w, "trivet:", text)
		p.last = time.Now()
	}
}

// clip cuts a text to at most so many characters: what a terminal wraps to the next line could not be overwritten. Where the terminal's
// width is unknown, most is negative and nothing is cut.
func clip(text string, most int) string {
	if most < 0 || utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most])
}

// clear removes the line that changes, before lines that stay.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}
