//go:build !linux

package connlimit

import "net"

// onReady is empty: like grpc-go's own, ReadOnReady exists only on Linux.
type onReady struct{}

func limitTCP(tcp *net.TCPConn, free func()) *TCPConn { return &TCPConn{TCPConn: tcp, free: free} }
