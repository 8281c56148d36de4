// Package experiment reads the files that describe experiments, reports all errors in one before anything is started, and evaluates the
// file's expectations over the metrics of a run.
package experiment

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

const (
	maxFile     = 1 << 20   // bytes
	maxRequests = 2_000_000 // planned, of one variant
)

// A File is one experiment, read and checked.
type File struct {
	scenario.Experiment
	Source []byte // the file itself

	doc        *document
	kind       string   // of the target that it is for; "": none
	on         *stack   // that it was read for; nil: a fleet of the trial's own
	nginxAt    []string // for each scenario: where doc has its files and edits
	uneditable []bool   // for each scenario: some of its files cannot be added, or some of its edits cannot be made
	unplanned  bool     // in some scenario it is not known how many requests there are
}

// Read reads the experiment in the file at path, and checks all that can be checked without starting anything: also that each edit of the
// configuration matches one place, and that the expectations can be evaluated. Whether nginx accepts the edits is for [File.Test].
//
// All errors in the file are reported at once, joined, a *Diagnostic for each. Any other error is that the file cannot be read, or
// ErrMachine. Beside diagnostics there may be a file, for File.Test alone: so that nginx's errors can be reported, too.
func Read(path string) (*File, error) { return ReadFor(path, nil) }

// ReadFor is Read for a run on a stack that is there already: what that cannot give is an error, too, and what it has by itself is that of the
// scenarios. With nil, a file that names a kind of target is read for any of that kind.
func ReadFor(path string, on Stack) (*File, error) {
	source, err := source(path)
	if err != nil {
		return nil, err
	}
	file, d := parseFor(path, source, on)
	if file != nil {
		if err := file.checkConfigurations(); err != nil {
			return nil, err
		}
	}
	return file, d.join()
}

// source is the text of a file. A named pipe might never end, and a device never does; but what the shell calls /dev/stdin or /dev/fd/63
// may well be a pipe.
func source(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() && !strings.HasPrefix(path, "/dev/") {
		return nil, &Diagnostic{path, 1, 1, "not a regular file: want one with an experiment"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = &Diagnostic{path, 1, 1, "the file is larger than 1 MiB, which no experiment is"}
	}
	return text, err
}

// keys is what a file says, with the schema's defaults.
type keys struct {
	Question, Answer string
	Target           string
	Seed             uint64
	Trials           int
	configuration
	Expect   []string
	Variants map[string]configuration
}

// configuration is what a file says of a variant, or for all of them.
type configuration struct {
	Description string
	Fleet       *struct {
		Instances, Front, Workers int
		TLS, MTLS                 bool
		TLSMin                    string `json:"tls_min"`
		Through                   string
		PreStop                   *time.Duration `json:"pre_stop"`
	}
	Nginx *struct {
		Files map[string]string
		Edits []confedit.Edit
	}
	Load   []loadKeys
	Phases []phaseKeys
}

type phaseKeys struct {
	Name string
	For  time.Duration
	Do   []actionKeys
}

// parse is Read of a text, without the edits. The file is nil if there is nothing to go on with.
func parse(path string, source []byte) (*File, *document) { return parseFor(path, source, nil) }

func parseFor(path string, source []byte, on Stack) (*File, *document) {
	d := &document{
		diagnostics: diagnostics{file: path}, left: maxMemory, open: map[*yaml.Node]bool{},
		nodes: map[string]*yaml.Node{}, keys: map[string]*yaml.Node{}, invalid: map[string]bool{},
	}
	value := d.load(source)
	if value == nil {
		if len(d.all) == 0 {
			d.add(position{1, 1}, "the file is empty: want an experiment, with question, load, phases and expect")
		}
		return nil, d
	}
	d.validate(value)
	root, _ := theSchema()
	var k keys
	text, err := json.Marshal(d.filled(root, value, "", theFile))
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err != nil {
		d.add(position{1, 1}, "not an experiment: %v", err)
	}
	if d.invalid[""] || err != nil {
		return nil, d
	}
	base := filepath.Base(path)
	f := &File{Source: source, doc: d, kind: k.Target, on: stackOf(on, k.Target), Experiment: scenario.Experiment{
		Path: path, Name: strings.TrimSuffix(base, filepath.Ext(base)), Question: k.Question, Answer: k.Answer, Trials: k.Trials,
	}}
	f.checkKind(k.Target)
	f.scenarios(&k)
	for i, text := range k.Expect {
		f.Expect = append(f.Expect, scenario.Expectation{Text: text, Line: d.position(fmt.Sprintf("/expect/%d", i)).line})
	}
	f.names(&k)
	f.checkExpressions()
	return f, d
}

// places are where in the file a scenario has what variants can replace.
type places struct{ load, phases, nginx, fleet string }

// scenarios makes a scenario of each variant, and checks it.
func (f *File) scenarios(k *keys) {
	shared := places{"/load", "/phases", "/nginx", "/fleet"}
	f.checkLoads(shared.load, k.Load)
	if len(k.Variants) == 0 {
		f.scenario(scenario.Only, k, k.configuration, shared)
	}
	for _, name := range f.variants(k) {
		at, v, in := child("/variants", name), k.Variants[name], shared
		if v.Fleet == nil {
			v.Fleet = k.Fleet
		} else {
			in.fleet = at + "/fleet"
		}
		if v.Load == nil {
			v.Load = k.Load
		} else {
			in.load = at + "/load"
			f.checkLoads(in.load, v.Load)
		}
		if v.Phases == nil {
			v.Phases = k.Phases
		} else {
			in.phases = at + "/phases"
		}
		if v.Nginx == nil {
			v.Nginx = k.Nginx
		} else {
			in.nginx = at + "/nginx"
		}
		f.scenario(name, k, v, in)
	}
}

// variants are the names of the variants in the file's order.
func (f *File) variants(k *keys) []string {
	key := func(name string) position { return where(f.doc.keys[child("/variants", name)]) }
	return slices.SortedFunc(maps.Keys(k.Variants), func(a, b string) int { return key(a).compare(key(b)) })
}

func (f *File) scenario(name string, k *keys, v configuration, in places) {
	s := scenario.Scenario{
		Experiment: f.Name, Variant: name, Description: v.Description, Seed: k.Seed,
		Instances: v.Fleet.Instances, Front: v.Fleet.Front, Workers: v.Fleet.Workers, TLS: v.Fleet.TLS, MTLS: v.Fleet.MTLS, TLSMin: v.Fleet.TLSMin, Files: v.Nginx.Files, Edits: v.Nginx.Edits,
	}
	f.onTarget(&s, v, in)
	s.Phases = f.phases(&s, v.Phases, in.phases)
	for i, l := range v.Load {
		s.Loads = append(s.Loads, f.load(&s, l, fmt.Sprintf("%s/%d", in.load, i)))
	}
	f.unplanned = !f.checkPlan(&s, in.load) || f.unplanned
	f.Scenarios = append(f.Scenarios, s)
	f.nginxAt, f.uneditable = append(f.nginxAt, in.nginx), append(f.uneditable, false)
}

// names refuses names that expectations could not tell apart, or that mean something else there.
func (f *File) names(k *keys) {
	lines, kinds := map[string]int{}, map[string]string{}
	check := func(kind, name string, at position, inList bool) {
		switch is, twice := kinds[name]; {
		case reserved(name):
			f.doc.add(at, "%s %s: the name means something else in expectations: choose another", kind, name)
		case kind == "variant" && name == scenario.Only:
			f.doc.add(at, "variant %s: the name is that of a file without variants: choose another", name)
		case kind != "load" && (name == scenario.HTTP || name == scenario.GRPC):
			f.doc.add(at, "%s %s: the name means a protocol: choose another", kind, name)
		case twice && (kind != is || kind == "phase" && inList): // Variants may share names, and a second load of a list has its own message.
			f.doc.add(at, "%s %s: the name is that of a %s in line %d: choose another", kind, name, is, lines[name])
		case !twice:
			kinds[name], lines[name] = kind, at.line
		}
	}
	given := func(kind, list string) {
		in := map[string]bool{}
		for i := 0; f.doc.has(fmt.Sprintf("%s/%d", list, i)); i++ {
			at := fmt.Sprintf("%s/%d/name", list, i)
			if n := f.doc.nodes[at]; n != nil && f.doc.valid(at) {
				name := target(n).Value
				check(kind, name, where(n), in[name])
				in[name] = true
			}
		}
	}
	given("phase", "/phases")
	for _, name := range f.variants(k) {
		at := child("/variants", name)
		if !f.doc.invalid[at] {
			check("variant", name, where(f.doc.keys[at]), false)
		}
	}
	given("load", "/load")
	for _, name := range f.variants(k) {
		given("phase", child("/variants", name)+"/phases")
		given("load", child("/variants", name)+"/load")
	}
}
