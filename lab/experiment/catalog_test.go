package experiment

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// tree is a file of the repository.
func tree(name string) string { return filepath.Join("..", "..", name) }

func text(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(tree(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCatalogIsComplete(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(tree("experiments/*.yaml"))
	if err != nil || len(paths) < 6 {
		t.Fatalf("%q, %v", paths, err)
	}
	stress, _ := filepath.Glob(tree("experiments/stress/*.yaml"))
	policies, _ := filepath.Glob(tree("experiments/policies/*.yaml"))
	page := text(t, "experiments/README.md")
	for _, path := range slices.Concat(paths, stress, policies) {
		f, err := Read(path)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, s := range f.Scenarios {
			if slices.Contains(paths, path) && (len(f.Scenarios) < 2 || s.Description == "" || f.Answer == "" || s.Length().Seconds() < 5 || s.Length().Seconds() > 30) {
				t.Errorf("%s, %s: want trap and fix as variants with descriptions, an answer, and 5 to 30 seconds", path, s.Variant)
			}
		}
		if slices.Contains(paths, path) && !strings.Contains(page, "## ["+f.Name+"]("+f.Name+".yaml)\n\n**"+f.Question+"**") {
			t.Errorf("experiments/README.md does not have %s with its question; type: make experiments", f.Name)
		}
	}
}

func TestSchemaBesideTheExperimentsIsTheOneThatReadUses(t *testing.T) {
	t.Parallel()
	if text(t, "experiments/schema.json") != string(Schema()) {
		t.Error("experiments/schema.json is no link to ../lab/experiment/schema.json")
	}
}

// Kinds of actions are the same in the schema, in package scenario and in the reference of the event log.
func TestActionKindsAgree(t *testing.T) {
	t.Parallel()
	var schema struct {
		Defs struct {
			Action struct{ Properties map[string]any }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	kinds := slices.Sorted(slices.Values(append(slices.Clone(scenario.Kinds), scenario.Together, scenario.Repeat)))
	if got := slices.Sorted(maps.Keys(schema.Defs.Action.Properties)); !slices.Equal(got, kinds) {
		t.Errorf("the schema has the actions %q, package scenario %q", got, kinds)
	}
	for _, kind := range scenario.Kinds {
		if !strings.Contains(text(t, "docs/records.md"), "`"+kind+"`") {
			t.Errorf("docs/records.md does not name the action %s", kind)
		}
	}
}

// Its example is an experiment, and it explains every metric, fairness check and action.
func TestManualIsComplete(t *testing.T) {
	t.Parallel()
	manual := text(t, "docs/experiments.md")
	examples := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(manual, -1)
	if len(examples) != 1 {
		t.Fatalf("%d examples", len(examples))
	}
	path := filepath.Join(t.TempDir(), "example.yaml")
	if err := os.WriteFile(path, []byte(examples[0][1]), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err != nil {
		t.Error(err)
	}
	words := slices.Concat(slices.Collect(maps.Keys(fairnessChecks)), scenario.Kinds, []string{scenario.Together, scenario.Repeat})
	root, _ := theSchema()
	for _, def := range []string{"load", "request", "rate", "repeat"} {
		words = append(words, root.sub("$defs").sub(def).keys()...)
	}
	for _, of := range []reflect.Type{reflect.TypeFor[measure.Metrics](), reflect.TypeFor[measure.Latency](), reflect.TypeFor[measure.Recovery](), reflect.TypeFor[measure.RoundRobin]()} {
		words = append(words, fieldNames(of)...)
	}
	for _, word := range words {
		if !regexp.MustCompile("`" + word + `\b`).MatchString(manual) {
			t.Errorf("docs/experiments.md does not say what %s is", word)
		}
	}
}
