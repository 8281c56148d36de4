package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress tells every two seconds where the run is: on a terminal on one line that is written over, else on lines of their own, and
// then only every ten seconds.
type progress struct {
	w        io.Writer
	terminal bool
	mu       sync.Mutex
	what     string
	now      string
	began    time.Time
	stop     chan struct{}
	ended    chan struct{}
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// begin begins something.
func (p *progress) begin(what string) {
	p.what, p.now, p.began = what, "", time.Now()
	p.stop, p.ended = make(chan struct{}), make(chan struct{})
	fmt.Fprintln(p.w, what)
	go p.tell(p.stop, p.ended)
}

// step says what is being done now.
func (p *progress) step(now string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = now
}

// note says something that stays.
func (p *progress) note(text string) {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	fmt.Fprintln(p.w, "  "+text)
}

// end ends what was begun, and returns when nothing more is written about it.
func (p *progress) end() {
	close(p.stop)
	<-p.ended
}

func (p *progress) tell(end, ended chan struct{}) {
	defer close(ended)
	every := 10 * time.Second
	if p.terminal {
		every = 2 * time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.mu.Lock()
			line := fmt.Sprintf("  %s: %s", time.Since(p.began).Round(time.Second), p.now)
			p.mu.Unlock()
			if p.terminal {
				fmt.Fprintf(p.w, "\r\x1b[K%s", line)
			} else {
				fmt.Fprintln(p.w, line)
			}
		case <-end:
			if p.terminal {
				fmt.Fprint(p.w, "\r\x1b[K")
			}
			return
		}
	}
}
