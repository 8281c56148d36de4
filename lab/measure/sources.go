package measure

import (
	"encoding/json"
	"fmt"
	"strings"

	"trivet/lab/record"
)

// A source is what a metric needs beside the client's records, which every trial has.
type source int

const (
	accessLog source = iota // nginx's access log
	calls                   // the instances' records
	samples                 // of the processes
	same                    // instances that are known, and the same for the whole trial
	oneNginx                // that there is one nginx, whose rotation is the only one
	workers                 // how many workers nginx has
)

// sources are what each metric needs, by its name in expectations. A struct of metrics that all need the same stands for all of them. A
// test holds that no metric is missing.
var sources = map[string][]source{
	"requests": nil, "dropped": nil, "late": nil, "ok": nil, "failed": nil, "instance_errors": nil, "nginx_errors": nil, "incomplete": nil, "failed_later": nil,
	"codes": nil, "reasons": nil, "client_attempts": nil,
	"nginx_attempts": {accessLog}, "amplification": {accessLog},
	"executions": {calls}, "duplicated": {calls}, "not_executed": {calls},
	"in_doubt": {accessLog}, "no_live_upstreams": {accessLog}, "failed_attempts": {accessLog}, "local_replies": {accessLog}, "cached": {accessLog}, "unlogged": {accessLog},
	"first_attempts": {accessLog}, "ok_by_instance": nil,
	"latency": nil, "service_time": nil, "failed_latency": nil, "failed_service_time": nil, "lateness": nil,
	"run_delay": {samples}, "other_cpus": {samples}, "nginx_cpus": {samples}, "instance_cpus": {samples},
	"recovery.failed": nil, "recovery.first_failure": nil, "recovery.last_failure": nil, "recovery.recovered": nil, "recovery.first_success": nil,
	"recovery.fair_at_end": {same}, "recovery.fair_since": {same}, "recovery.fair_responses": {same},
	"saturation":                 nil,
	"round_robin.whole_upstream": {accessLog, oneNginx, same}, "round_robin.spread": {accessLog, oneNginx, same}, "round_robin.boundary_requests": {accessLog, oneNginx, same},
	"round_robin.configurations": {accessLog, oneNginx, same}, "round_robin.instances": {accessLog, oneNginx, same}, "round_robin.others": {accessLog, oneNginx, same},
	"round_robin.workers": {accessLog, oneNginx, same, workers},
}

// Missing says, for each metric that a trial on a target cannot have, why. Through is scenario.Scenario.Through. A fleet that the trial
// starts itself, which has no target, gives everything.
func Missing(t *record.Target, through string) map[string]string {
	if t == nil {
		return nil
	}
	all := map[string]string{}
	for metric, needs := range sources {
		for _, s := range needs {
			if why := s.missing(t, through); why != "" {
				all[metric] = why
				break
			}
		}
	}
	return all
}

// missing says why a target does not give a source; "" if it does.
func (s source) missing(t *record.Target, through string) string {
	switch {
	case s == accessLog && through != "":
		return "it needs nginx's access log, and the load goes past nginx (fleet.through)"
	case s == accessLog && !t.AccessLog:
		return fmt.Sprintf("it needs nginx's access log, which %s does not give", t.Name)
	case s == calls && !t.Calls:
		return fmt.Sprintf("it needs the instances' records, which %s does not give", t.Name)
	case s == samples:
		return fmt.Sprintf("it needs samples of the processes, and those of %s run elsewhere", t.Name)
	case s == same && t.Changes:
		return fmt.Sprintf("it needs instances that stay the same, and those of %s may change; largest_share and smallest_share are of all that responded", t.Name)
	case s == oneNginx && t.Nginxes != 1:
		return fmt.Sprintf("it needs one nginx with one rotation, and %s may have several", t.Name)
	case s == workers:
		return fmt.Sprintf("it needs the number of nginx's workers, which %s does not say", t.Name)
	}
	return ""
}

// Unknown says why a metric has no value, whatever it seems to have: the trial had no records for it. It is "" if it has one.
func (m Metrics) Unknown(metric string) string { return m.unknown[metric] }

// Without are the metrics of a trial that could not have some: see Missing.
func (m Metrics) Without(missing map[string]string) Metrics {
	m.unknown = missing
	return m
}

// MarshalJSON writes null in the place of what is unknown.
func (m Metrics) MarshalJSON() ([]byte, error) {
	type plain Metrics
	text, err := json.Marshal(plain(m))
	if err != nil || len(m.unknown) == 0 {
		return text, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	null := json.RawMessage("null")
	for metric := range m.unknown {
		of, part, nested := strings.Cut(metric, ".")
		if !nested {
			all[of] = null
			continue
		}
		var parts map[string]json.RawMessage
		if err := json.Unmarshal(all[of], &parts); err != nil {
			return nil, err
		}
		parts[part] = null
		if all[of], err = json.Marshal(parts); err != nil {
			return nil, err
		}
	}
	return json.Marshal(all)
}
