package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"trivet/lab/fleet"
	"trivet/nginx"
)

// up is `trivet up`.
func up(ctx context.Context, in invocation) int {
	call, err := parseUp(in.args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(in.stdout, in.manual)
		return done
	}
	say := newReporter(in, call.json)
	if err != nil {
		say.fail(err, misuse)
		return misuse
	}
	err = lab(ctx, &call, say)
	if err == nil || ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return done
	}
	code := exitCode(err, call)
	say.fail(rewrite(err, call), code)
	return code
}

// exitCode tells wrong use from failure.
func exitCode(err error, call upCall) int {
	_, misused := errors.AsType[usageError](err)
	switch {
	case misused, errors.Is(err, fleet.ErrSettings), errors.Is(err, fleet.ErrAddress):
		return misuse
	case errors.Is(err, fleet.ErrConf) && call.confFolder != "":
		return misuse
	}
	return failed
}

// lab starts a fleet and follows it until ctx ends. It completes call.
func lab(ctx context.Context, call *upCall, say reporter) (err error) {
	p := here()
	if call.Nginx, err = p.nginx(ctx, nginx.Find, call.nginx); err != nil {
		return err
	}
	if call.Whoami, err = p.whoami(); err != nil {
		return err
	}
	folder, err := fleet.NewRun(fleet.Base())
	if err != nil {
		return err
	}
	call.Dir = folder.Dir
	var started atomic.Bool
	defer func() {
		if started.Load() { // Then there are logs.
			err = errors.Join(err, folder.Close())
		} else {
			err = errors.Join(err, folder.Discard())
		}
	}()
	if call.Whoami == "" {
		say.note("building whoami, because there is none beside this trivet")
		if call.Whoami, err = p.buildWhoami(ctx, folder.Dir); err != nil {
			return err
		}
	}
	warn(*call, say)
	call.Observe = func(e fleet.Event) {
		started.Store(true)
		say.event(e)
	}
	if err := fleet.AdoptOrphans(); err != nil {
		say.note(err.Error()) // Zombies may stay; nothing else depends on it.
	}
	stopClock := every(2*time.Second, func() { say.starting(call.Instances) })
	f, err := fleet.Start(ctx, call.Options)
	stopClock()
	if err != nil {
		return err
	}
	say.up(f, *call, p)
	<-ctx.Done()
	say.stopping(context.Cause(ctx))
	stopClock = every(2*time.Second, say.stillStopping)
	defer stopClock()
	// A second signal ends the program, and the kernel ends the rest: so the stop needs no end of its own.
	return f.Stop(context.WithoutCancel(ctx))
}

func warn(call upCall, say reporter) {
	if open(call.Bind) {
		say.note(fmt.Sprintf("--bind %s: everybody who reaches this machine reaches nginx; the instances stay on 127.0.0.1", call.Bind))
	}
	if call.Instances > fleet.MostNumbered {
		say.note(fmt.Sprintf("%d instances: more than %d, so they take ports that the kernel chooses", call.Instances, fleet.MostNumbered))
	}
}

// every calls f from time to time, until the function that it returns is called, which waits for a call that runs.
func every(d time.Duration, f func()) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f()
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// rewrite names the files of --nginx-conf in nginx's own lines, which name the copies in the run folder, and says what else helps.
func rewrite(err error, call upCall) error {
	_, busy := errors.AsType[*fleet.BusyError](err)
	switch {
	case busy:
		return fmt.Errorf("%w\nnothing was started; stop what holds them, or choose others: nginx's by --http, --grpc and --admin (0 is any), the instances' by --http 0 --grpc 0, with which the kernel chooses all", err)
	case errors.Is(err, fleet.ErrConf) && call.confFolder != "":
		return translated{err, ownPaths(err.Error(), filepath.Join(call.Dir, "conf"), call.confFolder)}
	}
	return err
}

// translated is an error that is told in other words.
type translated struct {
	error
	text string
}

func (t translated) Error() string { return t.text }
func (t translated) Unwrap() error { return t.error }

// ownPaths puts folder in the place of dir, the copy of it, wherever the file is in folder. The files in site/ are the copy's own.
func ownPaths(text, dir, folder string) string {
	return regexp.MustCompile(regexp.QuoteMeta(dir+"/")+`[^\s":,]+`).ReplaceAllStringFunc(text, func(path string) string {
		name := strings.TrimPrefix(path, dir+"/")
		if _, err := os.Stat(filepath.Join(folder, name)); err != nil || strings.HasPrefix(name, "site/") {
			return path
		}
		return filepath.Join(folder, name)
	})
}
