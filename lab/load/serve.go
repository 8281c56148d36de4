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
// request is over. Each request has a deadline, so the time is bounded. Further lines say when to finish, see [Generator.Finish].
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
	plans, finishes := make(chan Plan, 1), make(chan time.Duration)
	go readPlan(ctx, stdin, plans, finishes, cancel)
	var err error
	select {
	case p := <-plans:
		err = carryOut(ctx, cancel, p, finishes)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		fmt.Fprintf(stderr, "trivet load: %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
		return 1
	}
	return 0
}

// readPlan reads the plan, then instructions until stdin ends.
func readPlan(ctx context.Context, stdin io.Reader, plans chan<- Plan, finishes chan<- time.Duration, cancel context.CancelCauseFunc) {
	decoder := json.NewDecoder(stdin)
	var p Plan
	if err := decoder.Decode(&p); err != nil {
		cancel(fmt.Errorf("read plan from standard input: %w", err))
		return
	}
	plans <- p
	for {
		var i instruction
		switch err := decoder.Decode(&i); {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			cancel(errParentGone)
			return
		case err == nil && i.Finish <= 0:
			err = fmt.Errorf("finish %v, want more than 0", i.Finish)
			fallthrough
		case err != nil:
			cancel(fmt.Errorf("read instruction from standard input: %w", err))
			return
		}
		select {
		case finishes <- i.Finish:
		case <-ctx.Done():
			return
		}
	}
}

// carryOut returns when every request is over.
func carryOut(ctx context.Context, cancel context.CancelCauseFunc, p Plan, finishes <-chan time.Duration) error {
	records, err := newRecorder(p.Records, cancel)
	if err != nil {
		return err
	}
	stalls := newStallMeter()
	metering, endMeter := context.WithCancel(ctx)
	defer endMeter()
	beats, err := newAlarm(metering)
	if err != nil {
		return cmp.Or(err, records.close())
	}
	defer beats.close()
	var meter sync.WaitGroup
	meter.Go(func() { stalls.run(beats) })
	// The wall clock may be set while the load runs: from here on time is counted from now.
	now := time.Now()
	end := newHorizon(ctx, now.Add(p.Begin.Sub(now)), p.For)
	defer end.close()
	meter.Go(func() { end.take(finishes) })
	dispatchers, err := newDispatchers(end, p, records, stalls)
	if err == nil {
		err = dispatch(ctx, dispatchers, end.begin)
	}
	for _, d := range dispatchers {
		d.close()
	}
	end.close()
	endMeter()
	meter.Wait()
	// A failed write has ended ctx too: close reports it first.
	return cmp.Or(err, records.close(), context.Cause(ctx))
}
