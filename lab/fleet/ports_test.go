package fleet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func reserveOne(t *testing.T, d door) reservation {
	t.Helper()
	r, err := reserve(t.Context(), []door{d})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r[0].release)
	return r[0]
}

func TestAReservedPortIsForWhoSharesIt(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "0.0.0.0"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			r := reserveOne(t, door{"whoami-1", "HTTP", netip.AddrPortFrom(netip.MustParseAddr(host), 0)})
			if r.address.Port() == 0 {
				t.Fatal("no port")
			}
			for range 3 { // Over restarts.
				if _, err := net.Dial("tcp", reachable(r.address).String()); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Fatalf("a connection while nobody listens: %v", err)
				}
				listener, err := net.Listen("tcp", r.address.String())
				if err != nil {
					t.Fatalf("whom the port is reserved for cannot listen: %v", err)
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

func TestAReservedPortIsGivenToNobodyElse(t *testing.T) {
	t.Parallel()
	r := reserveOne(t, door{"whoami-1", "HTTP", netip.AddrPortFrom(loopback, 0)})
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(r.address.Port()), Addr: [4]byte{127, 0, 0, 1}}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a socket that does not share: %v", err)
	}
	// Who asks the kernel for just any port, sharing or not, gets others.
	doors := make([]door, 500)
	for i := range doors {
		doors[i] = door{"whoami-2", "HTTP", netip.AddrPortFrom(loopback, 0)}
	}
	others, err := reserve(t.Context(), doors)
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

func TestBusyPortsAreAllNamedWithTheirHolder(t *testing.T) {
	t.Parallel()
	var doors []door
	for range 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		doors = append(doors, door{"whoami-7", "gRPC", netip.MustParseAddrPort(listener.Addr().String())})
	}
	doors = append(doors, door{"whoami-8", "gRPC", netip.AddrPortFrom(loopback, 0)})
	got, err := reserve(t.Context(), doors)
	if err == nil || len(got) != 0 {
		t.Fatalf("got %v, error %v", got, err)
	}
	for _, d := range doors[:2] {
		want := "port " + strconv.Itoa(int(d.address.Port())) + " for whoami-7 (gRPC) is taken on 127.0.0.1 by " + os.Args[0]
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	if pid := "(pid " + strconv.Itoa(os.Getpid()) + ")"; strings.Count(err.Error(), pid) != 2 {
		t.Errorf("want %s twice in\n%v", pid, err)
	}
}

func TestAddressesThatCannotBeHad(t *testing.T) {
	t.Parallel()
	_, err := reserve(context.Background(), []door{{Nginx, "HTTP", netip.MustParseAddrPort("192.0.2.1:0")}})
	if !errors.Is(err, ErrAddress) {
		t.Errorf("an address of nobody's: %v", err)
	}
}

func TestAnUnknownHolderIsSaidToBeUnknown(t *testing.T) {
	t.Parallel()
	err := &BusyError{Address: netip.MustParseAddrPort("127.0.0.1:80"), For: "nginx (HTTP)"}
	if !strings.Contains(err.Error(), "cannot be seen") {
		t.Error(err)
	}
	if got := printable("a\x1b[2Jb" + strings.Repeat("x", 100)); strings.ContainsRune(got, '\x1b') || len([]rune(got)) != 81 {
		t.Errorf("%q", got)
	}
}

// Two reservations of a numbered port would get along, so a claim keeps the second trivet out before it starts anything.
func TestANumberedPortIsForOneFleet(t *testing.T) {
	t.Parallel()
	once := func(d door) ([]reservation, error) { return reserve(t.Context(), []door{d}) }
	free, err := once(door{"whoami-1", "HTTP", netip.AddrPortFrom(loopback, 0)})
	if err != nil {
		t.Fatal(err)
	}
	free[0].release()
	numbered := door{"whoami-1", "HTTP", free[0].address}
	first, err := once(numbered)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := once(numbered); err == nil || !strings.Contains(err.Error(), "another trivet") {
		t.Errorf("a second one: %v", err)
	}
	first[0].release()
	reserveOne(t, numbered)
}
