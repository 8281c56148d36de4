package session

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/feed"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// watch follows a load until it is over, and reconciles it.
func (s *Session) watch(l *running) {
	err := errors.Join(s.await(l), l.stopSampling())
	s.options.Feed.EndLoad(l.dir)
	s.mu.Lock()
	l.over = true
	problem := l.problem
	switch {
	case s.ctx.Err() != nil:
		problem = ""
	case err != nil:
		problem = err.Error()
	case !l.stopped:
		problem = fmt.Sprintf("the load ended after %s, the longest that there is; start it again", strings.TrimSuffix(strings.TrimSuffix(s.longest.String(), "0s"), "0m"))
	}
	if s.current == l {
		s.current = nil
		s.history.end(min(s.now(), l.end().Sub(s.options.Begin)))
	}
	if problem != "" {
		s.problem = problem
	}
	s.mu.Unlock()
	if problem != "" {
		s.say(feed.Event{Kind: "load", Tone: feed.Bad, Text: problem})
	}
	if err != nil {
		s.abandon(l, err)
	} else {
		s.reconcile(l)
	}
	s.changed()
}

// await returns when the generator has ended. The error says why not as planned.
func (s *Session) await(l *running) error {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-l.generator.Done():
			return l.generator.Wait()
		case <-s.ctx.Done():
			return errors.Join(errClosed, l.generator.Stop())
		case <-second.C:
		}
		late, space := lateness(filepath.Join(l.dir, record.ClientFile)), checkSpace(s.dir, Load{})
		s.mu.Lock()
		l.lateness = late
		if space != nil && !l.stopped {
			l.problem = "the load ended: " + space.Error()
			s.finish(l, l.endIn(stopLead))
		}
		overdue := time.Now().After(l.end().Add(l.manifest.Settle() + grace))
		s.mu.Unlock()
		s.changed()
		if overdue {
			return errors.Join(errors.New("the load generator did not end in time and was killed"), l.generator.Stop())
		}
	}
}

// close ends the event log of a load, which is no longer open.
func (s *Session) close(l *running, last record.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = slices.DeleteFunc(s.open, func(other *running) bool { return other == l })
	last.V, last.Time = record.EventVersion, time.Now()
	l.events.Write(last)
	return l.events.Close()
}

// abandon is for a load that cannot be reconciled: requests have no record.
func (s *Session) abandon(l *running, why error) {
	last := record.Event{Event: record.LabError, Error: why.Error()}
	if errors.Is(why, errClosed) {
		last = record.Event{Event: record.Interrupted, Error: why.Error()}
	}
	why = errors.Join(why, s.close(l, last))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.old = append(s.old, l.dir)
	s.trim()
	if !errors.Is(why, errClosed) {
		s.reconciled.Problem = "a load was not reconciled: " + why.Error()
	}
}

// Waits of a reconciliation: for the last records, and, after a discrepancy, for those that may still come.
var settleTimes = []time.Duration{500 * time.Millisecond, 2 * time.Second, 5 * time.Second}

// reconcile compares all records of a load that has ended, when no process is paused: such a process may have records to write.
func (s *Session) reconcile(l *running) {
	if err := s.settled(); err != nil {
		s.abandon(l, err)
		return
	}
	if err := errors.Join(s.close(l, record.Event{Event: record.Ended}), l.settle()); err != nil {
		s.abandonClosed(l, err)
		return
	}
	var result measure.Result
	for _, wait := range settleTimes {
		select {
		case <-time.After(wait):
		case <-s.ctx.Done():
			return
		}
		var err error
		if result, err = inBackground(l.dir); err != nil {
			s.abandonClosed(l, err)
			return
		}
		if result.DiscrepancyCount == 0 {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.reconciled
	r.Loads++
	for _, protocol := range []string{scenario.HTTP, scenario.GRPC} {
		m, _ := result.Metrics(scenario.Total, protocol)
		r.Requests, r.OK, r.Failed = r.Requests+m.Requests, r.OK+m.OK, r.Failed+m.Failed
	}
	r.Discrepancies += result.DiscrepancyCount
	if result.DiscrepancyCount > 0 && r.Problem == "" {
		d := result.Discrepancies[0]
		r.Problem = d.ID + ": " + d.What
	}
	s.old = append(s.old, l.dir)
	s.trim()
}

// abandonClosed is abandon for a load whose event log is closed.
func (s *Session) abandonClosed(l *running, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.old = append(s.old, l.dir)
	s.trim()
	s.reconciled.Problem = "a load was not reconciled: " + why.Error()
}

// settled returns when no process is paused, or just being ended.
func (s *Session) settled() error {
	for {
		s.mu.Lock()
		waiting := false
		for _, p := range s.processes {
			waiting = waiting || p.paused || p.busy != ""
		}
		s.mu.Unlock()
		if !waiting {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.ctx.Done():
			return errClosed
		}
	}
}

// inBackground measures a load directory with a low priority: what goes on meanwhile must not suffer.
func inBackground(dir string) (result measure.Result, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // Never unlocked: the thread, and its priority, end with the goroutine.
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 10)
		t, e := measure.Open(dir)
		if err = e; e == nil {
			result, err = t.Close()
		}
	}()
	<-done
	return result, err
}
