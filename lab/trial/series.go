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
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A Series is experiments that run one after the other, variant by variant.
type Series struct {
	Experiments []scenario.Experiment
	Sources     [][]byte // the text of each experiment's file, which is copied into the run directory
	Dir         string   // the run directory: absolute, and empty but for what record.NewRun makes
	Start       Start    // see Setup for this and the next two
	Nginx       string
	Trivet      string
	// Watch is called with nil when a variant begins, and a few times a second while its load runs.
	Watch func(scenario.Experiment, scenario.Scenario, *measure.Trial)
	// Done is called when an experiment has ended, in their order, however it ended.
	Done func()
}

// Run runs them all. If a variant's trial fails, the experiment's remaining variants are left out and the next experiment follows; the
// error joins all that failed. When ctx ends, nothing more is run.
func (s Series) Run(ctx context.Context) error {
	entries, err := s.writeIndex()
	if err != nil {
		return fmt.Errorf("%w: %w; set TMPDIR to a directory that you may write to and that has room", record.ErrRunDir, err)
	}
	var failed []error
	for _, entry := range entries {
		for _, variant := range entry.Experiment.Scenarios {
			err := s.runVariant(ctx, entry, variant)
			if err != nil && ctx.Err() != nil {
				s.Done()
				return errors.Join(append(failed, err)...)
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("%s, %s: %w", entry.Experiment.Name, variant.Variant, err))
				break
			}
		}
		s.Done()
	}
	return errors.Join(failed...)
}

func (s Series) runVariant(ctx context.Context, entry record.Entry, variant scenario.Scenario) error {
	dir := entry.Trial(s.Dir, variant.Variant, 1)
	if err := record.MkdirAll(dir); err != nil {
		return fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	s.Watch(entry.Experiment, variant, nil)
	return Run(ctx, Setup{
		Scenario: variant, Dir: dir, Start: s.Start, Nginx: s.Nginx, Trivet: s.Trivet,
		Watch: func(m *measure.Trial) { s.Watch(entry.Experiment, variant, m) },
	})
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
