// Package rawconn provides TCP connections, and a writer to files, that read and write by system calls unknown to Go's scheduler.
//
// Packages net and os announce each call to the scheduler, so that one that blocks does not withhold a processor (one of GOMAXPROCS Ps) from other
// goroutines; that costs CPU time, most of all in a server that gets one request at a time. An unannounced call holds its processor until it
// returns, and delays a garbage collection that starts meanwhile. One call moves at most 64 KB, so that a large transfer cannot hold a
// processor for a millisecond; between two calls the goroutine can be preempted. docs/performance.md, "Raw system calls", has the details.
//
// It works on Linux only; elsewhere [Listen], [Wrap] and [Writer] return their argument.
//
// The race detector does not see raw system calls: it would miss races on their buffers, and report races that a socket within the process
// rules out. So programs built with -race make announced calls; all other code is the same.
package rawconn

import "net"

// Unwrapper is a connection that extends only Close, like those that a limit counts: Read and Write may bypass it and use the TCP connection
// below. SyscallConn is no sign of that: grpc-go's connections over TLS have it too, and reading below those yields ciphertext.
type Unwrapper interface {
	net.Conn
	UnwrapTCP() *net.TCPConn
}
