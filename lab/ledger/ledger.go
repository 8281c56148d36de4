// Package ledger joins what the three witnesses of each request (client, nginx, instance) have written down, under the request's id, and
// tells whether their words fit together; see [Breach] for the rules. It counts as it goes ([Figures]), and says what a fair share
// is ([Figures.Fair]).
//
// A [Ledger] reads a run folder, also while the run is going on: the view of a run and the report on its files are the same code over
// the same records. A [Book] is the join itself, and knows no files.
package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"trivet/lab/load"
)

// A Ledger is a Book that is filled from the files of a run folder. It is not for several goroutines at once.
type Ledger struct {
	*Book
	files []*source
}

// A source is one file of records, and what to do with each.
type source struct {
	tail
	name  string
	parse func(text []byte) (record, error)
	next  *record // read, and not yet taken
	faults
}

// A record is one line, ready to be taken.
type record struct {
	version int
	want    int
	time    time.Time
	take    func() error
}

// faults counts lines that are no records, and keeps the first.
type faults struct {
	lines, versions         int
	firstLine, firstVersion string
}

// Open begins a ledger on a run folder, whose scene must be there. The files of records may come later.
func Open(dir string) (*Ledger, error) {
	scene, err := readScene(dir)
	if err != nil {
		return nil, err
	}
	l := &Ledger{Book: NewBook(scene)}
	add := func(name string, parse func([]byte) (record, error)) {
		l.files = append(l.files, &source{tail: tail{path: filepath.Join(dir, name)}, name: name, parse: parse})
	}
	add(EventsFile, func(text []byte) (record, error) {
		var e Event
		err := json.Unmarshal(text, &e)
		return record{e.V, SceneVersion, e.Time, func() error {
			over := l.Ending().Event == Ended
			l.Event(e)
			if over {
				return fmt.Errorf("%w: event %q after event %q", errNoRecord, e.Event, Ended)
			}
			return nil
		}}, err
	})
	add(InstancesFile, func(text []byte) (record, error) {
		var c Call
		err := json.Unmarshal(text, &c)
		return record{c.V, callVersion, c.Time, func() error {
			if err := c.impossible(); err != nil {
				return err
			}
			return l.Call(c)
		}}, err
	})
	add(NginxFile, func(text []byte) (record, error) {
		line, err := parseNginx(text)
		return record{line.V, nginxVersion, line.when(), func() error { return l.Nginx(line) }}, err
	})
	add(ClientFile, func(text []byte) (record, error) {
		r, err := parseClient(text)
		return record{r.V, load.RecordVersion, r.Planned.Add(time.Duration(r.Latency) * time.Microsecond), func() error {
			if err := scene.impossible(r); err != nil {
				return err
			}
			return l.Client(r)
		}}, err
	})
	return l, nil
}

// Scene is the run folder's.
func (l *Ledger) Scene() Scene { return l.scene }

// Advance reads what has been written since. Of several files it always takes the record that is the oldest, so that the records of
// a request come close to each other and little is kept waiting, however much there is to read. A last line without its end waits for
// the next Advance. What is wrong with records is told by Close; the error is one of reading a file.
func (l *Ledger) Advance() error {
	for {
		var oldest *source
		for _, s := range l.files {
			if err := s.peek(); err != nil {
				return err
			}
			if s.next != nil && (oldest == nil || s.next.time.Before(oldest.next.time)) {
				oldest = s
			}
		}
		if oldest == nil {
			return nil
		}
		if err := oldest.next.take(); err != nil {
			oldest.noRecord(err)
		}
		oldest.next = nil
	}
}

// Close is for when everything has been written: it reads to the end, judges what is open, and closes the files. Figures can still be
// asked for.
func (l *Ledger) Close() (Balance, error) {
	err := l.Advance()
	balance := l.Settle()
	for _, s := range l.files {
		balance.Reasons = append(balance.Reasons, s.reasons()...)
		err = errors.Join(err, s.close())
	}
	return balance, err
}

// peek reads the next record, if there is a whole one.
func (s *source) peek() error {
	for s.next == nil {
		text, err := s.line()
		if text == nil || err != nil {
			return err
		}
		r, err := s.parse(text)
		switch {
		case err != nil:
			s.noRecord(err)
		case r.version != r.want:
			if s.versions++; s.versions == 1 {
				s.firstVersion = fmt.Sprintf("line %d has version %d, and this program reads %d", s.number, r.version, r.want)
			}
		default:
			s.next = &r
		}
	}
	return nil
}

func (s *source) noRecord(err error) {
	if s.lines++; s.lines == 1 {
		s.firstLine = fmt.Sprintf("line %d: %v", s.number, err)
	}
}

// reasons are what is wrong with the file.
func (s *source) reasons() []string {
	var all []string
	if s.file == nil {
		all = append(all, fmt.Sprintf("%s is not there", s.name))
	}
	if s.lines > 0 {
		all = append(all, fmt.Sprintf("%s has %s that cannot be read as records; the first is %s", s.name, count(s.lines, "line"), s.firstLine))
	}
	if s.versions > 0 {
		all = append(all, fmt.Sprintf("%s has %s of another version; the first: %s", s.name, count(s.versions, "record"), s.firstVersion))
	}
	if len(s.rest()) > 0 {
		all = append(all, fmt.Sprintf("%s ends within a line: %.60q", s.name, s.rest()))
	}
	return all
}
