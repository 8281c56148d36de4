package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"trivet/lab/exporter"
	"trivet/lab/fleet"
)

// upMetrics serves the metrics of trivet up's nginx. It is empty if they are off.
type upMetrics struct {
	address  string // "": off
	listener net.Listener
	serving  sync.WaitGroup
}

// listenMetrics takes the port, before anything is started.
func listenMetrics(ctx context.Context, call *upCall) (*upMetrics, error) {
	if !call.metrics {
		return &upMetrics{}, nil
	}
	host := "127.0.0.1"
	if a, err := netip.ParseAddr(call.Bind); err == nil && a.IsLoopback() {
		host = call.Bind
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(call.metricsPort)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fleet.Busy(ctx, netip.AddrPortFrom(netip.MustParseAddr(host), uint16(call.metricsPort)), "nginx's metrics")
	} else if err != nil {
		return nil, fmt.Errorf("nginx's metrics: %w", err)
	}
	return &upMetrics{address: listener.Addr().String(), listener: listener}, nil
}

// serve serves the metrics of a fleet's nginx until ctx ends.
func (m *upMetrics) serve(ctx context.Context, f *fleet.Fleet, say *reporter) {
	if m.listener == nil {
		return
	}
	e, err := exporter.New(exporter.Options{
		AccessLog: filepath.Join(f.Dir(), "logs", "access.log"), FromStart: true, Status: "http://" + f.Admin() + "/nginx_status", TLS: f.TLS(),
		Problem: func(err error) { say.note("nginx's metrics: " + err.Error()) },
	})
	if err != nil {
		panic(err) // The options are right.
	}
	listener := m.listener
	m.listener = nil // The exporter closes it.
	m.serving.Go(func() {
		if err := e.Serve(ctx, listener); err != nil {
			say.note("nginx's metrics: " + err.Error())
		}
	})
}

// close waits for the end of serve.
func (m *upMetrics) close() error {
	m.serving.Wait()
	if m.listener == nil {
		return nil
	}
	return m.listener.Close()
}
