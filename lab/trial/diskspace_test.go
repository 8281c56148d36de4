package trial

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

func TestCheckSpace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := checkSpace(dir, 1); err != nil {
		t.Error(err)
	}
	err := checkSpace(dir, math.MaxUint64)
	if !errors.Is(err, record.ErrRunDir) || !strings.Contains(err.Error(), dir+" has ") || !strings.Contains(err.Error(), "set TMPDIR") {
		t.Errorf("got %v", err)
	}
	if err := checkSpace(filepath.Join(dir, "nothing"), 1); !errors.Is(err, record.ErrRunDir) || !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
	// A need just above what is free is not said to be the same.
	if err := checkSpace("/proc", 1); !errors.Is(err, record.ErrRunDir) || !strings.Contains(err.Error(), "has 0 MB free, and the records need 1") {
		t.Errorf("got %v", err)
	}
}

// The event log says why: the error on the screen is gone soon.
func TestTrialWithoutRoomForItsRecordsDoesNotStart(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	s := setup(t, during(time.Second), f.start)
	var stat unix.Statfs_t
	if err := unix.Statfs(s.Dir, &stat); err != nil {
		t.Fatal(err)
	}
	s.Scenario.Loads = []scenario.Load{httpLoad(2 * float64(stat.Bavail) * float64(stat.Bsize) / perRequest)}
	if err := Run(t.Context(), s); !errors.Is(err, record.ErrRunDir) {
		t.Errorf("got %v", err)
	}
	checkNoLoad(t, s, "set TMPDIR to a directory with room")
	if len(f.calls) > 0 {
		t.Errorf("something was started: %q", f.calls)
	}
}

func TestDirectoryThatCannotBeUsedIsAnError(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	s := setup(t, during(time.Second), f.start)
	if err := os.WriteFile(filepath.Join(s.Dir, "records"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), s); !errors.Is(err, record.ErrRunDir) || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("got %v", err)
	}
	all := series(t, f.start, "one")
	all.Dir = filepath.Join(s.Dir, "records", "run")
	done := false
	all.Done = func() { done = true }
	if err := all.Run(t.Context()); !errors.Is(err, record.ErrRunDir) || !strings.Contains(err.Error(), "not a directory") || done || len(f.calls) > 0 {
		t.Errorf("got %v, done: %v, %q", err, done, f.calls)
	}
}
