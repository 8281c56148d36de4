//go:build !linux

package rawconn

import "net"

// Listen returns l: raw system calls are used on Linux only.
func Listen(l net.Listener) net.Listener { return l }
