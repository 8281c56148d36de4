package record

import (
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"trivet/lab/scenario"
)

// IndexFile is a run directory's table of contents, an Index.
const IndexFile = "run.json"

// IndexVersion is in every Index.
const IndexVersion = 3

// An Index lists what a run directory holds. Each experiment has a directory with a copy of its file and a trial directory, named after
// the variant, for each trial that has begun.
type Index struct {
	V           int       `json:"v"` // IndexVersion
	Time        time.Time `json:"time"`
	Trivet      string    `json:"trivet"` // versions
	Nginx       string    `json:"nginx"`
	CPUs        int       `json:"cpus"` // of this machine
	Experiments []Entry   `json:"experiments"`
}

// Entry is one experiment of an Index, with all scenarios resolved.
type Entry struct {
	Dir        string              `json:"dir"` // in the run directory
	Experiment scenario.Experiment `json:"experiment"`
}

// Copy is the copy of the experiment's file, for people: nothing reads it. It ends in .yaml, whatever the file's name does: no variant
// can have such a name.
func (e Entry) Copy(run string) string { return filepath.Join(run, e.Dir, e.Experiment.Name+".yaml") }

// Trial is the directory of a trial of a variant, counted from 1. If there is only one per variant, it is named after the variant.
func (e Entry) Trial(run, variant string, trial int) string {
	if e.Experiment.Trials > 1 {
		variant += "-" + strconv.Itoa(trial)
	}
	return filepath.Join(run, e.Dir, variant)
}

// Write puts the index into a run directory.
func (x Index) Write(run string) error {
	x.V = IndexVersion
	return writeJSON(filepath.Join(run, IndexFile), x)
}

// ReadIndex reads a run directory's index. One that expects nothing, or nothing that a run can have done, is an error: without an
// expectation there is none that fails.
func ReadIndex(run string) (x Index, err error) {
	path := filepath.Join(run, IndexFile)
	if err := readJSON(path, "the directory of a trivet run", IndexVersion, &x); err != nil {
		return x, err
	}
	if len(x.Experiments) == 0 {
		return x, fmt.Errorf("%s has no experiment", path)
	}
	for i, e := range x.Experiments {
		if len(e.Experiment.Scenarios) == 0 || len(e.Experiment.Expect) == 0 {
			return x, fmt.Errorf("%s: experiments[%d] has %d scenarios and %d expectations, want 1 or more of both", path, i, len(e.Experiment.Scenarios), len(e.Experiment.Expect))
		}
		for _, s := range e.Experiment.Scenarios {
			if err := s.Validate(); err != nil {
				return x, fmt.Errorf("%s: experiments[%d], variant %s: %w", path, i, s.Variant, err)
			}
			if dir := filepath.Join(e.Dir, s.Variant); !filepath.IsLocal(dir) {
				return x, fmt.Errorf("%s: experiments[%d]: %s is outside the run directory", path, i, strconv.Quote(dir))
			}
		}
	}
	return x, nil
}
