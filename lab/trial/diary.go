package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"trivet/lab/experiment"
	"trivet/lab/fleet"
	"trivet/lab/ledger"
)

// diary is what the laboratory itself writes down: ledger.EventsFile. Its methods may be called at the same time.
type diary struct {
	mu    sync.Mutex
	begin time.Time // all times are told by this one's monotonic reading; see from
	file  *os.File
	fault error // the first
	// reloads are those that were asked for.
	reloads []reload
	exits   map[string]string // of processes that were stopped and are down: how they ended
}

// A reload is when one was begun, and when nginx had done it.
type reload struct{ began, done time.Time }

// openDiary also makes the folder of the records, for all witnesses.
func openDiary(dir string) (*diary, error) {
	path := filepath.Join(dir, ledger.EventsFile)
	err := os.MkdirAll(filepath.Dir(path), 0o711)
	var file *os.File
	if err == nil {
		file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fleet.ErrRunFolder, err)
	}
	return &diary{begin: time.Now(), file: file, exits: make(map[string]string)}, nil
}

// from makes the plan's begin the one that the times of all further events are counted from: the wall clock may be set while the run goes on,
// and the load and the phases would not heed that.
func (d *diary) from(begin time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begin = begin
}

func (d *diary) write(e ledger.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e.V = ledger.SceneVersion
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = d.begin.Add(e.Time.Sub(d.begin)) // By the monotonic readings, where both have one.
	switch {
	case e.Verb != experiment.Reload:
	case e.Event == ledger.ActionBegan:
		d.reloads = append(d.reloads, reload{began: e.Time})
	default:
		d.reloads[len(d.reloads)-1].done = e.Time
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = d.file.Write(append(line, '\n'))
	}
	if err != nil && d.fault == nil {
		d.fault = fmt.Errorf("%w: %w", fleet.ErrRunFolder, err)
	}
}

// process takes a fleet's events.
func (d *diary) process(e fleet.Event) {
	d.mu.Lock()
	delete(d.exits, e.Name)
	if e.Kind == fleet.Stopped {
		d.exits[e.Name] = e.Exit
	}
	d.mu.Unlock()
	d.write(ledger.Event{Time: e.Time, Event: ledger.ProcessIs, Kind: string(e.Kind), Name: e.Name, PID: e.PID, Exit: e.Exit})
}

// killed tells whether a process that was stopped had to be killed.
func (d *diary) killed(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Contains(d.exits[name], "SIGKILL")
}

// end tells how the trial ended.
func (d *diary) end(ctx context.Context, err error) {
	switch {
	case err == nil:
		d.write(ledger.Event{Event: ledger.Ended})
	case ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err())):
		d.write(ledger.Event{Event: ledger.Interrupted, Error: context.Cause(ctx).Error()})
	default:
		d.write(ledger.Event{Event: ledger.Broke, Error: err.Error()})
	}
}

// close tells what could not be written.
func (d *diary) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.file.Close(); d.fault == nil {
		return err
	}
	return d.fault
}
