package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"trivet/internal/words"
	"trivet/lab/experiment"
	"trivet/lab/report"
	"trivet/nginx"
)

func checkCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "check [flags] FILE|DIR...",
		Short: "check experiment files, and start nothing",
		Long: `Report everything that is wrong with experiment files, each error with file, line
and column, and start nothing. If there is an nginx, it checks the edits, too.
With --target it reports what that cannot give, and nothing is done there.`,
		ValidArgsFunction: completeExperiments,
		Annotations: map[string]string{exitCodes: `0 nothing is wrong; 2 something is; 4 nginx could not be run, or
stdout not written to; 130 interrupted.`},
		Example: "  trivet check experiments my-experiment.yaml",
	}
	at := addTargetFlags(c)
	call := addFileFlags(c, `print {"code":0} or {"code":2,"errors":[{"file":…,"line":…,"column":…,"message":…}]}`)
	return c, func(ctx context.Context, in invocation) int {
		out := newOutcome(in, call.json)
		stack, err := at.open(ctx, c)
		if err != nil {
			return out.refused(ctx, errors.Join(in.flagErr, err))
		}
		files, fileErr := call.read(ctx, in, stack)
		if _, usage := errors.AsType[usageError](fileErr); fileErr != nil && !usage || in.flagErr != nil {
			return out.refused(ctx, fileErr)
		}
		if stack != nil {
			return out.checked(ctx, files, fileErr)
		}
		binary, err := here().nginx(ctx, nginx.Find, call.nginx)
		switch {
		case errors.Is(err, nginx.ErrMissing) && call.nginx == "":
			out.say("no nginx found: edits are not checked")
			err = nil
		case err == nil:
			err = checkEdits(ctx, files, binary)
		}
		return out.checked(ctx, files, errors.Join(fileErr, err))
	}
}

// checked says what is wrong with the files, or that nothing is.
func (o outcome) checked(ctx context.Context, files []*experiment.File, err error) int {
	if err != nil {
		return o.refused(ctx, err)
	}
	return o.accepted(files)
}

// accepted says that nothing is wrong with the files.
func (o outcome) accepted(files []*experiment.File) int {
	if o.json {
		o.document(refusal{Code: exitDone})
	} else {
		for _, f := range files {
			fmt.Fprintf(o.out, "%s: nothing wrong\n", words.Printable(f.Path))
		}
	}
	if o.out.err != nil {
		printErrors(o.in.stderr, fmt.Errorf("write result (nothing is wrong): %w", o.out.err))
		return report.Error.Code()
	}
	return exitDone
}
