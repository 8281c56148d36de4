package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"trivet/lab/feed"
	"trivet/lab/measure"
	"trivet/lab/report"
	"trivet/lab/scenario"
)

// watchFlags are those of trivet run for the page that shows the run.
type watchFlags struct {
	watch bool
	page  *pageFlag
}

func addWatchFlags(c *cobra.Command) *watchFlags {
	f := &watchFlags{}
	c.Flags().BoolVar(&f.watch, "watch", false, "serve a page that shows the run in a browser while it goes on; trivet view replays it afterwards")
	f.page = addPageFlag(c, "`PORT` of --watch; 0: any free one (default 7070, or any free one if that is taken)")
	return f
}

// check checks the values.
func (f *watchFlags) check() error {
	err := f.page.check()
	if f.page.given() && !f.watch {
		err = errors.Join(err, errors.New("--dashboard is the port of --watch; give that, too"))
	}
	return err
}

// A watchedRun is the page of a run that goes on.
type watchedRun struct {
	listener net.Listener // nil: there is no page
	in       invocation
	source   *followedRun
	page     *servedPage
	reports  chan report.Experiment // for the page, which would else make them again while the next experiment runs
}

// A followedRun is the source of a run that goes on.
type followedRun struct {
	*feed.RunSource
	done chan struct{} // closed when all of the run was read
}

// Advance reads what is new.
func (f *followedRun) Advance() error {
	err := f.RunSource.Advance()
	select {
	case <-f.done:
	default:
		if f.Done() {
			close(f.done)
		}
	}
	return err
}

// open takes the port, before anything is started, and prints the URL.
func (f *watchFlags) open(ctx context.Context, in invocation) (*watchedRun, error) {
	w := &watchedRun{in: in}
	if !f.watch {
		return w, nil
	}
	listener, err := f.page.listen(ctx)
	if err != nil {
		return nil, err
	}
	w.listener = listener
	fmt.Fprintf(in.stderr, "trivet: watch this run in a browser:\n%s\n", pageURL(listener))
	return w, nil
}

// watching is a Watch of a trial.Series that begins to serve the page: the run directory then says what will be run.
func (w *watchedRun) watching(dir string, experiments int, next watch) watch {
	w.reports = make(chan report.Experiment, experiments)
	if w.listener == nil {
		return next
	}
	return func(e scenario.Experiment, s scenario.Scenario, trial int, measured *measure.Trial) {
		if w.page == nil && w.listener != nil {
			w.serve(dir)
		}
		next(e, s, trial, measured)
	}
}

// watch is the type of trial.Series.Watch.
type watch = func(e scenario.Experiment, variant scenario.Scenario, trial int, measured *measure.Trial)

// serve begins to serve the page. Without one the run goes on.
func (w *watchedRun) serve(dir string) {
	source, err := feed.FollowRun(dir)
	if err != nil {
		printErrors(w.in.stderr, fmt.Errorf("the page: %w", errors.Join(err, w.listener.Close())))
		w.listener = nil
		return
	}
	source.ReportsFrom(w.reports)
	w.source = &followedRun{source, make(chan struct{})}
	w.page = serveRun(w.listener, source, w.source, w.in)
}

// How long pages that are open wait for the verdict when a run has ended, and when it was interrupted.
const verdictGrace, interruptedGrace = 10 * time.Second, time.Second

// close ends the page, after it has the verdict. The run directory is closed already.
func (w *watchedRun) close(ctx context.Context) {
	switch {
	case w == nil || w.listener == nil:
		return
	case w.page == nil:
		_ = w.listener.Close() // Nothing was served.
		return
	}
	grace := verdictGrace
	if ctx.Err() != nil {
		grace = interruptedGrace
	}
	timeout := time.After(grace)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for waits := w.page.server.Pages() > 0; waits; {
		w.page.server.Soon()
		select {
		case <-w.source.done:
			waits = false
		case <-timeout:
			waits = false
		case <-tick.C:
		}
	}
	if err := errors.Join(w.page.close("trivet run has ended. trivet view replays it."), w.source.Close()); err != nil {
		printErrors(w.in.stderr, fmt.Errorf("the page: %w", err))
	}
}
