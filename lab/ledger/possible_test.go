package ledger

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/load"
)

// rewritten is a record with other values; nil takes a field away.
func rewritten(t *testing.T, record any, fields map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]any)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&all); err != nil {
		t.Fatal(err)
	}
	for name, value := range fields {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	if text, err = json.Marshal(all); err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

type fields = map[string]any

// What cannot be is told as no record, and makes the run invalid.
func TestImpossibleRecords(t *testing.T) {
	t.Parallel()
	s := stage(1)
	for i := range s.Loads {
		s.Loads[i].Deadline = time.Second
	}
	ok := okay("11.http.0.0", s.Begin)
	unsent := load.Record{V: 1, ID: "11.http.0.0", Protocol: load.HTTP, Planned: s.Begin, Late: 1_000_001, Outcome: load.NotStarted, Reason: load.Overdue}
	deadline := load.Record{V: 1, ID: "11.grpc.1.0", Protocol: load.GRPC, Stream: 1, Planned: s.Begin, Late: 5, Latency: 1_000_005, Service: 1_000_000,
		Outcome: load.AtClient, Reason: load.Deadline, Code: "DeadlineExceeded", Attempts: 1, Own: []string{load.Deadline}}
	arrival := Call{V: 1, Event: Arrival, Time: s.Begin, Instance: "whoami-1", PID: 1, Call: 1, ID: "11.http.0.0", Protocol: load.HTTP}
	completion := arrival
	completion.Event, completion.Code = Completion, "200"
	for _, test := range []struct {
		record any
		fields fields
		want   string // "": it is possible
	}{
		{ok, nil, ""},
		{unsent, nil, ""},
		{deadline, nil, ""},
		{ok, fields{"planned": s.Begin.Add(s.end())}, ""},
		{ok, fields{"planned": s.Begin.AddDate(4, 0, 0)}, "planned 2030-11-24T09:00:00Z, and the run lasted from 2026-11-24T09:00:00Z to 2026-11-24T09:00:10.5Z"},
		{ok, fields{"planned": s.Begin.Add(-1)}, "planned 2026-11-24T08:59:59.999999999Z"},
		{ok, fields{"service_us": -5}, "service_us is -5"},
		{ok, fields{"late_us": -1}, "late_us is -1"},
		{ok, fields{"late_us": nil}, "it has no late_us"},
		{ok, fields{"late_us": nil, "latency_us": 900}, "it has no late_us"},
		{ok, fields{"service_us": nil}, "it has no service_us"},
		{ok, fields{"latency_us": nil}, "it has no latency_us"},
		{ok, fields{"latency_us": 1002}, ""},
		{ok, fields{"latency_us": 998}, ""},
		{ok, fields{"latency_us": 1003}, "latency_us 1003 is not late_us 100 and service_us 900"},
		{ok, fields{"latency_us": 997}, "latency_us 997 is not"},
		{ok, fields{"stream": 2}, "protocol http and stream 2, and the id is 11.http.0.0"},
		{ok, fields{"protocol": "grpc", "code": "OK"}, "protocol grpc and stream 0, and the id is 11.http.0.0"},
		{ok, fields{"code": "502"}, `outcome "ok", and code "502"`},
		{ok, fields{"outcome": load.ByInstance}, `outcome "instance", and code "200"`},
		{ok, fields{"outcome": load.ByNginx, "code": "502"}, `outcome "nginx", and code "502", reason "", instance "whoami-1"`},
		{ok, fields{"outcome": load.AtClient, "reason": load.Reset, "code": nil}, `outcome "client", and code ""`},
		{ok, fields{"outcome": load.AtClient}, `outcome "client", and code "200", reason ""`},
		{ok, fields{"own": []string{load.Lost, load.Lost}}, "2 reasons of the client's own for 1 attempts"},
		{unsent, fields{"service_us": 7}, "it was not started, and took 7 µs"},
		{deadline, fields{"code": "OK"}, `outcome "client", and code "OK"`},
		{deadline, fields{"latency_us": 900_005, "service_us": 900_000}, "the deadline of 1s passed after 900ms"},
		{arrival, nil, ""},
		{completion, nil, ""},
		{arrival, fields{"pid": nil}, "time 2026-11-24T09:00:00Z, pid 0, call 1"},
		{arrival, fields{"call": nil}, "time 2026-11-24T09:00:00Z, pid 1, call 0"},
		{arrival, fields{"time": nil}, "time 0001-01-01T00:00:00Z"},
		{completion, fields{"code": nil}, "a completion without a code"},
		{completion, fields{"duration_us": -1}, "duration_us is -1"},
	} {
		name := ClientFile
		if _, ok := test.record.(Call); ok {
			name = InstancesFile
		}
		_, balance := closed(t, folder(t, s, map[string][]byte{name: rewritten(t, test.record, test.fields)}))
		want := name + " has 1 line that cannot be read as records; the first is line 1: no record: " + test.want
		told := slices.ContainsFunc(balance.Reasons, func(r string) bool { return strings.HasPrefix(r, want) })
		if told != (test.want != "") || test.want == "" && strings.Contains(strings.Join(balance.Reasons, "\n"), "cannot be read") {
			t.Errorf("%v: %q, want %q", test.fields, balance.Reasons, want)
		}
	}
}

// A scene that begins in another year has no record of its own.
func TestASceneOfAnotherYear(t *testing.T) {
	t.Parallel()
	h := lawful(1, 50)
	files := h.write(t)
	h.Begin = h.Begin.AddDate(1, 0, 0)
	_, balance := closed(t, folder(t, h.Scene, files))
	if want := ClientFile + " has 150 lines that cannot be read as records"; !slices.ContainsFunc(balance.Reasons, func(r string) bool { return strings.HasPrefix(r, want) }) {
		t.Errorf("%q", balance.Reasons)
	}
}

// After the end there is nothing.
func TestEventsAfterTheEnd(t *testing.T) {
	t.Parallel()
	h := lawful(1, 50)
	whole := h.write(t)
	lines := bytes.SplitAfter(bytes.TrimSuffix(whole[EventsFile], []byte("\n")), []byte("\n"))
	last := append(lines[len(lines)-1], '\n')
	for name, test := range map[string]struct {
		events [][]byte
		lines  string // that are no records
	}{
		"as it is":            {append(slices.Clone(lines[:len(lines)-1]), last), ""},
		"the end comes first": {append([][]byte{last}, lines[:len(lines)-1]...), "9 lines"},
		"the end twice":       {append(slices.Clone(lines[:len(lines)-1]), last, last), "1 line"},
	} {
		files := maps.Clone(whole)
		files[EventsFile] = bytes.Join(test.events, nil)
		_, balance := closed(t, folder(t, h.Scene, files))
		told := strings.Join(balance.Reasons, "\n")
		if want := EventsFile + " has " + test.lines + " that cannot be read as records"; strings.Contains(told, want) != (test.lines != "") {
			t.Errorf("%s: %s", name, told)
		}
	}
}
