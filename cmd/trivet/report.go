package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"trivet/internal/cli"
	"trivet/lab/feed"
	"trivet/lab/page"
	"trivet/lab/record"
	"trivet/lab/report"
)

func reportCommand() (*cobra.Command, action) {
	names := []string{"text", "json", "junit", "markdown", "html"}
	formats := map[string]func(in invocation, dir string) (usage, err error){
		"text": reportFormat(func(in invocation, r *report.Run) error {
			out := newOutcome(in, false)
			out.text().Run(r)
			return out.out.err
		}),
		"json":     reportFormat(func(in invocation, r *report.Run) error { return report.JSON(in.stdout, r) }),
		"junit":    reportFormat(func(in invocation, r *report.Run) error { return report.JUnit(in.stdout, r) }),
		"markdown": reportFormat(func(in invocation, r *report.Run) error { return report.Markdown(in.stdout, r) }),
		"html":     reportPage,
	}
	c := &cobra.Command{
		Use:   "report [--format FORMAT] [RUN_DIR]",
		Short: "print an earlier run's report as text, JSON, JUnit, Markdown or HTML",
		Long: `Print a run's report, rebuilt from its records.

  RUN_DIR  run directory printed by trivet run (default: the newest)

html is one page that needs no other file and no network: the replay of each
trial, the verdicts, and the stories of requests that failed.`,
		ValidArgsFunction: completeRuns,
		Annotations: map[string]string{exitCodes: `0 report written, whatever its verdict; 1 no run yet, or writing
failed; 2 usage error, or RUN_DIR is not a run directory.`},
		Example: `  trivet report
  trivet report --format html > report.html
  trivet report --format junit > junit.xml
  trivet report --format json |
    jq '.experiments[].variants[].trials[].phases[].groups[] |
      [.name, .metrics.failed]'`,
	}
	format := c.Flags().String("format", "text", "`FORMAT`: text; json: one document, durations in nanoseconds; junit: for CI; markdown: a page like experiments/README.md; html: the page of trivet view as one file")
	completeFlag(c, "format", names...)
	return c, func(_ context.Context, in invocation) int {
		var err error
		if formats[*format] == nil {
			err = fmt.Errorf("--format is %q: want text, json, junit, markdown or html", *format)
		}
		if in.isWrong(err, cli.Unexpected(in.args, 1)) {
			return exitUsage
		}
		dir, err := in.namedRun()
		if err != nil {
			return in.done(err)
		}
		usage, err := formats[*format](in, dir)
		if in.isWrong(usage) {
			return exitUsage
		}
		return in.done(err)
	}
}

// reportFormat reads a run directory, and writes the report on it.
func reportFormat(write func(invocation, *report.Run) error) func(invocation, string) (usage, err error) {
	return func(in invocation, dir string) (usage, err error) {
		r, err := report.From(dir)
		if err != nil {
			return err, nil
		}
		return nil, write(in, r)
	}
}

// reportPage writes the report as a page.
func reportPage(in invocation, dir string) (usage, err error) {
	if _, err := record.ReadIndex(dir); err != nil {
		return err, nil
	}
	messages, err := feed.OfFile(dir, feed.StoryBudget)
	if err != nil {
		return nil, err
	}
	if isTerminal(in.stdout) {
		fmt.Fprintln(in.stderr, "trivet: HTML is for a browser; write it to a file: trivet report --format html > report.html")
	}
	if err := page.WriteFile(in.stdout, slices.Values(messages)); err != nil {
		return nil, fmt.Errorf("write report: %w", err)
	}
	return nil, nil
}
