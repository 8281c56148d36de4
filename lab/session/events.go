package session

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"trivet/lab/record"
)

// An eventWriter writes the event log of a load. It is used under the session's mutex.
type eventWriter struct {
	file *os.File
	err  error // the first
}

func newEventWriter(dir string) (*eventWriter, error) {
	file, err := os.OpenFile(filepath.Join(dir, record.EventsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	return &eventWriter{file: file}, nil
}

func (w *eventWriter) write(e record.Event) {
	line, err := json.Marshal(e)
	if err == nil {
		_, err = w.file.Write(append(line, '\n'))
	}
	if w.err == nil {
		w.err = err
	}
}

func (w *eventWriter) close() error {
	if err := w.file.Close(); w.err == nil {
		w.err = err
	}
	return w.err
}
