package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"trivet/internal/buildinfo"
	"trivet/lab/dashboard"
	"trivet/lab/feed"
	"trivet/lab/fleet"
	"trivet/lab/session"
)

// upDashboard serves the page of trivet up. It is empty if that is off.
type upDashboard struct {
	listener net.Listener
	begin    time.Time
	observer session.Observer
	feed     *session.Shared
	control  *upControl
	page     *servedPage
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

// observe makes the options of a fleet report to the page what happens.
func (d *upDashboard) observe(o *fleet.Options) {
	if d.listener == nil {
		return
	}
	report := o.Observe
	o.Observe = func(e fleet.Event) {
		report(e)
		d.observer.Process(e)
	}
	o.Health, o.Probed = d.observer.Health, d.observer.Probed
}

// serve serves the page of a fleet until close.
func (d *upDashboard) serve(f *fleet.Fleet, call *upCall, say *reporter) {
	if d.listener == nil {
		return
	}
	options := liveOptions(f, call, d.begin)
	d.feed = session.Share(feed.NewLive(options))
	var server atomic.Pointer[dashboard.Server]
	s, err := session.New(session.Options{
		Fleet: f, Observer: &d.observer, Feed: d.feed, Trivet: "/proc/self/exe", Nginx: call.Nginx.Version.String(), Begin: d.begin, Workers: options.Workers, Unlike: unlike(f, call),
		Message: func(text string) string {
			if call.confDir == "" {
				return text
			}
			return ownPaths(text, filepath.Join(call.Dir, "conf"), call.confDir)
		},
		Changed: func() {
			if serving := server.Load(); serving != nil {
				serving.Soon()
			}
		},
	})
	if err != nil {
		say.note("the dashboard is off: " + err.Error())
		return
	}
	d.control = &upControl{session: s, records: call.records}
	d.page = servePage(d.listener, dashboard.Options{
		Hello:  &feed.Hello{V: feed.Version, Source: feed.Live, Trivet: buildinfo.String(), Nginx: call.Nginx.Version.String(), CPUs: runtime.NumCPU(), Dir: f.Dir()},
		Source: d.feed, Stories: dashboard.LiveStories(f.Dir()), Live: true, Control: d.control,
		Problem: func(err error) { say.note("the dashboard: " + err.Error()) },
	})
	server.Store(d.page.server)
}

// unlike is what a fleet has and an experiment cannot have.
func unlike(f *fleet.Fleet, call *upCall) (all []string) {
	if set := f.Settings(); len(set) > 0 {
		all = append(all, "the instances had these settings: "+strings.Join(set, ", ")+"; here they have the defaults")
	}
	if call.confDir != "" {
		all = append(all, "nginx had the configuration in "+call.confDir+": here it has the shipped one")
	}
	return all
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

// stopping ends what a person has begun on the page, before the fleet is stopped. The page shows how that ends.
func (d *upDashboard) stopping() error {
	if d.control == nil {
		return nil
	}
	d.control.stopping.Store(true)
	return d.control.session.Close()
}

// close ends the page: it says that trivet has ended.
func (d *upDashboard) close() (err error) {
	if d.page != nil {
		err = d.page.close("trivet up has ended.")
	} else if d.listener != nil {
		err = d.listener.Close()
	}
	if d.feed != nil {
		err = errors.Join(err, d.feed.Close())
	}
	return err
}
