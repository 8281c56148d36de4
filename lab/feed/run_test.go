package feed

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/report"
	"trivet/lab/scenario"
)

// A madeRun is a run directory whose records are written by hand.
type madeRun struct {
	t     *testing.T
	run   *record.Run
	index record.Index
}

// begin makes a run with these experiments, named one, two and so on, each with variants of those names.
func begin(t *testing.T, experiments ...[]string) *madeRun {
	t.Helper()
	run, err := record.NewRun(filepath.Join(t.TempDir(), "runs"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run.Close() })
	r := &madeRun{t, run, record.Index{Trivet: "(devel)", Nginx: "1.22.1", CPUs: 2}}
	for i, variants := range experiments {
		e := scenario.Experiment{
			Name: []string{"one", "two", "three"}[i], Path: "x.yaml", Question: "Why?", Trials: 1, Expect: []scenario.Expectation{{Text: "total.web.failed == 0", Line: 9}},
		}
		for _, v := range variants {
			s := labtest.Manifest(6).Scenario
			s.Experiment, s.Variant = e.Name, v
			e.Scenarios = append(e.Scenarios, s)
		}
		r.index.Experiments = append(r.index.Experiments, record.Entry{Dir: fmt.Sprintf("%d-%s", i+1, e.Name), Experiment: e})
	}
	if err := r.index.Write(run.Dir); err != nil {
		t.Fatal(err)
	}
	return r
}

// trial begins a trial, with its manifest.
func (r *madeRun) trial(experiment int, variant string) (dir string, m record.Manifest) {
	r.t.Helper()
	entry := r.index.Experiments[experiment]
	dir = entry.Trial(r.run.Dir, variant, 1)
	m = labtest.Manifest(6)
	m.Scenario, _ = entry.Experiment.Scenario(variant)
	m.Trial, m.Nginx, m.Trivet = 1, r.index.Nginx, r.index.Trivet
	if err := os.MkdirAll(filepath.Join(dir, "records"), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := m.Write(dir); err != nil {
		r.t.Fatal(err)
	}
	return dir, m
}

// write appends records to the files of a trial.
func (r *madeRun) write(dir string, records ...any) {
	r.t.Helper()
	for name, text := range (labtest.History{Records: records}).Files(r.t) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := f.Write(text); err != nil {
			r.t.Fatal(err)
		}
		f.Close()
	}
}

func event(kind string, m record.Manifest) record.Event {
	e := record.Event{V: record.EventVersion, Time: m.Begin.Add(m.Scenario.Length()), Event: kind}
	if kind == record.LabError || kind == record.Interrupted {
		e.Error = "out of luck"
	}
	return e
}

// whole writes all records of a trial that ends so.
func (r *madeRun) whole(experiment int, variant, ending string) {
	dir, m := r.trial(experiment, variant)
	for n := range 6 {
		r.write(dir, labtest.Ordinary(m, n)...)
	}
	r.write(dir, event(ending, m))
}

// names says in short what messages are.
func names(all []Message) []string {
	var short []string
	for _, m := range all {
		switch {
		case m.Hello != nil:
			short = append(short, "hello")
		case m.Run != nil && m.Run.Over:
			short = append(short, "run that is over")
		case m.Run != nil:
			short = append(short, "run")
		case m.File != nil:
			short = append(short, "file "+m.File.Name)
		case m.Trial != nil && m.Trial.Problem != "":
			short = append(short, fmt.Sprintf("trial %d: %s", m.Trial.Trial, m.Trial.Problem))
		case m.Trial != nil:
			short = append(short, fmt.Sprintf("trial %d", m.Trial.Trial))
		case m.Bins != nil:
			ok := 0
			for _, b := range m.Bins.Bins {
				for _, f := range b.Flows {
					ok += f.OK
				}
			}
			short = append(short, fmt.Sprintf("bins %d: %d ok", m.Bins.Trial, ok))
		case m.Experiment != nil:
			var e report.Experiment
			if err := json.Unmarshal(m.Experiment.Report, &e); err != nil {
				panic(err)
			}
			short = append(short, fmt.Sprintf("experiment %d %s %s", m.Experiment.Experiment, e.Name, e.Verdict))
		}
	}
	return slices.Compact(short)
}

func check(t *testing.T, what string, all []Message, want ...string) {
	t.Helper()
	if got := names(all); !slices.Equal(got, want) {
		t.Errorf("%s:\ngot  %q\nwant %q", what, got, want)
	}
}

// advance reads once, and waits for a report that is being made.
func advance(t *testing.T, r *RunSource) {
	t.Helper()
	if err := r.Advance(); err != nil {
		t.Fatal(err)
	}
	for r.reporting != nil {
		runtime.Gosched()
		if err := r.Advance(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRunIsFollowedWhileItGoesOn(t *testing.T) {
	t.Parallel()
	made := begin(t, []string{"plain", "other"})
	r, err := FollowRun(made.run.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	advance(t, r)
	check(t, "nothing has begun", r.Changed(), "hello", "run")
	advance(t, r)
	check(t, "nothing new", r.Changed())

	dir, m := made.trial(0, "plain")
	lay(t, dir, map[string]string{"conf/nginx.conf": "events { }\n"})
	made.write(dir, labtest.Ordinary(m, 0)...)
	advance(t, r)
	check(t, "a trial has begun", r.Changed(), "file nginx.conf", "trial 0", "bins 0: 1 ok")
	made.write(dir, labtest.Ordinary(m, 1)...)
	advance(t, r)
	check(t, "a request more", r.Changed(), "bins 0: 1 ok")
	check(t, "for another reader", r.Snapshot(), "hello", "run", "file nginx.conf", "trial 0", "bins 0: 2 ok")
	for n := 2; n < 6; n++ {
		made.write(dir, labtest.Ordinary(m, n)...)
	}
	made.write(dir, event(record.Ended, m))
	advance(t, r)
	check(t, "it has ended", r.Changed(), "bins 0: 4 ok")

	other, m := made.trial(0, "other")
	lay(t, other, map[string]string{"conf/nginx.conf": "events { }\n"})
	advance(t, r)
	changed := r.Changed()
	check(t, "the next trial", changed, "trial 1")
	if trials := trialsIn(r.Snapshot()); trials[0].Config[0] != trials[1].Config[0] || trials[1].Experiment != "one" || trials[1].Variant != "other" || trials[1].Number != 1 {
		t.Errorf("got %+v", trials)
	}
	if r.Done() {
		t.Error("done before the end")
	}
	made.write(other, event(record.Ended, m))
	advance(t, r)
	check(t, "the experiment has ended", r.Changed(), "experiment 0 one invalid") // Most of its records are missing.
	if !r.Done() {
		t.Error("not done")
	}
	if dir, ok := r.TrialDir(1); !ok || dir != other {
		t.Errorf("directory %q, %t", dir, ok)
	}
	if dir, ok := r.TrialDir(2); ok {
		t.Errorf("there is no trial 2: %q", dir)
	}

	of, err := OfRun(made.run.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := lines(t, of), lines(t, r.Snapshot()); got != want {
		t.Errorf("of the run that is over\n%s\nof the one that was followed\n%s", got, want)
	}
}

func trialsIn(all []Message) (trials []Trial) {
	for _, m := range all {
		if m.Trial != nil {
			trials = append(trials, *m.Trial)
		}
	}
	return trials
}

func lines(t *testing.T, all []Message) string {
	t.Helper()
	var b strings.Builder
	for _, m := range all {
		if err := json.NewEncoder(&b).Encode(m); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// A trial fails: the experiment's others are left out, and the run goes on with the next experiment.
func TestRunShowsWhyTrialsNeverBegan(t *testing.T) {
	t.Parallel()
	made := begin(t, []string{"plain", "other"}, []string{scenario.Only})
	made.whole(0, "plain", record.LabError)
	made.trial(1, scenario.Only)
	r, err := FollowRun(made.run.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 4 {
		advance(t, r)
	}
	const never = "trial 1: never begun: a trial before it failed, or the run was killed"
	check(t, "it goes on", r.Snapshot(), "hello", "run", "trial 0", "bins 0: 6 ok", never, "trial 2", "experiment 0 one error")
	if r.Done() {
		t.Error("done before the end")
	}
	if err := made.run.Close(); err != nil { // It was killed.
		t.Fatal(err)
	}
	for range 4 {
		advance(t, r)
	}
	check(t, "it was killed", r.Snapshot(), "hello", "run", "trial 0", "bins 0: 6 ok", never, "trial 2", "experiment 0 one error", "experiment 1 two error")
	if !r.Done() {
		t.Error("not done")
	}
	of, err := OfRun(made.run.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if !of[1].Run.Over {
		t.Error("the run is not over")
	}
	of[1].Run.Over = false // The other feed began before the end.
	if got, want := lines(t, of), lines(t, r.Snapshot()); got != want {
		t.Errorf("of the run that is over\n%s\nof the one that was followed\n%s", got, want)
	}
}

func TestRunShowsWhatCanBeRead(t *testing.T) {
	t.Parallel()
	const refused = " has version 99, and this trivet reads version 3: run the experiment again, or read it with the trivet that wrote it"
	made := begin(t, []string{"plain", "other"}, []string{"wrong", "right"})
	made.whole(0, "plain", record.Interrupted)
	made.whole(1, "wrong", record.Ended)
	made.whole(1, "right", record.Ended)
	if err := made.run.Close(); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(made.run.Dir, "2-two", "wrong", record.ManifestFile)
	if err := os.WriteFile(wrong, []byte(`{"v": 99}`), 0o644); err != nil {
		t.Fatal(err)
	}
	of, err := OfRun(made.run.Dir)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "a manifest of another version", of, "hello", "run that is over", "trial 0", "bins 0: 6 ok", "trial 1: never begun: the run was interrupted before",
		"trial 2: "+wrong+refused, "trial 3", "bins 3: 6 ok", "experiment 0 one interrupted", "experiment 1 two error")
	var e report.Experiment
	if err := json.Unmarshal(of[len(of)-1].Experiment.Report, &e); err != nil || !slices.Equal(e.Reasons, []string{wrong + refused}) {
		t.Errorf("reasons %q, %v", e.Reasons, err)
	}
	if trial := trialsIn(of)[2]; trial.Experiment != "two" || trial.Variant != "wrong" || trial.Loads == nil || trial.Phases == nil || trial.Instances == nil {
		t.Errorf("got %+v", trial)
	}
	if _, err := OfRun(t.TempDir()); err == nil {
		t.Error("a directory without a run has a feed")
	}
}

// A run directory may be another person's. With a pipe or a device in it, a reader would never end.
func TestRunWithPipesIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	for _, name := range []string{record.ManifestFile, record.ClientFile, record.EventsFile, record.InstancesFile, record.AccessLogFile, "conf/nginx.conf"} {
		made := begin(t, []string{scenario.Only})
		made.whole(0, scenario.Only, record.Ended)
		if err := made.run.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(made.run.Dir, "1-one", scenario.Only, name)
		_ = os.Remove(path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), syscall.Mkfifo(path, 0o644)); err != nil {
			t.Fatal(err)
		}
		of, err := OfFile(made.run.Dir, StoryBudget)
		if err != nil {
			t.Fatal(err)
		}
		if got := lines(t, of); !strings.Contains(got, "no regular file") {
			t.Errorf("%s: got\n%s", name, got)
		}
	}
}

// A run that goes on has a report of what there is.
func TestRunThatGoesOnIsShownAsItIs(t *testing.T) {
	t.Parallel()
	made := begin(t, []string{scenario.Only})
	dir, m := made.trial(0, scenario.Only)
	made.write(dir, labtest.Ordinary(m, 0)...)
	of, err := OfRun(made.run.Dir)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "in the middle", of, "hello", "run", "trial 0", "bins 0: 1 ok", "experiment 0 one error")
}

// A report that is made sooner than the last trials are read says nothing of them.
func TestReportWaitsUntilItsTrialsAreRead(t *testing.T) {
	t.Parallel()
	variants := []string{"first", "second", "third", "fourth"}
	made := begin(t, variants)
	for _, v := range variants {
		made.whole(0, v, record.Ended)
	}
	if err := made.run.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := FollowRun(made.run.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := range variants {
		if err := r.Advance(); err != nil {
			t.Fatal(err)
		}
		for r.reporting != nil && len(r.reporting) == 0 {
			runtime.Gosched()
		}
		for _, trial := range trialsIn(r.Snapshot()) {
			if trial.Problem != "" {
				t.Errorf("after %d trials: trial %d: %s", n+1, trial.Trial, trial.Problem)
			}
		}
	}
	advance(t, r)
	if !r.Done() {
		t.Error("not done")
	}
}

// Reports that are given are not made again, and the rest is made when no more are given.
func TestReportsAreGivenOrMade(t *testing.T) {
	t.Parallel()
	made := begin(t, []string{scenario.Only}, []string{scenario.Only})
	r, err := FollowRun(made.run.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	reports := make(chan report.Experiment, 2)
	r.ReportsFrom(reports)
	made.whole(0, scenario.Only, record.Ended)
	next := func() {
		t.Helper()
		if err := r.Advance(); err != nil {
			t.Fatal(err)
		}
	}
	next()
	next()
	check(t, "before it is given", r.Snapshot(), "hello", "run", "trial 0", "bins 0: 6 ok")
	reports <- report.Experiment{Name: "one", Verdict: report.Passed}
	next()
	check(t, "given", r.Snapshot(), "hello", "run", "trial 0", "bins 0: 6 ok", "experiment 0 one passed")
	made.whole(1, scenario.Only, record.Interrupted)
	close(reports)
	if err := made.run.Close(); err != nil {
		t.Fatal(err)
	}
	next()
	next()
	advance(t, r)
	check(t, "made", r.Snapshot(), "hello", "run", "trial 0", "bins 0: 6 ok", "trial 1", "bins 1: 6 ok", "experiment 0 one passed", "experiment 1 two interrupted")
	if !r.Done() {
		t.Error("not done")
	}
}

// Of a target there may be the client's records alone; nginx's configuration is not in the trial directory.
func TestRunOnATargetSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	made := begin(t, []string{scenario.Only})
	dir, m := made.trial(0, scenario.Only)
	m.Scenario.Target = scenario.URL
	m.Target = &record.Target{Kind: scenario.URL, Name: "http://example.com"}
	if err := m.Write(dir); err != nil {
		t.Fatal(err)
	}
	for n := range 6 {
		made.write(dir, labtest.Ordinary(m, n)[3])
	}
	made.write(dir, event(record.Ended, m))
	all, err := OfFile(made.run.Dir, StoryBudget)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "a URL", all, "hello", "run", "trial 0", "bins 0: 6 ok", "experiment 0 one invalid")
	if got := trialsIn(all)[0]; got.Target != m.Target.Name || !slices.Equal(got.Lacks, []string{"nginx", "instances", "health", "samples"}) || len(got.Config) > 0 {
		t.Errorf("got %+v", got)
	}
	if ids := storiesIn(t, all, 0); len(ids) != 6 {
		t.Errorf("stories of %q", ids)
	}
}
