package logstream

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"trivet/lab/record"
)

// A Stream reads the log of one container. Its collector's mutex guards what the state of the container and its lines change.
type Stream struct {
	c      *Collector
	source Source
	done   chan struct{} // closed when nothing is read any more

	up      int   // which start of the container runs, from 1; 0: none
	ups     int   // starts so far
	ending  bool  // it was asked to end
	gone    bool  // it does not start again
	over    bool  // done is closed
	last    int   // the start that was followed last
	failure error // why the last command ended

	records, others position
	bounded         bool // where the trial's lines begin is known
	pending         []line
	starts          map[string]*start
	latest          *start    // of them
	cutoff          time.Time // of nginx: what began earlier is not the trial's
	probed          int       // the latest round of probes of which one has come back
}

// A start is one start of an instance.
type start struct {
	id   string
	base uint64          // its calls up to this one are not the trial's
	open map[uint64]bool // calls that have not ended
}

// Ending says that the container was asked to end: probes need not reach it any more.
func (s *Stream) Ending() { s.set(func() { s.ending = true }) }

// Down says that the container has ended, and may start again.
func (s *Stream) Down() { s.set(func() { s.up = 0 }) }

// Up says that the container has started again, at an address that may be another.
func (s *Stream) Up(at Source) {
	s.set(func() {
		s.source.HTTP, s.source.Announce = at.HTTP, at.Announce || at.Instance != s.source.Instance
		s.source.Instance = at.Instance
		s.ups++
		s.up, s.ending = s.ups+1, false
	})
}

// Gone says that the container has ended, and does not start again.
func (s *Stream) Gone() { s.set(func() { s.up, s.gone = 0, true }) }

func (s *Stream) set(change func()) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	change()
	s.c.notify()
}

// Latest is the ID of the container's latest start of which a record was read; "" if none was.
func (s *Stream) Latest() string {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.latest == nil {
		return ""
	}
	return s.latest.id
}

// Count is how many starts have been announced.
func (s *Stream) Count() int {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return len(s.starts)
}

// Responds returns when the container responds to a probe, and, if it gives records, when a start has been announced beyond so many.
func (s *Stream) Responds(ctx context.Context, announced int) error {
	for {
		s.c.mu.Lock()
		round, failure := max(1, s.c.round), s.failure
		s.c.mu.Unlock()
		once, cancel := context.WithTimeout(ctx, time.Second)
		err := s.c.sendOne(once, s, round)
		cancel()
		come := !s.source.Records
		if err == nil && !come {
			once, cancel := context.WithTimeout(ctx, probeInterval)
			come = s.c.await(once, func() bool { return len(s.starts) > announced })
			cancel()
		}
		if err == nil && come {
			return nil
		}
		select {
		case <-time.After(probeInterval / 4):
		case <-ctx.Done():
			return fmt.Errorf("%s does not respond, or no record of it came after its start: %w", s.source.Name, cmp.Or(failure, err, context.Cause(ctx)))
		}
	}
}

// retryWait is the pause before a stream that broke off is read on.
const retryWait = 250 * time.Millisecond

// run follows the log over all starts of the container. A command that ended is run again: while the container runs, because the stream
// broke off; once after it has ended, to read what the stream may have missed.
func (s *Stream) run() {
	defer s.set(func() { s.over = true; close(s.done) })
	caughtUp := false
	for s.c.ctx.Err() == nil {
		s.c.mu.Lock()
		up, gone := s.up, s.gone
		s.c.mu.Unlock()
		switch {
		case up > 0:
			caughtUp = false
			s.follow(up)
		case !caughtUp:
			caughtUp = true
			s.follow(0)
		case gone:
			return
		}
		if up == 0 && caughtUp && !gone {
			s.c.await(s.c.ctx, func() bool { return s.up > 0 || s.gone })
			continue
		}
		once, cancel := context.WithTimeout(s.c.ctx, retryWait)
		s.c.await(once, func() bool { return s.up != up || s.gone != gone })
		cancel()
	}
}

// follow runs the commands that print the log of one start, 0 for one that has ended, until that ends.
func (s *Stream) follow(up int) {
	ctx, cancel := context.WithCancel(s.c.ctx)
	defer cancel()
	if up == 0 { // It prints what there is, unless the engine has forgotten the container.
		ctx, cancel = context.WithTimeout(s.c.ctx, endTimeout/3)
		defer cancel()
	} else {
		stop := make(chan struct{})
		defer close(stop)
		go s.giveUp(ctx, cancel, up, stop)
	}
	s.c.mu.Lock()
	earlier, since := up > 1 && up != s.last && s.source.Earlier != nil, s.since()
	if up > 0 {
		s.last = up
	}
	s.c.mu.Unlock()
	if earlier {
		_ = s.read(ctx, s.source.Earlier(since)) // The engine may have forgotten it, and what is missing is noticed.
	}
	err := s.read(ctx, s.source.Follow(since))
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.failure = nil; up > 0 && s.up == up && s.c.ctx.Err() == nil {
		s.failure = err
	}
}

// busy reports whether the container runs and has calls that have not ended.
func (s *Stream) busy() bool { return s.up > 0 && s.latest != nil && len(s.latest.open) > 0 }

// giveUp cancels a command that still runs some time after its container has ended.
func (s *Stream) giveUp(ctx context.Context, cancel func(), up int, stop <-chan struct{}) {
	s.c.await(ctx, func() bool { return s.up != up })
	select {
	case <-time.After(endTimeout / 2):
		cancel()
	case <-stop:
	case <-ctx.Done():
	}
}

// since is from when on lines must be printed: a little before the last one that was read. Zero: none was.
func (s *Stream) since() time.Time {
	at := s.records.at
	if at.IsZero() || !s.others.at.IsZero() && s.others.at.Before(at) {
		at = s.others.at
	}
	if at.IsZero() {
		return at
	}
	return at.Add(-time.Second)
}

// read runs one command and takes the lines that it prints. What comes on its standard error is no record.
func (s *Stream) read(ctx context.Context, args []string) error {
	s.c.mu.Lock()
	records, others := cursor{replay: !s.records.at.IsZero()}, cursor{replay: !s.others.at.IsZero()}
	s.c.mu.Unlock()
	lines := func(r io.Reader) { s.lines(r, &records, &others) }
	errs := lines
	if s.source.Piece == 0 {
		errs = nil // An engine that prints both in one stream says on this one why it cannot.
	}
	return s.c.cli.Stream(ctx, lines, errs, args...)
}

// lines takes whole lines. A last one without its end is the beginning of one that another command prints, or was never written.
func (s *Stream) lines(r io.Reader, records, others *cursor) {
	for buffered := bufio.NewReaderSize(r, 64<<10); ; {
		text, err := buffered.ReadBytes('\n')
		if err != nil {
			return
		}
		l, ok := parseLine(text, s.source.Piece)
		if !ok {
			continue
		}
		s.c.mu.Lock()
		s.take(l, records, others)
		s.c.mu.Unlock()
	}
}

// take takes a line that an engine printed, perhaps again.
func (s *Stream) take(l line, records, others *cursor) {
	is := s.isRecord(l.text)
	if !is && s.source.Piece > 0 {
		if torn, next, ok := glued(l); ok {
			s.take(torn, records, others)
			s.take(next, records, others)
			return
		}
	}
	switch {
	case is && s.records.take(records, l.at):
		if s.bounded {
			s.record(l)
		} else if s.pending = append(s.pending, l); s.boundary(l.text) {
			for _, p := range s.pending {
				s.record(p)
			}
			s.pending = nil
		}
	case !is && s.others.take(others, l.at):
		s.other(l.text)
	}
}

func (s *Stream) isRecord(text []byte) (ok bool) {
	if s.source.Nginx {
		_, ok = asEntry(text)
	} else if s.source.Records {
		_, ok = asCall(text)
	}
	return ok
}

// boundary reports whether a line is that of a probe, before which the trial's do not begin.
func (s *Stream) boundary(text []byte) bool {
	if s.source.Nginx {
		e, _ := asEntry(text)
		if s.c.probes[e.ID] == 0 {
			return false
		}
		s.cutoff = e.began()
	} else {
		c, _ := asCall(text)
		if s.c.probes[c.ID] == 0 || c.Event != record.Arrival {
			return false
		}
		s.announce(c.Start, c.Call)
	}
	s.bounded = true
	return true
}

// announce reports a start, before the first of its records.
func (s *Stream) announce(id string, base uint64) *start {
	e := record.Event{Time: time.Now(), Event: record.ProcessEvent, Kind: record.Started, Process: s.source.Name, Start: id}
	if s.source.Announce {
		e.Instance = &s.source.Instance
	}
	s.latest = &start{id: id, base: base, open: map[uint64]bool{}}
	s.starts[id] = s.latest
	s.c.observe(e)
	s.c.notify()
	return s.latest
}

// record takes a record of which it is known where the trial's begin.
func (s *Stream) record(l line) {
	if s.source.Nginx {
		e, _ := asEntry(l.text)
		s.probe(e.ID)
		if !e.began().Before(s.cutoff) {
			s.c.write(s.c.path(record.AccessLogFile), l.text)
		}
		return
	}
	c, _ := asCall(l.text)
	of := s.starts[c.Start]
	if of == nil {
		if len(s.pending) > 0 {
			return // Of a start before the one that the trial found.
		}
		of = s.announce(c.Start, 0)
	}
	if c.Event == record.Arrival {
		s.probe(c.ID)
	}
	if c.Call <= of.base {
		return
	}
	switch c.Event {
	case record.Arrival:
		of.open[c.Call] = true
	case record.Completion:
		delete(of.open, c.Call)
		if len(of.open) == 0 {
			s.c.notify()
		}
	}
	s.c.write(s.c.path(record.InstancesFile), l.text)
}

// probe takes the ID of a request: it may be a probe's that has come back.
func (s *Stream) probe(id string) {
	if round := s.c.probes[id]; round > s.probed {
		s.probed = round
		s.c.notify()
	}
}

// lost is what an instance and nginx log when they could not write a record.
var lost = [][]byte{[]byte("records are incomplete"), []byte("while logging request")}

// other takes a line that is no record.
func (s *Stream) other(text []byte) {
	for _, phrase := range lost {
		if bytes.Contains(text, phrase) {
			s.c.problem("%s could not write its records: %s", s.source.Name, text)
		}
	}
	name := s.source.Log
	if name == "" {
		name = s.source.Name
	}
	s.c.write(record.LogFile(s.c.dir, name), text)
}
