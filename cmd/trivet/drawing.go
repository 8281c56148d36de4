package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"trivet/internal/words"
	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// A drawing is what a terminal shows of an experiment that runs: a bar for each trial, and of the one that goes on the counts.
type drawing struct {
	experiment string
	planned    int // trials
	trials     []trialDrawing
	color      bool
}

// A trialDrawing is what is known of a trial.
type trialDrawing struct {
	name     string
	scenario scenario.Scenario
	doing    string // before the load begins; "" then
	at       time.Duration
	live     measure.Progress
	rates    rates
}

// rates are what was measured in about the last second; nothing in the first.
type rates struct {
	perSecond map[string]float64        // ended requests, by protocol
	attempts  map[string]float64        // of nginx, per ended request, by protocol
	ok        map[string]map[string]int // OK requests, by protocol and instance
}

// unknownWidth is for terminals that do not say how wide they are.
const unknownWidth = 80

// lines are the drawing as lines that fit into a terminal.
func (d drawing) lines(width, height int) (all []string) {
	if width <= 0 {
		width = unknownWidth
	}
	width = max(width-1, 10) // The last column would wrap in some terminals.
	title, number := d.experiment, ""
	if d.planned > 1 {
		number = fmt.Sprintf(": trial %d of %d", len(d.trials), d.planned)
	}
	title = clip(title, max(0, width-utf8.RuneCountInString(number))) + number
	all = append(all, title)
	last := d.trials[len(d.trials)-1]
	details := last.details(width, d.color)
	shown := d.trials
	if height > 0 {
		shown = shown[max(0, len(shown)-max(1, height-2-len(details))):]
	}
	label := 0
	for _, t := range shown {
		label = max(label, utf8.RuneCountInString(t.name))
	}
	label = min(label, width/3)
	for i, t := range shown {
		all = append(all, t.bar(width, label, i == len(shown)-1))
	}
	all = append(all, details...)
	for i, line := range all {
		if !strings.Contains(line, "\x1b") {
			all[i] = clip(line, width)
		}
	}
	if height > 1 && len(all) > height-1 {
		all = all[:height-1]
	}
	return all
}

// bar is a trial's name, its bar, and how far it is.
func (t trialDrawing) bar(width, label int, goesOn bool) string {
	length := t.scenario.Length()
	part := float64(t.at) / float64(length)
	tail := fmt.Sprintf("%3.0f %%", 100*part)
	switch wide := width >= 60; {
	case wide && goesOn:
		tail += fmt.Sprintf("  %.1f s of %v", t.at.Seconds(), length)
	case wide:
		failed := 0
		for _, c := range t.live.Protocols {
			failed += c.Failed + c.Dropped
		}
		tail += fmt.Sprintf("  %d failed", failed)
	}
	if column := 24; width >= 60 { // So that bars end at the same place.
		tail += strings.Repeat(" ", max(0, column-utf8.RuneCountInString(tail)))
	}
	cells := max(5, width-label-2-utf8.RuneCountInString(tail))
	name := clip(t.name, label)
	return fmt.Sprintf("%s%s %s %s", name, strings.Repeat(" ", label-utf8.RuneCountInString(name)), strings.Join(t.cells(cells, part), ""), strings.TrimRight(tail, " "))
}

// cells are those of a bar: a part of it is filled, and where a phase begins there is a mark.
func (t trialDrawing) cells(n int, part float64) []string {
	full, empty, mark := barCells()
	all := slices.Repeat([]string{empty}, n)
	for i := range min(n, int(part*float64(n)+0.5)) {
		all[i] = full
	}
	var at time.Duration
	for _, p := range t.scenario.Phases[:len(t.scenario.Phases)-1] {
		at += p.For
		all[min(n-1, int(float64(at)/float64(t.scenario.Length())*float64(n)))] = mark
	}
	return all
}

// barCells are characters that the locale has.
func barCells() (full, empty, mark string) {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := strings.ToLower(os.Getenv(name)); value != "" {
			if !strings.Contains(value, "utf-8") && !strings.Contains(value, "utf8") {
				return "#", "-", "|"
			}
			break
		}
	}
	return "█", "░", "│"
}

// details are the phase, what is done in it, and each protocol's counts.
func (t trialDrawing) details(width int, color bool) (all []string) {
	if t.doing != "" {
		return []string{"  " + t.doing}
	}
	phase := "  " + t.live.Phase
	if o := t.live.Operation; o != nil {
		phase += ": " + o.Name
		if since := max(0, t.at-o.At); o.Done {
			phase += fmt.Sprintf(" (%.1f s ago)", since.Seconds())
		} else {
			phase += fmt.Sprintf(" (for %.1f s)", since.Seconds())
		}
	}
	all = append(all, phase)
	for _, protocol := range slices.Backward(slices.Sorted(maps.Keys(t.live.Protocols))) {
		line, shares := "  "+t.counts(protocol), t.shares(protocol)
		if attempts := t.rates.attempts[protocol]; attempts > 0 {
			if more := fmt.Sprintf("%s  %.2f attempts/req", line, attempts); utf8.RuneCountInString(more) <= width {
				line = more
			}
		}
		if shares != "" && utf8.RuneCountInString(line+"   "+shares) <= width {
			line, shares = line+"   "+shares, ""
		}
		line = clip(line, width)
		if color && t.live.Protocols[protocol].Failed > 0 {
			failed := fmt.Sprintf("%d failed", t.live.Protocols[protocol].Failed)
			line = strings.Replace(line, failed, "\x1b["+bold+";"+red+"m"+failed+"\x1b[0m", 1)
		}
		if all = append(all, line); shares != "" {
			all = append(all, "    "+shares)
		}
	}
	return all
}

// counts are a protocol's rate and outcomes.
func (t trialDrawing) counts(protocol string) string {
	c := t.live.Protocols[protocol]
	rate, known := t.rates.perSecond[protocol]
	text := fmt.Sprintf("%s %4.0f/s %6d ok %4d failed", protocol, rate, c.OK, c.Failed)
	if !known {
		text = fmt.Sprintf("%s %4s/s %6d ok %4d failed", protocol, "-", c.OK, c.Failed)
	}
	if c.Dropped > 0 {
		text += fmt.Sprintf("  %d dropped", c.Dropped)
	}
	return text
}

// mostShares is how many instances are shown one by one, as in a report.
const mostShares = 4

// shares are which part of the OK responses of about the last second each instance sent.
func (t trialDrawing) shares(protocol string) string {
	counts := t.rates.ok[protocol]
	names := t.scenario.GroupInstances(protocol)
	if t.scenario.OwnNames {
		names = slices.Sorted(maps.Keys(counts))
	}
	sum := 0
	for _, n := range counts {
		sum += n
	}
	if sum == 0 || len(names) == 0 {
		return ""
	}
	share := func(name string) string {
		return fmt.Sprintf("%s %.0f %%", strings.TrimPrefix(name, "whoami"), 100*float64(counts[name])/float64(sum))
	}
	if len(names) > mostShares {
		least := slices.MinFunc(names, func(a, b string) int { return counts[a] - counts[b] })
		most := slices.MaxFunc(names, func(a, b string) int { return counts[a] - counts[b] })
		return fmt.Sprintf("OK from %s: %s to %s", words.Count(len(names), "instance"), share(least), share(most))
	}
	var all []string
	for _, name := range names {
		all = append(all, share(name))
	}
	return "OK from " + strings.Join(all, "  ")
}
