// Package report makes the report on a run of experiments. It reads nothing but the run directory: a report can be made again, and a
// verdict be checked, as long as that exists.
package report

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"trivet/lab/experiment"
	"trivet/lab/ledger"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Version is in every Run.
const Version = 3

// A Verdict is the overall outcome of a run, an experiment or a variant.
type Verdict string

// Verdicts, from the best to the worst.
const (
	Passed      Verdict = "passed"      // every expectation passed
	Failed      Verdict = "failed"      // an expectation failed, and none is inconclusive
	Invalid     Verdict = "invalid"     // the measurements cannot be trusted, or do not decide every expectation
	Error       Verdict = "error"       // the lab failed
	Interrupted Verdict = "interrupted" // by a signal
)

var codes = map[Verdict]int{Passed: 0, Failed: 1, Invalid: 3, Error: 4, Interrupted: 130}

// Code is the verdict's exit code.
func (v Verdict) Code() int { return codes[v] }

// worse is the one of the two with the higher exit code.
func (v Verdict) worse(w Verdict) Verdict {
	if w.Code() > v.Code() {
		return w
	}
	return v
}

// A Run is the report on a run directory.
type Run struct {
	V           int          `json:"v"` // Version
	Dir         string       `json:"dir"`
	Time        time.Time    `json:"time"`
	Trivet      string       `json:"trivet"` // versions
	Nginx       string       `json:"nginx"`
	CPUs        int          `json:"cpus"`
	Verdict     Verdict      `json:"verdict"` // the worst of the experiments'
	Code        int          `json:"code"`    // the exit code
	Experiments []Experiment `json:"experiments"`

	entries []record.Entry
}

// An Experiment is the report on one.
type Experiment struct {
	Path         string                         `json:"path"` // of its file, as the command line named it
	Name         string                         `json:"name"`
	Question     string                         `json:"question"`
	Answer       string                         `json:"answer,omitempty"` // with the metrics in it; only if the experiment passed or failed
	Seed         uint64                         `json:"seed"`
	Trials       int                            `json:"trials"`  // of each variant
	Length       time.Duration                  `json:"length"`  // of a trial
	Verdict      Verdict                        `json:"verdict"` // the worst of its variants', or of its expectations'
	Reasons      []string                       `json:"reasons"` // why it is invalid although all variants are valid
	Variants     []Variant                      `json:"variants"`
	Expectations []experiment.ExpectationResult `json:"expectations"` // only if all variants are valid
}

// A Variant is the report on one.
type Variant struct {
	Name        string  `json:"name"`
	Description string  `json:"description,omitempty"`
	Instances   int     `json:"instances"`
	Front       int     `json:"front,omitempty"` // instances of front
	Workers     int     `json:"workers"`
	TLS         bool    `json:"tls,omitempty"`  // see scenario.Scenario
	MTLS        bool    `json:"mtls,omitempty"` //
	Verdict     Verdict `json:"verdict"`        // the worst of its trials'
	Trials      []Trial `json:"trials"`
}

// A Trial is the report on one trial of a variant.
type Trial struct {
	Dir              string               `json:"dir"` // the trial directory
	Verdict          Verdict              `json:"verdict"`
	Reasons          []string             `json:"reasons"`       // why it has not passed
	Discrepancies    []ledger.Discrepancy `json:"discrepancies"` // the first of them
	DiscrepancyCount int                  `json:"discrepancy_count"`
	Kinds            []ledger.Kind        `json:"discrepancy_kinds"` // the most frequent first
	Phases           []measure.Phase      `json:"phases"`
	Target           *record.Target       `json:"target,omitempty"`     // that it was run on, if it did not start its fleet itself
	Reconciled       string               `json:"reconciled,omitempty"` // of a target: which records were compared, in words
	Others           int                  `json:"others,omitempty"`     // requests of others that the target got

	result measure.Result
}

// Begin begins the report on a run directory, with no experiment in it yet.
func Begin(dir string) (*Run, error) {
	index, err := record.ReadIndex(dir)
	if err != nil {
		return nil, err
	}
	return &Run{
		V: Version, Dir: dir, Time: index.Time, Trivet: index.Trivet, Nginx: index.Nginx, CPUs: index.CPUs, Verdict: Passed,
		Experiments: []Experiment{}, entries: index.Experiments,
	}, nil
}

// Next adds the next experiment, which has ended. There must be one; see Complete.
func (r *Run) Next() (Experiment, error) {
	e, err := r.experiment(r.entries[len(r.Experiments)])
	if err == nil {
		r.Add(e)
	}
	return e, err
}

// Add adds the next experiment, of which there is a report already. There must be one.
func (r *Run) Add(e Experiment) {
	r.Experiments = append(r.Experiments, e)
	r.Verdict = r.Verdict.worse(e.Verdict)
	r.Code = r.Verdict.Code()
}

// Unreadable adds the next experiment as one whose records cannot be read, and why. There must be one.
func (r *Run) Unreadable(err error) Experiment {
	of := r.entries[len(r.Experiments)].Experiment
	e := Experiment{
		Path: of.Path, Name: of.Name, Question: of.Question, Trials: max(1, of.Trials), Verdict: Error, Reasons: lines("", err.Error()),
		Variants: []Variant{}, Expectations: []experiment.ExpectationResult{},
	}
	r.Add(e)
	return e
}

// Complete adds all experiments that are not in the report yet, those that never began included.
func (r *Run) Complete() error {
	for len(r.Experiments) < len(r.entries) {
		if _, err := r.Next(); err != nil {
			return err
		}
	}
	return nil
}

// From makes the report on a run directory. The error is one of reading it; what is wrong with the run is in the report.
func From(dir string) (*Run, error) {
	r, err := Begin(dir)
	if err == nil {
		err = r.Complete()
	}
	return r, err
}

func (r *Run) experiment(entry record.Entry) (Experiment, error) {
	of := entry.Experiment
	e := Experiment{
		Path: of.Path, Name: of.Name, Question: of.Question, Trials: max(1, of.Trials), Verdict: Passed, Reasons: []string{}, Expectations: []experiment.ExpectationResult{},
	}
	for _, s := range of.Scenarios {
		e.Seed, e.Length = s.Seed, s.Length()
		e.Variants = append(e.Variants, Variant{
			Name: s.Variant, Description: s.Description, Instances: s.Instances, Front: s.Front, Workers: s.Workers, TLS: s.TLS, MTLS: s.MTLS, Verdict: Passed,
		})
	}
	for n := range e.Trials { // In the order in which they ran.
		for i, s := range of.Scenarios {
			t, err := r.trial(entry.Trial(r.Dir, s.Variant, n+1), s, n+1, r.Verdict.worse(e.Verdict))
			if err != nil {
				return e, err
			}
			v := &e.Variants[i]
			v.Trials, v.Verdict = append(v.Trials, t), v.Verdict.worse(t.Verdict)
			e.Verdict = e.Verdict.worse(t.Verdict)
		}
	}
	if e.Verdict == Passed {
		e.judge(of)
	}
	return e, nil
}

// judge evaluates the expectations and the answer.
func (e *Experiment) judge(of scenario.Experiment) {
	e.Expectations = append(e.Expectations, experiment.Judge(of, e.measures)...)
	for _, x := range e.Expectations {
		e.Verdict = e.Verdict.worse(verdict(x))
		if verdict(x) == Invalid {
			e.Reasons = append(e.Reasons, inconclusive+x.Text+": "+strings.TrimPrefix(x.Error, x.Text+": "))
		}
	}
	if e.Verdict != Invalid {
		e.Answer = experiment.Answer(of, e.measures)
	}
}

// verdict is that of a run in which all other expectations passed.
func verdict(x experiment.ExpectationResult) Verdict {
	switch {
	case x.Inconclusive:
		return Invalid
	case x.Passed:
		return Passed
	}
	return Failed
}

// measures are experiment.Measures.
func (e *Experiment) measures(variant string, trial int, phase, group string) (measured, adjusted measure.Metrics, ok bool) {
	for _, v := range e.Variants {
		if v.Name == variant {
			measured, ok = v.Trials[trial-1].result.Metrics(phase, group)
			adjusted, _ = v.Trials[trial-1].result.Adjusted(phase, group)
		}
	}
	return measured, adjusted, ok
}

// trial reports on a trial directory; before is the worst verdict of all trials before it.
func (r *Run) trial(dir string, s scenario.Scenario, number int, before Verdict) (Trial, error) {
	t := Trial{
		Dir: dir, Verdict: Passed,
		Reasons: []string{}, Discrepancies: []ledger.Discrepancy{}, Kinds: []ledger.Kind{}, Phases: []measure.Phase{},
	}
	measured, err := measure.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		t.unmeasured(before)
		return t, nil
	}
	if err != nil {
		return t, err
	}
	if t.result, err = measured.Close(); err != nil {
		return t, err
	}
	t.Phases = append(t.Phases, t.result.Phases...)
	t.Target, t.Reconciled, t.Others = t.result.Manifest.Target, reconciled(t.result.Manifest), t.result.Others
	t.judge(append(differences(t.result.Manifest, s, number, r.Nginx, r.Trivet), t.result.Reasons...))
	return t, nil
}

// judge sets the verdict by how the trial ended. Of a trial without an end the records cannot be complete: the reasons against them say
// nothing then.
func (t *Trial) judge(reasons []string) {
	switch ending := t.result.Ending; {
	case ending.Event == record.Interrupted:
		t.Verdict, t.Reasons = Interrupted, lines("interrupted: ", ending.Error)
	case ending.Event == record.LabError:
		t.Verdict, t.Reasons = Error, lines("the lab failed: ", ending.Error)
	case ending.Event == "":
		t.Verdict, t.Reasons = Error, []string{"the event log has no end: the run was killed, or is still going on"}
	case len(reasons) > 0 || t.result.DiscrepancyCount > 0:
		t.Verdict, t.Reasons = Invalid, reasons
		t.Discrepancies, t.DiscrepancyCount = append(t.Discrepancies, t.result.Discrepancies...), t.result.DiscrepancyCount
		t.Kinds = append(t.Kinds, t.result.Kinds...)
	}
}

// lines are the lines of a text, each a reason of its own.
func lines(what, text string) []string { return strings.Split(what+strings.TrimSpace(text), "\n") }

// unmeasured sets the verdict where there is no manifest: the trial ended before its load began, or never began.
func (t *Trial) unmeasured(before Verdict) {
	event, err := record.LastEvent(t.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && before == Interrupted:
		t.Verdict, t.Reasons = Interrupted, []string{"never begun: the run was interrupted before"}
	case errors.Is(err, fs.ErrNotExist):
		t.Verdict, t.Reasons = Error, []string{"never begun: a trial before it failed, or the run was killed"}
	case event.Event == record.Interrupted:
		t.Verdict, t.Reasons = Interrupted, lines("interrupted before the load began: ", event.Error)
	case event.Event == record.LabError:
		t.Verdict, t.Reasons = Error, lines("the lab failed before the load began: ", event.Error)
	case event.Event == record.Ended:
		t.Verdict, t.Reasons = Invalid, []string{record.ManifestFile + " is missing, though the trial ended: without it the records cannot be read"}
	default:
		t.Verdict, t.Reasons = Error, []string{"the run was killed before the load began, or is still going on"}
		if err != nil { // Perhaps the last line is incomplete.
			t.Reasons = append(t.Reasons, err.Error())
		}
	}
}
