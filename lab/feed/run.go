package feed

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"trivet/lab/record"
	"trivet/lab/report"
	"trivet/lab/scenario"
)

// A RunSource is the feed of a run directory: of its trials as they begin, and of the report on each experiment when it has ended. It is
// not safe for concurrent use.
type RunSource struct {
	dir     string
	index   record.Index
	trials  []*runTrial // of all experiments, in the order in which they run
	current int         // in trials: all before it are read to their end
	shown   map[string]bool
	files   []Message
	reports []Message
	changed []Message // since Changed was last called
	begun   bool      // Changed was called
	over    bool      // the run had ended when the feed began
	final   bool      // what is not there will not come

	report    *report.Run
	reporting <-chan report.Experiment // of one that has ended; nil: none is being made
	given     <-chan report.Experiment // see ReportsFrom
}

// A runTrial is one of a run's.
type runTrial struct {
	experiment int
	dir        string
	about      Trial // what the index says of it
	source     trialSource
	over       bool      // it has ended, or will never begin
	read       bool      // all of its records are read
	messages   []Message // then: its snapshot
}

// A trialSource is the feed of a trial directory.
type trialSource interface {
	Advance() error
	Changed() []Message
	Snapshot() []Message
	Close() error
}

// FollowRun is the feed of a run directory, also while the run goes on: call Advance again and again until Done.
func FollowRun(dir string) (*RunSource, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	index, err := record.ReadIndex(dir)
	if err != nil {
		return nil, err
	}
	r := &RunSource{dir: dir, index: index, shown: make(map[string]bool), over: !record.Running(dir)}
	if r.report, err = report.Begin(dir); err != nil {
		return nil, err
	}
	for i, e := range index.Experiments {
		for n := range max(1, e.Experiment.Trials) {
			for _, s := range e.Experiment.Scenarios {
				t := &runTrial{experiment: i, dir: e.Trial(dir, s.Variant, n+1), about: announced(s, n+1)}
				t.about.Trial, t.about.Experiment = len(r.trials), e.Experiment.Name
				r.trials = append(r.trials, t)
			}
		}
	}
	return r, nil
}

// OfRun is the feed of a run directory as it is now. docs/feed.md says which messages it has.
func OfRun(dir string) ([]Message, error) {
	r, err := ofRun(dir)
	if err != nil {
		return nil, err
	}
	return r.Snapshot(), nil
}

// ofRun has read a run directory, and closed its files.
func ofRun(dir string) (*RunSource, error) {
	r, err := FollowRun(dir)
	if err != nil {
		return nil, err
	}
	r.final = true
	for !r.Done() {
		r.advance()
		r.awaitReport()
	}
	return r, r.Close()
}

// announced is what a scenario says of a trial before it begins.
func announced(s scenario.Scenario, number int) Trial {
	return Trial{
		Variant: s.Variant, Number: number, Length: s.Length().Milliseconds(), Width: binWidth(s.Length()).Milliseconds(), Instances: []Instance{}, Workers: s.Workers,
		TLS: s.TLS, MTLS: s.MTLS, Loads: []Load{}, Phases: []Phase{},
	}
}

// Done reports whether the run is over and all of it was read.
func (r *RunSource) Done() bool {
	return r.current == len(r.trials) && len(r.reports) == len(r.index.Experiments)
}

// Advance reads what has been written since. Of a run that is over it reads one trial.
func (r *RunSource) Advance() error {
	r.advance()
	if !r.isRead(len(r.reports)) {
		return nil
	}
	select {
	case made, ok := <-r.reporting:
		r.take(made, ok)
	default:
	}
	return nil
}

// ReportsFrom makes the source take reports from a channel, in the experiments' order, until that is closed: trivet run makes them anyway,
// and what it measures next needs the CPUs.
func (r *RunSource) ReportsFrom(made <-chan report.Experiment) { r.given = made }

// isRead reports whether all trials of an experiment are read.
func (r *RunSource) isRead(experiment int) bool {
	return !slices.ContainsFunc(r.trials, func(t *runTrial) bool { return t.experiment == experiment && !t.read })
}

// advance reads the current trial, and has a report made if an experiment has ended.
func (r *RunSource) advance() {
	running := !r.final && record.Running(r.dir) // Asked first: what is read afterwards is all that a run which is over has written.
	r.findOver(running)
	r.makeReport()
	if r.current < len(r.trials) {
		t := r.trials[r.current]
		over := t.over // As asked before reading.
		r.readTrial(t)
		if over {
			r.end(t)
		}
	}
}

// findOver finds out which trials are over: those with an end, the rest of an experiment in which one failed, all before one that has
// begun, and, unless the program that runs them is there, all.
func (r *RunSource) findOver(running bool) {
	failed := -1 // experiment
	for i, t := range r.trials {
		if t.over {
			continue
		}
		t.over = !running || t.experiment == failed
		event, err := record.LastEvent(t.dir)
		if err != nil {
			continue
		}
		for _, before := range r.trials[:i] {
			before.over = true
		}
		t.over = t.over || slices.Contains([]string{record.Ended, record.LabError, record.Interrupted}, event.Event)
		if event.Event == record.LabError || event.Event == record.Interrupted {
			failed = t.experiment
		}
	}
}

// readTrial reads what has been written of a trial.
func (r *RunSource) readTrial(t *runTrial) {
	if t.source == nil && t.about.Problem == "" {
		source, err := Open(t.dir, t.about.Trial)
		if err == nil {
			t.source = source
			r.showConfiguration(t)
		} else if !errors.Is(err, fs.ErrNotExist) {
			r.problem(t, err.Error())
		}
	}
	if t.source == nil {
		return
	}
	if err := t.source.Advance(); err != nil && t.about.Problem == "" {
		r.problem(t, err.Error())
	}
	r.add(t.adjusted(t.source.Changed()))
}

// end ends the reading of a trial.
func (r *RunSource) end(t *runTrial) {
	t.read = true
	r.current++
	if t.source == nil {
		return
	}
	for more := t.source.Changed(); len(more) > 0; more = t.source.Changed() {
		r.add(t.adjusted(more))
	}
	t.messages = t.adjusted(t.source.Snapshot())
	_ = t.source.Close() // It was only read.
}

// showConfiguration adds the files of a trial's nginx.
func (r *RunSource) showConfiguration(t *runTrial) {
	s, _ := r.index.Experiments[t.experiment].Experiment.Scenario(t.about.Variant)
	files, err := configuration(t.dir, s)
	if err != nil {
		t.about.Problem = "nginx's configuration: " + err.Error()
	}
	for _, f := range files {
		t.about.Config = append(t.about.Config, f.ID)
		if !r.shown[f.ID] {
			r.shown[f.ID] = true
			m := Message{File: &f}
			r.files = append(r.files, m)
			r.add([]Message{m})
		}
	}
}

// problem says why a trial cannot be shown, or not to its end.
func (r *RunSource) problem(t *runTrial, text string) {
	t.about.Problem = text
	if t.source == nil {
		about := t.about
		t.messages = []Message{{Trial: &about}}
		r.add(t.messages)
		return
	}
	for _, m := range t.adjusted(t.source.Snapshot()) {
		if m.Trial != nil {
			r.add([]Message{m})
		}
	}
}

// adjusted are messages of a trial with what only the run knows of it.
func (t *runTrial) adjusted(all []Message) []Message {
	for i, m := range all {
		if m.Trial != nil {
			about := *m.Trial
			about.Experiment, about.Config = t.about.Experiment, t.about.Config
			if t.about.Problem != "" {
				about.Problem = t.about.Problem
			}
			all[i].Trial = &about
		}
	}
	return all
}

// makeReport has the report on the next experiment made, if that has ended: beside the reading, because it takes as long.
func (r *RunSource) makeReport() {
	next := len(r.reports)
	if r.reporting != nil || next == len(r.index.Experiments) {
		return
	}
	for _, t := range r.trials {
		if t.experiment == next && !t.over {
			return
		}
	}
	if r.given != nil {
		r.reporting = r.given
		return
	}
	made := make(chan report.Experiment, 1)
	r.reporting = made
	go func() {
		e, err := r.report.Next()
		if err != nil {
			e = r.report.Unreadable(err)
		}
		made <- e
	}()
}

// awaitReport waits for a report that is being made.
func (r *RunSource) awaitReport() {
	if r.reporting != nil && r.current == len(r.trials) {
		made, ok := <-r.reporting
		r.take(made, ok)
	}
}

// take takes a report, and what it says of trials that never began. It is not ok if no more are given.
func (r *RunSource) take(made report.Experiment, ok bool) {
	r.reporting = nil
	if !ok {
		r.given = nil
		return
	}
	if r.given != nil {
		r.report.Add(made)
	}
	number := len(r.reports)
	for _, t := range r.trials {
		if t.experiment == number && t.source == nil && t.about.Problem == "" {
			r.problem(t, reasons(made, t.about))
		}
	}
	text, err := json.Marshal(made)
	if err != nil {
		panic(err) // Its values are plain.
	}
	m := Message{Experiment: &Experiment{Experiment: number, Report: text}}
	r.reports = append(r.reports, m)
	r.add([]Message{m})
}

// reasons are why a trial has no records, as the report has them.
func reasons(e report.Experiment, of Trial) string {
	for _, v := range e.Variants {
		if v.Name == of.Variant && of.Number <= len(v.Trials) && len(v.Trials[of.Number-1].Reasons) > 0 {
			return strings.Join(v.Trials[of.Number-1].Reasons, "; ")
		}
	}
	return "it has no records"
}

// add adds messages to what has changed.
func (r *RunSource) add(all []Message) {
	if r.begun {
		r.changed = append(r.changed, all...)
	}
}

// Changed returns the messages since the last call; the first time those that show everything.
func (r *RunSource) Changed() []Message {
	if !r.begun {
		r.begun = true
		return r.Snapshot()
	}
	all := r.changed
	r.changed = nil
	return all
}

// Snapshot returns the messages that show everything from nothing.
func (r *RunSource) Snapshot() []Message {
	all := []Message{
		{Hello: &Hello{V: Version, Source: RunDir, Trivet: r.index.Trivet, Nginx: r.index.Nginx, CPUs: r.index.CPUs, Dir: r.dir}},
		{Run: r.run()},
	}
	all = append(all, r.files...)
	for _, t := range r.trials {
		switch {
		case t.messages != nil:
			all = append(all, t.messages...)
		case t.source != nil:
			all = append(all, t.adjusted(t.source.Snapshot())...)
		}
	}
	return append(all, r.reports...)
}

// run is what the experiments ask.
func (r *RunSource) run() *Run {
	all := &Run{Over: r.over}
	for _, entry := range r.index.Experiments {
		of := entry.Experiment
		e := RunExperiment{Name: of.Name, Path: of.Path, Question: of.Question, Trials: max(1, of.Trials)}
		for _, s := range of.Scenarios {
			e.Variants = append(e.Variants, RunVariant{s.Variant, s.Description})
		}
		for _, x := range of.Expect {
			e.Expect = append(e.Expect, x.Text)
		}
		all.Experiments = append(all.Experiments, e)
	}
	return all
}

// TrialDir returns the directory of a trial of the feed, for its stories; false if there is none.
func (r *RunSource) TrialDir(trial int) (string, bool) {
	if trial < 0 || trial >= len(r.trials) {
		return "", false
	}
	_, err := os.Stat(r.trials[trial].dir)
	return r.trials[trial].dir, err == nil
}

// Close closes the files that are open, and waits for a report that is being made.
func (r *RunSource) Close() error {
	var errs []error
	for _, t := range r.trials {
		if t.source != nil && !t.read {
			errs = append(errs, t.source.Close())
		}
	}
	if r.reporting != nil && r.given == nil {
		<-r.reporting
		r.reporting = nil
	}
	return errors.Join(errs...)
}
