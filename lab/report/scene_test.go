package report

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/ledger"
)

// A scene that is not the experiment's is a reason of its own, whichever of the two was changed.
func TestTheSceneIsTheExperiments(t *testing.T) {
	t.Parallel()
	scene := func(change func(*ledger.Scene)) func(*testing.T, records) string {
		return func(t *testing.T, r records) string {
			var s ledger.Scene
			if err := json.Unmarshal([]byte(r[ledger.SceneFile][0]), &s); err != nil {
				t.Fatal(err)
			}
			change(&s)
			delete(r, ledger.SceneFile)
			r.add(t, ledger.SceneFile, s)
			return oneVariant
		}
	}
	file := func(from, to string) func(*testing.T, records) string {
		return func(*testing.T, records) string { return strings.Replace(oneVariant, from, to, 1) }
	}
	for name, test := range map[string]struct {
		spoil func(*testing.T, records) string // the experiment's text
		want  string                           // "": they are the same
	}{
		"as it is":                    {scene(func(*ledger.Scene) {}), ""},
		"the deadline":                {scene(func(s *ledger.Scene) { s.Loads[0].Deadline = 5 * time.Second }), ""},
		"fewer requests are planned":  {fewer(scene), "load 1 http, http, 50 planned there, http, http, 100 planned in the experiment"},
		"more workers":                {scene(func(s *ledger.Scene) { s.Workers = 16 }), "workers 16 there, 2 in the experiment"},
		"another instance":            {scene(func(s *ledger.Scene) { s.Instances[2].Name = "whoami-4" }), "instance 3 whoami-4 there, whoami-3"},
		"an instance more":            {scene(func(s *ledger.Scene) { s.Instances = append(s.Instances, ledger.Instance{Name: "whoami-4"}) }), "instances 4 there, 3"},
		"another load":                {scene(func(s *ledger.Scene) { s.Loads = append(s.Loads, ledger.Load{Name: "x", Protocol: "http"}) }), "loads 3 there, 2"},
		"half a phase":                {scene(func(s *ledger.Scene) { s.Phases[0].For /= 2 }), "phase 1 before, 500ms there, before, 1s"},
		"one phase":                   {scene(func(s *ledger.Scene) { s.Phases = s.Phases[:1] }), "phases 1 there, 2"},
		"phases in another order":     {scene(func(s *ledger.Scene) { s.Phases[0], s.Phases[1] = s.Phases[1], s.Phases[0] }), "phase 1 during, 1s there, before, 1s"},
		"another deadline":            {scene(func(s *ledger.Scene) { s.Loads[0].Deadline = time.Second }), "load 1, deadline 1s there, 5s"},
		"another seed":                {file("seed: 7", "seed: 8"), "seed 7 there, 8"},
		"another rate":                {file("rate: 50/s", "rate: 51/s"), "load 1 http, http, 100 planned there, http, http, 102 planned"},
		"a load of another name":      {file("{protocol: grpc,", "{protocol: grpc, name: calls,"), "load 2 grpc, grpc, 100 planned there, calls, grpc, 100 planned"},
		"half a phase in the copy":    {file("during, for: 1s", "during, for: 500ms"), "phase 2 during, 1s there, during, 500ms"},
		"other instances in the copy": {file("seed: 7", "seed: 7\nfleet: {instances: 4}"), "instances 3 there, 4"},
	} {
		all := told(t, 3)
		v := one(t, test.spoil(t, all), all).Experiments[0].Variants[0]
		want := "scene.json is not of the experiment in the run folder: " + test.want
		if found := slices.ContainsFunc(v.Reasons, func(r string) bool { return strings.HasPrefix(r, want) }); found != (test.want != "") || found != (v.Verdict == Invalid) {
			t.Errorf("%s: %s, %q, want %q", name, v.Verdict, v.Reasons, test.want)
		}
	}
}

// fewer takes the last half of a load from all records, and from the scene.
func fewer(scene func(func(*ledger.Scene)) func(*testing.T, records) string) func(*testing.T, records) string {
	return func(t *testing.T, r records) string {
		r[ledger.ClientFile] = slices.Delete(r[ledger.ClientFile], perLoad/2, perLoad)
		r[ledger.NginxFile] = slices.Delete(r[ledger.NginxFile], perLoad/2, perLoad)
		r[ledger.InstancesFile] = slices.Delete(r[ledger.InstancesFile], perLoad, 2*perLoad)
		return scene(func(s *ledger.Scene) { s.Loads[0].Planned /= 2 })(t, r)
	}
}
