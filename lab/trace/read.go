package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A Source is a directory with records: a trial directory, or the run directory of trivet up.
type Source struct {
	dir       string
	salt      string // distinguishes trials whose requests have the same IDs
	endpoints map[string]endpoint
	manifest  *record.Manifest // nil: of trivet up
	from      map[string]int64 // where the records of files begin, by name
}

type endpoint struct{ instance, protocol string }

// Open opens a trial directory, or the run directory of trivet up.
func Open(dir string) (*Source, error) {
	m, err := record.ReadManifest(dir)
	if err == nil {
		s := newSource(dir, m.Instances)
		s.manifest, s.salt, s.from = &m, m.Begin.String(), m.From
		return s, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := record.ReadFleet(dir)
	if err != nil {
		return nil, err
	}
	return newSource(dir, f.Instances), nil
}

func newSource(dir string, instances []record.Instance) *Source {
	s := &Source{dir: dir, salt: dir, endpoints: make(map[string]endpoint)}
	for _, i := range instances {
		s.endpoints[i.HTTP] = endpoint{i.Name, scenario.HTTP}
		s.endpoints[i.GRPC] = endpoint{i.Name, scenario.GRPC}
	}
	return s
}

// From makes the source read files of records from so many bytes on, by name: a request that is sent now has no records before.
func (s *Source) From(sizes map[string]int64) { s.from = sizes }

// Dir is the directory.
func (s *Source) Dir() string { return s.dir }

// Trial is the manifest of a trial; nil for trivet up.
func (s *Source) Trial() *record.Manifest { return s.manifest }

// An entry is a line of nginx's access log, with what only traces need.
type entry struct {
	record.AccessLogEntry
	Method       string `json:"method"`
	URI          string `json:"uri"`
	Host         string `json:"host"`
	ResponseTime string `json:"upstream_response_time"`
	Previous     string `json:"grpc_previous_attempts"`
	Trace        string `json:"trace"`       // that nginx passed on
	Span         string `json:"span"`        // that nginx passed on, as the parent of what an instance does
	ParentSpan   string `json:"parent_span"` // of the client's traceparent
}

// A call is a line of an instance: an arrival, a completion, or an outgoing call, whose ID is the child's.
type call struct {
	record.Outgoing
	Method string `json:"method"`
}

// records are those of one request ID.
type records struct {
	client  *record.Client
	entries []entry
	calls   []call // arrivals and completions
	hops    []call // outgoing: from the instance that made the request of this ID
}

// longestLine bounds a line, as package record does.
const longestLine = 1 << 20

// lines passes each whole line of a file that has an ID to take, from a byte offset on: a line that is cut off by it is skipped. A file
// that is not there has none.
func lines(path string, from int64, take func(id string, line []byte)) error {
	f, err := record.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if from > 0 {
		if _, err := f.Seek(from, io.SeekStart); err != nil {
			return err
		}
	}
	scanner := bufio.NewScanner(f)
	scanner.Buffer(make([]byte, 0, 64<<10), longestLine+1)
	for first := from > 0; scanner.Scan(); first = false {
		if id, ok := idOf(scanner.Bytes()); ok && !first {
			take(id, scanner.Bytes())
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// lines passes each whole line of one of the source's files.
func (s *Source) lines(name string, take func(id string, line []byte)) error {
	return lines(s.file(name), max(0, s.from[name]-1), take) // With the end of the line before: what is cut off is skipped.
}

// idOf is the value of a line's field id, without decoding the line: IDs have no character that JSON escapes.
func idOf(line []byte) (string, bool) {
	const key = `"id":"`
	_, rest, found := bytes.Cut(line, []byte(key))
	id, _, ended := bytes.Cut(rest, []byte(`"`))
	return string(id), found && ended && len(id) > 0
}

// ancestor is the first ID, of an ID and those of its parents up to the root, that is wanted. The n-th hop of ID is ID.n; if the request is
// the k-th attempt of a client, ID-k.n.
func ancestor(id string, wanted func(string) bool) (string, bool) {
	for ; id != ""; id = parentOf(id) {
		if wanted(id) {
			return id, true
		}
	}
	return "", false
}

// parentOf is the ID of the request for which a hop was made; "" if the ID is not a hop's.
func parentOf(id string) string {
	i := strings.LastIndexByte(id, '.')
	if i <= 0 || !isNumber(id[i+1:]) {
		return ""
	}
	id = id[:i]
	if i := strings.LastIndexByte(id, '-'); i > 0 && isNumber(id[i+1:]) {
		id = id[:i]
	}
	return id
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// gather reads the records of requests and of their hops: by the ID that wanted accepts, then by the ID of the record. Lines that are no
// records are left out; the report of a trial counts them.
func (s *Source) gather(wanted func(string) bool) (map[string]map[string]*records, error) {
	all := make(map[string]map[string]*records)
	at := func(id string) *records {
		root, ok := ancestor(id, wanted)
		if !ok {
			return nil
		}
		if all[root] == nil {
			all[root] = make(map[string]*records)
		}
		if all[root][id] == nil {
			all[root][id] = &records{}
		}
		return all[root][id]
	}
	return all, errors.Join(
		s.lines(record.ClientFile, func(id string, line []byte) {
			var c record.Client
			if r := at(id); r != nil && json.Unmarshal(line, &c) == nil && c.V == record.ClientVersion {
				r.client = &c
			}
		}),
		s.lines(record.AccessLogFile, func(id string, line []byte) {
			var e entry
			if r := at(id); r != nil && json.Unmarshal(line, &e) == nil && e.V == record.AccessLogVersion {
				r.entries = append(r.entries, e)
			}
		}),
		s.lines(record.InstancesFile, func(id string, line []byte) {
			var c call
			if r := at(id); r == nil || json.Unmarshal(line, &c) != nil || c.V != record.CallVersion {
				return
			} else if c.Event == record.OutgoingCall {
				r.hops = append(r.hops, c)
			} else {
				r.calls = append(r.calls, c)
			}
		}),
	)
}

func (s *Source) file(name string) string { return filepath.Join(s.dir, name) }

// HasInstances reports whether the instances wrote records.
func (s *Source) HasInstances() bool {
	_, err := os.Stat(s.file(record.InstancesFile))
	return err == nil
}

// Request is the trace of a request ID, which may be a hop's; nil if no source has a record of it.
func (s *Source) Request(id string) (*Trace, error) {
	all, err := s.gather(func(other string) bool { return other == id })
	if err != nil || all[id] == nil {
		return nil, err
	}
	return s.build(id, all[id]), nil
}

// Requests are the traces of those requests, in their order. Those without a record are left out.
func (s *Source) Requests(ids []string) ([]*Trace, error) {
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	all, err := s.gather(func(id string) bool { return wanted[id] })
	if err != nil {
		return nil, err
	}
	traces := make([]*Trace, 0, len(ids))
	for _, id := range ids {
		if all[id] != nil {
			traces = append(traces, s.build(id, all[id]))
		}
	}
	return traces, nil
}
