package record

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
)

// longestLine bounds a line: nginx takes 32 KB of headers, and writes a request's path once.
const longestLine = 1 << 20

// A tail reads the lines of a file that grows, and may not be there yet.
type tail struct {
	path   string
	from   int64    // where the first line begins
	file   *os.File // nil: not there yet
	buffer []byte   // read, of which taken has been given out
	taken  int
	number int // of the last line that was given out, from 1
}

// line is the next whole line without its end, good until the next call; nil if there is none yet. A line longer than longestLine comes
// in pieces, none of which is a record.
func (t *tail) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(t.buffer[t.taken:], '\n'); i >= 0 || len(t.rest()) >= longestLine {
			text := t.rest()
			if i >= 0 {
				text, t.taken = text[:i], t.taken+1
			}
			t.taken += len(text)
			t.number++
			return text, nil
		}
		if more, err := t.read(); !more || err != nil {
			return nil, err
		}
	}
}

// rest is what has been read and is not a whole line.
func (t *tail) rest() []byte { return t.buffer[t.taken:] }

func (t *tail) read() (more bool, err error) {
	if t.file == nil {
		if t.file, err = Open(t.path); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		if _, err := t.file.Seek(t.from, io.SeekStart); err != nil {
			return false, err
		}
	}
	t.buffer = append(t.buffer[:0], t.rest()...)
	t.taken = 0
	const piece = 64 << 10
	if cap(t.buffer)-len(t.buffer) < piece {
		t.buffer = append(make([]byte, 0, 2*len(t.buffer)+2*piece), t.buffer...)
	}
	n, err := t.file.Read(t.buffer[len(t.buffer):cap(t.buffer)])
	t.buffer = t.buffer[:len(t.buffer)+n]
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n > 0, err
}

func (t *tail) close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}
