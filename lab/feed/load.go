package feed

import (
	"math"
	"strconv"
	"strings"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A planned is a load whose requests are counted.
type planned struct {
	flow    int    // index in Flows
	service string // that receives the requests
}

// flowOf is the index in Flows of a load's requests.
func flowOf(l scenario.Load) int {
	switch {
	case l.Call == scenario.Watch || l.Call == scenario.Idle:
		return 2
	case l.Protocol == scenario.GRPC:
		return 1
	}
	return 0
}

// flowOfProtocol is the index in Flows of requests that no load planned, and of calls that instances made.
func flowOfProtocol(protocol string) int {
	if protocol == scenario.GRPC {
		return 1
	}
	return 0
}

// splitID splits the ID of a planned request, SEED.PROTOCOL.LOAD.N, and reports whether more follows: then it is a call that was made for
// the request. The prefix is "" if the ID has another form: of a call for a request that no load planned the last part is a number.
func splitID(id string) (prefix string, call bool) {
	at := 0
	for range 3 {
		i := strings.IndexByte(id[at:], '.')
		if i < 0 {
			return "", numbered(id)
		}
		at += i + 1
	}
	end := at
	for end < len(id) && id[end] >= '0' && id[end] <= '9' {
		end++
	}
	if end == at || end < len(id) && id[end] != '.' && id[end] != '-' {
		return "", numbered(id)
	}
	return id[:at], end < len(id)
}

// numbered reports whether the last part of an ID, after a dot, is a number.
func numbered(id string) bool {
	_, err := strconv.ParseUint(id[strings.LastIndexByte(id, '.')+1:], 10, 32)
	return err == nil && strings.Contains(id, ".")
}

// probe reports whether an ID is of a request that the lab sends for itself.
func probe(id string) bool { return strings.HasPrefix(id, record.ProbeIDPrefix) }

// loadsOf are a scenario's as messages have them.
func loadsOf(s scenario.Scenario) []Load {
	all := []Load{}
	for _, l := range s.Loads {
		all = append(all, Load{
			Name: l.Name, Flow: Flows[flowOf(l)], Rate: rateWords(l.Rate), PerSecond: l.Rate.PerSecond, Deadline: l.Deadline, Retry: l.Retry, Hops: l.Hops,
		})
	}
	return all
}

// rateWords are "300/s", "100/s to 900/s" of a ramp, and "50/s, 500/s" of a step.
func rateWords(r scenario.Rate) string {
	var all []string
	for i, perSecond := range r.PerSecond {
		if i == 0 || perSecond != r.PerSecond[i-1] {
			all = append(all, rateNumber(perSecond)+"/s")
		}
	}
	if r.Shape == scenario.Ramp {
		return strings.Join(all, " to ")
	}
	return strings.Join(all, ", ")
}

// rateNumber is a rate with three decimals, or three digits of a small one: a rate per minute may have many.
func rateNumber(perSecond float64) string {
	if perSecond < 1 {
		return strconv.FormatFloat(perSecond, 'g', 3, 64)
	}
	return strconv.FormatFloat(math.Round(perSecond*1000)/1000, 'f', -1, 64)
}

// phasesOf are a scenario's as messages have them.
func phasesOf(s scenario.Scenario) []Phase {
	all := []Phase{}
	for i, p := range s.Phases {
		from, to := s.Bounds(i)
		do := []string{}
		for _, o := range p.Operations() {
			if o.Kind != scenario.Wait && len(do) < maxDo {
				do = append(do, o.Name())
			}
		}
		all = append(all, Phase{p.Name, from.Milliseconds(), to.Milliseconds(), do})
	}
	return all
}

// maxDo bounds the operations that a phase names: a repeat may have thousands.
const maxDo = 50
