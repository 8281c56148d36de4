package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"trivet/bench/proc"
	"trivet/lab/feed"
)

// Limits.
const (
	mostOfMachine = 3.0       // percent, by trivet with an open page
	mostOfCore    = 100.0 / 3 // percent, by the browser
	mostGrowth    = 1.1       // of the browser's heap
	heldRate      = 0.95      // of the load, or the row counts for nothing
)

// settle is how long a change has to take effect before something is measured.
const settle = 2 * time.Second

// measure measures everything, on a stack of its own.
func measure(ctx context.Context, o options, say func(string)) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "trivet-bench-page-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // nginx's workers are another user.
		return nil, err
	}
	s, err := start(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	say("trivet up is up; measuring it without load")
	idle := row{what: "trivet, no load and no page", unit: "% of the machine"}
	if err := wait(ctx, settle); err != nil {
		return nil, err
	}
	if err := s.cpu(ctx, o.slice, &idle); err != nil {
		return nil, err
	}
	if err := s.load(ctx, o.rate); err != nil {
		return nil, err
	}
	alone := row{what: "trivet, load, no page", unit: "% of the machine"}
	page := row{what: "trivet, load, one page", unit: "% of the machine"}
	sent := row{what: "feed to one page", unit: "kB/s"}
	for block := range o.blocks {
		say(fmt.Sprintf("block %d of %d", block+1, o.blocks))
		if err := s.block(ctx, o, &alone, &page, &sent); err != nil {
			return nil, err
		}
	}
	added := row{what: "the feed: that less no load and no page", unit: "% of the machine", limit: fmt.Sprintf("≤ %v", mostOfMachine), met: func(v float64) bool { return v <= mostOfMachine }}
	for _, used := range page.values {
		added.values = append(added.values, used-idle.values[0])
	}
	rows = []row{idle, alone, page, added, sent}
	if !o.browser {
		return rows, nil
	}
	browser, err := s.browser(ctx, o, say)
	return append(rows, browser...), err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// block measures trivet without a page and with one that reads the feed.
func (s *stack) block(ctx context.Context, o options, alone, page, sent *row) error {
	if err := wait(ctx, settle); err != nil {
		return err
	}
	begin := time.Now()
	if err := s.cpu(ctx, o.slice, alone); err != nil {
		return err
	}
	if err := s.held(ctx, o, begin, alone); err != nil {
		return err
	}
	var size atomic.Int64
	reading, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- s.messages(reading, func(_ feed.Message, n int) bool {
			size.Add(int64(n))
			return true
		})
	}()
	err := wait(ctx, settle)
	if err == nil {
		begin = time.Now()
		before := size.Load()
		err = s.cpu(ctx, o.slice, page)
		sent.values = append(sent.values, float64(size.Load()-before)/1000/time.Since(begin).Seconds())
	}
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	return s.held(ctx, o, begin, page)
}

// cpu adds which part of the machine the process of trivet up used in a time: without its children, which are what it would run anyway.
func (s *stack) cpu(ctx context.Context, d time.Duration, r *row) error {
	begin := time.Now()
	before, err := proc.CPU([]int{s.process.PID})
	if err != nil {
		return err
	}
	if err := wait(ctx, d); err != nil {
		return err
	}
	after, err := proc.CPU([]int{s.process.PID})
	r.values = append(r.values, 100*(after-before).Seconds()/time.Since(begin).Seconds()/float64(runtime.NumCPU()))
	return err
}

// held notes it if the load of a time since begin was not sent.
func (s *stack) held(ctx context.Context, o options, begin time.Time, r *row) error {
	rate, err := s.rate(ctx, begin, begin.Add(o.slice))
	if err == nil && rate < heldRate*o.rate {
		r.note = fmt.Sprintf("only %.0f requests/s were sent", rate)
	}
	return err
}
