package compose

import (
	"context"
	"errors"
	"fmt"
	"time"

	"trivet/lab/logstream"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/lab/trial"
)

// A system is the stack during one trial.
type system struct {
	stack    *Stack
	watcher  *watcher
	logs     *logstream.Collector
	observe  func(record.Event)
	findings error
}

// Start begins to read logs and events.
func (s *Stack) Start(ctx context.Context, of scenario.Scenario, dir string, observe func(record.Event)) (trial.System, error) {
	logs, err := logstream.Open(s.cli, dir, s.http, s.calls, observe)
	if err != nil {
		return nil, err
	}
	y := &system{stack: s, logs: logs, observe: observe}
	y.watcher, err = s.watch(ctx, observe, logs)
	if err == nil {
		err = logs.Begin(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, y.Stop(context.WithoutCancel(ctx)))
	}
	return y, nil
}

// HTTP is where nginx publishes it.
func (y *system) HTTP() string { return y.stack.http }

// GRPC is where nginx publishes it.
func (y *system) GRPC() string { return y.stack.grpc }

// TLS is "": the load uses none.
func (y *system) TLS() string { return "" }

// CA is "", as TLS.
func (y *system) CA() string { return "" }

// Instances are those of the stack.
func (y *system) Instances() []record.Instance { return y.stack.Instances() }

// Target is the stack.
func (y *system) Target() *record.Target {
	t := y.stack.Target()
	return &t
}

// Can is what the stack can.
func (y *system) Can(o scenario.Operation) bool { return y.stack.Can(o) }

// Processes is empty: they belong to Docker.
func (y *system) Processes() map[string]int { return nil }

// Findings is what is missing in the records. What no action requested is in the events already.
func (y *system) Findings() ([]record.Event, error) { return nil, y.findings }

// actionTimeout bounds an action; a container may take its grace period to stop.
const actionTimeout = 2 * time.Minute

// Do carries out one operation, and returns when it is done.
func (y *system) Do(ctx context.Context, o scenario.Operation) error {
	ctx, cancel := context.WithTimeoutCause(ctx, actionTimeout, fmt.Errorf("timeout of %v", actionTimeout))
	defer cancel()
	f := y.watcher.all[o.Process]
	if f == nil {
		return fmt.Errorf("there is no container of service %s", o.Process)
	}
	switch o.Kind {
	case scenario.Kill, scenario.Drain:
		return y.end(ctx, f, o.Kind)
	case scenario.Start:
		return y.start(ctx, f)
	case scenario.Restart:
		if err := y.end(ctx, f, scenario.Drain); err != nil {
			return err
		}
		return y.start(ctx, f)
	case scenario.Pause, scenario.Resume:
		verb := map[string]string{scenario.Pause: "pause", scenario.Resume: "unpause"}[o.Kind]
		if _, err := y.stack.cli.Run(ctx, verb, f.ID); err != nil {
			return err
		}
		return y.watcher.await(ctx, "wait for the "+verb+" event of "+o.Process, func() bool { return f.paused == (o.Kind == scenario.Pause) })
	case scenario.Reload:
		_, err := y.stack.cli.Run(ctx, "kill", "--signal=HUP", f.ID)
		return err
	}
	return fmt.Errorf("a Compose project cannot %s", o.Name())
}

// end kills or stops a container, and returns when it has ended.
func (y *system) end(ctx context.Context, f *followed, kind string) error {
	y.watcher.mu.Lock()
	before, paused := f.ends, f.paused
	f.asked = kind
	y.watcher.mu.Unlock()
	args := []string{"stop", f.ID}
	if kind == scenario.Kill {
		args[0] = "kill"
	}
	if paused && kind == scenario.Drain { // A paused process handles no signal.
		if _, err := y.stack.cli.Run(ctx, "unpause", f.ID); err != nil {
			return err
		}
	}
	if _, err := y.stack.cli.Run(ctx, args...); err != nil {
		return err
	}
	if err := y.watcher.await(ctx, "wait for the end of "+f.service(), func() bool { return f.ends > before }); err != nil {
		return err
	}
	y.watcher.mu.Lock()
	defer y.watcher.mu.Unlock()
	switch {
	case kind == scenario.Drain && f.exit.Killed():
		return fmt.Errorf("%s did not drain in time and was killed", f.service())
	case kind == scenario.Kill && !f.exit.Killed():
		return fmt.Errorf("%s ended before it was killed (%s)", f.service(), f.exit)
	}
	return nil
}

// start starts a container, and returns when it serves.
func (y *system) start(ctx context.Context, f *followed) error {
	before := f.stream.Count()
	if _, err := y.stack.cli.Run(ctx, "start", f.ID); err != nil {
		return err
	}
	if err := y.watcher.await(ctx, "wait for the start of "+f.service(), func() bool { return f.up }); err != nil {
		return err
	}
	if err := f.stream.Responds(ctx, before); err != nil {
		return err
	}
	y.watcher.mu.Lock()
	defer y.watcher.mu.Unlock()
	e := record.Event{Time: time.Now(), Event: record.ProcessEvent, Kind: record.Ready, Process: f.service()}
	if e.Process != scenario.Nginx {
		e.Process, e.Start = f.instance(y.stack.containers[scenario.Nginx]).Name, f.stream.Latest()
	}
	y.observe(e)
	return nil
}

// restoreTimeout bounds what starts containers again.
const restoreTimeout = time.Minute

// Stop reads the rest of the logs, and lets run again what the trial stopped or paused.
func (y *system) Stop(ctx context.Context) error {
	var errs []error
	restore := func(verb string, is func(*followed) bool) {
		if y.watcher == nil {
			return
		}
		for service, f := range y.watcher.all {
			y.watcher.mu.Lock()
			wrong := is(f)
			y.watcher.mu.Unlock()
			if !wrong {
				continue
			}
			once, cancel := context.WithTimeout(ctx, restoreTimeout)
			if _, err := y.stack.cli.Run(once, verb, f.ID); err != nil {
				errs = append(errs, fmt.Errorf("%s does not run again: %w; do it by: %s", service, err, y.stack.cli.Line(verb, f.ID[:12])))
			}
			cancel()
		}
	}
	restore("unpause", func(f *followed) bool { return f.paused })
	y.findings = y.logs.End(ctx)
	if y.watcher != nil {
		y.watcher.stop()
		<-y.watcher.done
	}
	restore("start", func(f *followed) bool { return !f.up })
	return errors.Join(errs...)
}
