// Package report tells what a run of experiments came to. It reads nothing but the run folder, so that a report can be made again, and
// a verdict be checked, as long as that is there.
package report

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"trivet/lab/experiment"
	"trivet/lab/ledger"
	"trivet/lab/trial"
)

// Version is in every Run.
const Version = 1

// A Verdict is what a run, an experiment or a variant came to.
type Verdict string

// Verdicts, from the best to the worst.
const (
	Held        Verdict = "held"        // everything that was expected
	Failed      Verdict = "failed"      // an expectation did not hold
	Invalid     Verdict = "invalid"     // nothing can be said: the load was not as planned, or the witnesses' words do not fit together
	Broke       Verdict = "broke"       // the laboratory itself
	Interrupted Verdict = "interrupted" // by somebody
)

var codes = map[Verdict]int{Held: 0, Failed: 1, Invalid: 3, Broke: 4, Interrupted: 130}

// Code is the verdict's exit code.
func (v Verdict) Code() int { return codes[v] }

// worse is the one of the two with the higher exit code.
func (v Verdict) worse(w Verdict) Verdict {
	if w.Code() > v.Code() {
		return w
	}
	return v
}

// A Run is the report on a run folder.
type Run struct {
	V           int          `json:"v"` // Version
	Folder      string       `json:"folder"`
	Time        time.Time    `json:"time"`
	Trivet      string       `json:"trivet"` // versions
	Nginx       string       `json:"nginx"`
	CPUs        int          `json:"cpus"`
	Verdict     Verdict      `json:"verdict"` // the worst of the experiments'
	Code        int          `json:"code"`    // the exit code
	Experiments []Experiment `json:"experiments"`

	entries []trial.Entry
}

// An Experiment is the report on one.
type Experiment struct {
	Path         string                 `json:"path"` // its file, as it was named
	Name         string                 `json:"name"`
	Question     string                 `json:"question"`
	Answer       string                 `json:"answer,omitempty"` // with what was measured; only if all variants are valid
	Seed         uint64                 `json:"seed"`
	Length       time.Duration          `json:"length"`  // of a variant
	Verdict      Verdict                `json:"verdict"` // the worst of its variants', or whether all expectations held
	Variants     []Variant              `json:"variants"`
	Expectations []experiment.Judgement `json:"expectations"` // only if all variants are valid: else there is nothing to judge
}

// A Variant is the report on one.
type Variant struct {
	Name      string          `json:"name"`
	About     string          `json:"about,omitempty"`
	Folder    string          `json:"folder"`
	Instances int             `json:"instances"`
	Workers   int             `json:"workers"`
	Verdict   Verdict         `json:"verdict"`
	Reasons   []string        `json:"reasons"`  // why it is not held
	Breaches  []ledger.Breach `json:"breaches"` // the first of them
	Total     int             `json:"total"`    // of breaches
	Phases    []Phase         `json:"phases"`

	book *ledger.Ledger // nil: nothing was measured, or all has been asked
}

// A Phase is what was measured in one; the last is "run", the whole time.
type Phase struct {
	Name  string        `json:"name"`
	For   time.Duration `json:"for"`
	Calls []Calls       `json:"calls"`
}

// Calls are requests of one protocol, or of one load.
type Calls struct {
	Name     string         `json:"name"`
	Protocol string         `json:"protocol"`
	Figures  ledger.Figures `json:"figures"`
}

// WholeRun is what the phase of the whole time is called.
const WholeRun = "run"

// Begin begins the report on a run folder, with nothing in it yet.
func Begin(dir string) (*Run, error) {
	index, err := trial.ReadIndex(dir)
	if err != nil {
		return nil, err
	}
	return &Run{
		V: Version, Folder: dir, Time: index.Time, Trivet: index.Trivet, Nginx: index.Nginx, CPUs: index.CPUs, Verdict: Held,
		Experiments: []Experiment{}, entries: index.Experiments,
	}, nil
}

// Next adds the next experiment, which has ended. There is one; see Complete.
func (r *Run) Next() (Experiment, error) {
	e, err := experimentFrom(r.Folder, r.entries[len(r.Experiments)], r.Verdict)
	if err != nil {
		return e, err
	}
	r.Experiments = append(r.Experiments, e)
	r.Verdict = r.Verdict.worse(e.Verdict)
	r.Code = r.Verdict.Code()
	return e, nil
}

// Complete adds all experiments that are not in the report yet, also those that were never begun.
func (r *Run) Complete() error {
	for len(r.Experiments) < len(r.entries) {
		if _, err := r.Next(); err != nil {
			return err
		}
	}
	return nil
}

// From makes the report on a run folder. The error is one of reading it; what is wrong with the run is in the report.
func From(dir string) (*Run, error) {
	r, err := Begin(dir)
	if err == nil {
		err = r.Complete()
	}
	return r, err
}

// experimentFrom reports on one experiment; before is what those before it came to.
func experimentFrom(dir string, entry trial.Entry, before Verdict) (Experiment, error) {
	file, err := experiment.ReadCopy(entry.Copy(dir))
	if err != nil {
		return Experiment{}, fmt.Errorf("the experiment's copy: %w", err)
	}
	e := Experiment{
		Path: entry.Path, Name: file.Name, Question: file.Question, Seed: file.Seed, Length: file.Length(), Verdict: Held,
		Expectations: []experiment.Judgement{},
	}
	for _, v := range file.Variants {
		read, err := variantFrom(entry.Variant(dir, v.Name), file.Seed, v, file.Length(), before.worse(e.Verdict))
		if err != nil {
			return Experiment{}, err
		}
		e.Variants = append(e.Variants, read)
		e.Verdict = e.Verdict.worse(read.Verdict)
	}
	if e.Verdict == Held {
		e.judge(file)
	}
	for i := range e.Variants {
		e.Variants[i].book = nil // A run may have hundreds of variants, and all is said.
	}
	return e, nil
}

// judge asks the expectations of what was measured.
func (e *Experiment) judge(file *experiment.File) {
	measures := remembered(e.figures)
	judgements, _ := file.Judge(measures) // What could not be asked says so in its judgement.
	e.Expectations = judgements
	e.Answer = file.Answered(measures)
	for _, j := range judgements {
		if !j.Held {
			e.Verdict = Failed
		}
	}
}

// remembered are measures that are made once: each expectation asks for those of all phases, and a figure is the sum of histograms.
func remembered(measures experiment.Measures) experiment.Measures {
	type key struct{ variant, phase, name string }
	made := make(map[key]ledger.Figures)
	return func(variant, phase, name string) (ledger.Figures, bool) {
		k := key{variant, phase, name}
		if f, ok := made[k]; ok {
			return f, true
		}
		f, ok := measures(variant, phase, name)
		if ok {
			made[k] = f
		}
		return f, ok
	}
}

// figures are experiment.Measures.
func (e *Experiment) figures(variant, phase, name string) (ledger.Figures, bool) {
	for _, v := range e.Variants {
		if v.Name == variant {
			return v.figures(phase, name)
		}
	}
	return ledger.Figures{}, false
}

func (v Variant) figures(phase, name string) (ledger.Figures, bool) {
	if phase == WholeRun {
		phase = ""
	}
	return v.book.Figures(phase, name)
}

func variantFrom(dir string, seed uint64, like experiment.Variant, length time.Duration, before Verdict) (Variant, error) {
	v := Variant{
		Name: like.Name, About: like.About, Folder: dir, Instances: like.Instances, Workers: like.Workers, Verdict: Held,
		Reasons: []string{}, Breaches: []ledger.Breach{}, Phases: []Phase{},
	}
	book, err := ledger.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return v.unset(before), nil
	}
	if err != nil {
		return v, err
	}
	balance, err := book.Close()
	if err != nil {
		return v, err
	}
	balance.Reasons = slices.Insert(balance.Reasons, 0, differences(book.Scene(), seed, like)...)
	v.book, v.Reasons = book, balance.Reasons
	v.end(book.Ending(), balance)
	for _, phase := range like.Phases {
		v.Phases = append(v.Phases, v.phase(phase.Name, phase.For, like))
	}
	if len(like.Phases) > 1 {
		v.Phases = append(v.Phases, v.phase(WholeRun, length, like))
	}
	return v, nil
}

// end judges by how the variant ended. Of one that did not come to its end the books cannot balance: then that alone is told.
func (v *Variant) end(ending ledger.Event, balance ledger.Balance) {
	switch {
	case ending.Event == ledger.Interrupted:
		v.Verdict, v.Reasons = Interrupted, lines("it was interrupted: ", ending.Error)
	case ending.Event == ledger.Broke:
		v.Verdict, v.Reasons = Broke, lines("the laboratory broke: ", ending.Error)
	case ending.Event == "":
		v.Verdict, v.Reasons = Broke, []string{"the records have no end: the run was broken off, or is still going on"}
	case !balance.Valid():
		v.Verdict, v.Breaches, v.Total = Invalid, balance.Breaches, balance.Total
	}
}

// lines are the lines of a text, each a reason of its own.
func lines(what, text string) []string { return strings.Split(what+strings.TrimSpace(text), "\n") }

// unset is for a folder without a scene: the variant ended before its load began, or never began.
func (v Variant) unset(before Verdict) Variant {
	event, err := ledger.LastEvent(v.Folder)
	switch {
	case errors.Is(err, fs.ErrNotExist) && before == Interrupted:
		v.Verdict, v.Reasons = Interrupted, []string{"it was never begun: the run was interrupted before"}
	case errors.Is(err, fs.ErrNotExist):
		v.Verdict, v.Reasons = Broke, []string{"it was never begun: what came before it broke, or was broken off"}
	case event.Event == ledger.Interrupted:
		v.Verdict, v.Reasons = Interrupted, lines("it was interrupted before the load began: ", event.Error)
	case event.Event == ledger.Broke:
		v.Verdict, v.Reasons = Broke, lines("the laboratory broke before the load began: ", event.Error)
	case event.Event == ledger.Ended:
		v.Verdict, v.Reasons = Invalid, []string{ledger.SceneFile + " is missing, though the run came to its end: without it nothing of the records can be said"}
	default:
		v.Verdict, v.Reasons = Broke, []string{"the run was broken off before the load began, or is still going on"}
		if err != nil { // A line that was not written to its end, perhaps.
			v.Reasons = append(v.Reasons, err.Error())
		}
	}
	return v
}

func (v Variant) phase(name string, length time.Duration, like experiment.Variant) Phase {
	p := Phase{Name: name, For: length, Calls: []Calls{}}
	for _, calls := range like.Calls() {
		if figures, ok := v.figures(name, calls); ok {
			p.Calls = append(p.Calls, Calls{calls, protocolOf(calls, like.Loads), figures})
		}
	}
	return p
}

func protocolOf(calls string, loads []experiment.Load) string {
	for _, l := range loads {
		if l.Name == calls {
			return l.Protocol
		}
	}
	return calls
}
