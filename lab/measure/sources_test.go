package measure

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// names are those of all metrics; those of a Latency and of a Saturation need the same sources.
func names(t reflect.Type, prefix string) (all []string) {
	for field := range t.Fields() {
		name := prefix + field.Tag.Get("expr")
		switch whole := field.Type == reflect.TypeFor[Latency]() || field.Type == reflect.TypeFor[Saturation](); {
		case !field.IsExported():
		case field.Type.Kind() == reflect.Struct && !whole:
			all = append(all, names(field.Type, name+".")...)
		default:
			all = append(all, name)
		}
	}
	return all
}

func TestEveryMetricHasItsSources(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, name := range names(reflect.TypeFor[Metrics](), "") {
		found[name] = true
		if _, ok := sources[name]; !ok {
			t.Errorf("sources does not say what %s needs", name)
		}
	}
	for name := range sources {
		if !found[name] {
			t.Errorf("sources has %s, which is no metric", name)
		}
	}
}

func TestMissingSaysWhy(t *testing.T) {
	t.Parallel()
	full := record.Target{Name: "compose:lab", AccessLog: true, Calls: true, Nginxes: 1}
	changed := func(change func(*record.Target)) *record.Target {
		one := full
		change(&one)
		return &one
	}
	for _, test := range []struct {
		target          *record.Target
		through, metric string
		want            string // part of why; "": it is there
	}{
		{nil, "", "run_delay", ""},
		{&full, "", "run_delay", "samples"},
		{&full, "", "nginx_attempts", ""},
		{&full, "", "executions", ""},
		{&full, "", "recovery.fair_at_end", ""},
		{&full, "", "round_robin.spread", ""},
		{&full, "", "round_robin.workers", "nginx's workers, which compose:lab does not say"},
		{&full, scenario.ThroughService, "nginx_attempts", "goes past nginx"},
		{&full, scenario.ThroughService, "executions", ""},
		{changed(func(t *record.Target) { t.AccessLog = false }), "", "in_doubt", "access log, which compose:lab does not give"},
		{changed(func(t *record.Target) { t.AccessLog = false }), "", "ok_by_instance", ""},
		{changed(func(t *record.Target) { t.Calls = false }), "", "duplicated", "the instances' records"},
		{changed(func(t *record.Target) { t.Changes = true }), "", "recovery.fair_since", "may change"},
		{changed(func(t *record.Target) { t.Nginxes = 0 }), "", "round_robin.spread", "one nginx"},
		{changed(func(t *record.Target) { t.Nginxes = 2 }), "", "first_attempts", ""},
	} {
		if got := Missing(test.target, test.through)[test.metric]; (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s of %+v: %q, want %q", test.metric, test.target, got, test.want)
		}
	}
}

// What is unknown is null, and neither 0 nor false.
func TestUnknownMetricsAreNull(t *testing.T) {
	t.Parallel()
	p := plan(t, time.Second).change(func(m *record.Manifest) {
		m.Target = &record.Target{Kind: scenario.URL, Name: "http://127.0.0.1:8080", Changes: true}
	})
	p.request(0, 10*time.Millisecond, record.OK, 1)
	m := p.finish().Phases[0].Groups[0].Metrics
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if all["ok"] != 1.0 || all["client_attempts"] != 1.0 {
		t.Errorf("%s", text)
	}
	for name := range Missing(p.manifest.Target, "") {
		of, part, nested := strings.Cut(name, ".")
		value, there := all[of]
		if nested {
			value, there = all[of].(map[string]any)[part]
		}
		if value != nil || !there || m.Unknown(name) == "" {
			t.Errorf("%s is %v, there: %t", name, value, there)
		}
	}
	if m.Unknown("nginx_attempts") == "" || m.Unknown("recovery.fair_at_end") == "" || m.Unknown("failed") != "" {
		t.Errorf("%v", m.unknown)
	}
	for what, r := range map[string]FairnessResult{"fair": m.Fair(), "fair_without_zone": m.FairWithoutZone()} {
		if !r.Inconclusive || !strings.Contains(r.Explanation, "http://127.0.0.1:8080") {
			t.Errorf("%s: %+v", what, r)
		}
	}
}
