package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"trivet/internal/words"
	"trivet/lab/report"
)

func listCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "list [--json] [FILE|DIR...]",
		Short: "list experiments",
		Long: `List experiments: file, number of variants, seconds of load and question, before
it in brackets the kind of target, if it is run on one. A file with errors is
listed as such; trivet check shows them.

  DIR  default: experiments, in this directory or Trivet's source tree`,
		ValidArgsFunction: completeExperiments,
		Annotations:       map[string]string{exitCodes: "0 done; 1 writing failed; 2 usage error, no such file; 130 interrupted."},
		Example: `  trivet list
  trivet list --json | jq -r 'select(.valid) | .file'`,
	}
	asJSON := c.Flags().Bool("json", false, "print one JSON object per experiment")
	return c, func(ctx context.Context, in invocation) int {
		paths, err := in.args, error(nil)
		if in.flagErr == nil && len(paths) == 0 {
			paths, err = catalog()
		}
		files, filesErr := filesOf(paths)
		if in.isWrong(err, filesErr) {
			return exitUsage
		}
		return list(ctx, in, files, *asJSON)
	}
}

// entry is one line of trivet list --json.
type entry struct {
	File     string   `json:"file"`
	Name     string   `json:"name,omitempty"`
	Question string   `json:"question,omitempty"`
	Target   string   `json:"target,omitempty"` // kind of target that it is run on; none: this machine
	Variants []string `json:"variants,omitempty"`
	Seconds  float64  `json:"seconds,omitempty"` // of load, all variants together
	Valid    bool     `json:"valid"`
}

func list(ctx context.Context, in invocation, files []string, asJSON bool) int {
	out := &errWriter{Writer: in.stdout}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, path := range files {
		e, err := readEntry(ctx, path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			printErrors(in.stderr, errors.Join(table.Flush(), err))
			return exitUsage
		}
		if ctx.Err() != nil {
			return report.Interrupted.Code()
		}
		switch file := words.Printable(path); {
		case asJSON:
			_ = json.NewEncoder(out).Encode(e) // out keeps the error.
		case !e.Valid:
			fmt.Fprintf(table, "%s\thas errors: trivet check %s\n", file, file)
		default:
			fmt.Fprintf(table, "%s\t%s\t%gs\t%s\n", file, words.Count(len(e.Variants), "variant"), e.Seconds, onTargetOf(e.Target)+words.Printable(e.Question))
		}
	}
	_ = table.Flush() // out keeps the error.
	if out.err != nil {
		return in.done(fmt.Errorf("write list: %w", out.err))
	}
	return exitDone
}

// onTargetOf begins the question of an experiment that is run on a target.
func onTargetOf(kind string) string {
	if kind == "" {
		return ""
	}
	return "[" + kind + "] "
}

func readEntry(ctx context.Context, path string) (entry, error) {
	file, err := read(ctx, path, nil)
	if err != nil {
		return entry{File: path}, err
	}
	e := entry{File: path, Name: file.Name, Question: file.Question, Target: file.Target(), Valid: true, Seconds: file.Length().Seconds()}
	for _, s := range file.Scenarios {
		e.Variants = append(e.Variants, s.Variant)
	}
	return e, nil
}

// catalog is the directory of Trivet's experiments.
func catalog() ([]string, error) {
	for _, dir := range []string{"experiments", filepath.Join(here().module, "experiments")} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return []string{dir}, nil
		}
	}
	return nil, errors.New("no directory experiments here; name a directory or files")
}
