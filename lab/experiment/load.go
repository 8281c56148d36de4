package experiment

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/hop"
	"trivet/lab/scenario"
)

// loadKeys is a load as the file has it: what its phases mean depends on the variant.
type loadKeys struct {
	scenario.Load
	Rate       rateKeys        `json:"rate"`
	Request    requestKeys     `json:"request"`
	Addresses  json.RawMessage `json:"addresses"` // a count or a list
	Connection string          `json:"connection"`
}

// rateKeys is a rate: for each phase, or the same in all variants.
type rateKeys struct {
	scenario.Rate
	Phases map[string]float64 `json:"phases"`
}

type requestKeys struct {
	Method, Path      string
	Headers, Metadata map[string]string
	Body              json.RawMessage // a text or a size
	Message           map[string]any
	Padding           int64
}

// load is a scenario's load, whose phases are known.
func (f *File) load(s *scenario.Scenario, k loadKeys, at string) scenario.Load {
	l := k.Load
	if l.Name == "" {
		l.Name = l.Protocol
	}
	if l.Protocol == scenario.HTTP {
		l.Channels = 0
	} else {
		l.Users = 0
	}
	l.NewConnection = k.Connection == "new"
	l.Addresses = addresses(k.Addresses)
	l.Request = f.request(l, k.Request, at+"/request")
	f.checkHops(s, l, at)
	l.Rate = k.Rate.Rate
	if k.Rate.Phases != nil {
		l.Rate = f.rateOfPhases(s, k.Rate.Phases, at+"/rate/phases")
	}
	return l
}

// checkHops refuses hops that are none, and those that stand where the lab does not know of them.
func (f *File) checkHops(s *scenario.Scenario, l scenario.Load, at string) {
	_, query, _ := strings.Cut(l.Request.Path, "?")
	asked, _ := url.ParseQuery(query)
	if to := at + "/request/path"; asked.Has("hops") && f.doc.valid(to) {
		f.doc.add(f.doc.position(to), "path asks for hops: state them by the load's key hops, from which the ledger knows which calls to expect")
	}
	if to := at + "/hops"; len(l.Hops) > 0 && f.doc.valid(to) {
		_, err := hop.NewRoute(hop.Whoami, l.Hops)
		calls := slices.Contains(strings.FieldsFunc(strings.Join(l.Hops, ","), func(r rune) bool { return strings.ContainsRune(",:*!+", r) }), hop.Front)
		switch {
		case err != nil:
			f.doc.add(f.doc.position(to), "hops: %v", err)
			f.doc.invalid[to], f.unplanned = true, true
		case calls && s.Front == 0:
			f.doc.add(f.doc.position(to), "hops call front, and there is no instance of it%s: add fleet: {front: 1}", in(s))
		}
	}
}

// rateOfPhases is a step for each phase.
func (f *File) rateOfPhases(s *scenario.Scenario, perSecond map[string]float64, at string) scenario.Rate {
	rate, known := scenario.Rate{Shape: scenario.Step}, []string{}
	for _, p := range s.Phases {
		rate.PerSecond, rate.For, known = append(rate.PerSecond, perSecond[p.Name]), append(rate.For, p.For), append(known, p.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(perSecond)) {
		if s.Phase(name) < 0 {
			f.doc.add(where(f.doc.keys[child(at, name)]), "rate: unknown phase %s%s%s", name, in(s), hint(name, known))
		}
	}
	return rate
}

// addresses are those of a list, or so many that the first three numbers of each are its own.
func addresses(keys json.RawMessage) (all []string) {
	var count int
	if json.Unmarshal(keys, &count) != nil {
		_ = json.Unmarshal(keys, &all) // The schema has seen to it.
		return all
	}
	for n := range count {
		all = append(all, fmt.Sprintf("127.0.%d.1", n+1))
	}
	return all
}

// request is what each request of a load is.
func (f *File) request(l scenario.Load, k requestKeys, at string) scenario.Request {
	r := scenario.Request{Method: k.Method, Path: k.Path, Headers: k.Headers, Metadata: k.Metadata, Padding: k.Padding}
	var size struct{ Size int64 }
	if k.Body != nil && json.Unmarshal(k.Body, &r.Body) != nil {
		_ = json.Unmarshal(k.Body, &size) // As above.
		r.BodySize = size.Size
	}
	f.checkHeaders(k.Headers, at+"/headers")
	f.checkHeaders(k.Metadata, at+"/metadata")
	if k.Message != nil {
		r.Message = f.message(l, k.Message, at+"/message")
	}
	return r
}

// taken are header fields and metadata that the lab, HTTP or gRPC sets.
var taken = []string{
	"connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
	"user-agent", "x-request-id",
}

// checkHeaders refuses names that are not the file's to set, and names that differ in letter case alone.
func (f *File) checkHeaders(headers map[string]string, at string) {
	isMetadata, before := strings.HasSuffix(at, "metadata"), map[string]string{}
	for _, name := range slices.SortedFunc(maps.Keys(headers), func(a, b string) int {
		return where(f.doc.keys[child(at, a)]).compare(where(f.doc.keys[child(at, b)]))
	}) {
		key, lower := where(f.doc.keys[child(at, name)]), strings.ToLower(name)
		switch {
		case slices.Contains(taken, lower), isMetadata && (strings.HasPrefix(lower, "grpc-") || lower == "content-type"):
			f.doc.add(key, "%s is set by the lab or the protocol: leave it out", name)
		case before[lower] != "":
			f.doc.add(key, "%s is %s again: letter case makes no difference", name, before[lower])
		}
		before[lower] = name
	}
}

// message is the JSON of a request message, which must be one of the call's.
func (f *File) message(l scenario.Load, fields map[string]any, at string) string {
	if bad := unsupported(fields, at); bad != "" {
		f.doc.add(f.doc.position(bad), "message: %s: want text, whole numbers, true, false, lists and mappings", describe(target(f.doc.nodes[bad])))
		return ""
	}
	if _, asked := fields["hops"]; asked {
		f.doc.add(where(f.doc.keys[child(at, "hops")]), "message asks for hops: state them by the load's key hops, from which the ledger knows which calls to expect")
		return ""
	}
	text, err := json.Marshal(fields)
	var m proto.Message = &whoamiv1.WhoAmIRequest{}
	if l.Call == scenario.Watch {
		m = &whoamiv1.WatchWhoAmIRequest{}
	}
	if err == nil {
		err = protojson.Unmarshal(text, m)
	}
	if err != nil {
		fields := m.ProtoReflect().Descriptor().Fields()
		var known []string
		for i := range fields.Len() {
			if name := fields.Get(i).JSONName(); name != "hops" {
				known = append(known, name)
			}
		}
		want := "it has no fields"
		if len(known) > 0 {
			want = "want " + strings.Join(known, ", ")
		}
		_, why, _ := strings.Cut(strings.ReplaceAll(err.Error(), "\u00a0", " "), "): ") // Its position is that of the JSON.
		f.doc.add(f.doc.position(at), "message is no %s of the contract: %s; %s", m.ProtoReflect().Descriptor().FullName(), why, want)
	}
	return string(text)
}

// unsupported is where a message has what a document has no value for, like a float; "" if nowhere.
func unsupported(value any, at string) string {
	switch v := value.(type) {
	case nil:
		return at
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if bad := unsupported(v[key], child(at, key)); bad != "" {
				return bad
			}
		}
	case []any:
		for i, one := range v {
			if bad := unsupported(one, fmt.Sprintf("%s/%d", at, i)); bad != "" {
				return bad
			}
		}
	}
	return ""
}

// checkPlan refuses loads that plan nothing, or too much. It reports whether it is known what they plan.
func (f *File) checkPlan(s *scenario.Scenario, loadAt string) (known bool) {
	errors := len(f.doc.all)
	total, planned := s.Length(), 0
	timed := !slices.ContainsFunc(s.Phases, func(p scenario.Phase) bool { return p.For == 0 })
	known = timed
	for i, l := range s.Loads {
		at := fmt.Sprintf("%s/%d/rate", loadAt, i)
		if !timed || !f.doc.valid(at) || len(l.Rate.PerSecond) == 0 {
			known = false
			continue
		}
		planned += l.Rate.Estimate(total)
		if l.Rate.Estimate(total) <= 1 && l.Rate.Count(total) == 0 {
			f.doc.add(f.doc.position(at), "load[%d] plans no request in %v%s: nothing could be measured", i, total, in(s))
		}
	}
	if planned > maxRequests {
		f.doc.add(f.doc.position(loadAt), "load plans %d requests in %v: want at most %d", planned, total, maxRequests)
	}
	return known && len(f.doc.all) == errors
}

// checkLoads checks what the keys of each load say together, and their names.
func (f *File) checkLoads(at string, loads []loadKeys) {
	taken := map[string]bool{}
	for i, l := range loads {
		at := fmt.Sprintf("%s/%d", at, i)
		if hold := at + "/hold"; f.doc.valid(hold) && l.Call == scenario.Watch && l.Deadline > 0 && l.Hold >= l.Deadline {
			f.doc.add(f.doc.position(hold), "hold is %v: want less than the deadline, %v", l.Hold, l.Deadline)
		}
		f.checkAddresses(l, at)
		name, named := l.Name, at+"/name"
		if _, depth := scenario.Hop(name); depth > 0 {
			f.doc.add(f.doc.position(named), "name is %q, which means the calls that are made for requests: choose another name", name)
		}
		if name == "" && !f.doc.has(named) {
			name = l.Protocol
		}
		switch {
		case (name == scenario.HTTP || name == scenario.GRPC) && name != l.Protocol && l.Protocol != "":
			f.doc.add(f.doc.position(named), "name is %q, and the protocol is %s: choose another name", name, l.Protocol)
		case taken[name] && name != "":
			f.doc.add(f.doc.position(named), "a second load is called %s: give it a name of its own", name)
		}
		taken[name] = true
	}
}

// checkAddresses refuses addresses that nothing would be sent from.
func (f *File) checkAddresses(l loadKeys, loadAt string) {
	at := loadAt + "/addresses"
	if !f.doc.valid(at) || l.Protocol == "" {
		return
	}
	of, users := "users", l.Users
	if l.Protocol == scenario.GRPC {
		of, users = "channels", l.Channels
	}
	all := addresses(l.Addresses)
	if len(all) > users && !f.doc.invalid[loadAt+"/"+of] {
		f.doc.add(f.doc.position(at), "%d addresses and %s: %d: each takes one, so want at least as many: %s: %d", len(all), of, users, of, len(all))
	}
	for i, address := range all {
		to := fmt.Sprintf("%s/%d", at, i)
		switch {
		case !f.doc.has(to): // of a count
		case slices.Contains(all[:i], address):
			f.doc.add(f.doc.position(to), "address %s is here a second time", address)
		case address == "127.0.0.0" || address == "127.255.255.255":
			f.doc.add(f.doc.position(to), "address %s is that of the network or its broadcast: want one from 127.0.0.1 to 127.255.255.254", address)
		}
	}
}
