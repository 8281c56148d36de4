package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"time"

	"trivet/internal/buildinfo"
	"trivet/lab/dashboard"
	"trivet/lab/feed"
	"trivet/lab/fleet"
	"trivet/lab/record"
)

// upDashboard serves the page of trivet up. It is empty if that is off.
type upDashboard struct {
	listener net.Listener
	page     *servedPage

	mu    sync.Mutex
	begin time.Time
	early []record.Event // of processes and health, before the source is there
	live  *liveFeed
}

// A liveFeed is the source of a fleet that runs, for several goroutines.
type liveFeed struct {
	mu     sync.Mutex
	source *feed.LiveSource
}

func (l *liveFeed) Advance() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source.Advance()
}

func (l *liveFeed) Changed() []feed.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source.Changed()
}

func (l *liveFeed) Snapshot() []feed.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source.Snapshot()
}

// AddLoad adds a load directory whose manifest is written.
func (l *liveFeed) AddLoad(dir string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source.AddLoad(dir)
}

// EndLoad ends one.
func (l *liveFeed) EndLoad(dir string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.source.EndLoad(dir)
}

// Event adds an event of the fleet, or of what a person did to it.
func (l *liveFeed) Event(e record.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.source.Event(e)
}

// Say adds a row in words.
func (l *liveFeed) Say(e feed.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.source.Say(e)
}

func (l *liveFeed) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.source.Close()
}

// listenUpDashboard takes the port, before anything is started.
func listenUpDashboard(ctx context.Context, call *upCall) (*upDashboard, error) {
	d := &upDashboard{begin: time.Now()}
	if call.dashboard == dashboardOff {
		return d, nil
	}
	port, err := parsePort(call.dashboard)
	if err == nil {
		d.listener, err = listenDashboard(ctx, call.dashboardBind, port)
	}
	return d, err
}

// url is where the page is; "": it is off.
func (d *upDashboard) url() string {
	if d.page == nil {
		return ""
	}
	return d.page.url
}

// observe takes an event of the fleet's processes.
func (d *upDashboard) observe(e fleet.Event) {
	d.take(record.Event{Time: e.Time, Event: record.ProcessEvent, Kind: e.Kind, Process: e.Process, Start: e.Start, PID: e.PID, Exit: e.Exit})
}

// health takes a change of an instance's health.
func (d *upDashboard) health(h fleet.Health) {
	d.take(record.Event{Time: h.Time, Event: record.HealthEvent, Kind: h.Kind, Process: h.Process})
}

func (d *upDashboard) take(event record.Event) {
	if d.listener == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live == nil {
		d.early = append(d.early, event)
		return
	}
	d.live.Event(event)
}

// serve serves the page of a fleet until close.
func (d *upDashboard) serve(f *fleet.Fleet, call *upCall, say *reporter) {
	if d.listener == nil {
		return
	}
	live := &liveFeed{source: feed.NewLive(liveOptions(f, call, d.begin))}
	d.mu.Lock()
	d.live = live
	for _, e := range d.early {
		live.Event(e)
	}
	d.early = nil
	d.mu.Unlock()
	d.page = servePage(d.listener, dashboard.Options{
		Hello:  &feed.Hello{V: feed.Version, Source: feed.Live, Trivet: buildinfo.String(), Nginx: call.Nginx.Version.String(), CPUs: runtime.NumCPU(), Dir: f.Dir()},
		Source: live, Stories: dashboard.LiveStories(f.Dir()), Live: true, Problem: func(err error) { say.note("the dashboard: " + err.Error()) },
	})
}

// liveOptions describe a fleet to the page.
func liveOptions(f *fleet.Fleet, call *upCall, begin time.Time) feed.LiveOptions {
	o := feed.LiveOptions{
		Dir: f.Dir(), Instances: f.Instances(), Begin: begin, Workers: cmp.Or(call.Workers, runtime.NumCPU()), HTTP: f.HTTP(), GRPC: f.GRPC(), TLS: call.TLS, MTLS: call.MTLS,
	}
	if !call.records {
		o.Lacks = []string{"instances"}
	}
	return o
}

// stopping ends what a person has begun on the page.
func (d *upDashboard) stopping() {}

// close ends the page: it says that trivet has ended.
func (d *upDashboard) close() error {
	switch {
	case d.listener == nil:
		return nil
	case d.page == nil:
		return d.listener.Close()
	}
	return errors.Join(d.page.close("trivet up has ended."), d.live.close())
}
