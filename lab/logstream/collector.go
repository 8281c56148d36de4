// Package logstream reads the log lines of containers while they run, and puts them where a trial's records belong: nginx's access log and
// the instances' records of all containers into one file each, everything else into a log of each container's own.
//
// A container's log is printed by its engine's command-line program, each line with the time at which the engine got it. So a stream that
// broke off is read on without a line lost or doubled. Probes show where the trial's lines begin, and that its last ones have come.
package logstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trivet/lab/engine"
	"trivet/lab/record"
)

// Earlier is how many lines a command prints that a container has logged before the trial, of which the first are of calls that run on.
const Earlier = 200

// A Source is a container whose log is read, over all its starts.
type Source struct {
	Name     string          // of the instance or the nginx
	Log      string          // the process that record.LogFile has a file for; "": Name
	Nginx    bool            // it is nginx; else an instance
	Records  bool            // an instance that gives records
	Instance record.Instance // of an instance
	Announce bool            // the instance came after the trial had begun
	HTTP     string          // where probes are sent, as host:port; "": only through nginx
	Piece    int             // the engine breaks longer lines; 0: none
	// Follow is the command that prints the log with times, until the container ends: since a time, or, if that is zero, the end of what a
	// container has logged that ran before the trial.
	Follow func(since time.Time) []string
	// Earlier is the command that prints the log of the start before this one; nil if Follow prints that, too.
	Earlier func(since time.Time) []string
}

// A Collector reads the logs of a stack for a trial.
type Collector struct {
	cli     *engine.CLI
	dir     string
	observe func(record.Event)
	through string        // nginx's HTTP listener
	timeout time.Duration // see probeTimeout

	cancel context.CancelFunc
	ctx    context.Context

	mu       sync.Mutex
	files    map[string]*os.File
	streams  []*Stream
	round    int            // of probes: 1 when the trial begins, 2 when it ends
	probes   map[string]int // rounds of IDs
	changed  chan struct{}  // closed when a probe has come back, a call has ended or a container has
	problems []string
}

// Open returns a collector that writes into a trial directory, and calls observe with the starts of instances and with probes. Calls says
// whether instances give records. Probes of what cannot be reached directly go through nginx.
func Open(cli *engine.CLI, dir, through string, calls bool, observe func(record.Event)) (*Collector, error) {
	c := &Collector{
		cli: cli, dir: dir, through: through, timeout: probeTimeout, observe: observe,
		files: map[string]*os.File{}, probes: map[string]int{}, changed: make(chan struct{}),
	}
	names := []string{record.AccessLogFile}
	if calls { // A file that no source writes is not there.
		names = append(names, record.InstancesFile)
	}
	for _, name := range names {
		if _, err := c.file(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// file opens a file for appending, once.
func (c *Collector) file(path string) (*os.File, error) {
	if f := c.files[path]; f != nil {
		return f, nil
	}
	err := os.MkdirAll(filepath.Dir(path), 0o711)
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	c.files[path] = f
	return f, nil
}

// write appends a line to a file. The first error is a problem: what is missing must not look like a result.
func (c *Collector) write(path string, text []byte) {
	f, err := c.file(path)
	if err == nil {
		_, err = f.Write(append(bytes.Clone(text), '\n'))
	}
	if err != nil {
		c.problem("%v", err)
	}
}

// problem keeps one of the reasons why records are incomplete.
func (c *Collector) problem(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(c.problems) < 10 && !slices.Contains(c.problems, text) {
		c.problems = append(c.problems, text)
	}
}

// notify wakes what waits for a change.
func (c *Collector) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Follow begins to read a container's log. The container runs.
func (c *Collector) Follow(s Source) *Stream {
	stream := &Stream{c: c, source: s, starts: map[string]*start{}, up: 1, done: make(chan struct{})}
	stream.bounded = s.Announce
	c.mu.Lock()
	c.streams = append(c.streams, stream)
	c.mu.Unlock()
	go stream.run()
	return stream
}

// probeTimeout bounds how long a probe may take from here to the stream of every container.
const probeTimeout = 10 * time.Second

// Begin finds where the trial's lines begin: it returns when a probe has come back on the stream of each container that runs. Lines of
// what was called before are not the trial's.
func (c *Collector) Begin(ctx context.Context) error { return c.probe(ctx, 1) }

// End returns when all lines of the trial have been read: when another probe has come back on the stream of each container that runs, and
// the calls that instances began have ended, or the time for that is over. Nothing is read after it.
func (c *Collector) End(ctx context.Context) error {
	err := c.probe(ctx, 2)
	settled, cancel := context.WithTimeout(ctx, c.timeout)
	c.await(settled, func() bool {
		return !slices.ContainsFunc(c.streams, (*Stream).busy)
	})
	cancel()
	ended, cancel := context.WithTimeout(ctx, endTimeout)
	c.await(ended, func() bool {
		return !slices.ContainsFunc(c.streams, func(s *Stream) bool { return s.gone && !s.over })
	})
	cancel()
	c.cancel()
	c.mu.Lock()
	streams := slices.Clone(c.streams)
	c.mu.Unlock()
	for _, s := range streams {
		<-s.done
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.problem("%v", err)
	}
	for _, f := range c.files {
		if err := f.Close(); err != nil {
			c.problem("%v", err)
		}
	}
	return c.err()
}

// endTimeout bounds the wait for the streams of containers that have ended.
const endTimeout = 15 * time.Second

// err is all problems; the error wraps record.ErrRunDir.
func (c *Collector) err() error {
	if len(c.problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s: records are incomplete: %s", record.ErrRunDir, c.dir, strings.Join(c.problems, "; "))
}

// Err is what is missing in the records, after End.
func (c *Collector) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err()
}

// await returns true when done does, or false when ctx has ended. It calls done with the collector locked.
func (c *Collector) await(ctx context.Context, done func() bool) bool {
	for {
		c.mu.Lock()
		ok, changed := done(), c.changed
		c.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// probe sends probes of a round until one has come back on the stream of each container that runs.
func (c *Collector) probe(ctx context.Context, round int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errors.New("timeout"))
	defer cancel()
	c.mu.Lock()
	c.round = round
	c.mu.Unlock()
	for {
		missing := c.missing(round)
		if len(missing) == 0 {
			return nil
		}
		if ctx.Err() != nil {
			var names []string
			for _, s := range missing {
				names = append(names, s.source.Name)
			}
			return fmt.Errorf("no probe came back in the log of %s within %v: %w", strings.Join(names, ", "), c.timeout, cmp.Or(c.lastError(), context.Cause(ctx)))
		}
		c.send(ctx, missing, round)
		once, cancel := context.WithTimeout(ctx, probeInterval)
		c.await(once, func() bool { return len(c.missingLocked(round)) == 0 })
		cancel()
	}
}

// probeInterval is the time between probes of one container: that is how long an engine may take to print a line.
const probeInterval = 200 * time.Millisecond

// lastError is why streams end that should not; nil if none did.
func (c *Collector) lastError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		if s.failure != nil {
			return s.failure
		}
	}
	return nil
}

// missing are the containers of which no probe of a round has come back.
func (c *Collector) missing(round int) []*Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.missingLocked(round)
}

func (c *Collector) missingLocked(round int) (all []*Stream) {
	for _, s := range c.streams {
		if s.up > 0 && !s.ending && s.probed < round && (s.source.Nginx || s.source.Records) {
			all = append(all, s)
		}
	}
	return all
}

// send sends a probe to each container, and one through nginx if one of them cannot be reached.
func (c *Collector) send(ctx context.Context, to []*Stream, round int) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var all sync.WaitGroup
	var unreached atomic.Bool
	for _, s := range to {
		all.Go(func() {
			if c.address(s) == "" || c.sendOne(ctx, s, round) != nil {
				unreached.Store(true)
			}
		})
	}
	all.Wait()
	if unreached.Load() {
		_ = get(ctx, c.through, c.probeID(round)) // What does not come back is missing.
	}
}

// sendOne sends a probe to one container, through nginx if it has no address that can be reached from here.
func (c *Collector) sendOne(ctx context.Context, s *Stream, round int) error {
	return get(ctx, cmp.Or(c.address(s), c.through), c.probeID(round))
}

// address is where a container is called.
func (c *Collector) address(s *Stream) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return s.source.HTTP
}

// probeID makes the request ID of one probe, and reports it.
func (c *Collector) probeID(round int) string {
	id := record.ProbeIDPrefix + rand.Text()
	c.mu.Lock()
	c.probes[id] = round
	c.mu.Unlock()
	c.observe(record.Event{Time: time.Now(), Event: record.Probe, ID: id})
	return id
}

// path is that of a file of the trial directory.
func (c *Collector) path(name string) string { return filepath.Join(c.dir, name) }
