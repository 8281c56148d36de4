// Package rawconn makes TCP connections whose reads and writes are system calls that Go's scheduler does not see.
//
// Package net announces each call to the scheduler, because a call that blocks must not keep a processor (a P, of which there are
// GOMAXPROCS) from other goroutines. A socket in Go never blocks, and announcing costs: when a process has nothing left to do, the
// runtime's monitor thread goes to sleep; the next announced call wakes it, and it then looks around every 20 µs until all is idle
// again. A server that gets one request at a time pays that for each of them: docs/performance.md, "Raw system calls".
//
// What it costs. The processor is held for as long as the call lasts, and so is a garbage collection that begins meanwhile: it stops
// all processors, and waits for this one. The kernel does not wait for the peer, but it copies, and on loopback it also does the
// receiver's part: some microseconds for a small message. One call moves at most 64 KB, so that a large one cannot hold a processor
// for a millisecond; between two calls the goroutine can be preempted. A call that takes long for another reason (memory has to be
// reclaimed, a security module asks a daemon) holds the processor too, and package net's would not. With GOMAXPROCS=1 nothing else
// runs meanwhile.
//
// It is Linux only. Elsewhere [Listen] returns its argument.
//
// The race detector does not see raw system calls, and would both miss races on their buffers and report ones that a socket within the
// process rules out. So a program built with -race makes announced calls; everything else is the same code.
package rawconn

import "net"

// Unwrapper is a connection that adds to Close alone, as one does that a limit counts: Read and Write may go past it to the TCP
// connection below. A type must say so by this method. That it has SyscallConn says nothing: grpc-go's connections over TLS have it too,
// and what is read past those is ciphertext.
type Unwrapper interface {
	net.Conn
	UnwrapTCP() *net.TCPConn
}
