package experiment

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trivet/lab/ledger"
)

// tree is the project's own folder.
func tree(name string) string { return filepath.Join("..", "..", name) }

func text(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(tree(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheCatalogueIsSound(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(tree("experiments/*.yaml"))
	if err != nil || len(paths) < 6 {
		t.Fatalf("%q, %v", paths, err)
	}
	stress, _ := filepath.Glob(tree("experiments/stress/*.yaml"))
	page := text(t, "experiments/README.md")
	for _, path := range slices.Concat(paths, stress) {
		f, err := Read(path)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, v := range f.Variants {
			if slices.Contains(paths, path) && (len(f.Variants) < 2 || v.About == "" || f.Answer == "" || f.Length().Seconds() < 5 || f.Length().Seconds() > 30) {
				t.Errorf("%s, %s: want trap and fix as variants that say why they are there, an answer, and 5 to 30 seconds", path, v.Name)
			}
		}
		if slices.Contains(paths, path) && !strings.Contains(page, "## ["+f.Name+"]("+f.Name+".yaml)\n\n**"+f.Question+"**") {
			t.Errorf("experiments/README.md does not have %s with its question; type: make experiments", f.Name)
		}
	}
}

func TestTheSchemaIsFresh(t *testing.T) {
	t.Parallel()
	if text(t, "experiments/schema.json") != string(Schema()) {
		t.Error("experiments/schema.json is not what `trivet schema` prints; type: make generate")
	}
}

// What docs/laboratory.md teaches: its example is an experiment, and every figure, law and action is in it.
func TestWhatTheManualTeaches(t *testing.T) {
	t.Parallel()
	manual := text(t, "docs/laboratory.md")
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
	words := slices.Concat(lawNames(), []string{Kill, Drain, Stop, Cont, Start, Restart, Reload, Wait})
	for _, of := range []reflect.Type{reflect.TypeFor[ledger.Figures](), reflect.TypeFor[ledger.Latency](), reflect.TypeFor[ledger.Recovery](), reflect.TypeFor[ledger.Turn]()} {
		words = append(words, figureNames(of)...)
	}
	for _, word := range words {
		if !regexp.MustCompile("`" + word + `\b`).MatchString(manual) {
			t.Errorf("docs/laboratory.md does not say what %s is", word)
		}
	}
}
