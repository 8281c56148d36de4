package trial

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/experiment"
	"trivet/lab/fleet"
	"trivet/lab/ledger"
	"trivet/lab/load"
)

func TestRoomy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := roomy(dir, 1); err != nil {
		t.Error(err)
	}
	err := roomy(dir, math.MaxUint64)
	if !errors.Is(err, fleet.ErrRunFolder) || !strings.Contains(err.Error(), dir+" has ") || !strings.Contains(err.Error(), "set TMPDIR") {
		t.Errorf("got %v", err)
	}
	if err := roomy(filepath.Join(dir, "nothing"), 1); !errors.Is(err, fleet.ErrRunFolder) || !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
	// A need just above what is free is not said to be the same.
	if err := roomy("/proc", 1); !errors.Is(err, fleet.ErrRunFolder) || !strings.Contains(err.Error(), "has 0 MB free, and the records want 1") {
		t.Errorf("got %v", err)
	}
}

// A run whose records would not fit is not begun, and its diary says why: the error on the screen is gone soon.
func TestARunThatWouldNotFit(t *testing.T) {
	t.Parallel()
	s := setup(t, fmt.Sprintf(quiet, "1s", ""))
	if dir, err := os.MkdirTemp("/dev/shm", "trivet-test-"); err == nil { // Mostly there is less to fill.
		t.Cleanup(func() { os.RemoveAll(dir) })
		s.Dir = dir
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(s.Dir, &fs); err != nil {
		t.Fatal(err)
	}
	free := float64(fs.Bavail) * float64(fs.Bsize)
	s.Variant.Loads = []experiment.Load{{Name: "http", Protocol: load.HTTP, Call: load.Unary, Deadline: time.Second,
		Rate: experiment.Rate{Shape: experiment.Constant, PerSec: []float64{2 * free / perRequest}}}}
	err := Run(t.Context(), s)
	if !errors.Is(err, fleet.ErrRunFolder) {
		t.Errorf("got %v", err)
	}
	if e := last(t, s.Dir); e.Event != ledger.Broke || !strings.Contains(e.Error, "set TMPDIR to a folder with room") {
		t.Errorf("%+v", e)
	}
	if all := events(t, s.Dir); len(all) != 1 {
		t.Errorf("something was started: %q", words(all))
	}
}

// A folder that cannot be written to is told with the reason.
func TestAFolderThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	s := setup(t, fmt.Sprintf(quiet, "1s", ""))
	if err := os.WriteFile(filepath.Join(s.Dir, "records"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), s); !errors.Is(err, fleet.ErrRunFolder) || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("got %v", err)
	}
	all := series(t, s.File)
	all.Dir = filepath.Join(s.Dir, "records", "run")
	done := false
	all.Done = func() { done = true }
	if err := all.Run(t.Context()); !errors.Is(err, fleet.ErrRunFolder) || !strings.Contains(err.Error(), "not a directory") || done {
		t.Errorf("got %v, done: %v", err, done)
	}
}

// What the diary cannot write is an error of the run, whatever else came of it.
func TestADiaryThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "records"), 0o700), os.Symlink("/dev/full", filepath.Join(dir, ledger.EventsFile))); err != nil {
		t.Fatal(err)
	}
	d, err := openDiary(dir)
	if err != nil {
		t.Fatal(err)
	}
	d.end(t.Context(), nil)
	if err := d.close(); !errors.Is(err, fleet.ErrRunFolder) || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

// An instance that had to be killed did not drain.
func TestADrainThatEndsInAKill(t *testing.T) {
	t.Parallel()
	d, err := openDiary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	for _, test := range []struct {
		event fleet.Event
		want  bool
	}{
		{fleet.Event{Kind: fleet.Died, Name: "whoami-1", Exit: "signal SIGKILL"}, false},
		{fleet.Event{Kind: fleet.Stopped, Name: "whoami-2", Exit: "signal SIGKILL"}, false},
		{fleet.Event{Kind: fleet.Stopped, Name: "whoami-1", Exit: "signal SIGKILL"}, true},
		{fleet.Event{Kind: fleet.Started, Name: "whoami-1"}, false},
		{fleet.Event{Kind: fleet.Stopped, Name: "whoami-1", Exit: "exit code 0"}, false},
	} {
		if d.process(test.event); d.killed("whoami-1") != test.want {
			t.Errorf("after %+v: %v", test.event, !test.want)
		}
	}
}
