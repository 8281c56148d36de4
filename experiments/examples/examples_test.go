// Package examples tests the example experiments, each of which shows one thing that an experiment can ask, and those of the policies.
package examples

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
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
	bin := programs(t)
	nginx := labtest.Nginx(t).Path
	for n, file := range files {
		if testing.Short() && n%3 != 0 {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			const invalid, tries = 3, 5
			for try := 1; ; try++ {
				var output bytes.Buffer
				run := exec.CommandContext(t.Context(), filepath.Join(bin, "trivet"), "run", "--nginx", nginx, file)
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

// programs builds trivet and whoami, once, and returns their directory.
func programs(t *testing.T) string {
	t.Helper()
	build.Do(func() {
		if bin, buildErr = os.MkdirTemp("", "trivet-test-"); buildErr != nil {
			return
		}
		command := exec.Command("go", "build", "-o", bin, "trivet/cmd/...")
		command.Stderr = os.Stderr
		buildErr = command.Run()
	})
	if buildErr != nil {
		t.Fatal(buildErr)
	}
	return bin
}

var (
	build    sync.Once
	bin      string
	buildErr error
)

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(bin)
	os.Exit(code)
}
