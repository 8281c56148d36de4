// Package rawconn provides TCP connections that read and write by system calls unknown to Go's scheduler.
//
// Package net announces each call to the scheduler, so that a blocking call does not withhold a processor (one of GOMAXPROCS Ps) from
// other goroutines. Go's sockets never block, and announcing has a cost: when a process becomes idle, the runtime's monitor thread goes to
// sleep; the next announced call wakes it, and it polls every 20 µs until all is idle again. A server that gets one request at a time pays
// that for each: docs/performance.md, "Raw system calls".
//
// The price: a call holds its processor until it returns, and delays a garbage collection that starts meanwhile, because that stops all
// processors and waits for this one. The kernel does not wait for the peer, but it copies, and on loopback it also does the receiver's
// part: some microseconds for a small message. One call moves at most 64 KB, so that a large transfer cannot hold a processor for a
// millisecond; between two calls the goroutine can be preempted. A call that takes long for another reason (memory is reclaimed, a security
// module consults a daemon) holds the processor too, unlike in package net. With GOMAXPROCS=1 nothing else runs meanwhile.
//
// It works on Linux only; elsewhere [Listen] returns its argument.
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
