package experiment

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// examples are the experiments of this package's tests, and the repository's own.
func examples(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"testdata/good/*.yaml", "../../experiments/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, names...)
	}
	if len(all) < 2 {
		t.Fatalf("only %q", all)
	}
	return all
}

// validate is what an editor does.
func validate(t *testing.T, text string) error {
	t.Helper()
	d := &document{nodes: map[string]*yaml.Node{}, keys: map[string]*yaml.Node{}, left: maxMemory, open: map[*yaml.Node]bool{}}
	value := d.load([]byte(text))
	if len(d.all) > 0 {
		t.Fatal(d.join())
	}
	_, compiled := theSchema()
	return compiled.Validate(value)
}

func TestExamplesAreValid(t *testing.T) {
	t.Parallel()
	for _, name := range examples(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, string(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := validate(t, small); err != nil {
		t.Error(err)
	}
}

func TestInvalidValuesAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new string }{
		{"question", "quesion"},
		{"question: Q?", "question: ''"},
		{"question: Q?", "question: Q?\nseed: -1"},
		{"question: Q?", "question: Q?\nfleet: {instances: 61}"},
		{"question: Q?", "question: Q?\nfleet: {cores: 1}"},
		{"question: Q?", "question: Q?\nfleet: {front: 61}"},
		{"question: Q?", "question: Q?\nfleet: {tls: 8443}"},
		{"question: Q?", "question: Q?\nnginx: {edits: [{context: http}]}"},
		{"question: Q?", "question: Q?\nvariants: {Big: {}}"},
		{"question: Q?", "question: Q?\nvariants: {}"},
		{"protocol: http", "protocol: htp"},
		{"rate: 10/s", "rate: 10"},
		{"rate: 10/s", "rate: 10/h"},
		{"rate: 10/s", "rate: {ramp: [1/s]}"},
		{"rate: 10/s", "rate: {ramp: [1/s, 2/s], step: [1/s, 2/s]}"},
		{"rate: 10/s", "rate: 10/s, deadline: 2"},
		{"rate: 10/s", "rate: 10/s, call: wach"},
		{"rate: 10/s", "rate: .5/s"}, // From here on what Go's own parsers take.
		{"rate: 10/s", "rate: +5/s"},
		{"rate: 10/s", "rate: 1_0/s"},
		{"rate: 10/s", "rate: 0x1p3/s"},
		{"rate: 10/s", "rate: ' 5/s'"},
		{"rate: 10/s", "rate: {step: [.5/s, 2/s]}"},
		{"for: 1s", "for: .5s"},
		{"for: 1s", "for: +1s"},
		{"for: 1s", "for: 1.s"},
		{"rate: 10/s", "rate: 0/s"},
		{"rate: 10/s", "rate: 0.00e1 / m"},
		{"rate: 10/s", "rate: 10/s, channels: 2"},
		{"rate: 10/s", "rate: 10/s, call: idle"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, connections: 2"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, call: watch"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, hold: 1s"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, retry_code: UNAVAILABLE"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, retry: false, retry_code: UNAVAILABLE"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, retry: true, retry_code: Unavailable"},
		{"protocol: http, rate: 10/s", "protocol: http, rate: 10/s, retry: true, retry_code: UNAVAILABLE"},
		{"during.http.failed == 0", "during.http.failed == 0" + strings.Repeat(" ", 1000) + "+ 0"},
		{"for: 1s", "for: 1"},
		{"for: 1s", "for: 1s, do: [{drain: nginx-worker-1}]"},
		{"for: 1s", "for: 1s, do: [{together: [{kill: whoami-1}]}]"},
		{"for: 1s", "for: 1s, do: [{repeat: {times: 1, every: 1s}}]"},
		{"question: Q?", "question: Q?\ntrials: 51"},
		{"rate: 10/s", "rate: {phases: {before: 10}}"},
		{"rate: 10/s", "rate: 10/s, addresses: [10.0.0.1]"},
		{"rate: 10/s", "rate: 10/s, request: {headers: {'a b': c}}"},
		{"rate: 10/s", "rate: 10/s, request: {body: {size: 1}}"},
		{"rate: 10/s", "rate: 10/s, request: {message: {}}"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, request: {path: /}"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, users: 2"},
		{"for: 1s", "for: 1s, do: [{kill: whoami-1, pause: whoami-2}]"},
		{"for: 1s", "for: 1s, do: [{}]"},
		{"name: before", "name: Before"},
		{"- during.http.failed == 0", "- during: 0"},
		{"  - during.http.failed == 0", "  []"},
	} {
		text := strings.Replace(small, c.old, c.new, 1)
		if err := validate(t, text); err == nil {
			t.Errorf("%s is accepted", c.new)
		}
		if _, d := parse("x.yaml", []byte(text)); d.join() == nil {
			t.Errorf("parse accepts %s", c.new)
		}
	}
}

func TestEverySpellingIsAccepted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, new string }{
		{"rate: 10/s", "rate: 0.5/s"},
		{"rate: 10/s", "rate: 1e2 / m"},
		{"rate: 10/s", "rate: 0.05e1/s"},
		{"rate: 10/s", "rate: {step: [0/s, 2/s]}"},
		{"for: 1s", "for: 1m0.5s"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, name: w, rate: 10/s, call: watch, hold: 100ms, channels: 2"},
		{"rate: 10/s", "rate: 10/s, call: unary, connections: 2"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, retry: true, retry_code: RESOURCE_EXHAUSTED"},
		{"protocol: http, rate: 10/s", "protocol: http, rate: 10/s, name: http"},
		{"question: Q?", "question: Q?\nseed: 0x10"},
		{"during.http.failed == 0", "'\"" + strings.Repeat("é", 900) + "\" == \"\" or during.http.failed == 0'"},
	} {
		text := strings.Replace(small, c.old, c.new, 1)
		if err := validate(t, text); err != nil {
			t.Errorf("the schema refuses %s: %v", c.new, err)
		}
		if _, d := parse("x.yaml", []byte(text)); d.join() != nil {
			t.Errorf("parse refuses %s: %v", c.new, d.join())
		}
	}
}

func TestEveryKeyIsDescribed(t *testing.T) {
	t.Parallel()
	root, _ := theSchema()
	count := 0
	var look func(path string, s schema)
	look = func(path string, s schema) {
		if strings.Count(path, ".") > 12 { // Actions are in actions.
			return
		}
		for _, key := range s.keys() {
			of := s.of(key)
			if count++; of.text("description") == "" {
				t.Errorf("%s.%s has no description", path, key)
			}
			look(path+"."+key, of)
		}
		if s["items"] != nil || s.sub("additionalProperties") != nil {
			look(path+"[]", s.of(""))
		}
	}
	look("", root)
	if count < 40 {
		t.Errorf("only %d keys", count)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	text := "question: Q?\nseed: 1\ntrials: 1\nfleet: {instances: 3, workers: 2}\nload: [{protocol: grpc, rate: 1/s, call: unary, channels: 4, deadline: 5s, retry: false}, {protocol: http, rate: 1/s, connections: 0, users: 1, connection: keep_alive}]\n" +
		"phases: [{name: a, for: 1s}]\nexpect: [a.http.failed == 0]\n"
	short := "question: Q?\nload: [{protocol: grpc, rate: 1/s}, {protocol: http, rate: 1/s}]\nphases: [{name: a, for: 1s}]\nexpect: [a.http.failed == 0]\n"
	long, d := parse("x.yaml", []byte(text))
	if err := d.join(); err != nil {
		t.Fatal(err)
	}
	if brief, d := parse("x.yaml", []byte(short)); d.join() != nil || !reflect.DeepEqual(brief.Scenarios, long.Scenarios) {
		t.Errorf("%v\n%+v\n%+v", d.join(), brief, long)
	}
}
