//go:build !linux

package rawconn

import "net"

// Listen returns l as it is: raw system calls are for Linux.
func Listen(l net.Listener) net.Listener { return l }
