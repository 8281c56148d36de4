package instance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"trivet/internal/rawconn"
)

// recordFile is a file or FIFO to which several processes append lines. It may be used concurrently.
//
// Each line is one unbuffered write to a file opened for appending, so that SIGKILL loses no line and lines of several
// processes do not mix.
type recordFile struct {
	file   *os.File
	writer io.Writer // to file
	fifo   bool
	mutex  sync.Mutex
	torn   bool // the file ends with an incomplete line
}

// recordTimeout bounds a write to a FIFO whose reader does not read: losing a record is better than delaying a call.
const recordTimeout = time.Second

// openRecordFile opens the file at path for appending. With raw it is written by raw system calls.
func openRecordFile(path string, raw bool) (*recordFile, error) {
	// O_NONBLOCK: otherwise opening a FIFO waits for a reader, possibly forever.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, 0o644)
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("RECORDS=%s: no process reads this FIFO: start its reader first, or name a file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("RECORDS=%s: %w: want a file that can be appended to", path, err)
	}
	r := &recordFile{file: f, writer: f, fifo: f.SetWriteDeadline(time.Time{}) == nil}
	if raw {
		r.writer = rawconn.Writer(f)
	}
	return r, nil
}

// append writes one line. After a write that failed midway it first ends the torn line with a newline.
func (r *recordFile) append(line []byte) error {
	deadline := time.Time{}
	if r.fifo { // Before waiting for other writes, so that it bounds that too.
		deadline = time.Now().Add(recordTimeout)
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.fifo {
		if err := r.file.SetWriteDeadline(deadline); err != nil {
			return err
		}
	}
	if r.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := r.writer.Write(line)
	if n > 0 {
		r.torn = line[n-1] != '\n'
	}
	return err
}
