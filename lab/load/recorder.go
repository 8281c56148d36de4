package load

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"trivet/lab/record"
)

const (
	flushInterval = 100 * time.Millisecond
	// maxUnwritten is how many bytes of records may wait for a disk that hangs.
	maxUnwritten = 64 << 20
)

// A recorder writes the records, whole lines at a time. Its methods may be called at the same time.
type recorder struct {
	file  *os.File
	fail  func(error) // called once, with the first error
	end   chan struct{}
	ended chan struct{}

	mu    sync.Mutex
	lines []byte // not yet written
	err   error  // the first
}

// newRecorder opens the file and writes to it every flushInterval until close. It calls fail once, with the first error of a write.
func newRecorder(path string, fail func(error)) (*recorder, error) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	r := &recorder{file: file, fail: fail, end: make(chan struct{}), ended: make(chan struct{})}
	go r.flush()
	return r, nil
}

func (r *recorder) put(c *record.Client) {
	line, err := json.Marshal(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && len(r.lines) > maxUnwritten {
		err = fmt.Errorf("%s takes no more: %d bytes wait to be written", r.file.Name(), len(r.lines))
	}
	if err != nil {
		r.failLocked(err)
		return
	}
	r.lines = append(append(r.lines, line...), '\n')
}

func (r *recorder) failLocked(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("records: %w", err)
		r.fail(r.err)
	}
}

// flush writes the waiting lines at every tick, and a last time at the end.
func (r *recorder) flush() {
	defer close(r.ended)
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	var spare []byte
	for last := false; !last; {
		select {
		case <-tick.C:
		case <-r.end:
			last = true
		}
		r.mu.Lock()
		lines := r.lines
		r.lines = spare[:0]
		r.mu.Unlock()
		if len(lines) > 0 {
			if _, err := r.file.Write(lines); err != nil {
				r.mu.Lock()
				r.failLocked(err)
				r.mu.Unlock()
			}
		}
		spare = lines
	}
}

// close writes the rest. It returns the first error of all.
func (r *recorder) close() error {
	close(r.end)
	<-r.ended
	err := r.file.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failLocked(err)
	}
	return r.err
}
