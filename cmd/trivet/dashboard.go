package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"trivet/lab/dashboard"
	"trivet/lab/fleet"
	"trivet/lab/page"
)

// dashboardPort is where the page is, unless that is taken or another is named.
const dashboardPort = 7070

// parsePort reads a port; 0 is one, too.
func parsePort(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	return int(port), err
}

// listenDashboard takes a port for the page.
func listenDashboard(ctx context.Context, bind string, port int) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(bind, strconv.Itoa(port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fleet.Busy(ctx, netip.AddrPortFrom(netip.MustParseAddr(bind), uint16(port)), "the dashboard")
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT), errors.Is(err, syscall.EINVAL): // The last: fe80::1 without a zone.
		return nil, fmt.Errorf("%s for the dashboard: %w; choose another by --dashboard-bind", bind, fleet.ErrAddress)
	case err != nil:
		return nil, fmt.Errorf("the dashboard: %w", err)
	}
	return listener, nil
}

// pageURL is where a browser on this machine opens the page.
func pageURL(listener net.Listener) string {
	at := listener.Addr().(*net.TCPAddr).AddrPort()
	host := at.Addr().Unmap().String()
	if host == "127.0.0.1" || at.Addr().IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(int(at.Port()))) + "/"
}

// A servedPage is the page while it is served.
type servedPage struct {
	url    string
	server *dashboard.Server
	cancel context.CancelFunc
	text   string // of the End
	loop   sync.WaitGroup
	err    error
}

// servePage serves the page on a listener, which it closes, until close.
func servePage(listener net.Listener, o dashboard.Options) *servedPage {
	o.Assets = page.Assets
	p := &servedPage{url: pageURL(listener), server: dashboard.New(o)}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.loop.Go(func() {
		p.err = p.server.Serve(ctx, listener, func() string { return p.text })
	})
	return p
}

// close sends pages the End with a text, and waits less than a second for them. The source is used no longer when it returns.
func (p *servedPage) close(text string) error {
	p.text = text
	p.cancel()
	p.loop.Wait()
	return p.err
}
