package load

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

var errParentGone = errors.New("its standard input has ended: nobody waits for the load any more")

// Serve is what `trivet load` does: it reads one Plan from stdin (one line of JSON), carries it out, and returns the exit code when every request
// is over; each has a deadline, so that the time is bounded.
//
// The exit code is 0 when each planned request has its record. It is 1 when that was not possible, with the reason in one line on
// stderr: there was no plan, the records cannot be written, stdin has ended (the parent is gone), or ctx has. Then it ends at
// once: what was under way is given up, and has no record.
//
// No goroutine is left behind but, while stdin stays open, the one that reads it.
func Serve(ctx context.Context, stdin io.Reader, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	plans := make(chan Plan, 1)
	go attend(stdin, plans, cancel)
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

// attend reads the plan, and then waits for the end of stdin.
func attend(stdin io.Reader, plans chan<- Plan, cancel context.CancelCauseFunc) {
	decoder := json.NewDecoder(stdin)
	var p Plan
	if err := decoder.Decode(&p); err != nil {
		cancel(fmt.Errorf("standard input is to be a plan: %w", err))
		return
	}
	plans <- p
	// The decoder may have read ahead, and that does not matter: nothing is expected.
	_, _ = io.Copy(io.Discard, stdin)
	cancel(errParentGone)
}

// carryOut returns when every request is over.
func carryOut(ctx context.Context, cancel context.CancelCauseFunc, p Plan) error {
	records, err := record(p.Records, cancel)
	if err != nil {
		return err
	}
	heart := newHeart()
	alive, end := context.WithCancel(ctx)
	var beating sync.WaitGroup
	beating.Go(func() { heart.live(alive) })
	players, err := recruit(p, records, heart)
	if err == nil {
		// The wall clock may be set while the load runs: from here on time is counted from now.
		now := time.Now()
		play(ctx, players, now.Add(p.Begin.Sub(now)))
	}
	for _, player := range players {
		player.caller.close()
	}
	end()
	beating.Wait()
	// What could not be written has ended ctx too: close tells it first.
	return cmp.Or(err, records.close(), context.Cause(ctx))
}
