package experiment

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"trivet/lab/load"
	"trivet/nginx/confedit"
)

const (
	largestFile  = 1 << 20   // bytes
	mostRequests = 2_000_000 // planned, of one variant
)

// Read reads the experiment in the file at path, and checks all that can be checked without starting anything: also that each variant's
// edits mean one place of the shipped configuration, and that the expectations can be asked. Whether nginx accepts the edits is for
// [File.Test].
//
// Everything that is wrong with the file is told at once, a *Fault each, joined. Any other error is that the file cannot be read, or
// ErrMachine. Beside faults there may be a file, which is for File.Test alone: what nginx says of its edits can be told as well.
func Read(path string) (*File, error) {
	source, err := source(path)
	if err != nil {
		return nil, err
	}
	file, faults := parse(path, source)
	if file != nil {
		if err := file.checkEdits(faults); err != nil {
			return nil, err
		}
	}
	return file, faults.join()
}

// ReadCopy is Read of an experiment that has been carried out: its edits were checked then, and are not tried, so that it needs neither room
// for a configuration nor the one that was shipped that day.
func ReadCopy(path string) (*File, error) {
	source, err := source(path)
	if err != nil {
		return nil, err
	}
	file, faults := parse(path, source)
	if err := faults.join(); err != nil {
		return nil, err
	}
	return file, nil
}

// source is the text of a file. A FIFO's would never come, and a device's never end; but what the shell calls /dev/stdin or /dev/fd/63
// may well be a pipe.
func source(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() && !strings.HasPrefix(path, "/dev/") {
		return nil, &Fault{path, 1, 1, "is no regular file: want one with an experiment"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	if err == nil && len(text) > largestFile {
		err = &Fault{path, 1, 1, "the file is larger than 1 MiB: that is no experiment"}
	}
	return text, err
}

// parse is Read of a text, without the edits. The file is nil when there is not even a mapping to go on with.
func parse(path string, source []byte) (*File, *faults) {
	d := &decoder{faults: faults{file: path}, nodes: map[any]*yaml.Node{}, unread: map[*yaml.Node]bool{}, left: mostNodes}
	var doc document
	if !d.document(source, &doc) {
		return nil, &d.faults
	}
	base := filepath.Base(path)
	f := &File{
		Path: path, Name: strings.TrimSuffix(base, filepath.Ext(base)), Source: source,
		Question: doc.Question, Answer: doc.Answer, Seed: doc.Seed,
	}
	plain := variantKeys{Fleet: doc.Fleet, Nginx: doc.Nginx, Load: doc.Load}
	d.actionsAreOne(doc.Phases)
	d.loads(doc.Load)
	d.sets(doc.Nginx.Set)
	if len(doc.Variants) == 0 {
		f.Variants = []Variant{d.variant(Only, &plain, &doc, &doc.Nginx)}
	}
	for i := range doc.Variants {
		own, set := &doc.Variants[i].Value, &doc.Variants[i].Value.Nginx
		if d.given(&own.Fleet) == nil {
			own.Fleet = plain.Fleet
		}
		if d.given(&own.Nginx) == nil {
			set = &doc.Nginx
		} else {
			d.sets(own.Nginx.Set)
		}
		if d.given(&own.Load) == nil {
			own.Load = plain.Load // The slice: its addresses are still those of the file's own loads.
		} else {
			d.loads(own.Load)
		}
		f.Variants = append(f.Variants, d.variant(doc.Variants[i].Name, own, &doc, set))
	}
	f.Phases = f.Variants[0].Phases
	d.names(&doc)
	d.expressions(f, &doc)
	return f, &d.faults
}

// setSpots are where the parts of an edit stand.
type setSpots struct{ item, context, what spot }

// variant makes a variant of its keys, and checks what several keys say together.
func (d *decoder) variant(name string, keys *variantKeys, doc *document, set *nginxKeys) Variant {
	v := Variant{Name: name, About: keys.About, Instances: keys.Fleet.Instances, Workers: keys.Fleet.Workers}
	for i := range set.Set {
		s := &set.Set[i]
		v.Edits = append(v.Edits, confedit.Edit{Context: s.Context, Directive: s.Directive, Parameter: s.Parameter, Remove: s.Remove})
		spots := setSpots{item: where(d.given(s))}
		spots.context, spots.what = spots.item, spots.item
		if n := d.given(&s.Context); n != nil {
			spots.context = where(n)
		}
		for _, what := range []*string{&s.Directive, &s.Parameter, &s.Remove} {
			if n := d.given(what); n != nil {
				spots.what = where(n)
			}
		}
		v.sets = append(v.sets, spots)
	}
	for i := range keys.Load {
		v.Loads = append(v.Loads, d.load(&keys.Load[i]))
	}
	v.Phases = d.phases(&v, doc.Phases)
	total, planned := length(v.Phases), 0
	for i, l := range v.Loads {
		planned += l.Rate.planned(total)
		rate := &keys.Load[i].Rate
		if d.hasRead(rate) && len(l.Rate.PerSec) > 0 && slices.Max(l.Rate.PerSec) > 0 && !slices.ContainsFunc(doc.Phases, func(p phaseKeys) bool { return p.For == 0 }) &&
			(load.Stream{Rate: l.Rate.Points(total)}).Count(total) == 0 {
			d.add(where(d.given(rate)), "load[%d] plans no request in %v: nothing could be said of it", i, total)
		}
	}
	if n := d.given(&keys.Load); planned > mostRequests {
		if n == nil {
			n = d.given(&doc.Load)
		}
		d.add(where(n), "load plans %d requests in %v: want at most %d", planned, total, mostRequests)
	}
	return v
}

func (d *decoder) sets(all []setKeys) {
	for i := range all {
		s, given := &all[i], 0
		for _, what := range []*string{&s.Directive, &s.Parameter, &s.Remove} {
			if d.given(what) != nil {
				given++
			}
		}
		if given != 1 {
			d.add(where(d.given(s)), "set[%d] has %d of directive, parameter and remove: want one", i, given)
		}
		d.needed(s)
	}
}

var (
	workersEdit  = regexp.MustCompile(`(^|[\s{};])worker_processes([\s;]|$)`)
	errorLogEdit = regexp.MustCompile(`(^|[\s{};])error_log([\s;]|$)`)
	errorLogKept = regexp.MustCompile(`^\s*error_log\s+logs/error\.log\s+(notice|info|debug)\s*;?\s*$`)
)

// needed refuses edits of what the laboratory itself reads or counts with.
func (d *decoder) needed(s *setKeys) {
	for _, what := range []*string{&s.Directive, &s.Parameter, &s.Remove} {
		n, text := d.given(what), *what
		if what == &s.Parameter {
			text = s.Context // Whose last word is the directive.
		}
		switch {
		case n == nil:
		case workersEdit.MatchString(text):
			d.add(where(n), "how many workers nginx has, is a setting of the fleet: write fleet: {workers: 4}; the law of fair shares counts with it")
		case errorLogEdit.MatchString(text) && !(what == &s.Directive && errorLogKept.MatchString(text)):
			d.add(where(n), `what nginx writes into its error log, the laboratory reads: want at most "error_log logs/error.log debug" (or info, or notice)`)
		}
	}
}

// load is what the keys of one say.
func (d *decoder) load(k *loadKeys) Load {
	l := Load{
		Name: k.Name, Protocol: k.Protocol, Call: k.Call, Rate: k.Rate.Rate, Connections: k.Connections, Channels: k.Channels,
		Deadline: k.Deadline, Hold: k.Hold, Retry: k.Retry,
	}
	if l.Name == "" {
		l.Name = k.Protocol
	}
	if l.Protocol == load.HTTP {
		l.Channels = 0
	}
	return l
}

// loads checks what the keys of each say together, and their names.
func (d *decoder) loads(all []loadKeys) {
	names := map[string]bool{}
	for i := range all {
		k := &all[i]
		only := func(pointer any, key, protocol, why string) {
			if n := d.given(pointer); n != nil && k.Protocol != protocol && k.Protocol != "" {
				d.add(where(n), "%s is for %s: %s", key, protocol, why)
			}
		}
		only(&k.Connections, "connections", load.HTTP, "gRPC callers have channels")
		only(&k.Channels, "channels", load.GRPC, "HTTP callers have connections")
		if k.Call != load.Unary {
			only(&k.Call, "call: "+k.Call, load.GRPC, "over HTTP there is unary alone")
		}
		hold := d.given(&k.Hold)
		switch {
		case k.Call == load.Watch && hold == nil:
			d.add(where(d.given(k)), "hold is missing in load[%d]: a watch wants to know after how long its caller hangs up", i)
		case k.Call != load.Watch && hold != nil:
			d.add(where(hold), "hold is for call: watch alone")
		case hold != nil && k.Hold >= k.Deadline:
			d.add(where(hold), "hold is %v: want less than the deadline, %v", k.Hold, k.Deadline)
		}
		name, at := k.Name, d.given(&k.Name)
		if at == nil {
			name, at = k.Protocol, d.given(k)
		}
		switch {
		case (name == load.HTTP || name == load.GRPC) && name != k.Protocol && k.Protocol != "":
			d.add(where(at), "name is %q, and the protocol is %s: choose another name", name, k.Protocol)
		case names[name] && name != "":
			d.add(where(at), "a second load is called %s: give it a name of its own", name)
		default:
			names[name] = true
		}
	}
}

// names refuses one name for two things, because expectations could not tell them apart.
func (d *decoder) names(doc *document) {
	lines, what := map[string]int{}, map[string]string{}
	taken := func(kind, name string, n *yaml.Node) {
		if n == nil || name == "" {
			return
		}
		if is, ok := what[name]; ok && (kind != "load" || is != "load") {
			d.add(where(n), "%s %s is called like a %s in line %d: choose another name", kind, name, is, lines[name])
		} else if !ok {
			what[name], lines[name] = kind, n.Line
		}
	}
	for i := range doc.Phases {
		taken("phase", doc.Phases[i].Name, d.given(&doc.Phases[i].Name))
	}
	for i := range doc.Variants {
		taken("variant", doc.Variants[i].Name, d.given(&doc.Variants[i].Name))
	}
	all := [][]loadKeys{doc.Load}
	for i := range doc.Variants {
		all = append(all, doc.Variants[i].Value.Load)
	}
	for _, loads := range all {
		for i := range loads {
			taken("load", loads[i].Name, d.given(&loads[i].Name))
		}
	}
	for i := range doc.Phases { // http and grpc may name a load, and nothing else.
		d.notProtocol(&doc.Phases[i].Name)
	}
	for i := range doc.Variants {
		d.notProtocol(&doc.Variants[i].Name)
	}
}

func (d *decoder) notProtocol(name *string) {
	if n := d.given(name); n != nil && (*name == load.HTTP || *name == load.GRPC) {
		d.add(where(n), "%s means callers: choose another name", *name)
	}
}

// waits are all of a phase together.
func waits(actions []Action) (sum time.Duration) {
	for _, a := range actions {
		sum += a.Wait
	}
	return sum
}

// instances are the names of n.
func instances(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("whoami-%d", i+1))
	}
	return slices.Clip(names)
}
