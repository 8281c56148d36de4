package experiment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/load"
	"trivet/nginx/confedit"
)

func TestReadAnExperiment(t *testing.T) {
	t.Parallel()
	f, err := Read("testdata/good/kill-one.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if f.Name != "kill-one" || f.Seed != 1 || f.Length() != 15*time.Second || len(f.Source) == 0 || len(f.Expect) != 2 || f.Expect[1].Line != 17 || f.Expect[1].Column != 5 {
		t.Errorf("%+v", f)
	}
	if len(f.Variants) != 1 {
		t.Fatalf("%d variants", len(f.Variants))
	}
	v := f.Variants[0]
	v.sets = nil
	want := Variant{
		Name: Only, Instances: 3, Workers: 2,
		Edits: []confedit.Edit{{Context: "upstream whoami_http", Directive: "keepalive 4"}, {Context: "upstream whoami_grpc server", Parameter: "max_fails=1"}},
		Loads: []Load{
			{Name: "http", Protocol: "http", Call: load.Unary, Rate: Rate{Constant, []float64{300}}, Deadline: 5 * time.Second},
			{Name: "grpc", Protocol: "grpc", Call: load.Unary, Rate: Rate{Constant, []float64{300}}, Channels: 4, Deadline: 2 * time.Second, Retry: true},
		},
		Phases: []Phase{
			{Name: "before", For: 5 * time.Second},
			{Name: "during", For: 5 * time.Second, Do: []Action{{Verb: Kill, Targets: []string{"whoami-2"}}}},
			{Name: "after", For: 5 * time.Second},
		},
	}
	if !reflect.DeepEqual(v, want) {
		t.Errorf("got  %+v\nwant %+v", v, want)
	}
}

func TestReadEverything(t *testing.T) {
	t.Parallel()
	f, err := Read("testdata/good/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plain, retry := f.Variants[0], f.Variants[1]
	if f.Seed != 1<<64-1 || plain.Name != "plain" || plain.About != "as it is shipped" || retry.Name != "with_retry" {
		t.Errorf("%+v", f)
	}
	if plain.Instances != 2 || plain.Workers != 1 || retry.Instances != 3 || retry.Workers != 2 || len(plain.Edits) != 0 || len(retry.Edits) != 3 {
		t.Errorf("%+v\n%+v", plain, retry)
	}
	if got, want := plain.Calls(), []string{"http", "grpc", "calls", "streams", "mute"}; !slices.Equal(got, want) {
		t.Errorf("groups %q, want %q", got, want)
	}
	if l := plain.Loads[2]; l.Call != load.Watch || l.Hold != 2*time.Second || l.Rate.PerSec[0] != 0.5 || l.Channels != 4 {
		t.Errorf("%+v", l)
	}
	var did []string
	for _, a := range retry.Phases[1].Do {
		did = append(did, fmt.Sprintf("%s%v%v", a.Verb, a.Targets, a.Wait))
	}
	// Of all, start means those that are down.
	want := []string{"stop[whoami-2]0s", "wait[]500ms", "cont[whoami-2]0s", "kill[whoami-1 whoami-2]0s", "start[whoami-1 whoami-2]0s", "reload[nginx]0s", "restart[whoami-1 whoami-2 whoami-3]0s", "drain[whoami-1]0s"}
	if !slices.Equal(did, want) {
		t.Errorf("got  %q\nwant %q", did, want)
	}
	if !reflect.DeepEqual(f.Phases, plain.Phases) || len(plain.Phases[1].Do[6].Targets) != 2 {
		t.Errorf("%+v", f.Phases)
	}
}

func TestPoints(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rate    Rate
		want    []load.Point
		planned int
	}{
		{Rate{Constant, []float64{3}}, []load.Point{{At: 0, Rate: 3}}, 27},
		{Rate{Ramp, []float64{0, 10}}, []load.Point{{At: 0, Rate: 0}, {At: 9 * time.Second, Rate: 10}}, 45},
		{Rate{Step, []float64{1, 2, 4}}, []load.Point{
			{At: 0, Rate: 1}, {At: 3 * time.Second, Rate: 1}, {At: 3 * time.Second, Rate: 2}, {At: 6 * time.Second, Rate: 2}, {At: 6 * time.Second, Rate: 4},
		}, 21},
	} {
		if got := c.rate.Points(9 * time.Second); !slices.Equal(got, c.want) || c.rate.planned(9*time.Second) != c.planned {
			t.Errorf("%+v: %v and %d, want %v and %d", c.rate, got, c.rate.planned(9*time.Second), c.want, c.planned)
		}
		// The generator plans what was counted here.
		if got := (load.Stream{Rate: c.rate.Points(9 * time.Second)}).Count(9 * time.Second); got != c.planned {
			t.Errorf("%+v: the generator plans %d, counted were %d", c.rate, got, c.planned)
		}
	}
}

// small is a file that is right, to change a line of.
const small = `question: Q?
load:
  - {protocol: http, rate: 10/s}
  - {protocol: grpc, rate: 10/s}
phases:
  - {name: before, for: 1s}
  - {name: during, for: 1s}
expect:
  - during.http.failed == 0
`

// confLine is what the shipped configuration may change.
var confLine = regexp.MustCompile(`\.conf:\d+`)

func TestReadTellsAllThatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range wrongs {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.yaml")
			text := c.text
			if c.new != "" {
				if text = strings.Replace(small, c.old, c.new, 1); text == small {
					t.Fatalf("no %q", c.old)
				}
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Read(path)
			var got []string
			for _, fault := range unjoin(err) {
				f, ok := errors.AsType[*Fault](fault)
				if !ok || f.File != path {
					t.Errorf("%#v is no fault of the file", fault)
					continue
				}
				got = append(got, fmt.Sprintf("%d:%d: %s", f.Line, f.Column, confLine.ReplaceAllString(f.Message, ".conf:N")))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestReadWhatIsNoFile(t *testing.T) {
	t.Parallel()
	large := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(large, []byte(small+"# "+strings.Repeat("x", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"testdata/missing.yaml": "no such file", "testdata": "is a directory", large: "larger than 1 MiB"} {
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"kill-one", "everything"} {
		text, err := os.ReadFile("testdata/good/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, c := range wrongs {
		f.Add(c.text + strings.Replace(small, c.old, c.new, 1))
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, faults := parse("x.yaml", []byte(text))
		if err := faults.join(); err == nil && (file == nil || len(file.Variants) == 0 || len(file.Phases) == 0 || len(file.Expect) == 0) {
			t.Errorf("%q: neither a fault nor an experiment", text)
		}
	})
}
