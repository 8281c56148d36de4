package report

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Whichever of the two was changed, each difference is a reason of its own.
func TestManifestOfAnotherScenarioIsInvalid(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil spoil
		want  string // "": no difference
	}{
		"as it is":                    {inManifest(func(*record.Manifest) {}), ""},
		"fewer requests are planned":  {fewerRequests, "planned[0] is 50, not 100"},
		"another nginx":               {inManifest(func(m *record.Manifest) { m.Nginx = "1.28.0" }), "nginx is 1.28.0, not 1.22.1"},
		"another trivet":              {inManifest(func(m *record.Manifest) { m.Trivet = "v1.0.0" }), "trivet is v1.0.0, not (devel)"},
		"another trial":               {inManifest(func(m *record.Manifest) { m.Trial = 2 }), "trial is 2, not 1"},
		"more workers":                {inManifest(func(m *record.Manifest) { m.Scenario.Workers = 16 }), "scenario.workers is 16, not 2"},
		"another instance":            {inManifest(func(m *record.Manifest) { m.Instances[2].Name = "whoami-4" }), "instances[2] is whoami-4, not whoami-3"},
		"an instance more":            {inManifest(func(m *record.Manifest) { m.Instances = append(m.Instances, record.Instance{Name: "whoami-4"}) }), "the length of instances is 4, not 3"},
		"half a phase":                {inManifest(func(m *record.Manifest) { m.Scenario.Phases[0].For /= 2 }), "scenario.phases[0].for is 500ms, not 1s"},
		"one phase":                   {inManifest(func(m *record.Manifest) { m.Scenario.Phases = m.Scenario.Phases[:1] }), "the length of scenario.phases is 1, not 2"},
		"phases in another order":     {inManifest(func(m *record.Manifest) { slices.Reverse(m.Scenario.Phases) }), "scenario.phases[0].name is during, not before"},
		"another deadline":            {inManifest(func(m *record.Manifest) { m.Scenario.Loads[0].Deadline = time.Second }), "scenario.loads[0].deadline is 1s, not 5s"},
		"another seed":                {inIndex(func(s *scenario.Scenario) { s.Seed = 8 }), "scenario.seed is 7, not 8"},
		"another rate":                {inIndex(func(s *scenario.Scenario) { s.Loads[0].Rate.PerSecond[0] = 51 }), "scenario.loads[0].rate.per_second[0] is 50, not 51"},
		"a load of another name":      {inIndex(func(s *scenario.Scenario) { s.Loads[1].Name = "calls" }), "scenario.loads[1].name is grpc, not calls"},
		"half a phase in the index":   {inIndex(func(s *scenario.Scenario) { s.Phases[1].For /= 2 }), "scenario.phases[1].for is 1s, not 500ms"},
		"other instances in it":       {inIndex(func(s *scenario.Scenario) { s.Instances = 4 }), "scenario.instances is 3, not 4"},
		"an action more in it":        {inIndex(func(s *scenario.Scenario) { s.Phases[0].Do = []scenario.Action{{Wait: &scenario.WaitAction{}}} }), "the length of scenario.phases[0].do is 0, not 1"},
		"an action of another kind":   {otherAction(onWhoami1(scenario.Kill)), "scenario.phases[0].do[0].process.kind is drain, not kill"},
		"an action with another type": {otherAction(scenario.Action{Wait: &scenario.WaitAction{}}), "scenario.phases[0].do[0].process is &{drain [whoami-1] 0}, not <nil>"},
	} {
		all := only(t)
		v := one(t, test.spoil(t, all), all).Experiments[0].Variants[0].Trials[0]
		want := "manifest.json does not match run.json: " + test.want
		if found := slices.ContainsFunc(v.Reasons, func(r string) bool { return strings.HasPrefix(r, want) }); found != (test.want != "") || found != (v.Verdict == Invalid) {
			t.Errorf("%s: %s, %q, want %q", name, v.Verdict, v.Reasons, test.want)
		}
	}
}

// Instances of front are among those that the manifest should have.
func TestManifestHasInstancesOfFront(t *testing.T) {
	t.Parallel()
	s := oneVariant().Scenarios[0]
	s.Front = 2
	m := record.Manifest{Scenario: s}
	for _, l := range s.Loads {
		m.Planned = append(m.Planned, l.Rate.Count(s.Length()))
	}
	for _, name := range []string{"whoami-1", "whoami-2", "whoami-3", "front-1", "front-2"} {
		m.Instances = append(m.Instances, record.Instance{Name: name})
	}
	if got := differences(m, s, 0, "", ""); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

// A spoil changes a trial's records, and gives the experiment for the index.
type spoil = func(*testing.T, records) scenario.Experiment

func inManifest(change func(*record.Manifest)) spoil {
	return func(t *testing.T, r records) scenario.Experiment {
		var m record.Manifest
		if err := json.Unmarshal([]byte(r[record.ManifestFile][0]), &m); err != nil {
			t.Fatal(err)
		}
		change(&m)
		delete(r, record.ManifestFile)
		r.add(t, record.ManifestFile, m)
		return oneVariant()
	}
}

func inIndex(change func(*scenario.Scenario)) spoil {
	return func(*testing.T, records) scenario.Experiment {
		e := oneVariant()
		change(&e.Scenarios[0])
		return e
	}
}

// fewerRequests removes the last half of a load from all records and from the manifest.
func fewerRequests(t *testing.T, r records) scenario.Experiment {
	r[record.ClientFile] = slices.Delete(r[record.ClientFile], perLoad/2, perLoad)
	r[record.AccessLogFile] = slices.Delete(r[record.AccessLogFile], perLoad/2, perLoad)
	r[record.InstancesFile] = slices.Delete(r[record.InstancesFile], perLoad, 2*perLoad)
	return inManifest(func(m *record.Manifest) { m.Planned[0] /= 2 })(t, r)
}

// otherAction makes the manifest drain whoami-1, and the index do another action.
func otherAction(other scenario.Action) spoil {
	return func(t *testing.T, r records) scenario.Experiment {
		inManifest(func(m *record.Manifest) { m.Scenario.Phases[0].Do = []scenario.Action{onWhoami1(scenario.Drain)} })(t, r)
		return inIndex(func(s *scenario.Scenario) { s.Phases[0].Do = []scenario.Action{other} })(t, r)
	}
}

func onWhoami1(kind string) scenario.Action {
	return scenario.Action{Process: &scenario.ProcessAction{Kind: kind, Names: []string{"whoami-1"}}}
}
