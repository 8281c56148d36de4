package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	netstat "github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/process"

	"trivet/internal/words"
)

// A listenAddr is an address that one of a fleet's processes will listen on.
type listenAddr struct {
	process  string         // nginx, whoami-1 …
	protocol string         // httpListener, grpcListener, adminListener or tlsListener
	address  netip.AddrPort // port 0: the kernel's choice
}

// A reservation keeps a port for a process over its restarts.
//
// It is a socket that is bound and does not listen, with SO_REUSEADDR. Linux lets another socket with that option bind and listen beside
// it (Go's net.Listen and nginx both set it), never chooses the port for a socket bound to port 0, and refuses connections while no socket
// listens. So ports that the kernel chose are free of races and stay the same over restarts.
type reservation struct {
	listenAddr
	fd    int
	claim io.Closer // nil for a port that the kernel chose
}

// A BusyError is an address that another process listens on.
type BusyError struct {
	Address netip.AddrPort
	For     string // what wanted it: "nginx (HTTP)"
	Holder  string // the other process: "python3 -m http.server 8080 (pid 4711)"; empty where that cannot be known
}

func (e *BusyError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "a process that cannot be seen from here; as root this would name it"
	}
	return fmt.Sprintf("port %d for %s is taken on %s by %s", e.Address.Port(), e.For, e.Address.Addr(), holder)
}

// ErrAddress is in the error for an address that this machine cannot listen on at all.
var ErrAddress = errors.New("not an address of this machine")

// reserve reserves all addresses, or none: the error joins one for each that it cannot reserve.
func reserve(ctx context.Context, addresses []listenAddr) ([]reservation, error) {
	var got []reservation
	var errs []error
	for _, a := range addresses {
		r, err := a.reserve()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		got = append(got, r)
	}
	if len(errs) == 0 {
		return got, nil
	}
	for _, r := range got {
		r.release()
	}
	nameHolders(ctx, errs)
	return nil, errors.Join(errs...)
}

func (a listenAddr) reserve() (reservation, error) {
	family, address := a.socketAddress()
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return reservation{}, a.explain(err)
	}
	r := reservation{listenAddr: a, fd: fd}
	if a.address.Port() != 0 {
		// Keeps other trivets from the port, which a reservation does not, because both set SO_REUSEADDR. The kernel removes an abstract
		// socket when its owner ends, and it is per network namespace, like ports.
		if r.claim, err = net.Listen("unix", "@trivet/"+a.address.String()); err != nil {
			r.release()
			err = a.explain(err)
			if busy, ok := errors.AsType[*BusyError](err); ok {
				busy.Holder = "another trivet, which is starting or whose process is down just now"
			}
			return reservation{}, err
		}
	}
	err = errors.Join(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1), syscall.Bind(fd, address))
	if err == nil {
		r.address, err = a.bound(fd)
	}
	if err != nil {
		r.release()
		return reservation{}, a.explain(err)
	}
	return r, nil
}

// release gives the port back. An error loses nothing: no data is in the sockets.
func (r reservation) release() {
	_ = syscall.Close(r.fd)
	if r.claim != nil {
		_ = r.claim.Close()
	}
}

func (a listenAddr) socketAddress() (family int, address syscall.Sockaddr) {
	ip, port := a.address.Addr(), int(a.address.Port())
	if ip.Is4() {
		return syscall.AF_INET, &syscall.SockaddrInet4{Port: port, Addr: ip.As4()}
	}
	return syscall.AF_INET6, &syscall.SockaddrInet6{Port: port, Addr: ip.As16()}
}

// bound is the address with the port of a socket.
func (a listenAddr) bound(fd int) (netip.AddrPort, error) {
	port := 0
	address, err := syscall.Getsockname(fd)
	switch s := address.(type) {
	case *syscall.SockaddrInet4:
		port = s.Port
	case *syscall.SockaddrInet6:
		port = s.Port
	}
	return netip.AddrPortFrom(a.address.Addr(), uint16(port)), err
}

// explain says why an address cannot be reserved.
func (a listenAddr) explain(err error) error {
	user := a.process + " (" + a.protocol + ")"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return &BusyError{Address: a.address, For: user}
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("%s for %s: %w", a.address.Addr(), user, ErrAddress)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("port %d for %s: ports below 1024 are root's here; choose a higher one", a.address.Port(), user)
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("port %d for %s: too many open files; raise the limit (ulimit -n) or start fewer instances", a.address.Port(), user)
	}
	return fmt.Errorf("port %d for %s: %w", a.address.Port(), user, err)
}

// nameHolders fills in the processes that listen on the addresses of the BusyErrors among errs.
func nameHolders(ctx context.Context, errs []error) {
	// Without the table the message says that the holder cannot be seen.
	listening, _ := netstat.ConnectionsWithContext(ctx, "tcp")
	for _, err := range errs {
		if busy, ok := errors.AsType[*BusyError](err); ok {
			busy.Holder = cmp.Or(holder(ctx, listening, busy.Address), busy.Holder)
		}
	}
}

// Busy returns the error for an address that another process listens on, which it names if it can be seen.
func Busy(ctx context.Context, address netip.AddrPort, user string) *BusyError {
	busy := &BusyError{Address: address, For: user}
	nameHolders(ctx, []error{busy})
	return busy
}

func holder(ctx context.Context, table []netstat.ConnectionStat, address netip.AddrPort) string {
	for _, c := range table {
		if c.Status != "LISTEN" || c.Pid == 0 || c.Laddr.Port != uint32(address.Port()) {
			continue
		}
		ip, err := netip.ParseAddr(c.Laddr.IP)
		if err != nil || !(ip.IsUnspecified() || address.Addr().IsUnspecified() || ip.Unmap() == address.Addr()) {
			continue
		}
		return commandLine(ctx, c.Pid) + " (pid " + strconv.Itoa(int(c.Pid)) + ")"
	}
	return ""
}

// commandLine is the start of a process's command line, at most 80 characters: it is untrusted text.
func commandLine(ctx context.Context, pid int32) string {
	p := &process.Process{Pid: pid}
	line, _ := p.CmdlineWithContext(ctx)
	if strings.TrimSpace(line) == "" {
		line, _ = p.NameWithContext(ctx)
	}
	text := []rune(words.Printable(cmp.Or(line, "a process")))
	if len(text) > 80 {
		text = append(text[:79], '…')
	}
	return string(text)
}
