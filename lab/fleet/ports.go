package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/shirou/gopsutil/v4/net"
	"github.com/shirou/gopsutil/v4/process"
)

// door is an address that one of a fleet's processes will listen on.
type door struct {
	owner   string         // nginx, whoami-1 …
	speaks  string         // HTTP, gRPC or admin
	address netip.AddrPort // port 0: the kernel's choice
}

// reservation keeps a port for a process that comes, goes and comes back.
//
// It is a socket that is bound and does not listen, with SO_REUSEADDR. Linux lets another socket with that option bind and
// listen beside it (Go's net.Listen and nginx both set it), gives the port to nobody who asks for just any port, and refuses
// connections while nobody listens. So ports that the kernel chose are free of races and stay the same over restarts.
type reservation struct {
	door
	fd    int
	claim int // -1 for a port that the kernel chose
}

// BusyError is an address that somebody else listens on.
type BusyError struct {
	Address netip.AddrPort
	For     string // what wanted it: "nginx (HTTP)"
	Holder  string // who has it: "python3 -m http.server 8080 (pid 4711)"; empty where that cannot be known
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

// reserve reserves all doors, or none and tells every one that cannot be had.
func reserve(ctx context.Context, doors []door) ([]reservation, error) {
	var got []reservation
	var faults []error
	for _, d := range doors {
		r, err := d.reserve()
		if err != nil {
			faults = append(faults, err)
			continue
		}
		got = append(got, r)
	}
	if len(faults) == 0 {
		return got, nil
	}
	for _, r := range got {
		r.release()
	}
	nameHolders(ctx, faults)
	return nil, errors.Join(faults...)
}

func (d door) reserve() (reservation, error) {
	family, address := d.socketAddress()
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return reservation{}, d.fault(err)
	}
	r := reservation{door: d, fd: fd, claim: -1}
	if d.address.Port() != 0 {
		if r.claim, err = claim(d.address); err != nil {
			r.release()
			fault := d.fault(err)
			if busy, ok := errors.AsType[*BusyError](fault); ok {
				busy.Holder = "another trivet, which is starting or whose process is down just now"
			}
			return reservation{}, fault
		}
	}
	err = errors.Join(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1), syscall.Bind(fd, address))
	if err == nil {
		r.address, err = bound(fd)
	}
	if err != nil {
		r.release()
		return reservation{}, d.fault(err)
	}
	return r, nil
}

// release gives the port back. Bound sockets hold nothing that could get lost.
func (r reservation) release() {
	_ = syscall.Close(r.fd)
	if r.claim >= 0 {
		_ = syscall.Close(r.claim)
	}
}

// claim keeps other trivets from a numbered port: a reservation does not, because both say SO_REUSEADDR. It is an abstract
// socket, which the kernel forgets when its owner ends, and which counts per network namespace, as ports do.
func claim(address netip.AddrPort) (int, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: "@trivet/" + address.String()}); err != nil {
		_ = syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (d door) socketAddress() (family int, address syscall.Sockaddr) {
	ip, port := d.address.Addr(), int(d.address.Port())
	if ip.Is4() {
		return syscall.AF_INET, &syscall.SockaddrInet4{Port: port, Addr: ip.As4()}
	}
	return syscall.AF_INET6, &syscall.SockaddrInet6{Port: port, Addr: ip.As16()}
}

func bound(fd int) (netip.AddrPort, error) {
	address, err := syscall.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch a := address.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), nil
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("a socket of a strange kind: %T", address)
}

// fault explains why a door cannot be reserved.
func (d door) fault(err error) error {
	who := d.owner + " (" + d.speaks + ")"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return &BusyError{Address: d.address, For: who}
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("%s for %s: %w", d.address.Addr(), who, ErrAddress)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("port %d for %s: ports below 1024 are root's here; choose a higher one", d.address.Port(), who)
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("port %d for %s: too many open files; raise the limit (ulimit -n) or start fewer instances", d.address.Port(), who)
	}
	return fmt.Errorf("port %d for %s: %w", d.address.Port(), who, err)
}

// nameHolders fills in who listens on the addresses of the BusyErrors among faults.
func nameHolders(ctx context.Context, faults []error) {
	var listening []net.ConnectionStat
	for _, fault := range faults {
		busy, ok := errors.AsType[*BusyError](fault)
		if !ok {
			continue
		}
		if listening == nil {
			var err error
			// Without the table the ports are busy all the same, and the message says that nobody knows by whom.
			if listening, err = net.ConnectionsWithContext(ctx, "tcp"); err != nil {
				return
			}
		}
		if who := holder(ctx, listening, busy.Address); who != "" {
			busy.Holder = who
		}
	}
}

func holder(ctx context.Context, table []net.ConnectionStat, address netip.AddrPort) string {
	for _, c := range table {
		if c.Status != "LISTEN" || c.Pid == 0 || c.Laddr.Port != uint32(address.Port()) {
			continue
		}
		ip, err := netip.ParseAddr(c.Laddr.IP)
		if err != nil || !(ip.IsUnspecified() || address.Addr().IsUnspecified() || ip.Unmap() == address.Addr()) {
			continue
		}
		return command(ctx, c.Pid) + " (pid " + strconv.Itoa(int(c.Pid)) + ")"
	}
	return ""
}

// command is the start of a process's command line.
func command(ctx context.Context, pid int32) string {
	p, err := process.NewProcessWithContext(ctx, pid)
	if err != nil {
		return "a process"
	}
	line, err := p.CmdlineWithContext(ctx)
	if err != nil || strings.TrimSpace(line) == "" {
		if line, err = p.NameWithContext(ctx); err != nil {
			return "a process"
		}
	}
	return printable(line)
}

// printable is at most 80 characters of a stranger's text, without what could move the cursor.
func printable(text string) string {
	const most = 80
	runes := []rune(text)
	if len(runes) > most {
		runes = append(runes[:most:most], '…')
	}
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	return string(runes)
}
