package report

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trivet/internal/proctest"
	"trivet/lab/experiment"
	"trivet/lab/labtest"
	"trivet/lab/ledger"
	"trivet/lab/trial"
)

const good = `
question: Does a report tell what happened?
answer: "{run.http.failed} of {run.http.requests} failed, {run.calls.executions - run.calls.executed_twice} were executed."
load:
  - {protocol: http, rate: 150/s, retry: true, deadline: 30s}
  - {name: calls, protocol: grpc, rate: 150/s, retry: true, deadline: 30s}
phases:
  - {name: before, for: 400ms}
  - {name: during, for: 1600ms, do: [{kill: whoami-3}, {wait: 100ms}, {start: whoami-3}]}
expect:
  - before.http.requests == 60 && during.calls.requests == 240 && during.grpc.requests == 240
  - run.http.requests == before.http.requests + during.http.requests && run.calls.requests == 300
  - run.http.failed == 0 && run.grpc.failed == 0
  - run.http.nginx_attempts == before.http.nginx_attempts + during.http.nginx_attempts
  - run.http.amplification >= 1 && run.http.turn.generations == 1
  - run.calls.recovery.first_failure == duration("0s") && run.http.latency.count == 300
  - all(keys(run.http.first_attempts), run.http.first_attempts[#] == before.http.first_attempts[#] + during.http.first_attempts[#])
`

const wrong = `
question: Is what is not so found out?
load: [{protocol: http, rate: 100/s}]
phases: [{name: during, for: 200ms}]
expect: ["run.http.failed > 0", "run.http.requests == 20"]
`

// A real run, from processes to pages: what is expected of the whole run is asked of all its phases; what does not hold is found out; and the
// reports made as it goes on are those that can be made afterwards.
func TestARealRun(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := trial.Series{
		Files: []*experiment.File{read(t, "good.yaml", good), read(t, "wrong.yaml", wrong)},
		Dir:   proctest.Passable(t), Nginx: labtest.Nginx(t), Whoami: whoami, Trivet: self,
		Watch: func(*experiment.File, experiment.Variant, *ledger.Ledger) {},
	}
	var going *Run
	s.Done = func() {
		if going == nil {
			if going, err = Begin(s.Dir); err != nil {
				t.Error(err)
			}
		}
		if _, err := going.Next(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := made(t, s.Dir)
	if first, second := asJSON(t, going), asJSON(t, r); !bytes.Equal(first, second) {
		t.Errorf("along the way\n%s\nafterwards\n%s", first, second)
	}
	everyFormat(t, r)
	for i, want := range []Verdict{Held, Failed} {
		e := r.Experiments[i]
		if e.Verdict != want && !busy(e) {
			t.Errorf("%s, want %s:\n%s", e.Verdict, want, asText(r, false))
		}
	}
	if e := r.Experiments[0]; e.Verdict == Held && e.Answer != "0 of 300 failed, 300 were executed." {
		t.Errorf("answer %q", e.Answer)
	}
	if e := r.Experiments[1]; e.Verdict == Failed && (e.Expectations[0].Held || !e.Expectations[1].Held) {
		t.Errorf("%+v", e.Expectations)
	}
}

// busy tells whether the machine is to blame that there is nothing to judge, or that requests failed.
func busy(e Experiment) bool {
	if e.Verdict != Invalid {
		return slices.ContainsFunc(e.Variants[0].Phases, func(p Phase) bool {
			return slices.ContainsFunc(p.Calls, func(c Calls) bool { return c.Figures.Late > 0 })
		})
	}
	for _, r := range e.Variants[0].Reasons {
		if !strings.Contains(r, "the generator ") && !strings.Contains(r, "requests was sent") && !strings.Contains(r, "was still running when the phase ended") {
			return false
		}
	}
	return true
}

func read(t *testing.T, name, text string) *experiment.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	write(t, path, text)
	file, err := experiment.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}
