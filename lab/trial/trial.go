// Package trial carries out one variant of an experiment: a fleet of its own, a load, and what is done to the fleet meanwhile. It
// leaves a run folder with the records of all witnesses, and judges nothing: packages ledger and experiment do that, from the
// records.
package trial

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"trivet/internal/buildinfo"
	"trivet/lab/experiment"
	"trivet/lab/fleet"
	"trivet/lab/ledger"
	"trivet/lab/load"
	"trivet/nginx"
)

// Setup is what a trial needs.
type Setup struct {
	File    *experiment.File
	Variant experiment.Variant
	Dir     string       // the run folder: absolute; see fleet.Options.Dir
	Nginx   nginx.Binary // from nginx.Find
	Whoami  string       // path of the instances' program
	Trivet  string       // path of this program, which generates the load when called with "load"
	// Watch is called a few times a second while the load runs, with what has been counted so far; nil: nobody watches.
	Watch func(*ledger.Ledger)
}

// headStart is from the plan's making to its first request: the generator's process has to start and to connect.
const headStart = time.Second

// Run carries the trial out, and returns when everything that it started is gone. An error means that the laboratory broke, or that ctx
// ended; what clients saw is never one. The records tell either way.
func Run(ctx context.Context, s Setup) (err error) {
	diary, err := openDiary(s.Dir)
	if err != nil {
		return err
	}
	defer func() {
		diary.end(ctx, err)
		err = errors.Join(err, diary.close())
	}()
	if err := roomFor(s); err != nil { // The diary says so, too: it is short.
		return err
	}
	f, err := fleet.Start(ctx, fleet.Options{
		Instances: s.Variant.Instances, Workers: s.Variant.Workers, Whoami: s.Whoami, Nginx: s.Nginx, Dir: s.Dir, Edits: s.Variant.Edits,
		Env: environment(s.Dir), NoRestart: true, Observe: diary.process,
	})
	if err != nil {
		return err
	}
	err = conduct(ctx, s, f, diary)
	// Nothing of the load is left, or it does not matter any more: but an instance may still be busy with what its client gave up.
	err = errors.Join(err, f.Stop(context.WithoutCancel(ctx)))
	return errors.Join(err, incomplete(f, s, diary))
}

// environment makes instances alike, whatever the environment of who runs the experiment says.
func environment(dir string) []string {
	return []string{
		"RECORDS=" + filepath.Join(dir, ledger.InstancesFile),
		"ENVIRONMENT=dev", "REFLECTION=true", "LOG_LEVEL=info", "LOG_FORMAT=text", "DRAIN_DELAY=0s", "DRAIN_TIMEOUT=10s",
	}
}

// conduct runs load and actions side by side, until the last request is over.
func conduct(ctx context.Context, s Setup, f *fleet.Fleet, diary *diary) error {
	plan := planned(s)
	plan.HTTP, plan.GRPC, plan.Begin = f.HTTP(), f.GRPC(), time.Now().Add(headStart)
	diary.from(plan.Begin)
	scene := set(s, f, plan)
	if err := scene.Write(s.Dir); err != nil {
		return fmt.Errorf("%w: %w", fleet.ErrRunFolder, err)
	}
	book, err := ledger.Open(s.Dir)
	if err != nil {
		return err
	}
	defer book.Close() // Only to close its files: whoever judges reads the records anew.
	generator, err := load.Start(s.Trivet, plan)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	acted := make(chan error, 1)
	go func() { acted <- direct(ctx, s.Variant.Phases, plan.Begin, f, diary) }()
	err = follow(ctx, s, book, generator, plan.Begin.Add(plan.For+scene.Settle+grace))
	switch {
	case errors.Is(err, errStill):
		diary.write(ledger.Event{Event: ledger.StoodStill})
		err = generator.Stop()
	case err != nil:
		cancel(err) // Nobody needs the rest of the actions.
		err = errors.Join(err, generator.Stop())
	}
	if acts := <-acted; err == nil {
		err = acts
	}
	return err
}

// grace is how long the generator may take beyond the last deadline of all: it has only to write down what it knows then. One that is further
// behind than ledger.Lateness convicts itself, so that this could be less: nothing that is valid ends here.
const grace = 5 * time.Second

// errStill is that a generator does not end, which is no fault of the laboratory: it was stopped, or starved.
var errStill = errors.New("the load generator does not end, though every request is past its deadline")

// follow returns when the generator has ended. An error of the generator is one of the laboratory; errStill if it does not end.
func follow(ctx context.Context, s Setup, book *ledger.Ledger, generator *load.Generator, latest time.Time) error {
	tooLate := time.NewTimer(time.Until(latest))
	defer tooLate.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-generator.Done():
			return generator.Wait()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tooLate.C:
			return errStill
		case <-tick.C:
			if err := errors.Join(book.Advance(), roomy(s.Dir, reserve)); err != nil {
				return err
			}
			if s.Watch != nil {
				s.Watch(book)
			}
		}
	}
}

// planned is the plan of the variant's load, but for where and when.
func planned(s Setup) load.Plan {
	plan := load.Plan{Seed: s.File.Seed, Records: filepath.Join(s.Dir, ledger.ClientFile), For: s.File.Length()}
	for _, l := range s.Variant.Loads {
		plan.Streams = append(plan.Streams, load.Stream{
			Protocol: l.Protocol, Call: l.Call, Rate: l.Rate.Points(plan.For), Connections: l.Connections, Channels: l.Channels,
			Deadline: l.Deadline, Hold: l.Hold, Retry: l.Retry,
		})
	}
	return plan
}

// set is the scene for the ledger.
func set(s Setup, f *fleet.Fleet, plan load.Plan) ledger.Scene {
	scene := ledger.Scene{
		V: ledger.SceneVersion, Experiment: s.File.Name, Variant: s.Variant.Name, Seed: s.File.Seed,
		Nginx: s.Nginx.Version.String(), Trivet: buildinfo.String(), Begin: plan.Begin,
		HTTP: f.HTTP(), GRPC: f.GRPC(), Workers: s.Variant.Workers,
	}
	for _, p := range s.Variant.Phases {
		scene.Phases = append(scene.Phases, ledger.Phase{Name: p.Name, For: p.For})
	}
	for i, l := range s.Variant.Loads {
		scene.Loads = append(scene.Loads, ledger.Load{Name: l.Name, Protocol: l.Protocol, Planned: plan.Streams[i].Count(plan.For), Deadline: l.Deadline})
		scene.Settle = max(scene.Settle, l.Deadline+time.Second)
	}
	for _, name := range f.Names() {
		scene.Instances = append(scene.Instances, ledger.Instance{Name: name, HTTP: f.Process(name).HTTP(), GRPC: f.Process(name).GRPC()})
	}
	return scene
}
