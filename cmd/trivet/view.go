package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/cobra"

	"trivet/internal/cli"
	"trivet/lab/dashboard"
	"trivet/lab/feed"
	"trivet/lab/fleet"
	"trivet/lab/record"
)

func viewCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "view [flags] [RUN_DIR]",
		Short: "replay a run in a browser, or watch one that goes on",
		Long: `Serve a page that replays a run of experiments, with pause and scrubbing, until
Ctrl-C: what was sent, how it was balanced, what failed, the verdict, and the
story of each request. Of a run that goes on it shows what happens.
docs/dashboard.md describes the page; trivet report --format html writes it as
one file.

  RUN_DIR  run directory printed by trivet run (default: the newest)`,
		ValidArgsFunction: completeRuns,
		Annotations: map[string]string{exitCodes: `0 stopped by Ctrl-C or SIGTERM; 1 no run yet, or the port is taken; 2
usage error, or RUN_DIR is not a run directory.`},
		Example: `  trivet view
  trivet view --dashboard 0 /tmp/trivet-1000-experiments/20261124T090000.000000-4711`,
	}
	port := addPageFlag(c, "serve the page on `PORT`; 0: any free one (default 7070, or any free one if that is taken)")
	return c, func(ctx context.Context, in invocation) int {
		if in.isWrong(port.check(), cli.Unexpected(in.args, 1)) {
			return exitUsage
		}
		dir, err := in.namedRun()
		if err != nil {
			return in.done(err)
		}
		source, err := feed.FollowRun(dir)
		if err != nil {
			if _, up := record.ReadFleet(dir); up == nil {
				err = fmt.Errorf("%s is the directory of a trivet up, which has a page of its own while it runs: want that of a trivet run", dir)
			}
			in.isWrong(err)
			return exitUsage
		}
		listener, err := port.listen(ctx)
		if err != nil {
			return in.done(errors.Join(err, source.Close()))
		}
		p := serveRun(listener, source, source, in)
		fmt.Fprintf(in.stdout, "Run directory: %s\nOpen this page in a browser; Ctrl-C ends it:\n\n  %s\n", dir, p.url)
		<-ctx.Done()
		return in.done(errors.Join(p.close("trivet view has ended."), source.Close()))
	}
}

// serveRun serves the page of a run directory, from a source of it.
func serveRun(listener net.Listener, run *feed.RunSource, source dashboard.Source, in invocation) *servedPage {
	return servePage(listener, dashboard.Options{
		Source: source,
		Stories: func(trial int, _ string) string {
			if dir, ok := run.TrialDir(trial); ok {
				return dir
			}
			return ""
		},
		Problem: func(err error) { printErrors(in.stderr, fmt.Errorf("the page: %w", err)) },
	})
}

// A pageFlag is --dashboard of a command that takes any free port if the usual one is taken.
type pageFlag struct {
	text  string
	given func() bool
}

func addPageFlag(c *cobra.Command, usage string) *pageFlag {
	f := &pageFlag{given: func() bool { return c.Flags().Changed("dashboard") }}
	c.Flags().StringVar(&f.text, "dashboard", "", usage)
	completeFlag(c, "dashboard", "0")
	return f
}

// check checks the value.
func (f *pageFlag) check() error {
	if _, err := parsePort(f.text); err != nil && f.given() {
		return fmt.Errorf("--dashboard is %q: want a port, 1 to 65535, or 0 for any", f.text)
	}
	return nil
}

// listen takes the port.
func (f *pageFlag) listen(ctx context.Context) (net.Listener, error) {
	const bind = "127.0.0.1"
	if f.given() {
		port, _ := strconv.Atoi(f.text) // It was checked.
		listener, err := listenDashboard(ctx, bind, port)
		if _, busy := errors.AsType[*fleet.BusyError](err); busy {
			err = fmt.Errorf("%w; choose another by --dashboard (0: any free one)", err)
		}
		return listener, err
	}
	listener, err := listenDashboard(ctx, bind, dashboardPort)
	if _, busy := errors.AsType[*fleet.BusyError](err); busy {
		return listenDashboard(ctx, bind, 0)
	}
	return listener, err
}
