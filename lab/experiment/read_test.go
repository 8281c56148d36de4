package experiment

import (
	"cmp"
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

	"go.yaml.in/yaml/v4"

	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

func TestExperimentIsReadWithDefaults(t *testing.T) {
	t.Parallel()
	f, err := Read("testdata/good/kill-one.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if f.Name != "kill-one" || len(f.Source) == 0 || len(f.Expect) != 2 || f.Expect[1].Line != 17 || f.Expect[1].Text != "during.grpc.failed == 0" {
		t.Errorf("%+v", f)
	}
	want := []scenario.Scenario{{
		Experiment: "kill-one", Variant: scenario.Only, Seed: 1, Instances: 3, Workers: 2, TLSMin: "1.3",
		Edits: []confedit.Edit{{Context: "upstream whoami_http", Directive: "keepalive 4"}, {Context: "upstream whoami_grpc server", Parameter: "max_fails=1"}},
		Loads: []scenario.Load{
			{Name: "http", Protocol: "http", Call: scenario.Unary, Rate: constant(300), Users: 1, Deadline: 5 * time.Second},
			{Name: "grpc", Protocol: "grpc", Call: scenario.Unary, Rate: constant(300), Channels: 4, Deadline: 2 * time.Second, Retry: true},
		},
		Phases: []scenario.Phase{
			{Name: "before", For: 5 * time.Second},
			{Name: "during", For: 5 * time.Second, Do: []scenario.Action{{Process: &scenario.ProcessAction{Kind: scenario.Kill, Names: []string{"whoami-2"}}}}},
			{Name: "after", For: 5 * time.Second},
		},
	}}
	if !reflect.DeepEqual(f.Scenarios, want) {
		t.Errorf("got  %+v\nwant %+v", f.Scenarios, want)
	}
}

func constant(perSecond float64) scenario.Rate {
	return scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{perSecond}}
}

func TestExperimentWithEveryKeyIsRead(t *testing.T) {
	t.Parallel()
	f, err := Read("testdata/good/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plain, retry := f.Scenarios[0], f.Scenarios[1]
	if plain.Seed != 1<<64-1 || plain.Variant != "plain" || plain.Description != "as it is shipped" || retry.Variant != "with_retry" {
		t.Errorf("%+v", f)
	}
	if plain.Instances != 2 || plain.Workers != 1 || retry.Instances != 3 || retry.Workers != 2 || len(plain.Edits) != 0 || len(retry.Edits) != 3 {
		t.Errorf("%+v\n%+v", plain, retry)
	}
	if got, want := plain.Groups(), []string{"http", "grpc", "calls", "streams", "posts", "mute"}; !slices.Equal(got, want) {
		t.Errorf("groups %q, want %q", got, want)
	}
	for i, want := range []scenario.Rate{
		{Shape: scenario.Ramp, PerSecond: []float64{200, 210}}, {Shape: scenario.Step, PerSecond: []float64{10, 20, 10}}, constant(0.5),
		{Shape: scenario.Step, PerSecond: []float64{0, 50, 1}, For: []time.Duration{time.Second, 2 * time.Second, 10 * time.Minute}},
	} {
		if got := plain.Loads[i].Rate; !reflect.DeepEqual(got, want) {
			t.Errorf("rate %d is %+v, want %+v", i, got, want)
		}
	}
	requests := []scenario.Request{
		{}, {Metadata: map[string]string{"x-tenant": "a"}, Message: "{}", Padding: 1 << 20}, {Message: `{"interval":"0.05s"}`},
		{Method: "POST", Path: "/v1/x?a=1", Headers: map[string]string{"X-Api-Key": "k1", "Host": "example.org"}, Body: "{}"}, {},
	}
	for i, want := range requests {
		if got := plain.Loads[i].Request; !reflect.DeepEqual(got, want) {
			t.Errorf("request %d is %+v, want %+v", i, got, want)
		}
	}
	large := f.Scenarios[2]
	if h, c, s := plain.Loads[0], plain.Loads[1], plain.Loads[2]; f.Trials != 3 || h.Users != 3 || !slices.Equal(h.Addresses, []string{"127.0.1.1", "127.0.2.1", "127.0.3.1"}) ||
		h.NewConnection || !c.NewConnection || c.Users != 0 || c.Addresses != nil || !slices.Equal(s.Addresses, []string{"127.0.0.2", "127.1.2.3"}) ||
		large.Loads[0].Request.BodySize != 100_000 || large.Loads[1].NewConnection {
		t.Errorf("%d trials of\n%+v\n%+v", f.Trials, plain.Loads, large.Loads)
	}
	if len(retry.Phases) != 3 || retry.Phases[2].Name != "after" || len(large.Phases) != 3 || large.Phases[2].Name != "storm" ||
		len(large.Phases[1].Operations()) != 10 || large.Phases[1].Operations()[9].Offset != 9*900*time.Millisecond {
		t.Errorf("%+v\n%+v", retry.Phases, large.Phases)
	}
	if l := plain.Loads[2]; l.Call != scenario.Watch || l.Hold != 2*time.Second || l.Channels != 4 {
		t.Errorf("%+v", l)
	}
	var did []string
	for _, o := range retry.Phases[1].Operations() {
		did = append(did, strings.TrimSpace(fmt.Sprintf("%s %s", o.Kind, cmp.Or(o.Process, o.Wait.String()))))
	}
	// Of all, start applies to those that are down.
	want := []string{
		"pause whoami-2", "wait 500ms", "resume whoami-2", "kill whoami-1", "kill whoami-2", "start whoami-1", "start whoami-2", "reload nginx",
		"restart whoami-1", "restart whoami-2", "restart whoami-3", "drain whoami-1", "wait 1ms",
		"kill nginx", "pause whoami-2", "start whoami-1", "drain whoami-1", "start whoami-1", "drain whoami-1", "start nginx",
		"kill nginx-worker-1", "pause nginx-worker-1", "resume nginx-worker-1", "pause nginx", "resume nginx", "resume whoami-2", "drain nginx",
		"start nginx", "restart nginx",
		"issue_expired whoami-1", "issue_not_yet_valid whoami-1", "issue_other_authority nginx", "issue_wrong_name edge", "issue_no_identity nginx",
		"distrust whoami-1", "trust whoami-1", "add authority", "renew edge", "renew nginx", "renew whoami-1", "renew whoami-2", "renew whoami-3", "retire authority",
	}
	if !slices.Equal(did, want) {
		t.Errorf("got  %q\nwant %q", did, want)
	}
	restarts := slices.IndexFunc(plain.Phases[1].Do, func(a scenario.Action) bool { return a.Kind() == scenario.Restart })
	if restarts < 0 || len(plain.Phases[1].Do[restarts].Process.Names) != 2 {
		t.Errorf("%+v", plain.Phases)
	}
	for _, kind := range slices.Concat(scenario.NginxKinds, scenario.CertificateKinds, []string{scenario.Wait}) { // The others are in target.yaml.
		if !slices.ContainsFunc(did, func(o string) bool { return strings.HasPrefix(o, kind+" ") }) {
			t.Errorf("no %s in testdata/good/everything.yaml", kind)
		}
	}
}

func TestFleetOfServicesAndTLS(t *testing.T) {
	t.Parallel()
	text := strings.Replace(strings.Replace(small, "question: Q?", "question: Q?\nfleet: {instances: 1, front: 2, tls: true, mtls: true}\nvariants: {a: {}, b: {fleet: {}}}", 1),
		"for: 1s}", "for: 1s, do: [{kill: all}, {start: front-2}]}", 1)
	_, d := parse("b.yaml", []byte(text))
	if err := d.join(); err == nil || !strings.Contains(err.Error(), "start front-2: there are 3 instances in variant b") {
		t.Errorf("front-2 in a fleet without front: %v", err)
	}
	f, d := parse("a.yaml", []byte(strings.Replace(text, "b: {fleet: {}}", "b: {}", 1)))
	if err := d.join(); err != nil {
		t.Fatal(err)
	}
	s := f.Scenarios[0]
	if s.Instances != 1 || s.Front != 2 || !s.TLS || !s.MTLS || !slices.Equal(s.Phases[0].Do[0].Process.Names, []string{"whoami-1", "front-1", "front-2"}) {
		t.Errorf("%+v", s)
	}
}

// small is a valid file, to change a line of.
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

// confLine is a line number that a change of the shipped configuration may change.
var confLine = regexp.MustCompile(`\.conf:\d+`)

func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

func TestAllErrorsOfAFileAreReported(t *testing.T) {
	t.Parallel()
	for _, c := range invalidFiles {
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
			for _, one := range unjoin(err) {
				f, ok := errors.AsType[*Diagnostic](one)
				if !ok || f.File != path {
					t.Errorf("%#v is no diagnostic of the file", one)
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

func TestUnknownActionOfTheSchemaIsAnError(t *testing.T) {
	t.Parallel()
	d := &document{nodes: map[string]*yaml.Node{"": {Line: 3, Column: 7}}}
	fleet := fleetState{document: d, Scenario: &scenario.Scenario{Instances: 1}, state: map[string]string{}}
	if a := fleet.action("explode", []byte(`"all"`), "/phases/0/do/0/explode"); a.Kind() != "" || len(d.all) != 1 ||
		!strings.HasPrefix(d.all[0].Message, "explode is an action of the schema that trivet does not know: want kill, ") {
		t.Errorf("%+v, %v", a, d.join())
	}
}

func TestUnreadableFilesAreRefused(t *testing.T) {
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
	for _, c := range invalidFiles {
		f.Add(c.text + strings.Replace(small, c.old, c.new, 1))
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, d := parse("x.yaml", []byte(text))
		if err := d.join(); err == nil && (file == nil || len(file.Scenarios) == 0 || len(file.Scenarios[0].Phases) == 0 || len(file.Expect) == 0) {
			t.Errorf("%q: neither a diagnostic nor an experiment", text)
		}
	})
}
