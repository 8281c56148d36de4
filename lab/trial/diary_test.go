package trial

import (
	"testing"
	"time"
	"unsafe"

	"trivet/lab/fleet"
	"trivet/lab/ledger"
)

// The wall clock is set back by an hour after the run has begun: the events stay in the time of its plan.
func TestAClockThatIsSet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := openDiary(dir)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	begin := setForward(began, time.Hour)
	if by := begin.Round(0).Sub(began.Round(0)); by != time.Hour || begin.Sub(began) != 0 {
		t.Fatalf("package time has other insides: %v later by the wall clock, %v by the monotonic one", by, begin.Sub(began))
	}
	d.from(begin)
	d.write(ledger.Event{Event: ledger.PhaseBegan})
	d.process(fleet.Event{Time: time.Now(), Kind: fleet.Ready, Name: "whoami-1"})
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	most := time.Since(began)
	for _, e := range events(t, dir) {
		if since := e.Time.Sub(begin.Round(0)); since < 0 || since > most {
			t.Errorf("%+v is %v after the begin, of at most %v", e, since, most)
		}
	}
}

// setForward is a time with another wall clock and the same monotonic one: no clock need be set for it. Seconds of the wall clock begin at
// bit 30 of a Time that has both.
func setForward(t time.Time, by time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(by/time.Second) << 30
	return t
}
