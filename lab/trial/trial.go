// Package trial runs one variant of an experiment: it starts a fleet of its own, generates load and applies the actions. It leaves the
// records of all sources in a trial directory and judges nothing: packages measure and experiment do that, from the records.
//
// A [Series] is a run: experiments one after the other, variant by variant. What is under test is a [System]: the local fleet, or a fake
// in this package's tests.
package trial

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"trivet/internal/buildinfo"
	"trivet/lab/load"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A System is what is under test: instances behind a load balancer.
type System interface {
	// HTTP and GRPC are where the load balancer is called, as host:port.
	HTTP() string
	GRPC() string
	Instances() []record.Instance
	// Kinds are the kinds of actions that the system can carry out.
	Kinds() []string
	// Do carries out one action on one process, and returns when it is done.
	Do(ctx context.Context, kind, process string) error
	// Stop ends all processes, and returns when they are gone.
	Stop(ctx context.Context) error
	// Findings are what the system's logs show and no action requested. It is called after Stop. It returns an error if a source could not
	// write all of its records: missing ones must not look like results.
	Findings() ([]record.Event, error)
}

// Start starts a system for a scenario, whose records go into dir, and returns when it serves. It calls observe with each event of a
// process, until Stop returns. The end of ctx ends the start, not the system.
type Start func(ctx context.Context, s scenario.Scenario, dir string, observe func(record.Event)) (System, error)

// Setup is what a trial needs.
type Setup struct {
	Scenario scenario.Scenario
	Dir      string // the trial directory: absolute, and there already
	Start    Start
	Nginx    string // its version, for the manifest
	Trivet   string // path of this program, which generates the load when called with "load"
	// Watch is called a few times a second while the load runs, and is to return soon.
	Watch func(*measure.Trial)
}

// headStart is from the making of the plan to its first request: the generator's process has to start and to connect.
const headStart = time.Second

// Run runs the trial, and returns when everything that it started is gone. An error means that the lab failed, or that ctx ended; failed
// requests are never one. The event log says either way how the trial ended.
func Run(ctx context.Context, s Setup) (err error) {
	events, err := newEventWriter(s.Dir)
	if err != nil {
		return err
	}
	defer func() {
		events.end(ctx, err)
		err = errors.Join(err, events.close())
	}()
	if err := checkSpaceFor(s); err != nil {
		return err
	}
	system, err := s.Start(ctx, s.Scenario, s.Dir, events.write)
	if err != nil {
		return err
	}
	err = runLoadAndActions(ctx, s, system, events)
	// An instance may still be busy with a request that its client gave up, so the system stops only now.
	err = errors.Join(err, system.Stop(context.WithoutCancel(ctx)))
	findings, incomplete := system.Findings()
	for _, e := range findings {
		events.write(e)
	}
	return errors.Join(err, incomplete)
}

// runLoadAndActions runs both at the same time, until the last request is over.
func runLoadAndActions(ctx context.Context, s Setup, system System, events *eventWriter) error {
	if err := checkKinds(s.Scenario, system.Kinds()); err != nil {
		return err
	}
	m := manifest(s, system)
	events.countFrom(m.Begin)
	if err := m.Write(s.Dir); err != nil {
		return fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	measured, err := measure.Open(s.Dir)
	if err != nil {
		return err
	}
	defer measured.Close() // Only its files: a report reads the records anew.
	generator, err := load.Start(s.Trivet, plan(s, m))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	acted := make(chan error, 1)
	go func() { acted <- runActions(ctx, s.Scenario, m.Begin, system, events) }()
	err = follow(ctx, s, measured, generator, m.Begin.Add(s.Scenario.Length()+m.Settle()+grace))
	switch {
	case errors.Is(err, errNoEnd):
		events.write(record.Event{Event: record.GeneratorKilled})
		err = generator.Stop()
	case err != nil:
		cancel(err) // The remaining actions have no use.
		err = errors.Join(err, generator.Stop())
	}
	if failed := <-acted; err == nil {
		err = failed
	}
	return err
}

// checkKinds returns an error if the scenario has an action that the system cannot carry out.
func checkKinds(s scenario.Scenario, can []string) error {
	for _, phase := range s.Phases {
		for _, action := range phase.Do {
			if kind := action.Kind(); action.Wait == nil && !slices.Contains(can, kind) {
				return fmt.Errorf("phase %s: %s: the system under test cannot do that; it can %q", phase.Name, kind, can)
			}
		}
	}
	return nil
}

// grace is how long the generator may take beyond the last deadline of all: it only has to write its last records then. A generator that
// is behind by more than measure.MaxLateness makes the trial invalid anyway, so that no valid trial ends here.
const grace = 5 * time.Second

// errNoEnd means that the generator does not end. The lab has not failed then: the generator was paused, or starved.
var errNoEnd = errors.New("the load generator does not end, though every request is past its deadline")

// follow returns when the generator has ended. The error is the generator's, or one of reading its records; errNoEnd if it has not ended
// by the latest time.
func follow(ctx context.Context, s Setup, measured *measure.Trial, generator *load.Generator, latest time.Time) error {
	ctx, cancel := context.WithDeadlineCause(ctx, latest, errNoEnd)
	defer cancel()
	for tick := time.Tick(200 * time.Millisecond); ; {
		select {
		case <-generator.Done():
			return generator.Wait()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick:
			if err := errors.Join(measured.Advance(), checkSpace(s.Dir, reserve)); err != nil {
				return err
			}
			s.Watch(measured)
		}
	}
}

// manifest is the trial's, which begins in headStart.
func manifest(s Setup, system System) record.Manifest {
	m := record.Manifest{
		V: record.ManifestVersion, Scenario: s.Scenario, Nginx: s.Nginx, Trivet: buildinfo.String(),
		Instances: system.Instances(), HTTP: system.HTTP(), GRPC: system.GRPC(), Trial: 1, CPUs: runtime.NumCPU(),
	}
	for _, l := range s.Scenario.Loads {
		m.Planned = append(m.Planned, l.Rate.Count(s.Scenario.Length()))
	}
	m.Begin = time.Now().Add(headStart)
	return m
}

func plan(s Setup, m record.Manifest) load.Plan {
	return load.Plan{
		Seed: s.Scenario.Seed, HTTP: m.HTTP, GRPC: m.GRPC, Records: filepath.Join(s.Dir, record.ClientFile),
		Begin: m.Begin, For: s.Scenario.Length(), Loads: s.Scenario.Loads,
	}
}
