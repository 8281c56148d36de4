// Package trial runs one trial of a variant of an experiment: it starts a fleet of its own, generates load and applies the actions. It leaves the
// records of all sources in a trial directory and judges nothing: packages measure and experiment do that, from the records.
//
// A [Series] is a run: experiments one after the other, each variant as often as the experiment says. What is under test is a [System]: the local fleet, or a fake
// in this package's tests.
package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"trivet/internal/buildinfo"
	"trivet/lab/load"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/sampler"
	"trivet/lab/scenario"
)

// A System is what is under test: instances behind a load balancer.
type System interface {
	// HTTP and GRPC are where the load balancer is called, as host:port.
	HTTP() string
	GRPC() string
	// TLS is where it serves both over TLS, as host:port, and CA the file of the authorities that its clients trust; "" where it does not.
	TLS() string
	CA() string
	Instances() []record.Instance
	// Target is what a system is that the trial did not start; nil of one that it did.
	Target() *record.Target
	// Can reports whether the system can carry out an operation.
	Can(o scenario.Operation) bool
	// Processes are the PIDs of its processes that run, by name: scenario.Nginx, its workers, the instances. A system without any is not
	// sampled.
	Processes() map[string]int
	// Do carries out one operation, and returns when it is done. It may be called while another is carried out.
	Do(ctx context.Context, o scenario.Operation) error
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
	Trial    int    // of the variant, from 1; 0 is 1
	Dir      string // the trial directory: absolute, and there already
	Start    Start
	Nginx    string // its version, for the manifest
	Trivet   string // path of this program, which generates the load when called with "load"
	// Watch is called a few times a second while load or actions run, and once when both have ended. It is to return soon. It may be nil.
	Watch func(*measure.Trial)
}

// headStart is from the making of the plan to its first request: the generator's process has to start and to connect.
const headStart = time.Second

// Run runs the trial, and returns when everything that it started is gone. An error means that the lab failed, or that ctx ended; failed
// requests are never one. The event log says either way how the trial ended.
func Run(ctx context.Context, s Setup) (err error) {
	if s.Watch == nil {
		s.Watch = func(*measure.Trial) {}
	}
	events, err := record.NewEventWriter(s.Dir)
	if err != nil {
		return err
	}
	defer func() {
		writeEnd(ctx, events, err)
		err = errors.Join(err, events.Close())
	}()
	if err := checkSpaceFor(s); err != nil {
		return err
	}
	system, err := s.Start(ctx, s.Scenario, s.Dir, events.Write)
	if err != nil {
		return err
	}
	err = runLoadAndActions(ctx, s, system, events)
	// An instance may still be busy with a request that its client gave up, so the system stops only now.
	err = errors.Join(err, system.Stop(context.WithoutCancel(ctx)))
	findings, incomplete := system.Findings()
	for _, e := range findings {
		events.Write(e)
	}
	return errors.Join(err, incomplete)
}

// runLoadAndActions runs both at the same time, until the last request is over and the last action done.
func runLoadAndActions(ctx context.Context, s Setup, system System, events *record.EventWriter) (err error) {
	if err := checkKinds(s.Scenario, system); err != nil {
		return err
	}
	m := manifest(s, system)
	events.CountFrom(m.Begin)
	if err := m.Write(s.Dir); err != nil {
		return fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	measured, err := measure.Open(s.Dir)
	if err != nil {
		return err
	}
	defer measured.Close() // Only its files: a report reads the records anew.
	generator, err := load.Start(s.Trivet, plan(s, m, system.CA()))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	endSampling, err := sample(s.Dir, m, system, generator)
	if err != nil {
		return errors.Join(err, generator.Stop())
	}
	defer func() { err = errors.Join(err, endSampling()) }()
	acted := make(chan error, 1) // gets its error, then is closed
	go func() {
		acted <- runActions(ctx, s.Scenario, m.Begin, system, events)
		close(acted)
	}()
	latest := m.Begin.Add(s.Scenario.Length() + m.Settle() + grace)
	if err = follow(ctx, s, measured, events, generator, acted, latest); err != nil {
		cancel(err) // The remaining actions have no use.
		err = errors.Join(err, generator.Stop())
		<-acted
	}
	return err
}

// sample starts sampling, if the manifest says so, and returns what ends it.
func sample(dir string, m record.Manifest, system System, generator *load.Generator) (end func() error, err error) {
	if !m.Sampled {
		return func() error { return nil }, nil
	}
	started, err := sampler.Start(filepath.Join(dir, record.SamplesFile), m.Begin, func() map[string]int {
		all := system.Processes()
		all[scenario.Lab] = os.Getpid()
		select {
		case <-generator.Done():
		default:
			all[scenario.Generator] = generator.PID()
		}
		return all
	})
	if err != nil {
		return nil, err
	}
	return started.Stop, nil
}

// checkKinds returns an error if the scenario has an action that the system cannot carry out.
func checkKinds(s scenario.Scenario, system System) error {
	for _, phase := range s.Phases {
		for _, o := range phase.Operations() {
			if o.Kind != scenario.Wait && !system.Can(o) {
				return fmt.Errorf("phase %s: the system under test cannot %s", phase.Name, o.Name())
			}
		}
	}
	return nil
}

// grace is how long the generator may take beyond the last deadline of all: it only has to write its last records then. A generator that
// is behind by more than measure.MaxLateness makes the trial invalid anyway, so that no valid trial ends here.
const grace = 5 * time.Second

// follow returns when the generator has ended and the actions are done. A generator that has not ended by the latest time is stopped:
// the lab has not failed then, the generator was paused, or starved. The error is the generator's, one of reading its records, one of
// too little space for records, or that of the actions, which is the end of ctx.
func follow(ctx context.Context, s Setup, measured *measure.Trial, events *record.EventWriter, generator *load.Generator, acted <-chan error, latest time.Time) error {
	late := time.After(time.Until(latest))
	loaded := generator.Done()
	for tick := time.Tick(200 * time.Millisecond); loaded != nil || acted != nil; {
		select {
		case <-loaded:
			loaded = nil
			if err := generator.Wait(); err != nil {
				return err
			}
		case err := <-acted:
			acted = nil
			if err != nil {
				return err
			}
		case <-late:
			if loaded == nil {
				continue
			}
			loaded = nil
			events.Write(record.Event{Event: record.GeneratorKilled})
			if err := generator.Stop(); err != nil {
				return err
			}
		case <-tick:
			if err := errors.Join(measured.Advance(), checkSpace(s.Dir, reserve)); err != nil {
				return err
			}
			s.Watch(measured)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := measured.Advance(); err != nil {
		return err
	}
	s.Watch(measured) // What ended since the last tick counts, too.
	return nil
}

// manifest is the trial's, which begins in headStart.
func manifest(s Setup, system System) record.Manifest {
	m := record.Manifest{
		V: record.ManifestVersion, Scenario: s.Scenario, Nginx: s.Nginx, Trivet: buildinfo.String(),
		Instances: system.Instances(), HTTP: system.HTTP(), GRPC: system.GRPC(), Trial: max(1, s.Trial), CPUs: runtime.NumCPU(), Target: system.Target(),
		Sampled: len(system.Processes()) > 0 && sampler.Supported() == nil,
	}
	if s.Scenario.TLS {
		m.HTTP, m.GRPC = system.TLS(), system.TLS()
	}
	for _, l := range s.Scenario.Loads {
		m.Planned = append(m.Planned, l.Rate.Count(s.Scenario.Length()))
	}
	m.Begin = time.Now().Add(headStart)
	return m
}

// plan is the generator's. Its authorities count only in a trial over TLS: the system may serve others over TLS, too.
func plan(s Setup, m record.Manifest, ca string) load.Plan {
	if !s.Scenario.TLS {
		ca = ""
	}
	return load.Plan{
		Seed: s.Scenario.Seed, HTTP: m.HTTP, GRPC: m.GRPC, CA: ca, Records: filepath.Join(s.Dir, record.ClientFile),
		Begin: m.Begin, For: s.Scenario.Length(), Loads: s.Scenario.Loads,
	}
}
