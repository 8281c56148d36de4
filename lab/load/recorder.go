package load

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	flushEvery = 100 * time.Millisecond
	// mostUnwritten is how many bytes of records may wait for a disk that hangs.
	mostUnwritten = 64 << 20
)

// recorder writes the records, whole lines at a time. Its methods may be called at the same time.
type recorder struct {
	file  *os.File
	fail  func(error) // called once, with the first fault
	end   chan struct{}
	ended chan struct{}

	mu    sync.Mutex
	lines []byte // not yet written
	fault error
}

// record opens the file and begins to write to it every flushEvery, until close. What cannot be written is told to fail, once.
func record(path string, fail func(error)) (*recorder, error) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("records: %w", err)
	}
	r := &recorder{file: file, fail: fail, end: make(chan struct{}), ended: make(chan struct{})}
	go r.flush()
	return r, nil
}

func (r *recorder) put(record *Record) {
	line, err := json.Marshal(record)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && len(r.lines) > mostUnwritten {
		err = fmt.Errorf("%s takes no more: %d bytes wait to be written", r.file.Name(), len(r.lines))
	}
	if err != nil {
		r.breakLocked(err)
		return
	}
	r.lines = append(append(r.lines, line...), '\n')
}

func (r *recorder) breakLocked(err error) {
	if r.fault == nil {
		r.fault = fmt.Errorf("records: %w", err)
		r.fail(r.fault)
	}
}

// flush writes what there is, now and then, and a last time at the end.
func (r *recorder) flush() {
	defer close(r.ended)
	tick := time.NewTicker(flushEvery)
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
				r.breakLocked(err)
				r.mu.Unlock()
			}
		}
		spare = lines
	}
}

// close writes the rest. Its error is the first fault.
func (r *recorder) close() error {
	close(r.end)
	<-r.ended
	err := r.file.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.breakLocked(err)
	}
	return r.fault
}
