package fleet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"trivet/lab/scenario"
)

func reserveOne(t *testing.T, a listenAddr) reservation {
	t.Helper()
	r, err := reserve(t.Context(), []listenAddr{a})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r[0].release)
	return r[0]
}

func TestReservedPortCanBeShared(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "0.0.0.0"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			r := reserveOne(t, listenAddr{"whoami-1", httpListener, netip.AddrPortFrom(netip.MustParseAddr(host), 0)})
			if r.address.Port() == 0 {
				t.Fatal("no port")
			}
			for range 3 { // Restarts.
				if _, err := net.Dial("tcp", reachable(r.address).String()); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Fatalf("connection while no socket listens: %v", err)
				}
				listener, err := net.Listen("tcp", r.address.String())
				if err != nil {
					t.Fatalf("listening on the reserved port: %v", err)
				}
				conn, err := net.Dial("tcp", reachable(r.address).String())
				if err != nil {
					t.Fatal(err)
				}
				conn.Close()
				// A process that another test is just starting would have the listener too, until its exec.
				syscall.ForkLock.RLock()
				listener.Close()
				syscall.ForkLock.RUnlock()
			}
		})
	}
}

func TestReservedPortIsNeverChosenByKernel(t *testing.T) {
	t.Parallel()
	r := reserveOne(t, listenAddr{"whoami-1", httpListener, netip.AddrPortFrom(loopback, 0)})
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(r.address.Port()), Addr: [4]byte{127, 0, 0, 1}}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a socket that does not share: %v", err)
	}
	// A socket bound to port 0, sharing or not, gets another.
	addresses := make([]listenAddr, 500)
	for i := range addresses {
		addresses[i] = listenAddr{"whoami-2", httpListener, netip.AddrPortFrom(loopback, 0)}
	}
	others, err := reserve(t.Context(), addresses)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint16]bool{r.address.Port(): true}
	for _, o := range others {
		if seen[o.address.Port()] {
			t.Errorf("port %d was given twice", o.address.Port())
		}
		seen[o.address.Port()] = true
		o.release()
	}
}

func TestBusyPortsAreNamedWithTheirHolders(t *testing.T) {
	t.Parallel()
	var addresses []listenAddr
	for range 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		addresses = append(addresses, listenAddr{"whoami-7", grpcListener, netip.MustParseAddrPort(listener.Addr().String())})
	}
	addresses = append(addresses, listenAddr{"whoami-8", grpcListener, netip.AddrPortFrom(loopback, 0)})
	got, err := reserve(t.Context(), addresses)
	if err == nil || len(got) != 0 {
		t.Fatalf("got %v, error %v", got, err)
	}
	for _, a := range addresses[:2] {
		want := "port " + strconv.Itoa(int(a.address.Port())) + " for whoami-7 (gRPC) is taken on 127.0.0.1 by " + os.Args[0]
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	if pid := "(pid " + strconv.Itoa(os.Getpid()) + ")"; strings.Count(err.Error(), pid) != 2 {
		t.Errorf("want %s twice in\n%v", pid, err)
	}
}

func TestForeignAddressIsRefused(t *testing.T) {
	t.Parallel()
	_, err := reserve(context.Background(), []listenAddr{{scenario.Nginx, httpListener, netip.MustParseAddrPort("192.0.2.1:0")}})
	if !errors.Is(err, ErrAddress) {
		t.Errorf("address of no interface: %v", err)
	}
}

func TestUnknownHolderIsReportedAsUnknown(t *testing.T) {
	t.Parallel()
	err := &BusyError{Address: netip.MustParseAddrPort("127.0.0.1:80"), For: "nginx (HTTP)"}
	if !strings.Contains(err.Error(), "cannot be seen") {
		t.Error(err)
	}
}

// Two reservations of a fixed port succeed, so a claim stops the second trivet before it starts a process.
func TestFixedPortIsForOneFleet(t *testing.T) {
	t.Parallel()
	once := func(a listenAddr) ([]reservation, error) { return reserve(t.Context(), []listenAddr{a}) }
	free, err := once(listenAddr{"whoami-1", httpListener, netip.AddrPortFrom(loopback, 0)})
	if err != nil {
		t.Fatal(err)
	}
	free[0].release()
	fixed := listenAddr{"whoami-1", httpListener, free[0].address}
	first, err := once(fixed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := once(fixed); err == nil || !strings.Contains(err.Error(), "another trivet") {
		t.Errorf("second reservation: %v", err)
	}
	first[0].release()
	reserveOne(t, fixed)
}

func TestHolderIsShortAndPrintable(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "cat", "-", "\x1b[2J"+strings.Repeat("ü", 100))
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if got := commandLine(t.Context(), int32(cmd.Process.Pid)); got != "cat -  [2J"+strings.Repeat("ü", 69)+"…" {
		t.Errorf("%q", got)
	}
}
