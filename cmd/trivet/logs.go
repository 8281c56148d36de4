package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trivet/internal/cli"
	"trivet/internal/nearest"
	"trivet/lab/record"
)

func logsCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "logs [-f] [NAME]",
		Short: "print the log of a process of the newest trivet up",
		Long: `Print the log of a process of the newest trivet up, also while it runs.

  NAME  whoami-1, whoami-2 …; nginx: its error log; access: its access log, one
        JSON object per line. Without NAME, list the names.`,
		ValidArgsFunction: completeProcesses,
		Annotations:       map[string]string{exitCodes: "0 done; 1 no trivet up yet, or reading failed; 2 usage error, no such\nlog."},
		Example: `  trivet logs -f access
  trivet logs nginx`,
	}
	follow := c.Flags().BoolP("follow", "f", false, "print what is appended, until Ctrl-C")
	return c, func(ctx context.Context, in invocation) int {
		if in.isWrong(cli.Unexpected(in.args, 1)) {
			return exitUsage
		}
		dir, err := newestRun(record.Base(), "trivet up")
		if err != nil {
			return in.done(err)
		}
		name := strings.Join(in.args, "")
		file, names, err := record.FindLog(dir, name)
		switch {
		case err != nil:
			return in.done(err)
		case name == "":
			fmt.Fprintln(in.stdout, strings.Join(names, "\n"))
			return exitDone
		case file == "":
			printErrors(in.stderr, fmt.Errorf("no log %q in %s%s (there are: %s)", name, dir, nearest.Hint(name, names), strings.Join(names, ", ")))
			return exitUsage
		}
		return in.done(show(ctx, in.stdout, file, *follow))
	}
}

// namedRun is the run directory that the arguments name: without any that of the newest trivet run.
func (in invocation) namedRun() (string, error) {
	if len(in.args) > 0 {
		return in.args[0], nil
	}
	return newestRun(experimentsBase(), "trivet run experiments/kill-one.yaml")
}

// newestRun returns the newest run directory in base. Where there is none, the error names the command that makes one.
func newestRun(base, command string) (string, error) {
	runs, err := record.Runs(base)
	switch {
	case err == nil && len(runs) > 0:
		return runs[0], nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	return "", fmt.Errorf("no run in %s yet; start one: %s", base, command)
}

// show copies a log to w; with follow, also what is appended to it until ctx ends.
func show(ctx context.Context, w io.Writer, file string, follow bool) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.Copy(w, f); err != nil || !follow {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
