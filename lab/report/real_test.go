package report

import (
	"bytes"
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/fleet"
	"trivet/lab/labtest"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/lab/trial"
)

// killOne expects of the total what both phases add up to.
func killOne() scenario.Experiment {
	e := expect(oneVariant(),
		"before.http.requests == 60 && during.calls.requests == 240 && during.grpc.requests == 240",
		"total.http.requests == before.http.requests + during.http.requests && total.calls.requests == 300",
		"total.http.failed == 0 && total.grpc.failed == 0",
		"total.http.nginx_attempts == before.http.nginx_attempts + during.http.nginx_attempts",
		"total.http.amplification >= 1 && total.http.round_robin.configurations == 1",
		"!total.calls.recovery.failed && total.http.latency.count == 300",
		"all(keys(total.http.first_attempts), total.http.first_attempts[#] == before.http.first_attempts[#] + during.http.first_attempts[#])",
	)
	e.Name, e.Path, e.Answer = "good", "good.yaml", "{total.http.failed} of {total.http.requests} failed, {total.calls.executions - total.calls.duplicated} were executed."
	s := &e.Scenarios[0]
	for i := range s.Loads {
		s.Loads[i].Rate.PerSecond[0], s.Loads[i].Retry, s.Loads[i].Deadline = 150, true, 30*time.Second
	}
	s.Loads[1].Name, s.Loads[1].Channels = "calls", 1
	s.Phases = []scenario.Phase{
		{Name: "before", For: 400 * time.Millisecond},
		{Name: "during", For: 1600 * time.Millisecond, Do: []scenario.Action{onWhoami3(scenario.Kill), {Wait: &scenario.WaitAction{For: 100 * time.Millisecond}}, onWhoami3(scenario.Start)}},
	}
	return e
}

func onWhoami3(kind string) scenario.Action {
	return scenario.Action{Process: &scenario.ProcessAction{Kind: kind, Names: []string{"whoami-3"}}}
}

// wrong expects what is not so.
func wrong() scenario.Experiment {
	e := expect(oneVariant(), "total.http.failed > 0", "total.http.requests == 20")
	e.Name, e.Path, e.Answer = "wrong", "wrong.yaml", ""
	s := &e.Scenarios[0]
	s.Loads = s.Loads[:1]
	s.Loads[0].Rate.PerSecond[0] = 100
	s.Phases = []scenario.Phase{{Name: "during", For: 200 * time.Millisecond}}
	return e
}

// A run from processes to pages: expectations on total cover all phases; a false one fails, and the report made
// while the run goes on is the one that can be made afterwards.
func TestReportOnALocalFleet(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	local := fleet.Local{Nginx: labtest.Nginx(t), Whoami: whoami}
	s := trial.Series{
		Experiments: []scenario.Experiment{killOne(), wrong()}, Sources: make([][]byte, 2), Dir: proctest.Passable(t), Nginx: local.Nginx.Version.String(), Trivet: self,
		Start: func(ctx context.Context, s scenario.Scenario, dir string, observe func(record.Event)) (trial.System, error) {
			return local.Start(ctx, s, dir, observe)
		},
	}
	var growing *Run
	s.Done = func() {
		if growing == nil {
			if growing, err = Begin(s.Dir); err != nil {
				t.Error(err)
			}
		}
		if _, err := growing.Next(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := from(t, s.Dir)
	if first, second := asJSON(t, growing), asJSON(t, r); !bytes.Equal(first, second) {
		t.Errorf("while it went on\n%s\nafterwards\n%s", first, second)
	}
	checkFormats(t, r)
	for i, want := range []Verdict{Passed, Failed} {
		e := r.Experiments[i]
		if e.Verdict != want && !busy(e) {
			t.Errorf("%s, want %s:\n%s", e.Verdict, want, asText(r, false))
		}
	}
	if e := r.Experiments[0]; e.Verdict == Passed && e.Answer != "0 of 300 failed, 300 were executed." {
		t.Errorf("answer %q", e.Answer)
	}
	if e := r.Experiments[1]; e.Verdict == Failed && (e.Expectations[0].Passed || !e.Expectations[1].Passed) {
		t.Errorf("%+v", e.Expectations)
	}
}

// busy reports whether a busy machine is the reason that there is nothing to judge, or that requests failed.
func busy(e Experiment) bool {
	if e.Verdict != Invalid {
		return slices.ContainsFunc(e.Variants[0].Trials[0].Phases, func(p measure.Phase) bool {
			return slices.ContainsFunc(p.Groups, func(g measure.Group) bool { return g.Metrics.Late > 0 })
		})
	}
	return !slices.ContainsFunc(e.Variants[0].Trials[0].Reasons, func(r string) bool { return !labtest.Busy(r) })
}
