package record

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"trivet/internal/words"
)

// A Reader reads the records of a trial directory, also while they are being written: of the five files it always takes the record that
// is the oldest, so that the records of one request come close to each other, however much there is to read. It is not safe for
// concurrent use. Any number of Readers may read one directory, and a slow one delays only itself, since it reads files.
type Reader struct {
	files      []*source
	ended      bool // an Ended event was read
	dir        string
	from       map[string]int64  // Manifest.From
	unexpected map[string]string // files that the manifest says there are not, and how it does
}

// A source is one file of records.
type source struct {
	tail
	name              string
	version           int // which it must have
	parse             func(text []byte) (parsed, error)
	next              *parsed // read, but not taken yet
	idle              bool    // it had nothing; it is asked again when no other has anything
	invalid, versions rejected
}

// parsed is a line as a record.
type parsed struct {
	version int
	time    time.Time
	record  any
	invalid error // what is wrong with its values
}

// rejected counts lines that are no records, and keeps the first.
type rejected struct {
	lines int
	first string
}

// NewReader reads the trial directory that has this manifest. The files may come later.
func NewReader(dir string, m Manifest) *Reader {
	r := &Reader{dir: dir, from: m.From, unexpected: make(map[string]string)}
	r.add(dir, EventsFile, EventVersion, decode(func(e Event) parsed { return parsed{e.V, e.Time, e, e.validate()} }))
	if m.Sampled {
		r.add(dir, SamplesFile, SampleVersion, parseSample)
	}
	if !m.Sampled {
		r.unexpected[SamplesFile] = "that the trial has no samples"
	}
	r.addSources(m)
	r.add(dir, ClientFile, ClientVersion, parseClient(m))
	return r
}

// NewFleetReader reads the run directory of trivet up: the records of its instances, and its access log. The files may come later.
func NewFleetReader(dir string) *Reader {
	r := &Reader{dir: dir}
	r.add(dir, InstancesFile, CallVersion, parseCall())
	r.add(dir, AccessLogFile, AccessLogVersion, parseEntry())
	return r
}

// AddLoad reads what only a load has of its directory, which has this manifest: the records of its client, and its samples.
func (r *Reader) AddLoad(dir string, m Manifest) {
	r.add(dir, ClientFile, ClientVersion, parseClient(m))
	if m.Sampled {
		r.add(dir, SamplesFile, SampleVersion, parseSample)
	}
}

// RemoveLoad ends the reading of a directory that AddLoad added.
func (r *Reader) RemoveLoad(dir string) error {
	var errs []error
	r.files = slices.DeleteFunc(r.files, func(s *source) bool {
		gone := s.path == filepath.Join(dir, ClientFile) || s.path == filepath.Join(dir, SamplesFile)
		if gone {
			errs = append(errs, s.close())
		}
		return gone
	})
	return errors.Join(errs...)
}

func (r *Reader) add(dir, name string, version int, parse func([]byte) (parsed, error)) {
	r.files = append(r.files, &source{tail: tail{path: filepath.Join(dir, name), from: r.from[name]}, name: name, version: version, parse: parse})
}

// addSources adds the records of instances and nginx, as far as there are any. Those of nginx may be there, and only of others, if the load
// goes past it.
func (r *Reader) addSources(m Manifest) {
	accessLog, calls := m.Has()
	if !calls {
		r.unexpected[InstancesFile] = "that the target gives no records of instances"
	} else {
		r.add(r.dir, InstancesFile, CallVersion, parseCall())
	}
	switch {
	case accessLog:
		r.add(r.dir, AccessLogFile, AccessLogVersion, parseEntry())
	case !m.Target.AccessLog:
		r.unexpected[AccessLogFile] = "that the target gives no access log"
	}
}

// parseSample reads a line of SamplesFile.
var parseSample = decode(func(s Sample) parsed { return parsed{s.V, s.Time, s, s.validate()} })

// parseEntry reads lines of AccessLogFile.
func parseEntry() func(text []byte) (parsed, error) {
	take := func(l AccessLogEntry) parsed { return parsed{l.V, l.When(), l, l.validate()} }
	slow := decode(take)
	var f flat
	return func(text []byte) (parsed, error) {
		if l, ok := f.entry(text); ok {
			return take(l), nil
		}
		return slow(text)
	}
}

// parseClient reads lines of the ClientFile of a manifest.
func parseClient(m Manifest) func(text []byte) (parsed, error) {
	take := func(c Client, err error) parsed {
		return parsed{c.V, c.Planned.Add(time.Duration(c.Latency) * time.Microsecond), c, cmp.Or(err, c.validate(m))}
	}
	slow := decode(func(l clientLine) parsed { return take(l.client()) })
	var f flat
	return func(text []byte) (parsed, error) {
		if c, ok := f.client(text); ok {
			return take(c, nil), nil
		}
		return slow(text)
	}
}

// parseCall reads lines of InstancesFile.
func parseCall() func(text []byte) (parsed, error) {
	slow := decode(func(o Outgoing) parsed {
		if o.Event != OutgoingCall {
			return parsed{o.V, o.Time, o.Call, o.Call.validate()}
		}
		o.Code = codeName(o.Code)
		return parsed{o.V, o.Time, o, o.validate()}
	})
	var f flat
	return func(text []byte) (parsed, error) {
		if c, ok := f.call(text); ok {
			return parsed{c.V, c.Time, c, c.validate()}, nil
		}
		return slow(text)
	}
}

// decode reads lines as records of one type.
func decode[T any](take func(T) parsed) func([]byte) (parsed, error) {
	return func(text []byte) (parsed, error) {
		var r T
		if err := json.Unmarshal(text, &r); err != nil {
			return parsed{}, err
		}
		return take(r), nil
	}
}

// Next returns the next record: an Event, a Call, an Outgoing, an AccessLogEntry, a Client or a Sample. It is nil if there is none yet: a last line without its
// end is read when the rest is there. The error is one of reading a file; a line that is no record is skipped, and Problems counts it.
func (r *Reader) Next() (any, error) {
	var oldest *source
	for _, s := range r.files {
		if err := s.peek(); err != nil {
			return nil, err
		}
		s.idle = s.next == nil
		if s.next != nil && (oldest == nil || s.next.time.Before(oldest.next.time)) {
			oldest = s
		}
	}
	if oldest == nil {
		for _, s := range r.files {
			s.idle = false
		}
		return nil, nil
	}
	next := oldest.next.record
	oldest.next = nil
	if e, ok := next.(Event); ok {
		if r.ended {
			oldest.invalid.add(oldest.number, fmt.Errorf("%w: event %q after event %q", ErrInvalid, e.Event, Ended))
		}
		r.ended = r.ended || e.Event == Ended
	}
	return next, nil
}

// Problems says, in a sentence each, what is wrong with the files when everything has been read.
func (r *Reader) Problems() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.unexpected)) {
		if _, err := os.Lstat(filepath.Join(r.dir, name)); err == nil {
			all = append(all, fmt.Sprintf("%s exists, and %s says %s", name, ManifestFile, r.unexpected[name]))
		}
	}
	for _, s := range r.files {
		if s.file == nil {
			all = append(all, s.name+" does not exist")
		}
		if s.invalid.lines > 0 {
			all = append(all, fmt.Sprintf("%s has %s that cannot be read as records; the first is %s", s.name, words.Count(s.invalid.lines, "line"), s.invalid.first))
		}
		if s.versions.lines > 0 {
			all = append(all, fmt.Sprintf("%s has %s of another version; the first is %s", s.name, words.Count(s.versions.lines, "record"), s.versions.first))
		}
		if len(s.rest()) > 0 {
			all = append(all, fmt.Sprintf("%s ends within a line: %.60q", s.name, s.rest()))
		}
	}
	return all
}

// Close closes the files.
func (r *Reader) Close() error {
	var errs []error
	for _, s := range r.files {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// peek reads the next record, if there is a whole one.
func (s *source) peek() error {
	for s.next == nil && !s.idle {
		text, err := s.line()
		if text == nil || err != nil {
			return err
		}
		p, err := s.parse(text)
		switch {
		case err != nil:
			s.invalid.add(s.number, err)
		case p.version != s.version:
			s.versions.add(s.number, fmt.Errorf("version %d, and this trivet reads version %d", p.version, s.version))
		case p.invalid != nil:
			s.invalid.add(s.number, p.invalid)
		default:
			s.next = &p
		}
	}
	return nil
}

func (r *rejected) add(line int, why error) {
	if r.lines++; r.lines == 1 {
		r.first = fmt.Sprintf("line %d: %v", line, why)
	}
}
