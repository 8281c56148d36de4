package report

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trivet/lab/experiment"
	"trivet/lab/ledger"
	"trivet/lab/trial"
)

// Whatever becomes of a variant's records, the verdict is one of five, says why, and has its exit code.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		spoil  func(*testing.T, records)
		want   Verdict
		code   int
		reason string // a part of the first
	}{
		{"all is well", func(*testing.T, records) {}, Held, 0, ""},
		{"a request failed", func(t *testing.T, r records) { r.refused(t, 0, 50, "502") }, Failed, 1, ""},
		{"a line of nginx's is lost", func(_ *testing.T, r records) { r[ledger.NginxFile][3] = "" }, Invalid, 3, "the ledger does not balance"},
		{"a failed request and a lost line", func(t *testing.T, r records) { r.refused(t, 0, 50, "502"); r[ledger.NginxFile][3] = "" }, Invalid, 3, "the ledger does not balance"},
		{"an access log that is not there", func(_ *testing.T, r records) { delete(r, ledger.NginxFile) }, Invalid, 3, "the ledger does not balance"},
		{"no client record", func(_ *testing.T, r records) { r[ledger.ClientFile] = nil }, Invalid, 3, "the ledger does not balance"},
		{"an action failed", func(t *testing.T, r records) {
			r.event(t, ledger.Event{Event: ledger.ActionDone, Phase: "during", Verb: "stop", Target: "whoami-2", Error: "it is down"})
		}, Invalid, 3, "phase during: stop whoami-2 failed: it is down"},
		{"an instance died", func(t *testing.T, r records) {
			r.event(t, ledger.Event{Event: ledger.ProcessIs, Kind: "died", Name: "whoami-2", Exit: "signal SIGSEGV"})
		}, Invalid, 3, "whoami-2 died (signal SIGSEGV)"},
		{"it broke", func(t *testing.T, r records) { r.end(t, ledger.Event{Event: ledger.Broke, Error: "no luck\nat all"}) }, Broke, 4, "the laboratory broke: no luck"},
		{"it broke before the load", func(t *testing.T, r records) {
			delete(r, ledger.SceneFile)
			r.end(t, ledger.Event{Event: ledger.Broke, Error: "no luck"})
		}, Broke, 4, "the laboratory broke before the load began: no luck"},
		{"it was interrupted", func(t *testing.T, r records) { r.end(t, ledger.Event{Event: ledger.Interrupted, Error: "terminated"}) }, Interrupted, 130, "it was interrupted: terminated"},
		{"it was interrupted before the load", func(t *testing.T, r records) {
			delete(r, ledger.SceneFile)
			r.end(t, ledger.Event{Event: ledger.Interrupted, Error: "terminated"})
		}, Interrupted, 130, "it was interrupted before the load began: terminated"},
		{"it was broken off", func(_ *testing.T, r records) { r[ledger.EventsFile] = r[ledger.EventsFile][:2] }, Broke, 4, "the records have no end"},
		{"it was broken off before the load", func(_ *testing.T, r records) {
			delete(r, ledger.SceneFile)
			r[ledger.EventsFile] = r[ledger.EventsFile][:1]
		}, Broke, 4, "the run was broken off before the load began"},
		{"within a line", func(_ *testing.T, r records) { r[ledger.EventsFile][2] = `{"v":1,"ev` }, Broke, 4, "the records have no end"},
		{"within a line, before the load", func(_ *testing.T, r records) {
			delete(r, ledger.SceneFile)
			r[ledger.EventsFile][2] = `{"v":1,"ev`
		}, Broke, 4, "the run was broken off before the load began"},
		{"no event at all", func(_ *testing.T, r records) { r[ledger.EventsFile] = []string{""} }, Broke, 4, "the records have no end"},
		{"no event at all, before the load", func(_ *testing.T, r records) {
			clear(r)
			r[ledger.EventsFile] = []string{""}
		}, Broke, 4, "the run was broken off before the load began"},
		{"nothing but a scene", func(_ *testing.T, r records) {
			for _, file := range []string{ledger.EventsFile, ledger.ClientFile, ledger.NginxFile, ledger.InstancesFile} {
				delete(r, file)
			}
		}, Broke, 4, "the records have no end"},
		{"the scene is lost", func(_ *testing.T, r records) { delete(r, ledger.SceneFile) }, Invalid, 3, "scene.json is missing, though the run came to its end"},
		{"a failed request is made a good one", func(t *testing.T, r records) {
			whole := r[ledger.ClientFile][50]
			r.refused(t, 0, 50, "502")
			r[ledger.ClientFile][50] = whole
		}, Invalid, 3, "the ledger does not balance"},
		{"no completions", func(_ *testing.T, r records) {
			r[ledger.InstancesFile] = slices.DeleteFunc(r[ledger.InstancesFile], func(line string) bool { return strings.Contains(line, "completion") })
		}, Invalid, 3, "the ledger does not balance: the witnesses' words do not fit together in 200 places"},
		{"it was never begun", func(_ *testing.T, r records) { clear(r) }, Broke, 4, "it was never begun"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			all := told(t, 3)
			test.spoil(t, all)
			r := one(t, oneVariant, all)
			if r.Code != test.code || r.Verdict.Code() != r.Code {
				t.Errorf("exit code %d", r.Code)
			}
			cameTo(t, r, test.want, test.reason)
			everyFormat(t, r)
		})
	}
}

// cameTo fails the test unless a run of one experiment in one variant came to that, for that reason first.
func cameTo(t *testing.T, r *Run, want Verdict, reason string) {
	t.Helper()
	e, v := r.Experiments[0], r.Experiments[0].Variants[0]
	if r.Verdict != want || e.Verdict != want {
		t.Errorf("%s; the experiment: %s; reasons %q", r.Verdict, e.Verdict, v.Reasons)
	}
	judged := want == Held || want == Failed
	if (len(e.Expectations) > 0) != judged || (e.Answer != "") != judged {
		t.Errorf("judgements %+v, answer %q", e.Expectations, e.Answer)
	}
	if reason == "" && (len(v.Reasons) > 0 || v.Verdict != Held) {
		t.Errorf("%s: %q", v.Verdict, v.Reasons)
	}
	if reason != "" && !strings.Contains(v.Reasons[0], reason) {
		t.Errorf("reasons %q, want %s", v.Reasons, reason)
	}
}

// What was expected is judged by the figures of each phase, and of the whole run under its own name.
func TestJudgements(t *testing.T) {
	t.Parallel()
	all := told(t, 3)
	all.refused(t, 0, 50, "502")
	e := one(t, oneVariant, all).Experiments[0]
	var got []string
	for _, j := range e.Expectations {
		if j.Variant != experiment.Only || j.Line == 0 || (j.Err != "") != strings.Contains(j.Measured, "cannot tell") {
			t.Errorf("%+v", j)
		}
		mark := "held: "
		if !j.Held {
			mark = "failed: "
		}
		got = append(got, mark+j.Measured)
	}
	want := []string{
		"held: before.http.failed = 0", "held: run.http.requests = 100; run.grpc.ok = 100", "failed: during.http.failed = 1",
		`held: during.grpc.codes.OK = 50; during.grpc.codes = {OK: 50}`,
		"held: run.http.recovery.last_failure = 1.01s", // Since the run began; 10 ms since the phase did.
		"failed: fair(run.http): cannot tell: 1 attempts failed and 0 found no live server, and nginx then picks again",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if e.Answer != "1 of 100 failed." {
		t.Error(e.Answer)
	}
	phases := e.Variants[0].Phases
	if len(phases) != 3 || phases[2].Name != WholeRun || phases[2].For != e.Length || phases[2].Calls[0].Figures.Requests != 100 || phases[1].Calls[0].Figures.Requests != 50 {
		t.Errorf("%+v", phases)
	}
}

// An experiment of a single phase has no row for the whole run, which would be the same; its expectations can speak of it all the same.
func TestASinglePhase(t *testing.T) {
	t.Parallel()
	all := told(t, 3)
	all[ledger.SceneFile][0] = strings.Replace(all[ledger.SceneFile][0], `[{"name":"before","for":1000000000},{"name":"during","for":1000000000}]`, `[{"name":"during","for":2000000000}]`, 1)
	text := strings.NewReplacer("{name: before, for: 1s}, {name: during, for: 1s}", "{name: during, for: 2s}", "before.", "run.", `["OK"] == 50`, `["OK"] == 100`).Replace(oneVariant)
	r := one(t, text, all)
	if e := r.Experiments[0]; r.Verdict != Held || len(e.Variants[0].Phases) != 1 || !strings.HasPrefix(e.Expectations[0].Measured, "run.http.failed = 0") {
		t.Errorf("%s: %+v", r.Verdict, e.Expectations)
	}
}

// Of several experiments and variants the worst counts. What an interruption left out was interrupted, and did not break.
func TestTheWorstCounts(t *testing.T) {
	t.Parallel()
	held := func(*testing.T, records) {}
	failed := func(t *testing.T, r records) { r.refused(t, 0, 50, "502") }
	invalid := func(_ *testing.T, r records) { r[ledger.NginxFile][3] = "" }
	broke := func(t *testing.T, r records) { r.end(t, ledger.Event{Event: ledger.Broke, Error: "no luck"}) }
	interrupted := func(t *testing.T, r records) { r.end(t, ledger.Event{Event: ledger.Interrupted, Error: "terminated"}) }
	type spoil = func(*testing.T, records)
	for _, test := range []struct {
		name     string
		variants [4]spoil // of the first experiment, then of the second; nil: never begun
		want     []Verdict
	}{
		{"all held", [4]spoil{held, held, held, held}, []Verdict{Held, Held, Held, Held, Held, Held, Held}},
		{"one failed", [4]spoil{held, failed, held, held}, []Verdict{Held, Held, Failed, Held, Held, Held, Failed}},
		{"one failed, one invalid", [4]spoil{failed, held, held, invalid}, []Verdict{Held, Held, Failed, Held, Invalid, Invalid, Invalid}},
		{"one broke", [4]spoil{broke, nil, held, failed}, []Verdict{Broke, Broke, Broke, Held, Held, Failed, Broke}},
		{"interrupted", [4]spoil{held, interrupted, nil, nil}, []Verdict{Held, Interrupted, Interrupted, Interrupted, Interrupted, Interrupted, Interrupted}},
		{"one broke, then interrupted", [4]spoil{broke, nil, interrupted, nil}, []Verdict{Broke, Broke, Broke, Interrupted, Interrupted, Interrupted, Interrupted}},
		{"killed", [4]spoil{held, nil, nil, nil}, []Verdict{Held, Broke, Broke, Broke, Broke, Broke, Broke}},
		{"interrupted after one was invalid", [4]spoil{invalid, interrupted, nil, nil}, []Verdict{Invalid, Interrupted, Interrupted, Interrupted, Interrupted, Interrupted, Interrupted}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := index(t, twoVariants, twoVariants)
			for i, spoil := range test.variants {
				if spoil == nil {
					continue
				}
				all := told(t, 3)
				spoil(t, all)
				all.write(t, filepath.Join(dir, []string{"1-one", "2-two"}[i/2], []string{"plain", "other"}[i%2]))
			}
			r := made(t, dir)
			var got []Verdict
			for _, e := range r.Experiments {
				got = append(got, e.Variants[0].Verdict, e.Variants[1].Verdict, e.Verdict)
			}
			if got = append(got, r.Verdict); !slices.Equal(got, test.want) || r.Code != test.want[6].Code() {
				t.Errorf("got %v, exit code %d, want %v", got, r.Code, test.want)
			}
			everyFormat(t, r)
		})
	}
}

// Next reports on one experiment after the other while others are still going on, and Complete on the rest.
func TestOneAfterTheOther(t *testing.T) {
	t.Parallel()
	dir := index(t, oneVariant, oneVariant)
	r, err := Begin(dir)
	if err != nil || r.Verdict != Held || r.Code != 0 || len(r.Experiments) != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	told(t, 3).write(t, filepath.Join(dir, "1-one", experiment.Only))
	e, err := r.Next()
	if err != nil || e.Name != "one" || e.Path != "experiments/one.yaml" || e.Verdict != Held || r.Verdict != Held {
		t.Errorf("%+v, %v", e, err)
	}
	if err := r.Complete(); err != nil || len(r.Experiments) != 2 || r.Verdict != Broke || r.Code != 4 {
		t.Errorf("%s, %d, %v", r.Verdict, r.Code, err)
	}
	if err := r.Complete(); err != nil || len(r.Experiments) != 2 {
		t.Errorf("%d experiments, %v", len(r.Experiments), err)
	}
}

// What is no run folder, or none that this program can read, is an error with its reason, and no verdict.
func TestWhatCannotBeReported(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		spoil func(*testing.T, string)
		want  string
	}{
		{"no index", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, trial.IndexFile)) }, "no run folder of experiments"},
		{"no copy", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "1-one", "one.yaml")) }, "the experiment's copy: "},
		{"a copy with faults", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "1-one", "one.yaml"), "question: Why?\n") }, "one.yaml:1:1: "},
		{"a scene of the future", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "1-one", experiment.Only, ledger.SceneFile), `{"v": 2}`)
		}, "scene.json has version 2, and this program reads 1"},
		{"a scene that is none", func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "1-one", experiment.Only, ledger.SceneFile), `{"v": `)
		}, "scene.json: unexpected end of JSON input"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := index(t, oneVariant)
			told(t, 3).write(t, filepath.Join(dir, "1-one", experiment.Only))
			test.spoil(t, dir)
			if _, err := From(dir); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	if _, err := From(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
