//go:build slow

package browser

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"trivet/lab/labtest"
)

// TestSavedExperimentRuns runs what the page saves. Its expectations are what was seen, so a busy machine may fail them or make it invalid.
func TestSavedExperimentRuns(t *testing.T) {
	t.Parallel()
	s := up(t)
	path := filepath.Join(t.TempDir(), "saved.yaml")
	if err := os.WriteFile(path, []byte(saved(t, s)), 0o644); err != nil {
		t.Fatal(err)
	}
	output, err := command(t, s.tmp, "run", "--nginx", labtest.Nginx(t).Path, path).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1 && exit.ExitCode() != 3) {
		t.Errorf("trivet run: %v\n%s", err, output)
	}
}
