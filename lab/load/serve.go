package load

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// gcPercent is GOGC: with 100 the 99th percentile of lateness at 5,000 requests/s was twice that with 400.
const gcPercent = 400

var errParentGone = errors.New("its standard input has ended: the program that started it is gone")

// Serve implements `trivet load`: it reads one Plan from stdin (one line of JSON), carries it out, and returns the exit code when every
// request is over. Each request has a deadline, so the time is bounded.
//
// The exit code is 0 when each planned request has its record. It is 1 when that was not possible, with the reason in one line on
// stderr: there was no plan, the records cannot be written, stdin has ended (the parent is gone), or ctx has. Then it ends at once:
// requests in flight are canceled and have no record.
//
// No goroutine is left behind but, while stdin stays open, the one that reads it.
func Serve(ctx context.Context, stdin io.Reader, stderr io.Writer) int {
	// A collection takes a processor for as long as some requests would. The heap has a few megabytes.
	debug.SetGCPercent(gcPercent)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	plans := make(chan Plan, 1)
	go readPlan(stdin, plans, cancel)
	var err error
	select {
	case p := <-plans:
		err = carryOut(ctx, cancel, p)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		fmt.Fprintf(stderr, "trivet load: %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
		return 1
	}
	return 0
}

// readPlan reads the plan, then waits for the end of stdin.
func readPlan(stdin io.Reader, plans chan<- Plan, cancel context.CancelCauseFunc) {
	decoder := json.NewDecoder(stdin)
	var p Plan
	if err := decoder.Decode(&p); err != nil {
		cancel(fmt.Errorf("read plan from standard input: %w", err))
		return
	}
	plans <- p
	// The decoder may have read ahead. That does not matter: nothing else is expected.
	_, _ = io.Copy(io.Discard, stdin)
	cancel(errParentGone)
}

// carryOut returns when every request is over.
func carryOut(ctx context.Context, cancel context.CancelCauseFunc, p Plan) error {
	records, err := newRecorder(p.Records, cancel)
	if err != nil {
		return err
	}
	stalls := newStallMeter()
	metering, end := context.WithCancel(ctx)
	defer end()
	beats, err := newAlarm(metering)
	if err != nil {
		return cmp.Or(err, records.close())
	}
	defer beats.close()
	var meter sync.WaitGroup
	meter.Go(func() { stalls.run(beats) })
	dispatchers, err := newDispatchers(ctx, p, records, stalls)
	if err == nil {
		// The wall clock may be set while the load runs: from here on time is counted from now.
		now := time.Now()
		err = dispatch(ctx, dispatchers, now.Add(p.Begin.Sub(now)))
	}
	for _, d := range dispatchers {
		d.close()
	}
	end()
	meter.Wait()
	// A failed write has ended ctx too: close reports it first.
	return cmp.Or(err, records.close(), context.Cause(ctx))
}
