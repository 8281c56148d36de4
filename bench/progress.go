package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress shows where the run is: on a terminal on one line that is overwritten, else on a new line at most every ten seconds.
type progress struct {
	w        io.Writer
	terminal bool
	shown    time.Time
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

const clearLine = "\r\x1b[K"

// line prints a line that stays.
func (p *progress) line(text string) {
	if p.terminal {
		fmt.Fprint(p.w, clearLine)
	}
	fmt.Fprintln(p.w, text)
	p.shown = time.Now()
}

// step shows what is being done now.
func (p *progress) step(text string) {
	switch {
	case p.terminal:
		fmt.Fprintf(p.w, "%s  %s", clearLine, text)
	case time.Since(p.shown) > 10*time.Second:
		p.line("  " + text)
	}
}
