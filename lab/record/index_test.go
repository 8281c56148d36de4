package record

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trivet/lab/scenario"
)

// Also one of version 1, and one that is no JSON.
func TestIndexOfAnotherVersionIsAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for text, want := range map[string]string{
		`{"v": 1, "experiments": []}`: "run.json has version 1, and this trivet reads version 3: run the experiment again, or read it with the trivet that wrote it",
		`{"experiments": []}`:         "run.json has version 0",
		`{"v": 3,`:                    "run.json: unexpected end of JSON input",
		`{"v": 3}{}`:                  "run.json: invalid character '{' after top-level value",
		`{"v": 3, "x": 1}`:            `run.json: json: unknown field "x"`,
		`{"v": 3}`:                    "run.json has no experiment",
		`[]`:                          "run.json: json: cannot unmarshal array",
		"":                            "run.json: unexpected end of JSON input",
	} {
		if err := os.WriteFile(filepath.Join(dir, IndexFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadIndex(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if _, err := ReadIndex(t.TempDir()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "not the directory of a trivet run") {
		t.Errorf("got %v", err)
	}
}

// An index that expects nothing, or names what no run can have done, would pass.
func TestIndexOfNothingIsAnError(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(*scenario.Experiment){
		"": func(*scenario.Experiment) {},
		"experiments[0] has 0 scenarios and 1 expectations":                                                      func(e *scenario.Experiment) { e.Scenarios = nil },
		"experiments[0] has 1 scenarios and 0 expectations, want 1 or more of both":                              func(e *scenario.Experiment) { e.Expect = nil },
		`experiments[0]: "../../etc" is outside the run directory`:                                               inScenario(func(s *scenario.Scenario) { s.Variant = "../../etc" }),
		"experiments[0], variant only: instances: -1, want 1 or more":                                            inScenario(func(s *scenario.Scenario) { s.Instances = -1 }),
		"experiments[0], variant only: workers: 0, want 1 or more":                                               inScenario(func(s *scenario.Scenario) { s.Workers = 0 }),
		"experiments[0], variant only: loads: 0, want 1 or more":                                                 inScenario(func(s *scenario.Scenario) { s.Loads = nil }),
		"experiments[0], variant only: phases: 0, want 1 or more":                                                inScenario(func(s *scenario.Scenario) { s.Phases = nil }),
		`experiments[0], variant only: phases[0]: "a" for -1s, want a name and more than 0`:                      inScenario(func(s *scenario.Scenario) { s.Phases[0].For = -time.Second }),
		`experiments[0], variant only: phases[0]: "" for 1s`:                                                     inScenario(func(s *scenario.Scenario) { s.Phases[0].Name = "" }),
		`experiments[0], variant only: loads[0]: protocol "tcp", want http or grpc`:                              inScenario(func(s *scenario.Scenario) { s.Loads[0].Protocol = "tcp" }),
		"experiments[0], variant only: loads[0]: deadline 0s, want more than 0":                                  inScenario(func(s *scenario.Scenario) { s.Loads[0].Deadline = 0 }),
		"experiments[0], variant only: loads[0]: rate constant [], want 0 or more per second":                    inScenario(func(s *scenario.Scenario) { s.Loads[0].Rate.PerSecond = nil }),
		"experiments[0], variant only: loads[0]: rate ramp [1], want 0 or more per second, and two of a ramp":    inScenario(func(s *scenario.Scenario) { s.Loads[0].Rate.Shape = scenario.Ramp }),
		"experiments[0], variant only: loads[0]: rate constant [-1], want 0 or more per second, and two of a ra": inScenario(func(s *scenario.Scenario) { s.Loads[0].Rate.PerSecond[0] = -1 }),
	} {
		e := scenario.Experiment{Expect: []scenario.Expectation{{Text: "true"}}, Scenarios: []scenario.Scenario{{
			Variant: scenario.Only, Instances: 1, Workers: 1, Phases: []scenario.Phase{{Name: "a", For: time.Second}},
			Loads: []scenario.Load{{Protocol: scenario.HTTP, Deadline: 1, Rate: scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{1}}}},
		}}}
		spoil(&e)
		dir := t.TempDir()
		if err := (Index{Experiments: []Entry{{Experiment: e}}}).Write(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadIndex(dir); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), "run.json: "+want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func inScenario(spoil func(*scenario.Scenario)) func(*scenario.Experiment) {
	return func(e *scenario.Experiment) { spoil(&e.Scenarios[0]) }
}
