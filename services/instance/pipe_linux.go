package instance

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is the most that Linux grants without privileges, unless fs.pipe-max-size says otherwise.
const pipeSize = 1 << 20

// widen enlarges a pipe from 64 KiB: a busy machine lets the engine that reads a container's output wait for seconds. What does not fit
// meanwhile would be lost. Nothing happens if f is no pipe, or if the kernel refuses.
func widen(f *os.File) {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}
