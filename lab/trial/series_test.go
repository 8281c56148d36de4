package trial

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/experiment"
	"trivet/lab/fleet"
	"trivet/lab/labtest"
	"trivet/lab/ledger"
)

const twoVariants = `
question: What comes after what broke?
load: [{protocol: http, rate: 50/s}]
phases: [{name: during, for: 100ms}]
expect: ["during.http.failed == 0"]
variants: {plain: {about: one}, other: {about: another}}
`

// series is one of those files, whose callbacks do nothing.
func series(t *testing.T, files ...*experiment.File) Series {
	t.Helper()
	return Series{
		Files: files, Dir: proctest.Passable(t), Nginx: labtest.Nginx(t), Whoami: whoami, Trivet: self(t),
		Watch: func(*experiment.File, experiment.Variant, *ledger.Ledger) {}, Done: func() {},
	}
}

// begun are the variants of which there is a folder, and how they ended.
func begun(t *testing.T, dir string) []string {
	t.Helper()
	index, err := ReadIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range index.Experiments {
		for _, variant := range []string{"plain", "other"} {
			event, err := ledger.LastEvent(e.Variant(dir, variant))
			if err == nil {
				all = append(all, e.Folder+"/"+variant+" "+event.Event)
			} else if !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
		}
	}
	return all
}

// One variant breaks: those after it are left out, and the next experiment follows, though its file has the same name.
func TestASeriesGoesOn(t *testing.T) {
	t.Parallel()
	s := series(t, written(t, "same.yaml", twoVariants), written(t, "same.yaml", strings.Replace(twoVariants, "What", "And what", 1)))
	s.Whoami = filepath.Join(t.TempDir(), "whoami")
	var told []string
	books := 0
	s.Watch = func(f *experiment.File, v experiment.Variant, book *ledger.Ledger) {
		if book != nil {
			books++
			return
		}
		told = append(told, f.Question+" "+v.Name)
		if f == s.Files[1] && v.Name == "plain" { // From here on there is a program.
			if err := os.Symlink(whoami, s.Whoami); err != nil {
				t.Error(err)
			}
		}
	}
	s.Done = func() { told = append(told, "done") }
	err := s.Run(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "same, plain: ") || !strings.Contains(err.Error(), s.Whoami) || strings.Contains(err.Error(), "other") {
		t.Errorf("got %v", err)
	}
	want := []string{
		"What comes after what broke? plain", "done",
		"And what comes after what broke? plain", "And what comes after what broke? other", "done",
	}
	if !slices.Equal(told, want) || books == 0 {
		t.Errorf("%q, %d calls with a book", told, books)
	}
	if got := begun(t, s.Dir); !slices.Equal(got, []string{"1-same/plain broke", "2-same/plain end", "2-same/other end"}) {
		t.Errorf("%q", got)
	}
	gone(t, filepath.Join(s.Dir, "2-same", "other"))
	index, err := ReadIndex(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range index.Experiments {
		if text, err := os.ReadFile(e.Copy(s.Dir)); err != nil || string(text) != string(s.Files[i].Source) {
			t.Errorf("%s is no copy: %v", e.Copy(s.Dir), err)
		}
	}
}

// The end of the context between two variants is an interruption too, and the records say so: what was not begun did not break.
func TestASeriesIsInterruptedBetweenVariants(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	s := series(t, written(t, "one.yaml", twoVariants), written(t, "two.yaml", twoVariants))
	began, over := false, make(chan struct{})
	s.Watch = func(_ *experiment.File, _ experiment.Variant, book *ledger.Ledger) {
		if book == nil || began {
			return
		}
		began = true
		go func() { // Its load is over when nginx is stopped, and nothing can interrupt it any more.
			defer close(over)
			eventually(t, "nginx is stopped", func() bool {
				text, err := os.ReadFile(filepath.Join(s.Dir, "1-one", "plain", ledger.EventsFile))
				return err == nil && strings.Contains(string(text), `"stopped"`)
			})
			cancel(errSignal)
		}()
	}
	done := 0
	s.Done = func() { done++ }
	if err := s.Run(ctx); !errors.Is(err, errSignal) {
		t.Errorf("got %v", err)
	}
	<-over
	if got := begun(t, s.Dir); !slices.Equal(got, []string{"1-one/plain end", "1-one/other interrupted"}) || done != 1 {
		t.Errorf("%q, %d done", got, done)
	}
}

// All that a file can be called, down to the name of its variant.
func TestFilesOfAnyName(t *testing.T) {
	t.Parallel()
	s := series(t, written(t, "plain", twoVariants), written(t, "a b.c.yml", twoVariants), written(t, ".yaml", twoVariants))
	s.Whoami = "/nowhere/whoami"
	if err := s.Run(t.Context()); err == nil || strings.Contains(err.Error(), fleet.ErrRunFolder.Error()) {
		t.Errorf("got %v", err)
	}
	if got := begun(t, s.Dir); !slices.Equal(got, []string{"1-plain/plain broke", "2-a b.c/plain broke", "3-/plain broke"}) {
		t.Errorf("%q", got)
	}
	index, err := ReadIndex(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range index.Experiments {
		file, err := experiment.Read(e.Copy(s.Dir))
		if err != nil || file.Name != s.Files[i].Name {
			t.Errorf("the copy of %s is called %+v: %v", e.Path, file, err)
		}
	}
}

func TestIndex(t *testing.T) {
	t.Parallel()
	s := series(t, written(t, "one.yaml", twoVariants), written(t, "two.yaml", twoVariants))
	before := time.Now()
	made, err := s.write()
	if err != nil {
		t.Fatal(err)
	}
	read, err := ReadIndex(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if !read.Time.Equal(made.Time) || read.Time.Before(before.Add(-time.Millisecond)) {
		t.Errorf("time %v, written %v", read.Time, made.Time)
	}
	read.Time = made.Time
	want := Index{
		V: IndexVersion, Time: made.Time, Trivet: made.Trivet, Nginx: s.Nginx.Version.String(), CPUs: runtime.NumCPU(),
		Experiments: []Entry{{s.Files[0].Path, "1-one"}, {s.Files[1].Path, "2-two"}},
	}
	if !reflect.DeepEqual(read, want) || made.Trivet == "" {
		t.Errorf("got %+v, want %+v", read, want)
	}
	for text, want := range map[string]string{
		`{"v": 2, "experiments": []}`: "run.json has version 2, and this program reads 1",
		`{"experiments": []}`:         "run.json has version 0, and this program reads 1",
		`{"v": 1,`:                    "run.json: unexpected end of JSON input",
		`[]`:                          "run.json: json: cannot unmarshal array",
		"":                            "run.json: unexpected end of JSON input",
	} {
		if err := os.WriteFile(filepath.Join(s.Dir, IndexFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadIndex(s.Dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if _, err := ReadIndex(t.TempDir()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no run folder of experiments") {
		t.Errorf("got %v", err)
	}
}
