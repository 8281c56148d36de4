package record

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// An EventWriter writes the event log, EventsFile, of a trial directory. Its methods may be called at the same time.
type EventWriter struct {
	mu    sync.Mutex
	begin time.Time // see CountFrom
	file  *os.File
	err   error // the first
}

// NewEventWriter opens the event log of a trial directory. It also makes the directory of the records, for all sources.
func NewEventWriter(dir string) (*EventWriter, error) {
	path := filepath.Join(dir, EventsFile)
	err := os.MkdirAll(filepath.Dir(path), 0o711)
	var file *os.File
	if err == nil {
		file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRunDir, err)
	}
	return &EventWriter{begin: time.Now(), file: file}, nil
}

// CountFrom makes the times of all further events count from begin, by its monotonic clock: the wall clock may be set during the
// trial, and load and phases do not follow it.
func (w *EventWriter) CountFrom(begin time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin = begin
}

// Write writes an event that happened at its time, or now if it has none.
func (w *EventWriter) Write(e Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.V = EventVersion
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = w.begin.Add(e.Time.Sub(w.begin)) // By the monotonic clock, if both have its reading.
	line, err := json.Marshal(e)
	if err == nil {
		_, err = w.file.Write(append(line, '\n'))
	}
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("%w: %w", ErrRunDir, err)
	}
}

// Close closes the file, and returns the first error of all writes.
func (w *EventWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.file.Close(); w.err == nil {
		return err
	}
	return w.err
}
