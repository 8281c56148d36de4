//go:build !linux

package whoami

import "net"

// briefly changes nothing where system calls cannot be made unannounced.
func briefly(l net.Listener) net.Listener { return l }
