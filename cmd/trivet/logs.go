package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"trivet/internal/flags"
	"trivet/internal/nearest"
	"trivet/lab/fleet"
)

const logsManual = `trivet logs shows the log of a process of the newest run, also while it runs.

  trivet logs [-f] NAME

  NAME   whoami-1, whoami-2 …; nginx is its error log, access its access log (JSON, one line a request)
  -f     follow: show what comes, until Ctrl-C

Without NAME it lists the names.

Examples:

  trivet logs -f access
  trivet logs nginx
`

// logs is `trivet logs`.
func logs(ctx context.Context, in invocation) int {
	follow := false
	set := flags.New("trivet logs")
	set.BoolVar(&follow, "f", false, "")
	words, err := flags.Parse(set, in.args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(in.stdout, in.manual)
		return done
	}
	err = errors.Join(err, unwanted(words, 1))
	if err != nil {
		complain(in.stderr, err)
		return misuse
	}
	dir, err := newestRun()
	if err != nil {
		complain(in.stderr, err)
		return failed
	}
	name := ""
	if len(words) > 0 {
		name = words[0]
	}
	file, names, err := fleet.Log(dir, name)
	switch {
	case err != nil:
		complain(in.stderr, err)
		return failed
	case name == "":
		fmt.Fprintln(in.stdout, strings.Join(names, "\n"))
		return done
	case file == "":
		fmt.Fprintf(in.stderr, "trivet: no log %q in %s: did you mean %s? There are: %s\n", name, dir, nearest.Name(name, names), strings.Join(names, ", "))
		return misuse
	}
	if err := show(ctx, in.stdout, file, follow); err != nil {
		complain(in.stderr, err)
		return failed
	}
	return done
}

func newestRun() (string, error) {
	runs, err := fleet.Runs(fleet.Base())
	if err == nil && len(runs) > 0 {
		return runs[0], nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return "", fmt.Errorf("there is no run in %s yet; type: trivet up", fleet.Base())
}

// show copies a log to w, and with follow what is appended to it until ctx ends.
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
