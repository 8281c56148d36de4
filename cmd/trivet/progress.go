package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"trivet/internal/words"
	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// progress shows the status of a run: on a terminal a drawing in place, elsewhere a line when a phase begins and every few seconds.
type progress struct {
	w        io.Writer
	terminal *os.File // nil: w is none

	mu      sync.Mutex
	all     []scenario.Experiment
	screen  *screen // nil: nothing is drawn
	drawing drawing
	stopped bool      // nothing is shown any more
	last    time.Time // of the last line elsewhere
	phase   string    // shown last
	before  sample
	rates   rates
}

// sample is how many requests had ended at a time.
type sample struct {
	at       time.Time
	ended    map[string]int // by protocol
	attempts map[string]int
	ok       map[string]map[string]int // by protocol and instance
}

// lineEvery is the longest time between two lines where there is no drawing.
const lineEvery = 2 * time.Second

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if isTerminal(w) {
		p.terminal = w.(*os.File)
	}
	return p
}

// begin prints how much there is to do.
func (p *progress) begin(all []scenario.Experiment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = all
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
	if p.stopped {
		return
	}
	if t == nil {
		p.before, p.rates, p.phase = sample{}, rates{}, ""
		doing := fmt.Sprintf("starting %s and nginx", words.Count(s.Instances, "instance"))
		if s.Target != "" {
			doing = "preparing the target"
		}
		p.startTrial(e, s, trial, doing)
		p.show(title(e, s, trial)+": "+doing, true)
		return
	}
	live := t.Progress()
	if live.Phase == "" {
		return
	}
	p.measure(live)
	at := max(0, min(time.Since(t.Manifest().Begin), s.Length()))
	d := &p.drawing.trials[len(p.drawing.trials)-1]
	d.doing, d.at, d.live, d.rates = "", at, live, p.rates
	text := fmt.Sprintf("%s, %s, %.1fs of %v:%s", title(e, s, trial), live.Phase, at.Seconds(), s.Length(), p.counts(live))
	news := live.Phase != p.phase
	p.phase = live.Phase
	p.show(text, news)
}

// startTrial adds a trial to the drawing, which is of one experiment.
func (p *progress) startTrial(e scenario.Experiment, s scenario.Scenario, trial int, doing string) {
	name := s.Variant
	if name == scenario.Only {
		name = "trial"
	}
	if e.Trials > 1 {
		name += fmt.Sprintf(" %d", trial)
	}
	if p.drawing.experiment != s.Experiment {
		p.drawing = drawing{experiment: s.Experiment, planned: len(e.Scenarios) * max(1, e.Trials), color: useColor(p.w)}
	}
	p.drawing.trials = append(slices.Clone(p.drawing.trials), trialDrawing{name: name, scenario: s, doing: doing})
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
	now := sample{time.Now(), make(map[string]int), live.NginxAttempts, live.OKByInstance}
	for protocol, c := range live.Protocols {
		now.ended[protocol] = c.OK + c.Failed
	}
	passed := now.at.Sub(p.before.at)
	if p.before.ended != nil && passed < time.Second {
		return
	}
	if p.before.ended != nil {
		p.rates = rates{make(map[string]float64), make(map[string]float64), make(map[string]map[string]int)}
		for protocol, n := range now.ended {
			p.rates.perSecond[protocol] = float64(n-p.before.ended[protocol]) / passed.Seconds()
			// Records of nginx are read sooner than those of the client: only between two samples that are late alike is the ratio right.
			if ended := n - p.before.ended[protocol]; ended > 0 && p.before.ended[protocol] > 0 {
				p.rates.attempts[protocol] = float64(now.attempts[protocol]-p.before.attempts[protocol]) / float64(ended)
			}
			p.rates.ok[protocol] = make(map[string]int)
			for instance, n := range now.ok[protocol] {
				p.rates.ok[protocol][instance] = n - p.before.ok[protocol][instance]
			}
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
		if rate, ok := p.rates.perSecond[protocol]; ok {
			fmt.Fprintf(&b, ", %.0f/s", rate)
		}
	}
	return b.String()
}

// show shows the drawing, or without a terminal a text: if it is news or the last line was long ago.
func (p *progress) show(text string, news bool) {
	switch {
	case p.terminal != nil:
		if p.screen == nil {
			p.screen = newScreen(p.terminal)
		}
		d := p.drawing
		d.trials = slices.Clone(d.trials)
		p.screen.draw(d)
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

// clear removes the drawing, before lines that stay.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove()
	p.drawing = drawing{}
}

func (p *progress) remove() {
	if p.screen != nil {
		p.screen.remove()
		p.screen = nil
	}
}

// stop removes the drawing, and lets nothing be shown any more.
func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove()
	p.stopped = true
}
