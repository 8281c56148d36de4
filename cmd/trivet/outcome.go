package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"trivet/lab/experiment"
	"trivet/lab/report"
)

// errWriter keeps the first error of a writer, and writes nothing after it.
type errWriter struct {
	io.Writer
	err error
}

func (w *errWriter) Write(p []byte) (n int, err error) {
	if w.err == nil {
		n, w.err = w.Writer.Write(p)
	}
	return n, w.err
}

// outcome prints how trivet run or trivet check ended, as text or as JSON, and returns the exit code.
type outcome struct {
	in     invocation
	out    *errWriter // in.stdout
	json   bool
	starts bool // the command starts processes if nothing is wrong
}

func newOutcome(in invocation, json bool) outcome {
	return outcome{in: in, out: &errWriter{Writer: in.stdout}, json: json}
}

func (o outcome) say(text string) { fmt.Fprintln(o.in.stderr, "trivet:", text) }

func (o outcome) text() report.Text { return report.Text{Writer: o.out, Color: useColor(o.in.stdout)} }

// document writes the JSON document of a command that ends without a report.
func (o outcome) document(r refusal) {
	out := json.NewEncoder(o.out)
	out.SetEscapeHTML(false)
	_ = out.Encode(r) // o.out keeps the error.
}

// refused reports why nothing is started. After an interruption, what nginx said is no error of the user's.
func (o outcome) refused(ctx context.Context, err error) int {
	if _, usage := errors.AsType[usageError](err); usage && ctx.Err() == nil {
		return o.misused(err)
	}
	return o.failed(ctx, err)
}

// misused reports all that is wrong with the command line or the files.
func (o outcome) misused(err error) int {
	if o.json {
		o.document(refusal{Code: exitUsage, Errors: locate(err)})
		return exitUsage
	}
	printErrors(o.in.stderr, err)
	if o.starts {
		o.say("nothing was started")
	}
	return exitUsage
}

// failed reports why there is no report.
func (o outcome) failed(ctx context.Context, err error) int {
	verdict := report.Error
	if ctx.Err() != nil {
		verdict = report.Interrupted
	}
	if o.json {
		o.document(refusal{Code: verdict.Code(), Verdict: verdict, Error: err.Error()})
	} else if verdict == report.Error {
		printErrors(o.in.stderr, err)
	}
	return verdict.Code()
}

// experiment prints the report of one experiment.
func (o outcome) experiment(e report.Experiment) {
	if !o.json {
		o.text().Experiment(e)
	}
}

// complete prints what remains of the report after all experiments.
func (o outcome) complete(r *report.Run, runErr error) int {
	if runErr != nil && r.Verdict != report.Interrupted {
		r.Verdict, r.Code = report.Error, report.Error.Code()
	}
	if o.json {
		_ = report.JSON(o.out, r) // o.out keeps the error.
	} else {
		o.text().Summary(r)
	}
	if o.out.err != nil {
		runErr = errors.Join(runErr, fmt.Errorf("write report: %w; to print it again, run: trivet report", o.out.err))
	}
	if runErr != nil && r.Verdict != report.Interrupted {
		printErrors(o.in.stderr, runErr) // Also what could not be written to the run directory.
		return report.Error.Code()
	}
	return r.Code
}

// refusal is the JSON document of a command that ends without a report.
type refusal struct {
	Code    int            `json:"code"`
	Verdict report.Verdict `json:"verdict,omitempty"`
	Error   string         `json:"error,omitempty"`
	Errors  []located      `json:"errors,omitempty"`
}

// located is an error, with its place in a file if it has one.
type located struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

// locate takes joined errors apart, however deep.
func locate(err error) []located {
	if usage, ok := err.(usageError); ok {
		return locate(usage.error)
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []located
		for _, one := range joined.Unwrap() {
			all = append(all, locate(one)...)
		}
		return all
	}
	switch f := err.(type) {
	case *experiment.Diagnostic:
		return []located{{f.File, f.Line, f.Column, f.Message}}
	case *fs.PathError:
		return []located{{File: f.Path, Message: f.Err.Error()}}
	}
	return []located{{Message: err.Error()}}
}
