package load

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// An alarm that woke early would make a start before its planned time; one that missed its event would not wake at all.
func TestAlarmWakesAtItsTimeAndNotBefore(t *testing.T) {
	t.Parallel()
	a, err := newAlarm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		// Also times that have passed, and waits that are too short for the timer.
		until := time.Now().Add(time.Duration(rng.Int64N(int64(300*time.Microsecond))) - 50*time.Microsecond)
		if err := a.wait(until); err != nil {
			t.Fatal(err)
		}
		if early := time.Until(until); early > 0 {
			t.Fatalf("it woke %v early", early)
		}
	}
}

func TestAlarmWakesWhenContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	a, err := newAlarm(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	time.AfterFunc(50*time.Millisecond, cancel)
	for range 2 { // Also the next time.
		if err := a.wait(time.Now().Add(time.Hour)); err == nil {
			t.Error("it waited for an hour")
		}
	}
}

// A load whose timer fails must not look like one that sent everything.
func TestFailedAlarmEndsLoadWithError(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second, get(10))
	p.HTTP = quick(t)
	dispatchers, err := newDispatchers(newHorizon(t.Context(), p.Begin, p.For), p, nil, newStallMeter())
	if err != nil {
		t.Fatal(err)
	}
	dispatchers[0].alarm.close()
	if err := dispatch(t.Context(), dispatchers, time.Now()); err == nil {
		t.Error("no error")
	}
}
