package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"trivet/internal/flags"
	"trivet/lab/experiment"
	"trivet/lab/report"
	"trivet/nginx"
)

const checkManual = `trivet check tells everything that is wrong with experiments' files, each with file, line and column, and starts nothing.

  trivet check [flags] FILE|FOLDER...

  --nginx PROGRAM  which nginx is asked whether it accepts the edits (default: the one on PATH, else .cache/nginx/nginx; if there is
                   none, it is not asked)
  --json           {"code":0} or {"code":2,"faults":[{"file":…,"line":…,"column":…,"message":…}]} on stdout

Exit codes: 0 nothing is wrong; 2 something is; 4 the nginx that was found could not be asked, or stdout not be
written to; 130 interrupted.

Example:

  trivet check experiments my-experiment.yaml
`

// check is `trivet check`.
func check(ctx context.Context, in invocation) int {
	call, err := parseRun("trivet check", in.args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(in.stdout, in.manual)
		return done
	}
	out := newOutcome(in, call.json)
	if err != nil {
		return out.misused(err)
	}
	files, faults := readAll(ctx, call.paths)
	if _, wrong := errors.AsType[usageError](faults); faults != nil && !wrong {
		return out.failed(ctx, faults)
	}
	binary, err := here().nginx(ctx, nginx.Find, call.nginx)
	switch {
	case errors.Is(err, nginx.ErrMissing) && call.nginx == "":
		out.say("there is no nginx here, so nobody was asked whether it accepts the edits")
		err = nil
	case err == nil:
		err = accepted(ctx, files, binary)
	}
	if err := errors.Join(faults, err); err != nil {
		return out.refused(ctx, err)
	}
	if call.json {
		out.document(refusal{Code: done})
	} else {
		for _, f := range files {
			fmt.Fprintf(out.out, "%s: nothing wrong\n", report.Printable(f.Path))
		}
	}
	if out.out.fault != nil {
		complain(in.stderr, fmt.Errorf("nothing is wrong, but that could not be written: %w", out.out.fault))
		return report.Broke.Code()
	}
	return done
}

const schemaManual = `trivet schema prints the JSON Schema of an experiment's file, for editors, which complete with it and say what each key means.

  trivet schema > experiment.schema.json

and then at the top of an experiment, for editors with a YAML language server:

  # yaml-language-server: $schema=experiment.schema.json
`

// schema is `trivet schema`.
func schema(_ context.Context, in invocation) int {
	words, err := flags.Parse(flags.New("trivet schema"), in.args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(in.stdout, in.manual)
		return done
	}
	if err := errors.Join(err, unwanted(words, 0)); err != nil {
		complain(in.stderr, err)
		return misuse
	}
	if _, err := in.stdout.Write(experiment.Schema()); err != nil {
		complain(in.stderr, err)
		return failed
	}
	return done
}

const listManual = `trivet list shows what experiments there are: their names, how many variants they have, how long their load takes, and what they ask.

  trivet list [--json] [FILE|FOLDER...]

Without FOLDER it is experiments, here or in Trivet's source tree. A file with faults is listed as such; trivet check tells them.
`

// listed is one line of `trivet list --json`.
type listed struct {
	File     string   `json:"file"`
	Name     string   `json:"name,omitempty"`
	Question string   `json:"question,omitempty"`
	Variants []string `json:"variants,omitempty"`
	Seconds  float64  `json:"seconds,omitempty"` // of load, all variants together
	Valid    bool     `json:"valid"`
}

// list is `trivet list`.
func list(ctx context.Context, in invocation) int {
	asJSON := false
	set := flags.New("trivet list")
	set.BoolVar(&asJSON, "json", false, "")
	paths, err := flags.Parse(set, in.args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(in.stdout, in.manual)
		return done
	}
	if err == nil && len(paths) == 0 {
		paths, err = catalogue()
	}
	all, fault := filesOf(paths)
	if err := errors.Join(err, fault); err != nil {
		complain(in.stderr, err)
		return misuse
	}
	out := &careful{Writer: in.stdout}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, path := range all {
		l, err := look(ctx, path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			complain(in.stderr, errors.Join(table.Flush(), err))
			return misuse
		}
		if ctx.Err() != nil {
			return report.Interrupted.Code()
		}
		switch {
		case asJSON:
			_ = json.NewEncoder(out).Encode(l) // out remembers.
		case !l.Valid:
			fmt.Fprintf(table, "%s\thas faults: trivet check %s\n", report.Printable(l.File), report.Printable(l.File))
		default:
			fmt.Fprintf(table, "%s\t%d %s\t%gs\t%s\n", report.Printable(l.File), len(l.Variants), plural(len(l.Variants), "variant"), l.Seconds, report.Printable(l.Question))
		}
	}
	_ = table.Flush() // out remembers.
	if out.fault != nil {
		complain(in.stderr, fmt.Errorf("the list could not be written: %w", out.fault))
		return failed
	}
	return done
}

func look(ctx context.Context, path string) (listed, error) {
	file, err := read(ctx, path)
	if err != nil {
		return listed{File: path}, err
	}
	l := listed{File: path, Name: file.Name, Question: file.Question, Valid: true, Seconds: file.Length().Seconds() * float64(len(file.Variants))}
	for _, v := range file.Variants {
		l.Variants = append(l.Variants, v.Name)
	}
	return l, nil
}

// catalogue is the folder of experiments.
func catalogue() ([]string, error) {
	for _, dir := range []string{"experiments", filepath.Join(here().module, "experiments")} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return []string{dir}, nil
		}
	}
	return nil, errors.New("there is no folder experiments here; name a folder or files")
}
