package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"trivet/lab/fleet"
	"trivet/lab/record"
	"trivet/nginx"
)

func upCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "up [flags]",
		Short: "start instances and nginx, and restart what dies, until Ctrl-C",
		Long: `Start instances of whoami and nginx in front of them, wait until a request over
each protocol succeeds, and print what to try. A process that dies is reported
and started again. Ctrl-C stops everything.

Instances listen on 8001, 8002 … (HTTP), 9001, 9002 … (gRPC) and 7001, 7002 …
(admin), those of front on 8101, 9101 and 7101 …; more than 60 of them, or with
--http 0 --grpc 0, on ports that the kernel chooses.

A page in a browser (--dashboard) shows the fleet while it runs, sends load, kills
and pauses instances and changes nginx: docs/dashboard.md.

With --tls nginx serves both protocols over TLS, too, and with --mtls it and the
instances accept only each other's certificates. They are from an authority that
is made anew, in the directory tls of the run directory: its ca.pem is for curl
--cacert, client.pem a certificate for a client.

Each object that --json prints has an "event": started, ready, died, stopped (of
a process), starting, up, stopping, note or error.`,
		Annotations: map[string]string{exitCodes: `0 stopped by Ctrl-C or SIGTERM; 1 failed (a busy port, no nginx);
2 usage error, also a configuration that nginx or whoami refuses.`},
		Example: `  trivet up -n 5                   five instances
  trivet up --http 0 --grpc 0      a second fleet beside the first
  trivet up --nginx-conf my-conf   your own configuration
  trivet up --bind 0.0.0.0         open to other machines
  trivet up --front 1 --tls --mtls    two services, all of it encrypted
  trivet up --dashboard off        without the page in a browser
  trivet up --json | jq -r 'select(.event=="died") | .name'

In another terminal: trivet logs whoami-1; kill -9 a pid that trivet up printed,
and watch the process come back.`,
	}
	call := addUpFlags(c)
	return c, func(ctx context.Context, in invocation) int {
		say := newReporter(in, call.json)
		if err := call.check(in); err != nil {
			say.fail(err, exitUsage)
			return exitUsage
		}
		err := runFleet(ctx, call, say)
		if err == nil || ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
			return exitDone
		}
		code := exitFailed
		if _, usage := errors.AsType[usageError](err); usage || errors.Is(err, fleet.ErrSettings) || errors.Is(err, fleet.ErrAddress) ||
			errors.Is(err, fleet.ErrConf) && call.confDir != "" {
			code = exitUsage
		}
		say.fail(rewrite(err, call), code)
		return code
	}
}

// runFleet starts a fleet and follows it until ctx ends. It completes call.
func runFleet(ctx context.Context, call *upCall, say *reporter) (err error) {
	p := here()
	if call.Nginx, err = p.nginx(ctx, nginx.Find, call.nginx); err != nil {
		return err
	}
	if err := call.programs().find(p); err != nil {
		return err
	}
	run, err := record.NewRun(record.Base())
	if err != nil {
		return err
	}
	call.Dir = run.Dir
	if text := removed(run); text != "" {
		say.note(text)
	}
	var started atomic.Bool
	defer func() {
		if started.Load() { // Then there are logs.
			err = errors.Join(err, run.Close())
		} else {
			err = errors.Join(err, run.Discard())
		}
	}()
	if err := call.programs().build(ctx, p, run.Dir, say.note); err != nil {
		return err
	}
	if err := addRecords(call); err != nil {
		return err
	}
	warn(call, say)
	beside, err := listenBeside(ctx, call)
	if err != nil {
		return errors.Join(err, fleet.CheckPorts(ctx, call.Options)) // All that are taken.
	}
	defer func() { err = errors.Join(err, beside.close()) }()
	call.Observe = func(e fleet.Event) {
		started.Store(true)
		say.event(e)
	}
	beside.dashboard.observe(&call.Options)
	if err := fleet.AdoptOrphans(); err != nil {
		say.note(err.Error()) // Zombies may stay; nothing else depends on it.
	}
	stopClock := every(2*time.Second, func() { say.starting(call.Instances + call.Front) })
	f, err := fleet.Start(ctx, call.Options)
	stopClock()
	if err != nil {
		return err
	}
	if err := writeFleet(call, f); err != nil {
		say.note(err.Error()) // Only trivet trace needs it.
	}
	beside.serve(ctx, f, call, say)
	say.up(f, call, beside, p)
	<-ctx.Done()
	say.stopping(context.Cause(ctx))
	stopClock = every(2*time.Second, say.stillStopping)
	defer stopClock()
	err = beside.dashboard.stopping()
	// The stop needs no timeout: a second signal ends the program, and the kernel then ends the rest.
	return errors.Join(err, f.Stop(context.WithoutCancel(ctx)))
}

// upBeside is what trivet up serves beside the fleet.
type upBeside struct {
	metrics   *upMetrics
	dashboard *upDashboard
}

// listenBeside takes the ports, before anything is started. The error names all that are taken.
func listenBeside(ctx context.Context, call *upCall) (*upBeside, error) {
	m, metricsErr := listenMetrics(ctx, call)
	d, dashboardErr := listenUpDashboard(ctx, call)
	b := &upBeside{m, d}
	if err := errors.Join(metricsErr, dashboardErr); err != nil {
		_ = b.close() // What is wrong already matters more.
		return nil, err
	}
	return b, nil
}

func (b *upBeside) serve(ctx context.Context, f *fleet.Fleet, call *upCall, say *reporter) {
	b.metrics.serve(ctx, f, say)
	b.dashboard.serve(f, call, say)
}

func (b *upBeside) close() (err error) {
	if b.dashboard != nil {
		err = b.dashboard.close()
	}
	if b.metrics != nil {
		err = errors.Join(err, b.metrics.close())
	}
	return err
}

func warn(call *upCall, say *reporter) {
	if isRemote(call.Bind) {
		say.note(fmt.Sprintf("--bind %s: nginx accepts connections from other machines; instances stay on 127.0.0.1", call.Bind))
	}
	if call.dashboard != dashboardOff && isRemote(call.dashboardBind) {
		say.note(fmt.Sprintf("--dashboard-bind %s: browsers on other machines open the page by this machine's IP address, and can change the fleet", call.dashboardBind))
	}
	if call.Instances > fleet.MaxNumbered {
		say.note(fmt.Sprintf("%d instances are more than %d, so the kernel chooses their ports", call.Instances, fleet.MaxNumbered))
	}
}

// every calls f once per d until stop is called, which waits for a call that is running.
func every(d time.Duration, f func()) (stop func()) {
	ended := make(chan struct{})
	var loop sync.WaitGroup
	loop.Go(func() {
		for {
			select {
			case <-time.After(d):
				f()
			case <-ended:
				return
			}
		}
	})
	return func() {
		close(ended)
		loop.Wait()
	}
}

// rewrite adds what helps. In nginx's messages it replaces the paths of copies in the run directory by those of --nginx-conf.
func rewrite(err error, call *upCall) error {
	_, busy := errors.AsType[*fleet.BusyError](err)
	switch {
	case busy:
		return fmt.Errorf("%w\nnothing was started; stop what holds them, or choose others: nginx's by --http, --grpc, --admin, --tls-port and --metrics-port, the page's by --dashboard (0: any free one), all of them by --http 0 --grpc 0", err)
	case errors.Is(err, fleet.ErrConf) && call.confDir != "":
		return errors.New(ownPaths(err.Error(), filepath.Join(call.Dir, "conf"), call.confDir))
	}
	return err
}

// ownPaths replaces paths in dir, a copy of own, by those in own, where own has the file. Files in site/ are the copy's alone.
func ownPaths(text, dir, own string) string {
	return regexp.MustCompile(regexp.QuoteMeta(dir+"/")+`[^\s":,]+`).ReplaceAllStringFunc(text, func(path string) string {
		name := strings.TrimPrefix(path, dir+"/")
		if _, err := os.Stat(filepath.Join(own, name)); err != nil || strings.HasPrefix(name, "site/") {
			return path
		}
		return filepath.Join(own, name)
	})
}
