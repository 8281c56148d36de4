package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"trivet/internal/cli"
	"trivet/lab/record"
)

func completionCommand() (*cobra.Command, action) {
	c := cli.Completion("trivet")
	c.Long += "\nInstance names (trivet logs), experiment files and run directories are completed, too."
	write := c.RunE
	c.RunE = nil // The action runs it.
	return c, func(_ context.Context, in invocation) int {
		if len(in.args) != 1 || !slices.Contains(c.ValidArgs, in.args[0]) {
			in.isWrong(write(c, in.args))
			return exitUsage
		}
		if in.isWrong() {
			return exitUsage
		}
		return in.done(write(c, in.args))
	}
}

// manCommand is for make man.
func manCommand() (*cobra.Command, action) {
	c := &cobra.Command{Use: "man DIR", Short: "write the manual pages to a directory", Hidden: true}
	return c, func(_ context.Context, in invocation) int {
		var err error
		if len(in.args) == 0 {
			err = errors.New("which directory?")
		}
		if in.isWrong(err, cli.Unexpected(in.args, 1)) {
			return exitUsage
		}
		for _, page := range append(c.Root().Commands(), c.Root()) {
			page.Long += "\n\nExit codes: " + page.Annotations[exitCodes]
			page.DisableAutoGenTag = true
		}
		header := doc.GenManHeader{Source: "trivet " + c.Root().Version, Manual: "Trivet"}
		return in.done(errors.Join(os.MkdirAll(in.args[0], 0o777), doc.GenManTree(c.Root(), &header, in.args[0])))
	}
}

// completeFlag makes a shell complete the values of a flag from a list; without one there is nothing to complete.
func completeFlag(c *cobra.Command, flag string, values ...string) {
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // It fails only where there is no such flag.
}

// completeExperiments completes files *.yaml, and directories.
func completeExperiments(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"yaml"}, cobra.ShellCompDirectiveFilterFileExt
}

// completeProcesses completes the names that trivet logs takes.
func completeProcesses(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	dir, err := newestRun(record.Base(), "")
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	_, names, _ := record.FindLog(dir, "")
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeRuns completes run directories, the newest first; any other path as the shell does.
func completeRuns(_ *cobra.Command, args []string, written string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	runs, _ := record.Runs(experimentsBase())
	runs = slices.DeleteFunc(runs, func(dir string) bool { return !strings.HasPrefix(dir, written) })
	if len(runs) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	return runs, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
