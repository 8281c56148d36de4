package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"trivet/lab/feed"
)

// A Source makes the messages of a feed. The server calls one method at a time.
type Source interface {
	Advance() error           // reads what is new
	Changed() []feed.Message  // what changed since the last call
	Snapshot() []feed.Message // everything, from the Hello on
}

// A greeting is a source whose snapshots begin with a Hello.
type greeting struct {
	Source
	hello feed.Hello
}

func (g greeting) Snapshot() []feed.Message {
	return append([]feed.Message{{Hello: &g.hello}}, g.Source.Snapshot()...)
}

const (
	// interval is how often the source is read.
	interval = 250 * time.Millisecond
	// mostQueued is how many bytes wait for a reader, before a snapshot replaces them. Readers share the bytes of a message.
	mostQueued = 1 << 20
)

// A hub hands the messages of a source to readers. A message is marshaled once. A reader begins with a snapshot, and one that is too slow
// gets another: its queue does not grow.
type hub struct {
	source  Source
	control func() json.RawMessage // nil: there is none
	problem func(error)
	nudge   chan struct{} // to read the source now

	mu       sync.Mutex
	readers  map[*reader]bool
	snapshot [][]byte // of now; nil: to be made
	said     json.RawMessage
	last     string // problem
	end      []byte // the End; nil: it goes on
	closed   bool   // the source is used no longer
}

// A reader is a connection that reads the feed.
type reader struct {
	wake   chan struct{} // something waits
	queue  [][]byte
	queued int  // bytes
	behind bool // it needs a snapshot
}

func newHub(source Source, control func() json.RawMessage, problem func(error)) *hub {
	return &hub{source: source, control: control, problem: problem, nudge: make(chan struct{}, 1), readers: make(map[*reader]bool)}
}

// run reads the source until ctx ends.
func (h *hub) run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		h.advance()
		select {
		case <-tick.C:
		case <-h.nudge:
		case <-ctx.Done():
			return
		}
	}
}

// soon makes run read the source now.
func (h *hub) soon() {
	select {
	case h.nudge <- struct{}{}:
	default: // It will, anyway.
	}
}

// advance reads the source, and hands out what changed. It reports an error once, as long as it stays the same.
func (h *hub) advance() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.end != nil {
		return
	}
	err, text := h.source.Advance(), ""
	if err != nil {
		text = err.Error()
	}
	if text != h.last && err != nil {
		h.problem(err)
	}
	h.last = text
	changed := h.source.Changed()
	if h.control != nil {
		if now := h.control(); !bytes.Equal(now, h.said) {
			h.said = now
			changed = append(changed, feed.Message{Control: now})
		}
	}
	if len(changed) > 0 {
		h.publish(frames(changed))
	}
}

// publish queues what is new for each reader. The caller holds mu.
func (h *hub) publish(news [][]byte) {
	h.snapshot = nil
	size := 0
	for _, frame := range news {
		size += len(frame)
	}
	for r := range h.readers {
		switch {
		case r.behind:
		case r.queued+size > mostQueued:
			r.queue, r.queued, r.behind = nil, 0, true
		default:
			r.queue, r.queued = append(r.queue, news...), r.queued+size
		}
		r.notify()
	}
}

func (r *reader) notify() {
	select {
	case r.wake <- struct{}{}:
	default: // It has not taken the last one.
	}
}

// join adds a reader.
func (h *hub) join() *reader {
	r := &reader{wake: make(chan struct{}, 1), behind: true}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers[r] = true
	return r
}

func (h *hub) leave(r *reader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.readers, r)
}

func (h *hub) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.readers)
}

// take returns what waits for a reader, and whether that is all there will be.
func (h *hub) take(r *reader) (all [][]byte, ended bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, true
	}
	all = r.queue
	if r.behind {
		all = h.everything()
	}
	if h.end != nil {
		all = append(all[:len(all):len(all)], h.end)
	}
	r.queue, r.queued, r.behind = nil, 0, false
	return all, h.end != nil
}

// everything is the snapshot. The caller holds mu.
func (h *hub) everything() [][]byte {
	if h.snapshot == nil {
		all := h.source.Snapshot()
		if h.said != nil {
			all = append(all, feed.Message{Control: h.said})
		}
		h.snapshot = frames(all)
	}
	return h.snapshot
}

// finish ends the feed: readers get what is left, and then the End.
func (h *hub) finish(text string) {
	h.advance()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.end != nil {
		return
	}
	h.end = frames([]feed.Message{{End: &feed.End{Text: text}}})[0]
	for r := range h.readers {
		r.notify()
	}
}

// close makes readers leave that have not taken everything.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}

// frames are messages as server-sent events. JSON has no line break, and what is HTML in a text is escaped.
func frames(messages []feed.Message) [][]byte {
	all := make([][]byte, 0, len(messages))
	for _, m := range messages {
		text, err := json.Marshal(m)
		if err != nil {
			panic(err) // Messages are plain values.
		}
		all = append(all, append(append([]byte("data: "), text...), "\n\n"...))
	}
	return all
}
