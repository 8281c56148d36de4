package report

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Whatever becomes of a trial's records, the verdict is one of five, with a reason and its exit code.
func TestVerdictsFollowFromTheRecords(t *testing.T) {
	t.Parallel()
	const contradict = "contradict each other"
	end := func(event, text string) func(*testing.T, records) {
		return func(t *testing.T, r records) { r.end(t, record.Event{Event: event, Error: text}) }
	}
	beforeTheLoad := func(spoil func(*testing.T, records)) func(*testing.T, records) {
		return func(t *testing.T, r records) { delete(r, record.ManifestFile); spoil(t, r) }
	}
	for _, test := range []struct {
		name   string
		spoil  func(*testing.T, records)
		want   Verdict
		code   int
		reason string // a part of the first
	}{
		{"all is well", func(*testing.T, records) {}, Passed, 0, ""},
		{"a request failed", func(t *testing.T, r records) { r.refuse(t, 0, 50, "502") }, Failed, 1, ""},
		{"an access-log entry is lost", func(_ *testing.T, r records) { r[record.AccessLogFile][3] = "" }, Invalid, 3, contradict},
		{"a failed request and a lost entry", func(t *testing.T, r records) { r.refuse(t, 0, 50, "502"); r[record.AccessLogFile][3] = "" }, Invalid, 3, contradict},
		{"no access log", func(_ *testing.T, r records) { delete(r, record.AccessLogFile) }, Invalid, 3, contradict},
		{"no client record", func(_ *testing.T, r records) { r[record.ClientFile] = nil }, Invalid, 3, contradict},
		{"an action failed", func(t *testing.T, r records) {
			r.event(t, record.Event{Event: record.ActionDone, Phase: "during", Action: scenario.Pause, Process: "whoami-2", Error: "it is down"})
		}, Invalid, 3, "phase during: pause whoami-2 failed: it is down"},
		{"an instance died", func(t *testing.T, r records) {
			r.event(t, record.Event{Event: record.ProcessEvent, Kind: record.Died, Process: "whoami-2", Exit: &record.Exit{Signal: "SIGSEGV"}})
		}, Invalid, 3, "whoami-2 died (signal SIGSEGV)"},
		{"the lab failed", end(record.LabError, "no luck\nat all"), Error, 4, "the lab failed: no luck"},
		{"the lab failed before the load", beforeTheLoad(end(record.LabError, "no luck")), Error, 4, "the lab failed before the load began: no luck"},
		{"interrupted", end(record.Interrupted, "terminated"), Interrupted, 130, "interrupted: terminated"},
		{"interrupted before the load", beforeTheLoad(end(record.Interrupted, "terminated")), Interrupted, 130, "interrupted before the load began: terminated"},
		{"killed", func(_ *testing.T, r records) { r[record.EventsFile] = r[record.EventsFile][:2] }, Error, 4, "the event log has no end"},
		{"killed before the load", beforeTheLoad(func(_ *testing.T, r records) {
			r[record.EventsFile] = r[record.EventsFile][:1]
		}), Error, 4, "the run was killed before the load began"},
		{"killed within a line", func(_ *testing.T, r records) { r[record.EventsFile][2] = `{"v":3,"ev` }, Error, 4, "the event log has no end"},
		{"killed within a line, before the load", beforeTheLoad(func(_ *testing.T, r records) {
			r[record.EventsFile][2] = `{"v":3,"ev`
		}), Error, 4, "the run was killed before the load began"},
		{"no event at all", func(_ *testing.T, r records) { r[record.EventsFile] = []string{""} }, Error, 4, "the event log has no end"},
		{"no event at all, before the load", func(_ *testing.T, r records) {
			clear(r)
			r[record.EventsFile] = []string{""}
		}, Error, 4, "the run was killed before the load began"},
		{"nothing but a manifest", func(_ *testing.T, r records) {
			for _, file := range []string{record.EventsFile, record.ClientFile, record.AccessLogFile, record.InstancesFile} {
				delete(r, file)
			}
		}, Error, 4, "the event log has no end"},
		{"no manifest", func(_ *testing.T, r records) { delete(r, record.ManifestFile) }, Invalid, 3, "manifest.json is missing, though the trial ended"},
		{"a failed request is made a good one", func(t *testing.T, r records) {
			whole := r[record.ClientFile][50]
			r.refuse(t, 0, 50, "502")
			r[record.ClientFile][50] = whole
		}, Invalid, 3, contradict},
		{"no completions", func(_ *testing.T, r records) {
			r[record.InstancesFile] = slices.DeleteFunc(r[record.InstancesFile], func(line string) bool { return strings.Contains(line, record.Completion) })
		}, Invalid, 3, contradict + " in 200 places of 200 requests"},
		{"never begun", func(_ *testing.T, r records) { clear(r) }, Error, 4, "never begun"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			all := only(t)
			test.spoil(t, all)
			r := one(t, oneVariant(), all)
			if r.Code != test.code || r.Verdict.Code() != r.Code {
				t.Errorf("exit code %d", r.Code)
			}
			checkVerdict(t, r, test.want, test.reason)
			checkFormats(t, r)
		})
	}
}

// checkVerdict fails the test unless a run of one variant has that verdict, with that reason first.
func checkVerdict(t *testing.T, r *Run, want Verdict, reason string) {
	t.Helper()
	e, v := r.Experiments[0], r.Experiments[0].Variants[0].Trials[0]
	if r.Verdict != want || e.Verdict != want {
		t.Errorf("%s; the experiment: %s; reasons %q", r.Verdict, e.Verdict, v.Reasons)
	}
	judged := want == Passed || want == Failed
	if (len(e.Expectations) > 0) != judged || (e.Answer != "") != judged {
		t.Errorf("expectations %+v, answer %q", e.Expectations, e.Answer)
	}
	if reason == "" && (len(v.Reasons) > 0 || v.Verdict != Passed) {
		t.Errorf("%s: %q", v.Verdict, v.Reasons)
	}
	if reason != "" && !strings.Contains(v.Reasons[0], reason) {
		t.Errorf("reasons %q, want %s", v.Reasons, reason)
	}
}

// Expectations are judged by the metrics of each phase, and by those of the whole trial under its own name.
func TestExpectationsReadPhasesAndTotal(t *testing.T) {
	t.Parallel()
	e := one(t, oneVariant(), refused(t)).Experiments[0]
	var got []string
	for _, x := range e.Expectations {
		if x.Variant != scenario.Only || x.Line == 0 {
			t.Errorf("%+v", x)
		}
		got = append(got, outcome(x)+": "+measured(x))
	}
	want := []string{
		"passed: before.http.failed = 0", "passed: total.http.requests = 100; total.grpc.ok = 100", "failed: during.http.failed = 1",
		`passed: during.grpc.codes.OK = 50; during.grpc.codes = {OK: 50}`,
		"passed: total.http.recovery.failed = true; total.http.recovery.last_failure = 1.01s", // Since the start of the trial; 10 ms since that of the phase.
		"passed: fair(total.grpc)",
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if e.Answer != "1 of 100 failed." {
		t.Error(e.Answer)
	}
	phases := e.Variants[0].Trials[0].Phases
	if len(phases) != 3 || phases[2].Name != scenario.Total || phases[2].For != e.Length || phases[2].Groups[0].Metrics.Requests != 100 || phases[1].Groups[0].Metrics.Requests != 50 {
		t.Errorf("%+v", phases)
	}
}

// An old run stays readable, whatever has become of the language of expressions since.
func TestExpectationThatCannotBeCompiledDoesNotPass(t *testing.T) {
	t.Parallel()
	r := one(t, expect(oneVariant(), "before.http.bananas == 0", "before.http.failed == 0"), only(t))
	if x := r.Experiments[0].Expectations; r.Verdict != Invalid || len(x) != 2 || x[0].Passed || x[0].Error == "" || !x[1].Passed {
		t.Errorf("%s: %+v", r.Verdict, x)
	}
	checkFormats(t, r)
}

// A total of a single phase would be the same; expectations can read it all the same.
func TestSinglePhaseHasNoTotal(t *testing.T) {
	t.Parallel()
	e := expect(oneVariant(), "total.http.failed == 0 && total.grpc.ok == 100 && fair(total.http)")
	e.Scenarios[0].Phases = []scenario.Phase{{Name: "during", For: 2 * time.Second}}
	r := one(t, e, flawless(t, e.Scenarios[0]))
	if e := r.Experiments[0]; r.Verdict != Passed || len(e.Variants[0].Trials[0].Phases) != 1 || !strings.HasPrefix(e.Expectations[0].Measured, "total.http.failed = 0") {
		t.Errorf("%s: %+v, %q", r.Verdict, e.Expectations, e.Variants[0].Trials[0].Reasons)
	}
}

// What an interruption left out was interrupted, and is no error.
func TestWorstVerdictCounts(t *testing.T) {
	t.Parallel()
	passed := func(*testing.T, records) {}
	failed := func(t *testing.T, r records) { r.refuse(t, 0, 50, "502") }
	invalid := func(_ *testing.T, r records) { r[record.AccessLogFile][3] = "" }
	labError := func(t *testing.T, r records) { r.end(t, record.Event{Event: record.LabError, Error: "no luck"}) }
	interrupted := func(t *testing.T, r records) {
		r.end(t, record.Event{Event: record.Interrupted, Error: "terminated"})
	}
	type spoil = func(*testing.T, records)
	for _, test := range []struct {
		name   string
		trials [4]spoil // of the first experiment's variants, then of the second's; nil: never begun
		want   []Verdict
	}{
		{"all passed", [4]spoil{passed, passed, passed, passed}, []Verdict{Passed, Passed, Passed, Passed, Passed, Passed, Passed}},
		{"one failed", [4]spoil{passed, failed, passed, passed}, []Verdict{Passed, Passed, Failed, Passed, Passed, Passed, Failed}},
		{"one failed, one invalid", [4]spoil{failed, passed, passed, invalid}, []Verdict{Passed, Passed, Failed, Passed, Invalid, Invalid, Invalid}},
		{"lab error", [4]spoil{labError, nil, passed, failed}, []Verdict{Error, Error, Error, Passed, Passed, Failed, Error}},
		{"interrupted", [4]spoil{passed, interrupted, nil, nil}, []Verdict{Passed, Interrupted, Interrupted, Interrupted, Interrupted, Interrupted, Interrupted}},
		{"lab error, then interrupted", [4]spoil{labError, nil, interrupted, nil}, []Verdict{Error, Error, Error, Interrupted, Interrupted, Interrupted, Interrupted}},
		{"killed", [4]spoil{passed, nil, nil, nil}, []Verdict{Passed, Error, Error, Error, Error, Error, Error}},
		{"interrupted after one was invalid", [4]spoil{invalid, interrupted, nil, nil}, []Verdict{Invalid, Interrupted, Interrupted, Interrupted, Interrupted, Interrupted, Interrupted}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := index(t, twoVariants(), twoVariants())
			for i, spoil := range test.trials {
				if spoil == nil {
					continue
				}
				all := flawless(t, twoVariants().Scenarios[i%2])
				spoil(t, all)
				all.write(t, filepath.Join(dir, []string{"1-one", "2-two"}[i/2], []string{"plain", "other"}[i%2]))
			}
			r := from(t, dir)
			var got []Verdict
			for _, e := range r.Experiments {
				got = append(got, e.Variants[0].Verdict, e.Variants[1].Verdict, e.Verdict)
			}
			if got = append(got, r.Verdict); !slices.Equal(got, test.want) || r.Code != test.want[6].Code() {
				t.Errorf("got %v, exit code %d, want %v", got, r.Code, test.want)
			}
			checkFormats(t, r)
		})
	}
}

// Next is for experiments that have ended while others run, Complete for the rest.
func TestReportGrowsWithTheRun(t *testing.T) {
	t.Parallel()
	dir := index(t, oneVariant(), oneVariant())
	r, err := Begin(dir)
	if err != nil || r.Verdict != Passed || r.Code != 0 || len(r.Experiments) != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	only(t).write(t, filepath.Join(dir, "1-one", scenario.Only))
	e, err := r.Next()
	if err != nil || e.Name != "one" || e.Path != "experiments/one.yaml" || e.Verdict != Passed || r.Verdict != Passed {
		t.Errorf("%+v, %v", e, err)
	}
	if err := r.Complete(); err != nil || len(r.Experiments) != 2 || r.Verdict != Error || r.Code != 4 {
		t.Errorf("%s, %d, %v", r.Verdict, r.Code, err)
	}
	if err := r.Complete(); err != nil || len(r.Experiments) != 2 {
		t.Errorf("%d experiments, %v", len(r.Experiments), err)
	}
}

func TestRunDirectoryThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	manifest := filepath.Join("1-one", scenario.Only, record.ManifestFile)
	for name, test := range map[string]struct{ file, text, want string }{
		"an index of version 1":    {record.IndexFile, `{"v": 1, "experiments": [{"path": "one.yaml"}]}`, "run.json has version 1, and this trivet reads version 3"},
		"a manifest of the future": {manifest, `{"v": 4}`, "manifest.json has version 4, and this trivet reads version 3"},
		"a manifest that is none":  {manifest, `{"v": `, "manifest.json: unexpected end of JSON input"},
	} {
		dir := index(t, oneVariant())
		only(t).write(t, filepath.Join(dir, "1-one", scenario.Only))
		write(t, filepath.Join(dir, test.file), test.text)
		if _, err := From(dir); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
	}
	if _, err := From(t.TempDir()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "not the directory of a trivet run") {
		t.Errorf("got %v", err)
	}
}
