package experiment

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"go.yaml.in/yaml/v3"
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

func schema(t *testing.T) *jsonschema.Resolved {
	t.Helper()
	var s jsonschema.Schema
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// validate is what an editor does.
func validate(t *testing.T, r *jsonschema.Resolved, text string) error {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return r.Validate(value)
}

func TestSchemaAcceptsTheExamples(t *testing.T) {
	t.Parallel()
	r := schema(t)
	for _, name := range examples(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, r, string(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := validate(t, r, small); err != nil {
		t.Error(err)
	}
}

func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	r := schema(t)
	for _, c := range []struct{ old, new string }{
		{"question", "quesion"},
		{"question: Q?", "question: ''"},
		{"question: Q?", "question: Q?\nseed: -1"},
		{"question: Q?", "question: Q?\nfleet: {instances: 61}"},
		{"question: Q?", "question: Q?\nfleet: {cores: 1}"},
		{"question: Q?", "question: Q?\nnginx: {set: [{context: http}]}"},
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
		{"rate: 10/s", "rate: 10/s, call: silent"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, connections: 2"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, call: watch"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, rate: 10/s, hold: 1s"},
		{"rate: 10/s", "rate: 10/s, name: len"},
		{"name: before", "name: run"},
		{"name: before", "name: fair"},
		{"name: before", "name: http"},
		{"question: Q?", "question: Q?\nvariants: {only: {}}"},
		{"question: Q?", "question: Q?\nvariants: {grpc: {}}"},
		{"during.http.failed == 0", "during.http.failed == 0" + strings.Repeat(" ", 1000) + "+ 0"},
		{"for: 1s", "for: 1"},
		{"for: 1s", "for: 1s, do: [{kill: nginx}]"},
		{"for: 1s", "for: 1s, do: [{kill: whoami-1, stop: whoami-2}]"},
		{"for: 1s", "for: 1s, do: [{}]"},
		{"name: before", "name: Before"},
		{"- during.http.failed == 0", "- during: 0"},
		{"  - during.http.failed == 0", "  []"},
	} {
		text := strings.Replace(small, c.old, c.new, 1)
		if err := validate(t, r, text); err == nil {
			t.Errorf("%s is accepted", c.new)
		}
		if _, faults := parse("x.yaml", []byte(text)); faults.join() == nil {
			t.Errorf("the decoder accepts %s", c.new)
		}
	}
}

// Both accept the same, where there are several ways to write it.
func TestSchemaAccepts(t *testing.T) {
	t.Parallel()
	r := schema(t)
	for _, c := range []struct{ old, new string }{
		{"rate: 10/s", "rate: 0.5/s"},
		{"rate: 10/s", "rate: 1e2 / m"},
		{"rate: 10/s", "rate: 0.05e1/s"},
		{"rate: 10/s", "rate: {step: [0/s, 2/s]}"},
		{"for: 1s", "for: 1m0.5s"},
		{"protocol: grpc, rate: 10/s", "protocol: grpc, name: w, rate: 10/s, call: watch, hold: 100ms, channels: 2"},
		{"rate: 10/s", "rate: 10/s, call: unary, connections: 2"},
		{"protocol: http, rate: 10/s", "protocol: http, rate: 10/s, name: http"},
		{"question: Q?", "question: Q?\nseed: 0x10"},
		{"during.http.failed == 0", "'\"" + strings.Repeat("é", 900) + "\" == \"\" or during.http.failed == 0'"},
	} {
		text := strings.Replace(small, c.old, c.new, 1)
		if err := validate(t, r, text); err != nil {
			t.Errorf("the schema refuses %s: %v", c.new, err)
		}
		if _, faults := parse("x.yaml", []byte(text)); faults.join() != nil {
			t.Errorf("the decoder refuses %s: %v", c.new, faults.join())
		}
	}
}

// Every key says what it is.
func TestSchemaDescribes(t *testing.T) {
	t.Parallel()
	var s jsonschema.Schema
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	var look func(path string, s *jsonschema.Schema)
	count := 0
	look = func(path string, s *jsonschema.Schema) {
		if s == nil {
			return
		}
		for key, p := range s.Properties {
			if count++; p.Description == "" && key != "ramp" && key != "step" {
				t.Errorf("%s.%s has no description", path, key)
			}
			look(path+"."+key, p)
		}
		look(path+"[]", s.Items)
		look(path+".*", s.AdditionalProperties)
	}
	look("", &s)
	if count < 40 {
		t.Errorf("only %d keys", count)
	}
	if got := string(s.Properties["load"].Items.Properties["deadline"].Default); got != `"5s"` {
		t.Errorf("the deadline's default is %s", got)
	}
}
