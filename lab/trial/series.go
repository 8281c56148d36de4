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
	"trivet/lab/measure"
	"trivet/lab/otlp"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A Series is experiments that run one after the other, trial by trial.
type Series struct {
	Experiments []scenario.Experiment
	Sources     [][]byte // the text of each experiment's file, which is copied into the run directory
	Dir         string   // the run directory: absolute, and empty but for what record.NewRun makes
	Start       Start    // see Setup for this and the next two
	Nginx       string
	Trivet      string
	// Watch is called with nil when a trial of a variant begins (counted from 1), and then as Setup's. It may be nil.
	Watch func(e scenario.Experiment, variant scenario.Scenario, trial int, measured *measure.Trial)
	// Done is called when an experiment has ended, in their order, however it ended. It may be nil.
	Done func()
}

// Run runs them all: each variant once, then each for the second time, up to the experiment's number of trials, so that what changes on
// the machine meanwhile changes all variants alike. If a trial fails, the experiment's remaining trials are left out and the next
// experiment follows; the error joins all that failed. When ctx ends, nothing more is run.
func (s Series) Run(ctx context.Context) error {
	if s.Watch == nil {
		s.Watch = func(scenario.Experiment, scenario.Scenario, int, *measure.Trial) {}
	}
	if s.Done == nil {
		s.Done = func() {}
	}
	entries, err := s.writeIndex()
	if err != nil {
		return fmt.Errorf("%w: %w; set TMPDIR to a directory that you may write to and that has room", record.ErrRunDir, err)
	}
	var failed []error
	for _, entry := range entries {
		err := s.runExperiment(ctx, entry)
		s.Done()
		if err != nil {
			failed = append(failed, err)
		}
		if err != nil && ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

// runExperiment runs all trials of an experiment, until one fails.
func (s Series) runExperiment(ctx context.Context, entry record.Entry) error {
	trials := max(1, entry.Experiment.Trials)
	for trial := 1; trial <= trials; trial++ {
		for _, variant := range entry.Experiment.Scenarios {
			err := s.runTrial(ctx, entry, variant, trial)
			switch {
			case err == nil:
			case ctx.Err() != nil:
				return err
			case trials > 1:
				return fmt.Errorf("%s, %s, trial %d: %w", entry.Experiment.Name, variant.Variant, trial, err)
			default:
				return fmt.Errorf("%s, %s: %w", entry.Experiment.Name, variant.Variant, err)
			}
		}
	}
	return nil
}

func (s Series) runTrial(ctx context.Context, entry record.Entry, variant scenario.Scenario, trial int) error {
	dir := entry.Trial(s.Dir, variant.Variant, trial)
	if err := record.MkdirAll(dir); err != nil {
		return fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	s.Watch(entry.Experiment, variant, trial, nil)
	err := Run(ctx, Setup{
		Scenario: variant, Trial: trial, Dir: dir, Start: s.Start, Nginx: s.Nginx, Trivet: s.Trivet,
		Watch: func(m *measure.Trial) { s.Watch(entry.Experiment, variant, trial, m) },
	})
	if err != nil {
		return err
	}
	return otlp.Write(dir) // Now that the load has ended, it takes no time from it.
}

// writeIndex writes the index, and makes each experiment's directory with the copy of its file.
func (s Series) writeIndex() ([]record.Entry, error) {
	index := record.Index{Time: time.Now(), Trivet: buildinfo.String(), Nginx: s.Nginx, CPUs: runtime.NumCPU()}
	for i, e := range s.Experiments {
		entry := record.Entry{Dir: fmt.Sprintf("%d-%s", i+1, e.Name), Experiment: e}
		if err := record.MkdirAll(filepath.Join(s.Dir, entry.Dir)); err != nil {
			return nil, err
		}
		if err := os.WriteFile(entry.Copy(s.Dir), s.Sources[i], 0o644); err != nil {
			return nil, err
		}
		index.Experiments = append(index.Experiments, entry)
	}
	return index.Experiments, index.Write(s.Dir)
}
