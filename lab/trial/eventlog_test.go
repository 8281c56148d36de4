package trial

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

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
	begin := setForward(start, time.Hour)
	if by := begin.Round(0).Sub(start.Round(0)); by != time.Hour || begin.Sub(start) != 0 {
		t.Fatalf("package time has other internals: %v later by the wall clock, %v by the monotonic clock", by, begin.Sub(start))
	}
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

// setForward is a time with another wall clock and the same monotonic clock, so that no clock need be set. Seconds of the wall clock
// begin at bit 30 of a Time that has both.
func setForward(t time.Time, by time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(by/time.Second) << 30
	return t
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
