package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"

	"trivet/internal/flags"
	"trivet/internal/nearest"
	"trivet/lab/fleet"
	"trivet/lab/load"
	"trivet/lab/report"
)

const reportManual = `trivet report tells again what a run of experiments came to, from the records in its run folder.

  trivet report [--as FORMAT] [RUN]

  RUN          a run folder, as trivet run prints it (default: the newest)
  --as FORMAT  text (default); json, one document, durations in nanoseconds; junit, for CI systems; markdown, a page like
               experiments/README.md

Exit codes: 0 the report was made, whatever it says; 1 there is no run yet; 2 wrong use, or RUN is no run folder.

Examples:

  trivet report
  trivet report --as junit > junit.xml
  trivet report --as json | jq '.experiments[].variants[].phases[].calls[] | [.name, .figures.failed]'
`

// formats are how a report can be made.
var formats = map[string]func(invocation, *report.Run) error{
	"text": func(in invocation, r *report.Run) error {
		out := newOutcome(in, false)
		out.text().Run(r)
		return out.out.fault
	},
	"json":     func(in invocation, r *report.Run) error { return report.JSON(in.stdout, r) },
	"junit":    func(in invocation, r *report.Run) error { return report.JUnit(in.stdout, r) },
	"markdown": func(in invocation, r *report.Run) error { return report.Markdown(in.stdout, r) },
}

// tellAgain is `trivet report`.
func tellAgain(_ context.Context, in invocation) int {
	as := "text"
	set := flags.New("trivet report")
	set.StringVar(&as, "as", as, "")
	words, err := flags.Parse(set, in.args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(in.stdout, in.manual)
		return done
	}
	if formats[as] == nil {
		err = errors.Join(err, fmt.Errorf("--as is %q: did you mean %s? There are text, json, junit, markdown", as, nearest.Name(as, []string{"text", "json", "junit", "markdown"})))
	}
	if err := errors.Join(err, unwanted(words, 1)); err != nil {
		complain(in.stderr, err)
		return misuse
	}
	if len(words) == 0 {
		newest, err := newestExperiments()
		if err != nil {
			complain(in.stderr, err)
			return failed
		}
		words = []string{newest}
	}
	made, err := report.From(words[0])
	if err != nil {
		complain(in.stderr, err)
		return misuse
	}
	if err := formats[as](in, made); err != nil {
		complain(in.stderr, err)
		return failed
	}
	return done
}

func newestExperiments() (string, error) {
	runs, err := fleet.Runs(experimentsBase())
	if err == nil && len(runs) > 0 {
		return runs[0], nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return "", fmt.Errorf("there is no run of experiments in %s yet; type: trivet run experiments/kill-one.yaml", experimentsBase())
}

// generate is `trivet load`, which `trivet run` starts: nobody types it.
func generate(ctx context.Context, in invocation) int { return load.Serve(ctx, os.Stdin, in.stderr) }
