package rawconn

import (
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Writer returns a writer to f that makes raw system calls. It may be used concurrently. Waiting and deadlines are package os's.
func Writer(f *os.File) io.Writer {
	w := &writer{file: f}
	w.raw, _ = f.SyscallConn() // It fails only for a nil file.
	w.out.try = w.out.write
	return w
}

type writer struct {
	file *os.File
	raw  syscall.RawConn
	out  transfer
}

// Write implements [io.Writer].
func (w *writer) Write(b []byte) (int, error) {
	n, err := w.out.from(b, w.raw)
	if err != nil {
		return n, &fs.PathError{Op: "write", Path: w.file.Name(), Err: err}
	}
	return n, nil
}
