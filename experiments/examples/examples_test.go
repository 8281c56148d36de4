// Package examples tests the example experiments, each of which shows one thing that an experiment can ask, and those of the policies.
package examples

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"trivet/lab/labtest"
)

// Each example and each policy passes; with -short, as in CI, each third. A run that is invalid says only that the machine was busy, or a defect that comes again.
func TestExamplesPass(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	policies, err2 := filepath.Glob("../policies/*.yaml")
	if err != nil || err2 != nil || len(files) < 15 || len(policies) < 6 {
		t.Fatalf("%d examples, %d policies, errors %v, %v", len(files), len(policies), err, err2)
	}
	files = append(files, policies...)
	nginx := labtest.Nginx(t).Path
	for n, file := range files {
		if testing.Short() && n%3 != 0 {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			const invalid, tries = 3, 5
			for try := 1; ; try++ {
				var output bytes.Buffer
				run := exec.CommandContext(t.Context(), filepath.Join(programs, "trivet"), "run", "--nginx", nginx, file)
				run.Env = append(os.Environ(), "TMPDIR="+passable(t))
				run.Stdout, run.Stderr = &output, &output
				err := run.Run()
				if err == nil {
					return
				}
				if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != invalid || try == tries {
					t.Fatalf("try %d: %v\n%s", try, err, &output)
				}
			}
		})
	}
}

// passable is a temporary directory that nginx's workers, which are not root, may pass through.
func passable(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "trivet-test-")
	if err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// programs is the directory of trivet, whoami and front.
var programs string

func TestMain(m *testing.M) {
	os.Exit(labtest.WithPrograms(func(dir string) int {
		programs = dir
		return m.Run()
	}, "trivet", "whoami", "front"))
}
