package trial

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/measure"
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

// The generator ends with its last request, and records of actions follow.
func TestSpaceIsCheckedWhenTheLoadIsOver(t *testing.T) {
	t.Parallel()
	s := setup(t, during(10*time.Minute, wait(9*time.Minute)), newFake(t).start)
	s.Scenario.Loads[0].Rate = scenario.Rate{Shape: scenario.Step, PerSecond: []float64{50, 0}, For: []time.Duration{time.Second, 599 * time.Second}}
	var once sync.Once
	moved := s.Dir + "-moved"
	s.Watch = func(m *measure.Trial) {
		if m.Progress().Protocols[scenario.HTTP].OK == 50 && slices.Equal(holders(t, s.Dir)[record.ClientFile], []int{os.Getpid()}) {
			once.Do(func() {
				if err := os.Rename(s.Dir, moved); err != nil {
					t.Error(err)
				}
			})
		}
	}
	if err := run(t, t.Context(), s); !errors.Is(err, record.ErrRunDir) || !errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
	if err := os.Rename(moved, s.Dir); err != nil {
		t.Fatal(err)
	}
	checkGone(t, s.Dir)
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
