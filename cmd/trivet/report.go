package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"trivet/internal/cli"
	"trivet/lab/report"
)

func reportCommand() (*cobra.Command, action) {
	names := []string{"text", "json", "junit", "markdown"}
	formats := map[string]func(invocation, *report.Run) error{
		"text": func(in invocation, r *report.Run) error {
			out := newOutcome(in, false)
			out.text().Run(r)
			return out.out.err
		},
		"json":     func(in invocation, r *report.Run) error { return report.JSON(in.stdout, r) },
		"junit":    func(in invocation, r *report.Run) error { return report.JUnit(in.stdout, r) },
		"markdown": func(in invocation, r *report.Run) error { return report.Markdown(in.stdout, r) },
	}
	c := &cobra.Command{
		Use:   "report [--format FORMAT] [RUN_DIR]",
		Short: "print an earlier run's report as text, JSON, JUnit or Markdown",
		Long: `Print a run's report, rebuilt from its records.

  RUN_DIR  run directory printed by trivet run (default: the newest)`,
		ValidArgsFunction: completeRuns,
		Annotations: map[string]string{exitCodes: `0 report written, whatever its verdict; 1 no run yet, or writing
failed; 2 usage error, or RUN_DIR is not a run directory.`},
		Example: `  trivet report
  trivet report --format junit > junit.xml
  trivet report --format json |
    jq '.experiments[].variants[].trials[].phases[].groups[] |
      [.name, .metrics.failed]'`,
	}
	format := c.Flags().String("format", "text", "`FORMAT`: text; json: one document, durations in nanoseconds; junit: for CI; markdown: a page like experiments/README.md")
	completeFlag(c, "format", names...)
	return c, func(_ context.Context, in invocation) int {
		var err error
		if formats[*format] == nil {
			err = fmt.Errorf("--format is %q: want text, json, junit or markdown", *format)
		}
		if in.isWrong(err, cli.Unexpected(in.args, 1)) {
			return exitUsage
		}
		if len(in.args) == 0 {
			newest, err := newestRun(experimentsBase(), "trivet run experiments/kill-one.yaml")
			if err != nil {
				return in.done(err)
			}
			in.args = []string{newest}
		}
		r, err := report.From(in.args[0])
		if in.isWrong(err) {
			return exitUsage
		}
		return in.done(formats[*format](in, r))
	}
}
