package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"trivet/lab/logstream"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A watcher follows what happens to the containers, and reads their logs.
type watcher struct {
	stack   *Stack
	observe func(record.Event)
	stop    context.CancelFunc
	done    chan struct{}

	mu      sync.Mutex
	changed chan struct{} // closed at each change
	all     map[string]*followed
	last    int64 // time of the last event, in nanoseconds of Docker's clock
	failure error // why the last command ended
}

// A followed container is what is known of one service.
type followed struct {
	container
	stream *logstream.Stream
	up     bool
	paused bool
	asked  string // the kind of action that ends it; "": none
	ends   int    // how often it has ended
	exit   record.Exit
}

// An event is what docker events prints.
type event struct {
	Action string `json:"Action"`
	Actor  struct {
		ID         string            `json:"ID"`
		Attributes map[string]string `json:"Attributes"`
	} `json:"Actor"`
	TimeNano int64 `json:"timeNano"`
}

// watch follows containers from now on by Docker's clock.
func (s *Stack) watch(ctx context.Context, observe func(record.Event), logs *logstream.Collector) (*watcher, error) {
	once, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var now time.Time
	if err := s.cli.Decode(once, &now, "info", "--format={{json .SystemTime}}"); err != nil {
		return nil, err
	}
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	watching, stop := context.WithCancel(context.Background())
	w := &watcher{stack: s, observe: observe, stop: stop, done: make(chan struct{}), changed: make(chan struct{}), all: map[string]*followed{}, last: now.UnixNano()}
	for service, c := range s.containers {
		w.all[service] = &followed{container: c, up: true, stream: logs.Follow(w.source(c))}
	}
	go w.run(watching)
	return w, nil
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.done)
	w.stack.cli.Watch(ctx, w.events, func(r io.Reader) { w.read(ctx, r) }, w.broke)
}

// events is the command that prints what has happened since the last event.
func (w *watcher) events() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return []string{
		"events", "--since=" + time.Unix(0, w.last).UTC().Format(time.RFC3339Nano), "--filter=type=container",
		"--filter=label=" + projectLabel + "=" + w.stack.project, "--format={{json .}}",
	}
}

// broke keeps how the last docker events ended.
func (w *watcher) broke(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failure = err
}

func (w *watcher) read(ctx context.Context, r io.Reader) {
	for decoder := json.NewDecoder(r); ; {
		var e event
		if err := decoder.Decode(&e); err != nil {
			_, _ = io.Copy(io.Discard, r)
			return
		}
		var now []container
		if e.Action == "start" { // It may have another address.
			now, _ = w.stack.inspect(ctx, e.Actor.ID)
		}
		w.mu.Lock()
		if e.TimeNano > w.last {
			w.last = e.TimeNano
			w.take(e, now)
			close(w.changed)
			w.changed = make(chan struct{})
		}
		w.mu.Unlock()
	}
}

// take takes an event.
func (w *watcher) take(e event, now []container) {
	f := w.all[e.Actor.Attributes[serviceLabel]]
	if f == nil || f.ID != e.Actor.ID {
		return
	}
	switch e.Action {
	case "die":
		w.ended(f, e)
	case "start":
		if len(now) == 1 {
			f.NetworkSettings = now[0].NetworkSettings
		}
		if f.up {
			return
		}
		f.up, f.asked = true, ""
		f.stream.Up(w.source(f.container))
		if f.service() == scenario.Nginx {
			w.observe(record.Event{Time: time.Now(), Event: record.ProcessEvent, Kind: record.Started, Process: scenario.Nginx})
		}
	case "pause", "unpause":
		f.paused = e.Action == "pause"
	}
}

// ended takes the end of a container. Docker has 128 and the number of a signal as its exit code.
func (w *watcher) ended(f *followed, e event) {
	code, err := strconv.Atoi(e.Actor.Attributes["exitCode"])
	f.exit = record.Exit{Code: code}
	if code == 137 {
		f.exit = record.Exit{Signal: "SIGKILL"}
	}
	if err != nil {
		f.exit = record.Exit{Error: "exit code " + strconv.Quote(e.Actor.Attributes["exitCode"])}
	}
	f.up, f.paused = false, false
	f.ends++
	f.stream.Down()
	out := record.Event{Time: time.Now(), Event: record.ProcessEvent, Kind: record.Died, Process: f.service(), Exit: &record.Exit{}}
	*out.Exit = f.exit
	if f.asked == scenario.Drain {
		out.Kind = record.Stopped
	}
	if f.service() != scenario.Nginx {
		out.Process, out.Start = f.instance(w.stack.containers[scenario.Nginx]).Name, f.stream.Latest()
	}
	w.observe(out)
}

// piece is the length of the pieces in which Docker keeps long lines.
const piece = 16 << 10

// source says how the log of a container is read.
func (w *watcher) source(c container) logstream.Source {
	s := logstream.Source{
		Name: c.service(), Nginx: c.service() == scenario.Nginx, Piece: piece,
		Follow: func(since time.Time) []string {
			from := fmt.Sprintf("--tail=%d", logstream.Earlier)
			if !since.IsZero() {
				from = "--since=" + since.UTC().Format(time.RFC3339Nano)
			}
			return []string{"logs", "--follow", "--timestamps", from, c.ID}
		},
	}
	if s.Nginx {
		s.HTTP = w.stack.http
		return s
	}
	s.Records, s.Instance = w.stack.calls, c.instance(w.stack.containers[scenario.Nginx])
	s.Name, s.HTTP = s.Instance.Name, s.Instance.HTTP
	return s
}

// await returns when done does, which is called with the containers locked.
func (w *watcher) await(ctx context.Context, what string, done func() bool) error {
	for {
		w.mu.Lock()
		ok, changed, failure := done(), w.changed, w.failure
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if failure != nil {
				return fmt.Errorf("%s: %w; the last watch of events: %w", what, context.Cause(ctx), failure)
			}
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
	}
}
