package exporter

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
)

const (
	// longestLine bounds a line: nginx takes 32 KB of headers, and writes a request's path once.
	longestLine = 1 << 20
	// rotationGrace is how long a file is still read after another has taken its name: nginx's workers reopen their log one after the
	// other, and those that have not yet done so go on writing to the old file.
	rotationGrace = 2 * time.Second
)

// A follower reads the lines of a log that grows, and goes on when the log is rotated or truncated. Only unread may be called while
// another method runs.
type follower struct {
	path   string
	file   *os.File // nil: not there yet
	opened atomic.Pointer[fs.FileInfo]
	read   atomic.Int64 // bytes of file
	buffer []byte       // the beginning of a line whose end has not been read
	skip   bool         // the rest of a line that is too long
	away   time.Time    // since when another file has the name; zero: none has
	begin  int64        // where to begin in the first file, unless it is shorter
	grace  time.Duration

	rotated, truncated, tooLong func()
}

// poll calls line with each whole line that has been appended, without its end. The line is valid until line returns. An error is of the
// file; the next poll tries again.
func (f *follower) poll(now time.Time, line func([]byte)) error {
	if f.file == nil {
		if err := f.open(); f.file == nil {
			return err
		}
	}
	for {
		if err := f.lines(line); err != nil {
			return err
		}
		again, err := f.replaced(now)
		if err != nil || !again {
			return err
		}
	}
}

func (f *follower) open() error {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && info.Size() >= f.begin {
		_, err = file.Seek(f.begin, io.SeekStart)
	} else {
		f.begin = 0
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.read.Store(f.begin)
	f.begin = 0
	f.opened.Store(&info)
	f.file, f.buffer, f.skip, f.away = file, f.buffer[:0], false, time.Time{}
	return nil
}

// lines reads to the end of the file.
func (f *follower) lines(line func([]byte)) error {
	for {
		const piece = 64 << 10
		if cap(f.buffer)-len(f.buffer) < piece {
			f.buffer = append(make([]byte, 0, 2*len(f.buffer)+2*piece), f.buffer...)
		}
		n, err := f.file.Read(f.buffer[len(f.buffer):cap(f.buffer)])
		f.read.Add(int64(n))
		f.take(f.buffer[:len(f.buffer)+n], line)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// take gives out the whole lines of text, which is in the buffer, and keeps the rest.
func (f *follower) take(text []byte, line func([]byte)) {
	rest := text
	for {
		one, after, whole := bytes.Cut(rest, []byte("\n"))
		if !whole {
			break
		}
		if rest = after; !f.skip {
			line(one)
		}
		f.skip = false
	}
	if f.skip {
		rest = nil
	} else if len(rest) >= longestLine {
		f.skip, rest = true, nil
		f.tooLong()
	}
	f.buffer = f.buffer[:copy(f.buffer[:cap(f.buffer)], rest)]
}

// replaced looks for a truncation or a rotation once the file has been read to its end, and reports whether there is more to read.
func (f *follower) replaced(now time.Time) (again bool, err error) {
	own, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	if own.Size() < f.read.Load() {
		if _, err := f.file.Seek(0, io.SeekStart); err != nil {
			return false, err
		}
		f.read.Store(0)
		f.buffer, f.skip = f.buffer[:0], false
		f.truncated()
		return true, nil
	}
	named, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil // nginx writes to the old file until it reopens the log.
	case err != nil:
		return false, err
	case os.SameFile(own, named):
		f.away = time.Time{}
		return false, nil
	case f.away.IsZero():
		f.away = now
		return false, nil
	case now.Sub(f.away) < f.grace:
		return false, nil
	}
	err = f.file.Close()
	f.file = nil
	f.rotated()
	return true, errors.Join(err, f.open())
}

// unread returns how many bytes of the log have not been read; 0 while there is no log.
func (f *follower) unread() int64 {
	named, err := os.Stat(f.path)
	if err != nil {
		return 0
	}
	if own := f.opened.Load(); own != nil && os.SameFile(*own, named) {
		return max(0, named.Size()-f.read.Load())
	}
	return named.Size() // Another file has taken the name, and nothing of it has been read.
}

func (f *follower) close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}
