package experiment

import (
	"fmt"
	"slices"
	"strings"

	"trivet/internal/words"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A Stack is what an experiment's file can be read for: see trial.Stack.
type Stack interface {
	Target() record.Target
	Instances() []record.Instance
	Can(o scenario.Operation) bool
	Edits() bool
	PreStop() bool
	Through() bool
}

// A stack is what a file is read for. nil is a fleet of the trial's own.
type stack struct {
	Stack
	target record.Target
	known  bool // it is there; else it stands for any of its kind
	secure bool // it is called over TLS
}

// kinds are the actions that targets of a kind can carry out where it is not known which target it is.
var kinds = map[string][]string{
	scenario.Kubernetes: slices.Concat([]string{scenario.Kill, scenario.Drain}, scenario.ServiceKinds, scenario.NodeKinds),
	scenario.Compose:    scenario.NginxKinds,
	scenario.URL:        nil,
}

// anyOf is a Stack that gives what those of its kind may give.
type anyOf string

func (kind anyOf) Target() record.Target {
	return record.Target{
		Kind: string(kind), Name: "a target of the kind " + string(kind), AccessLog: kind != scenario.URL, Calls: kind != scenario.URL,
		Nginxes: map[anyOf]int{scenario.Compose: 1}[kind], Changes: kind != scenario.Compose,
	}
}

func (kind anyOf) Instances() []record.Instance { return nil }

func (kind anyOf) Can(o scenario.Operation) bool { return slices.Contains(kinds[string(kind)], o.Kind) }
func (kind anyOf) Edits() bool                   { return kind == scenario.Kubernetes }
func (kind anyOf) PreStop() bool                 { return kind == scenario.Kubernetes }
func (kind anyOf) Through() bool                 { return kind == scenario.Kubernetes }

// stackOf is what a file is read for: the given stack, which may be nil, or any of the kind that the file names.
func stackOf(given Stack, kind string) *stack {
	switch {
	case given != nil:
		s := &stack{Stack: given, target: given.Target(), known: true}
		if secure, ok := given.(interface{ Secure() bool }); ok {
			s.secure = secure.Secure()
		}
		return s
	case kind != "":
		return &stack{Stack: anyOf(kind), target: anyOf(kind).Target()}
	}
	return nil
}

// can reports whether an operation can be carried out. The fleet of a trial takes all but those that only a target can.
func (s *stack) can(o scenario.Operation) bool {
	if s == nil {
		return !slices.Contains(scenario.ServiceKinds, o.Kind) && !slices.Contains(scenario.NodeKinds, o.Kind)
	}
	return s.Can(o)
}

// cannot says what can be done instead.
func (s *stack) cannot(kind, name string, of *scenario.Scenario) string {
	if s == nil {
		return "only a target can do that; add target: kubernetes to the file" + in(of)
	}
	var all []string
	for _, other := range slices.Concat(scenario.NginxKinds, scenario.ServiceKinds, scenario.NodeKinds) {
		if s.Can(scenario.Operation{Kind: other, Process: name, To: 1}) {
			all = append(all, other)
		}
	}
	if len(all) == 0 {
		return fmt.Sprintf("%s can do nothing to %s%s", s.target.Name, name, in(of))
	}
	return fmt.Sprintf("%s cannot do that to %s%s: want %s", s.target.Name, name, in(of), strings.Join(all, ", "))
}

// instances is how many of whoami the target has; 0: that is not known.
func (s *stack) instances() (n int) {
	for _, one := range s.Instances() {
		if !scenario.IsFront(one.Name) {
			n++
		}
	}
	return n
}

// ownNames reports whether the instances have other names than those of a fleet.
func (s *stack) ownNames() bool {
	all := s.Instances()
	for i := range s.instances() {
		if all[i].Name != scenario.InstanceName(i+1) {
			return true
		}
	}
	return len(all) == 0 && s.target.Changes
}

// checkKind refuses a file for another kind of target.
func (f *File) checkKind(kind string) {
	if f.on != nil && kind != "" && f.on.target.Kind != kind {
		f.doc.add(f.doc.position("/target"), "this experiment is for %s, and %s is none; run it with: %s", kind, f.on.target.Name, f.command(kind))
	}
}

// Local returns an error, a *Diagnostic, if the experiment can be run on a target only.
func (f *File) Local() error {
	if f.kind == "" {
		return nil
	}
	at := f.doc.position("/target")
	return &Diagnostic{f.Path, at.line, at.column, fmt.Sprintf("this experiment is for %s: run it with: %s", f.kind, f.command(f.kind))}
}

// Target is the kind of target that the file is for; "" if it names none.
func (f *File) Target() string { return f.kind }

// command is what runs the file on a kind of target.
func (f *File) command(kind string) string {
	name := map[string]string{scenario.Kubernetes: "k8s:NAMESPACE", scenario.Compose: "compose", scenario.URL: "http://HOST:PORT"}[kind]
	return fmt.Sprintf("trivet run --target %s %s", name, f.Path)
}

// ownFleet are the keys of a fleet that a target has by itself, and what to say of each.
var ownFleet = map[string]string{
	"front":   "instances of front of a target are not measured",
	"workers": "a target's nginx has its own workers",
	"mtls":    "whether a target's instances use mutual TLS is its own setting",
	"tls_min": "which TLS a target's instances accept is their own setting",
}

// onTarget checks what a scenario wants of its target, and takes from that what is its own. The actions and the expectations follow.
func (f *File) onTarget(s *scenario.Scenario, v configuration, in places) {
	add := func(at, format string, args ...any) {
		if f.doc.has(at) && f.doc.valid(at) {
			f.doc.add(f.doc.position(at), format, args...)
		}
	}
	through, preStop := child(in.fleet, "through"), child(in.fleet, "pre_stop")
	if f.on == nil {
		for _, at := range []string{through, preStop} {
			add(at, "%s: only a target has that; add target: kubernetes to the file", at[strings.LastIndexByte(at, '/')+1:])
		}
		return
	}
	name := f.on.target.Name
	s.Target, s.Through, s.PreStop = f.on.target.Kind, v.Fleet.Through, v.Fleet.PreStop
	if !f.on.Through() {
		add(through, "through: %s has one way to its instances; remove it", name)
	}
	if !f.on.PreStop() {
		add(preStop, "pre_stop: %s does not let it be changed; remove it", name)
	}
	for key, why := range ownFleet {
		add(child(in.fleet, key), "%s: %s; remove it", key, why)
	}
	s.Front, s.Workers, s.MTLS, s.TLSMin = 0, 1, false, ""
	if at := child(in.fleet, "tls"); s.TLS && !f.on.secure && f.on.known {
		add(at, "tls: %s is not called over TLS: name it by an https URL, or remove the key", name)
	}
	s.TLS = f.on.secure
	f.takeInstances(s, in, add)
	switch has := len(v.Nginx.Edits)+len(v.Nginx.Files) > 0; {
	case has && !f.on.Edits():
		add(in.nginx, "nginx: the configuration of %s cannot be edited; remove the key", name)
	case has && s.Through != "":
		add(in.nginx, "nginx: the load goes past nginx (fleet.through); remove the key")
	}
	for i, l := range v.Load {
		at := fmt.Sprintf("%s/%d", in.load, i)
		if l.Hops != nil {
			add(at+"/hops", "hops: calls between the instances of a target are not measured; remove the key")
		}
		if l.Addresses != nil {
			add(at+"/addresses", "addresses: a target sees this machine's own; remove the key")
		}
	}
}

// takeInstances takes how many there are from the target, if that says so.
func (f *File) takeInstances(s *scenario.Scenario, in places, add func(at, format string, args ...any)) {
	at, n := child(in.fleet, "instances"), f.on.instances()
	s.OwnNames = f.on.ownNames()
	switch {
	case n == 0 && f.on.target.Kind == scenario.URL:
		add(at, "instances: how many %s has is not known; remove the key", f.on.target.Name)
	case n == 0:
	case f.doc.has(at) && s.Instances != n:
		add(at, "instances: %s has %s, and this wants %d; scale it before, or remove the key", f.on.target.Name, words.Count(n, "instance"), s.Instances)
	default:
		s.Instances = n
	}
}

// record is the target that the file is read for; nil: none.
func (s *stack) record() *record.Target {
	if s == nil {
		return nil
	}
	return &s.target
}

// missing are the metrics that a scenario cannot have on a target.
func missing(t *record.Target, s scenario.Scenario) map[string]string {
	return measure.Missing(t, s.Through)
}
