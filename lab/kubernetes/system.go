package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"trivet/lab/logstream"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/lab/trial"
)

// A system is the stack during one trial.
type system struct {
	stack      *Stack
	watcher    *watcher
	logs       *logstream.Collector
	http, grpc string
	instances  []record.Instance
	findings   error

	mu       sync.Mutex
	changes  changes
	replicas map[string]int    // that Deployments had before they were scaled
	cordoned map[string]string // nodes, by the instance of an action
	drained  bool              // an action has drained a node
}

// Start changes what the scenario changes, waits until that is rolled out, and begins to read logs.
func (s *Stack) Start(ctx context.Context, of scenario.Scenario, dir string, observe func(record.Event)) (trial.System, error) {
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	if err := s.leftover(); err != nil {
		return nil, err
	}
	y := &system{stack: s, http: s.http, grpc: s.grpc, replicas: map[string]int{}, cordoned: map[string]string{}}
	if of.Through == scenario.ThroughService {
		at, err := s.direct(ctx)
		if err != nil {
			return nil, err
		}
		y.http, y.grpc = at.HTTP, at.GRPC
	}
	y.watcher = s.watch(observe)
	err := y.prepare(ctx, of, dir)
	if err == nil {
		y.logs, err = logstream.Open(s.cli, dir, s.http, s.calls, observe)
	}
	if err == nil {
		y.watcher.begin(y.logs)
		err = y.logs.Begin(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, y.Stop(context.WithoutCancel(ctx)))
	}
	return y, nil
}

// settleTimeout bounds the wait for a Deployment: a rollout replaces pod by pod, each of which may take a grace period to end.
const settleTimeout = 5 * time.Minute

// prepare makes the changes of the scenario.
func (y *system) prepare(ctx context.Context, of scenario.Scenario, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleTimeout, fmt.Errorf("timeout of %v", settleTimeout))
	defer cancel()
	if err := y.settle(ctx); err != nil { // An earlier trial's pods may be ending.
		return err
	}
	if err := y.change(ctx, of, dir); err != nil {
		return err
	}
	if err := y.settle(ctx); err != nil {
		return err
	}
	y.watcher.mu.Lock()
	defer y.watcher.mu.Unlock()
	var pods []pod
	for _, f := range y.watcher.pods {
		pods = append(pods, f.pod)
	}
	y.stack.pods = pods
	y.instances = y.stack.instances(pods)
	return nil
}

// settle returns when all Deployments have all of their pods, and no others.
func (y *system) settle(ctx context.Context) error {
	var errs []error
	for name := range y.stack.deployments {
		errs = append(errs, y.settleOne(ctx, name))
	}
	return errors.Join(errs...)
}

// settleOne waits for one Deployment. kubectl knows when a rollout is done, the watch when the last pod of the former one is gone.
func (y *system) settleOne(ctx context.Context, name string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	failed := make(chan error, 1)
	go func() {
		err := y.watcher.await(ctx, "", func() (bool, error) { f := y.watcher.broken(name); return f != nil, nil })
		if err == nil {
			err = y.stack.reason(ctx, y.watcher, name)
			cancel(err)
		} else {
			err = nil
		}
		failed <- err
	}()
	_, err := y.stack.cli.Run(ctx, "rollout", "status", "deployment/"+name, "--timeout="+settleTimeout.String())
	if err == nil {
		var d deployment
		if err = y.stack.get(ctx, &d, "deployment", name); err == nil {
			err = y.watcher.await(ctx, "wait for the pods of Deployment "+name, func() (bool, error) { return y.watcher.settled(name, d.Spec.Replicas), nil })
		}
	}
	cancel(nil)
	if why := <-failed; why != nil && err != nil {
		return why
	}
	return err
}

// HTTP is where the load goes.
func (y *system) HTTP() string { return y.http }

// GRPC is where the load goes.
func (y *system) GRPC() string { return y.grpc }

// TLS is "": the load uses none.
func (y *system) TLS() string { return "" }

// CA is "", as TLS.
func (y *system) CA() string { return "" }

// Instances are those that there were when the trial began.
func (y *system) Instances() []record.Instance { return y.instances }

// Target is the stack.
func (y *system) Target() *record.Target {
	t := y.stack.Target()
	return &t
}

// Can is what the stack can.
func (y *system) Can(o scenario.Operation) bool { return y.stack.Can(o) }

// Processes is empty: they run on other machines.
func (y *system) Processes() map[string]int { return nil }

// Stop reads the rest of the logs, and changes back what the trial changed. The error has the commands for what it could not.
func (y *system) Stop(ctx context.Context) error {
	if y.logs != nil {
		y.findings = y.logs.End(ctx)
	}
	y.watcher.stop()
	<-y.watcher.done
	return y.restore(ctx)
}

// Findings is what is missing in the records. What no action requested is in the events already.
func (y *system) Findings() ([]record.Event, error) { return nil, y.findings }

// Do carries out one operation, and returns when it is done.
func (y *system) Do(ctx context.Context, o scenario.Operation) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleTimeout, fmt.Errorf("timeout of %v", settleTimeout))
	defer cancel()
	switch o.Kind {
	case scenario.RollOut:
		return y.requested([]string{o.Process}, func() error {
			if _, err := y.stack.cli.Run(ctx, "rollout", "restart", "deployment/"+o.Process); err != nil {
				return err
			}
			return y.settleOne(ctx, o.Process)
		})
	case scenario.Scale:
		return y.scale(ctx, o)
	case scenario.Kill, scenario.Drain:
		return y.remove(ctx, o)
	case scenario.DrainNode:
		return y.drainNode(ctx, o)
	case scenario.UncordonNode:
		return y.uncordon(ctx, o.Process)
	}
	return fmt.Errorf("a Kubernetes namespace cannot %s", o.Name())
}

// requested carries out an action that ends pods of some Deployments.
func (y *system) requested(of []string, do func() error) error {
	add := func(n int) {
		y.watcher.mu.Lock()
		defer y.watcher.mu.Unlock()
		for _, name := range of {
			y.watcher.requested[name] += n
		}
	}
	add(1)
	defer add(-1)
	return do()
}

// instance is the pod of the n-th instance that there was when the trial began.
func (y *system) instance(process string) (string, error) {
	n := instanceNumber(process)
	if n == 0 || n > len(y.instances) {
		return "", fmt.Errorf("there is no %s: the trial began with %d instances", process, len(y.instances))
	}
	return y.instances[n-1].Name, nil
}

// followed is a pod that runs, by its name. The caller has locked the watcher.
func (w *watcher) followed(name string) *followed {
	for _, f := range w.pods {
		if f.Metadata.Name == name {
			return f
		}
	}
	return nil
}

// remove deletes a pod, and returns when it is gone.
func (y *system) remove(ctx context.Context, o scenario.Operation) error {
	name, err := y.instance(o.Process)
	if err != nil {
		return err
	}
	y.watcher.mu.Lock()
	f := y.watcher.followed(name)
	if f != nil {
		f.asked, f.killed = true, o.Kind == scenario.Kill
	}
	y.watcher.mu.Unlock()
	if f == nil {
		return fmt.Errorf("%s was pod %s, which is gone", o.Process, name)
	}
	args := []string{"delete", "pod", name, "--wait=false"}
	if o.Kind == scenario.Kill {
		args = append(args, "--grace-period=0", "--force")
	}
	if _, err := y.stack.cli.Run(ctx, args...); err != nil {
		return err
	}
	return y.watcher.await(ctx, "wait for the end of pod "+name, func() (bool, error) { return y.watcher.followed(name) == nil, nil })
}

// scale changes how many pods a Deployment has.
func (y *system) scale(ctx context.Context, o scenario.Operation) error {
	var d deployment
	if err := y.stack.get(ctx, &d, "deployment", o.Process); err != nil {
		return err
	}
	y.mu.Lock()
	_, before := y.replicas[o.Process]
	if !before {
		y.replicas[o.Process] = d.Spec.Replicas
	}
	y.mu.Unlock()
	if !before {
		if err := y.stack.note(ctx, o.Process, replicasNote, fmt.Sprint(d.Spec.Replicas)); err != nil {
			return err
		}
	}
	return y.requested([]string{o.Process}, func() error {
		if _, err := y.stack.cli.Run(ctx, "scale", "deployment/"+o.Process, fmt.Sprintf("--replicas=%d", o.To)); err != nil {
			return err
		}
		return y.settleOne(ctx, o.Process)
	})
}

// drainTimeout bounds how long the pods of a node take to end.
const drainTimeout = 2 * time.Minute

// drainNode evicts what runs on the node of an instance.
func (y *system) drainNode(ctx context.Context, o scenario.Operation) error {
	name, err := y.instance(o.Process)
	if err != nil {
		return err
	}
	y.watcher.mu.Lock()
	f, node, all := y.watcher.followed(name), "", []string{}
	if f != nil {
		node = f.Spec.NodeName
	}
	y.watcher.mu.Unlock()
	if node == "" {
		return fmt.Errorf("%s was pod %s, which is gone", o.Process, name)
	}
	for name := range y.stack.deployments {
		all = append(all, name)
	}
	y.mu.Lock()
	y.cordoned[o.Process], y.drained = node, true
	var nodes []string
	for _, n := range y.cordoned {
		nodes = append(nodes, n)
	}
	y.mu.Unlock()
	if err := y.stack.note(ctx, whoami, nodesNote, strings.Join(nodes, " ")); err != nil {
		return err
	}
	return y.requested(all, func() error {
		_, err := y.stack.cli.Run(ctx, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout="+drainTimeout.String())
		return err
	})
}

// uncordon lets pods run again on the node that an action on an instance drained.
func (y *system) uncordon(ctx context.Context, process string) error {
	y.mu.Lock()
	node := y.cordoned[process]
	y.mu.Unlock()
	if node == "" {
		return fmt.Errorf("no action has drained the node of %s", process)
	}
	if _, err := y.stack.cli.Run(ctx, "uncordon", node); err != nil {
		return err
	}
	y.mu.Lock()
	delete(y.cordoned, process)
	y.mu.Unlock()
	return nil
}
