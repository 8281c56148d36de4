//go:build !linux

package rawconn

import (
	"io"
	"net"
	"os"
)

// Listen returns l: raw system calls are used on Linux only.
func Listen(l net.Listener) net.Listener { return l }

// Wrap returns c: raw system calls are used on Linux only.
func Wrap(c net.Conn) net.Conn { return c }

// Writer returns f: raw system calls are used on Linux only.
func Writer(f *os.File) io.Writer { return f }
