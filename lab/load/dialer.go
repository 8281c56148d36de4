package load

import (
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"trivet/internal/rawconn"
)

// dialFrom makes TCP connections from one client address; "": the kernel chooses it. A timeout of 0 is none. They make raw system calls:
// announced ones wake the runtime's monitor thread for each request.
func dialFrom(address string, timeout time.Duration) func(ctx context.Context, network, to string) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout}
	if address != "" {
		d.LocalAddr, d.Control = &net.TCPAddr{IP: net.ParseIP(address)}, bindAddressOnly
	}
	return func(ctx context.Context, network, to string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, to)
		if err != nil {
			return nil, err
		}
		return rawconn.Wrap(c), nil
	}
}

// bindAddressOnly makes the kernel choose the port when the socket connects. Bind would choose one that is free for every destination, and
// 28,000 are all.
func bindAddressOnly(_, _ string, socket syscall.RawConn) error {
	var err error
	if failed := socket.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); failed != nil {
		return failed
	}
	return err
}
