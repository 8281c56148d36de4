package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"trivet/lab/record"
)

// An eventWriter writes the event log, record.EventsFile. Its methods may be called at the same time.
type eventWriter struct {
	mu    sync.Mutex
	begin time.Time // see countFrom
	file  *os.File
	err   error // the first
}

// newEventWriter also makes the directory of the records, for all sources.
func newEventWriter(dir string) (*eventWriter, error) {
	path := filepath.Join(dir, record.EventsFile)
	err := os.MkdirAll(filepath.Dir(path), 0o711)
	var file *os.File
	if err == nil {
		file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	return &eventWriter{begin: time.Now(), file: file}, nil
}

// countFrom makes the times of all further events count from begin, by its monotonic clock: the wall clock may be set during the
// trial, and load and phases do not follow it.
func (w *eventWriter) countFrom(begin time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin = begin
}

// write writes an event that happened at its time, or now if it has none.
func (w *eventWriter) write(e record.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.V = record.EventVersion
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = w.begin.Add(e.Time.Sub(w.begin)) // By the monotonic clock, if both have its reading.
	line, err := json.Marshal(e)
	if err == nil {
		_, err = w.file.Write(append(line, '\n'))
	}
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
}

// end writes how the trial ended.
func (w *eventWriter) end(ctx context.Context, err error) {
	switch {
	case err == nil:
		w.write(record.Event{Event: record.Ended})
	case ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err())):
		w.write(record.Event{Event: record.Interrupted, Error: context.Cause(ctx).Error()})
	default:
		w.write(record.Event{Event: record.LabError, Error: err.Error()})
	}
}

// close returns the first error of all writes.
func (w *eventWriter) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.file.Close(); w.err == nil {
		return err
	}
	return w.err
}
