package trial

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/labtest"
	"trivet/lab/record"
)

// The wall clock is set back by an hour after the plan is made: the events stay in the time of the plan.
func TestEventTimesFollowTheMonotonicClock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := record.NewEventWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	begin := labtest.SetForward(t, start, time.Hour)
	w.CountFrom(begin)
	w.Write(record.Event{Event: record.PhaseStarted})
	w.Write(record.Event{Event: record.ProcessEvent, Time: time.Now()})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	most := time.Since(start)
	for _, e := range events(t, dir) {
		if since := e.Time.Sub(begin.Round(0)); since < 0 || since > most {
			t.Errorf("%+v is %v after the begin, of at most %v", e, since, most)
		}
	}
}

func TestEventLogThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "records"), 0o700), os.Symlink("/dev/full", filepath.Join(dir, record.EventsFile))); err != nil {
		t.Fatal(err)
	}
	w, err := record.NewEventWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	writeEnd(t.Context(), w, nil)
	if err := w.Close(); !errors.Is(err, record.ErrRunDir) || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
}
