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

// RecordsToStdout is the value of [Config].Records for standard output.
const RecordsToStdout = "stdout"

// recordFile is a file, FIFO or standard output to which several processes append lines. It may be used concurrently.
//
// Each line is one unbuffered write, to a file opened for appending, so that SIGKILL loses no line and lines of several
// processes do not mix.
type recordFile struct {
	file   *os.File
	writer io.Writer // to file
	// A write that would block is bounded by recordTimeout: by a deadline where the file has one, else by a turn.
	deadlines bool
	turn      chan struct{} // holds a value while a write runs, also one whose append has returned; nil with deadlines and for files
	mutex     sync.Mutex
	torn      bool // the file ends with an incomplete line
}

// recordTimeout bounds a write whose reader does not read: losing a record is better than delaying a call.
const recordTimeout = time.Second

// openRecordFile opens the file at path, or standard output, for appending. With raw it is written by raw system calls.
func openRecordFile(path string, raw bool) (*recordFile, error) {
	if path == RecordsToStdout {
		// Not /dev/stdout: in a container only root may open it again.
		widen(os.Stdout)
		return newRecordFile(os.Stdout, raw), nil
	}
	// O_NONBLOCK: otherwise opening a FIFO waits for a reader, possibly forever.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, 0o644)
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("RECORDS=%s: no process reads this FIFO: start its reader first, or name a file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("RECORDS=%s: %w: want a file that can be appended to", path, err)
	}
	return newRecordFile(f, raw), nil
}

// newRecordFile returns a recordFile that writes to f.
func newRecordFile(f *os.File, raw bool) *recordFile {
	r := &recordFile{file: f, writer: f, deadlines: f.SetWriteDeadline(time.Time{}) == nil}
	if info, err := f.Stat(); !r.deadlines && (err != nil || !info.Mode().IsRegular()) {
		// A pipe that blocks, like a container's standard output. O_NONBLOCK would set it for all processes that share the pipe.
		// A raw system call that blocks would stop the scheduler.
		r.turn = make(chan struct{}, 1)
		return r
	}
	if raw {
		r.writer = rawconn.Writer(f)
	}
	return r
}

// append writes one line. After a write that failed midway it first ends the torn line with a newline.
func (r *recordFile) append(line []byte) error {
	if r.turn != nil {
		return r.appendInTurn(line)
	}
	deadline := time.Time{}
	if r.deadlines { // Before waiting for other writes, so that it bounds that too.
		deadline = time.Now().Add(recordTimeout)
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.deadlines {
		if err := r.file.SetWriteDeadline(deadline); err != nil {
			return err
		}
	}
	return r.write(line)
}

// ticksOfTimeout is how many parts recordTimeout has. A process that gets no processor for a second misses ticks, and finds its write done
// when it runs again; by a single timer it would find the write late.
const ticksOfTimeout = 20

// appendInTurn writes one line, and returns after recordTimeout even if the write has not. Only then the line may be written later.
func (r *recordFile) appendInTurn(line []byte) error {
	tick := time.NewTicker(recordTimeout / ticksOfTimeout)
	defer tick.Stop()
	var written chan error
	turn := r.turn
	for range ticksOfTimeout {
		select {
		case turn <- struct{}{}:
			turn, written = nil, make(chan error, 1)
			go func() {
				err := r.write(line)
				<-r.turn
				written <- err
			}()
		case err := <-written:
			return err
		case <-tick.C:
			continue
		}
		select {
		case err := <-written:
			return err
		case <-tick.C:
		}
	}
	return os.ErrDeadlineExceeded
}

// write writes one line. One write may run at a time.
func (r *recordFile) write(line []byte) error {
	if r.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := r.writer.Write(line)
	if n > 0 {
		r.torn = line[n-1] != '\n'
	}
	return err
}

// close closes a file that openRecordFile opened.
func (r *recordFile) close() error {
	if r.file == os.Stdout {
		return nil
	}
	return r.file.Close()
}
