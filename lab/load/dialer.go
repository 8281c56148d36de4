package load

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// newDialer makes connections from one client address; "": the kernel chooses it. A timeout of 0 is none.
func newDialer(address string, timeout time.Duration) *net.Dialer {
	d := &net.Dialer{Timeout: timeout}
	if address != "" {
		d.LocalAddr, d.Control = &net.TCPAddr{IP: net.ParseIP(address)}, bindAddressOnly
	}
	return d
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
