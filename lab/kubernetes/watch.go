package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"trivet/lab/engine"
	"trivet/lab/logstream"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A watcher follows the pods of a stack, and reads their logs once it has been given a collector.
type watcher struct {
	stack   *Stack
	cli     *engine.CLI
	observe func(record.Event)
	stop    context.CancelFunc
	done    chan struct{}

	mu        sync.Mutex
	changed   chan struct{} // closed at each change
	synced    bool          // the pods that there are are known
	pods      map[string]*followed
	logs      *logstream.Collector
	began     bool           // the trial: what comes now is announced
	requested map[string]int // actions on a Deployment that are carried out
	failure   error          // why the last watch ended
}

// A followed pod is what is known of one.
type followed struct {
	pod
	of        string // its Deployment
	stream    *logstream.Stream
	container string // ID of the container that was last seen to run
	killed    bool   // by an action
	asked     bool   // it is to end because of an action
	exit      *record.Exit
}

func (s *Stack) watch(observe func(record.Event)) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{
		stack: s, cli: s.cli, observe: observe, stop: cancel, done: make(chan struct{}),
		changed: make(chan struct{}), pods: map[string]*followed{}, requested: map[string]int{},
	}
	go w.run(ctx)
	return w
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.done)
	pods := func() []string { return []string{"get", "pods", "--output=json", "--watch", "--output-watch-events"} }
	w.cli.Watch(ctx, pods, func(r io.Reader) { w.read(ctx, r) }, w.broke)
}

// broke keeps how the last watch ended.
func (w *watcher) broke(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failure = err
}

// read takes the changes that a watch prints: first a pod each for those that there are.
func (w *watcher) read(ctx context.Context, r io.Reader) {
	w.mu.Lock()
	before := slices.Collect(maps.Keys(w.pods))
	w.mu.Unlock()
	first := true
	for decoder := json.NewDecoder(r); ; {
		var change struct {
			Type   string `json:"type"`
			Object pod    `json:"object"`
		}
		if err := decoder.Decode(&change); err != nil {
			_, _ = io.Copy(io.Discard, r)
			return
		}
		w.mu.Lock()
		if change.Type == "DELETED" {
			w.remove(change.Object)
		} else if change.Object.Metadata.UID != "" {
			w.take(change.Object)
		}
		w.notify()
		w.mu.Unlock()
		if first {
			first = false
			w.prune(ctx, before)
		}
	}
}

// prune removes pods that were deleted while there was no watch: those known before that are not listed.
func (w *watcher) prune(ctx context.Context, before []string) {
	var now list[pod]
	if err := w.stack.get(ctx, &now, "pods"); err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	listed := map[string]bool{}
	for _, p := range now.Items {
		listed[p.Metadata.UID] = true
	}
	for _, uid := range before {
		if f := w.pods[uid]; f != nil && !listed[uid] {
			w.remove(f.pod)
		}
	}
	if !w.synced {
		for _, p := range now.Items {
			if w.pods[p.Metadata.UID] == nil {
				w.take(p)
			}
		}
	}
	w.synced = true
	w.notify()
}

func (w *watcher) notify() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// take takes the state of a pod.
func (w *watcher) take(p pod) {
	of := w.stack.of(&p)
	if of == "" {
		return
	}
	f := w.pods[p.Metadata.UID]
	if f == nil {
		f = &followed{of: of}
		w.pods[p.Metadata.UID] = f
	}
	f.pod = p
	if p.Metadata.DeletionTimestamp != nil {
		f.asked = f.asked || w.requested[of] > 0
		if f.stream != nil {
			f.stream.Ending()
		}
	}
	d := w.stack.deployments[of]
	status := p.status(d.container().Name)
	if t := status.State.Terminated; t != nil {
		f.exit = exitOf(t)
	}
	switch {
	case status.State.Running != nil && p.Status.PodIP != "" && status.ContainerID != f.container:
		again := f.container != ""
		f.container = status.ContainerID
		if again { // It ended, and its next start runs already.
			if f.exit == nil && status.LastState.Terminated != nil {
				f.exit = exitOf(status.LastState.Terminated)
			}
			w.ended(f, record.Died)
		}
		w.follow(f, again)
	case status.State.Terminated != nil && f.stream != nil && p.Metadata.DeletionTimestamp == nil:
		f.stream.Down()
	}
}

// exitOf is how a container ended. Kubernetes has 128 and the number of a signal as its exit code.
func exitOf(t *terminated) *record.Exit {
	if t.ExitCode == 137 {
		return &record.Exit{Signal: "SIGKILL"}
	}
	return &record.Exit{Code: t.ExitCode}
}

// remove takes that a pod is gone.
func (w *watcher) remove(p pod) {
	f := w.pods[p.Metadata.UID]
	if f == nil {
		return
	}
	if t := p.status(w.stack.deployments[f.of].container().Name).State.Terminated; t != nil {
		f.exit = exitOf(t)
	}
	delete(w.pods, p.Metadata.UID)
	if f.stream == nil {
		return
	}
	f.stream.Gone()
	switch {
	case f.killed:
		// Which of the two signals ended it, the API does not say any more.
		f.exit = &record.Exit{Signal: "SIGKILL"}
		w.ended(f, record.Died)
	case f.asked:
		w.ended(f, record.Stopped)
	default:
		w.ended(f, record.Died)
	}
}

// ended reports the end of a pod's container.
func (w *watcher) ended(f *followed, kind string) {
	e := record.Event{Time: time.Now(), Event: record.ProcessEvent, Kind: kind, Process: f.process(), Exit: f.exit}
	if e.Exit == nil {
		e.Exit = &record.Exit{}
	}
	if f.stream != nil && f.of != scenario.Nginx {
		e.Start = f.stream.Latest()
	}
	f.exit = nil
	if w.logs != nil {
		w.observe(e)
	}
}

// process is the name of a pod in events.
func (f *followed) process() string {
	if f.of == scenario.Nginx {
		return scenario.Nginx
	}
	return f.Metadata.Name
}

// begin gives the collector to which logs go.
func (w *watcher) begin(logs *logstream.Collector) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.logs = logs
	for _, f := range w.pods {
		if f.container != "" {
			w.follow(f, false)
		}
	}
	w.began = true
}

// follow reads the log of a pod's container, which runs.
func (w *watcher) follow(f *followed, again bool) {
	if w.logs == nil {
		return
	}
	source := w.source(f)
	if f.stream != nil && again {
		f.stream.Up(source)
		return
	}
	f.stream = w.logs.Follow(source)
	if f.Metadata.DeletionTimestamp != nil {
		f.stream.Ending()
	}
	if f.of == scenario.Nginx && w.began {
		w.observe(record.Event{Time: time.Now(), Event: record.ProcessEvent, Kind: record.Started, Process: scenario.Nginx})
	}
}

// source says how the log of a pod is read.
func (w *watcher) source(f *followed) logstream.Source {
	d, began := w.stack.deployments[f.of], w.began
	args := func(since time.Time, more ...string) []string {
		all := append([]string{"logs", f.Metadata.Name, "--container", d.container().Name, "--timestamps"}, more...)
		switch {
		case !since.IsZero():
			all = append(all, "--since-time="+since.UTC().Format(time.RFC3339))
		case !began:
			all = append(all, fmt.Sprintf("--tail=%d", logstream.Earlier))
		}
		return all
	}
	at := w.stack.instance(&f.pod)
	s := logstream.Source{
		Name: f.Metadata.Name, Nginx: f.of == scenario.Nginx, HTTP: at.HTTP, Announce: began,
		Follow:  func(since time.Time) []string { return args(since, "--follow") },
		Earlier: func(since time.Time) []string { return args(since, "--previous") },
	}
	if !s.Nginx {
		s.Records, s.Instance = w.stack.calls, at
	}
	return s
}

// await returns when done does, which is called with the pods locked. The error is the end of ctx, with why the watch does not work.
func (w *watcher) await(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		w.mu.Lock()
		ok, err := done()
		changed, failure := w.changed, w.failure
		w.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if failure != nil {
				return fmt.Errorf("%s: %w; the last watch of pods: %w", what, context.Cause(ctx), failure)
			}
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
	}
}

// settled reports whether a Deployment has as many pods as it should, all of them ready and none of them ending.
func (w *watcher) settled(of string, replicas int) bool {
	n := 0
	for _, f := range w.pods {
		if f.of != of {
			continue
		}
		if !f.ready() || f.Metadata.DeletionTimestamp != nil {
			return false
		}
		n++
	}
	return w.synced && n == replicas
}
