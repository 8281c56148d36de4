//go:build !linux

package connlimit

import "net"

// onReady is for Linux, as grpc-go's own is.
type onReady struct{}

func limitTCP(tcp *net.TCPConn, free func()) net.Conn { return &TCPConn{TCPConn: tcp, free: free} }
