package record_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// readAll gives all records that there are now.
func readAll(t testing.TB, r *record.Reader) (all []any) {
	t.Helper()
	for {
		next, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if next == nil {
			return all
		}
		all = append(all, next)
	}
}

// problems are those of a trial directory that is read at once.
func problems(t testing.TB, m record.Manifest, files map[string][]byte) []string {
	t.Helper()
	r := record.NewReader(labtest.TrialDir(t, m, files), m)
	readAll(t, r)
	defer r.Close()
	return r.Problems()
}

// ordinary is a history of n ordinary requests and four events.
func ordinary(n int) labtest.History {
	h := labtest.History{Manifest: labtest.Manifest(n)}
	h.Scenario.Loads[0].Rate.PerSecond = []float64{2000}
	for i := range n {
		h.Records = append(h.Records, labtest.Ordinary(h.Manifest, i)...)
	}
	for _, e := range []string{record.PhaseStarted, record.ActionStarted, record.ActionDone, record.Ended} {
		h.Records = append(h.Records, record.Event{V: record.EventVersion, Time: h.Begin, Event: e})
	}
	return h
}

// Records come in the order of their times, except that files are not sorted in themselves.
func TestReaderMergesFilesByTime(t *testing.T) {
	t.Parallel()
	h := ordinary(50)
	r := record.NewReader(labtest.TrialDir(t, h.Manifest, h.Files(t)), h.Manifest)
	var ids []string
	for _, one := range readAll(t, r) {
		if c, ok := one.(record.Client); ok {
			ids = append(ids, c.ID)
		}
		if c, ok := one.(record.Call); ok {
			ids = append(ids, c.ID+c.Event)
		}
	}
	// A client record is written 1 ms after its planned start, and so after the arrival of the next.
	if want := []string{"11.http.0.0arrival", "11.http.0.0completion", "11.http.0.1arrival", "11.http.0.0", "11.http.0.1completion", "11.http.0.2arrival"}; !slices.Equal(ids[:6], want) || len(ids) != 150 {
		t.Errorf("%d records, the first %q, want %q", len(ids), ids[:6], want)
	}
	if err := r.Close(); err != nil || len(r.Problems()) > 0 {
		t.Errorf("%v, %q", err, r.Problems())
	}
}

// While files appear and grow, with lines that are half written, every record is read once.
func TestReaderFollowsGrowingFiles(t *testing.T) {
	t.Parallel()
	h := ordinary(300)
	files := h.Files(t)
	dir := labtest.TrialDir(t, h.Manifest, nil)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "logs"), 0o755), os.Mkdir(filepath.Join(dir, "records"), 0o755)); err != nil {
		t.Fatal(err)
	}
	r := record.NewReader(dir, h.Manifest)
	rng := rand.New(rand.NewPCG(1, 5))
	names := slices.Sorted(maps.Keys(files))
	count := 0
	for len(files) > 0 {
		name := names[rng.IntN(len(names))]
		part := files[name][:min(len(files[name]), rng.IntN(10_000))]
		if files[name] = files[name][len(part):]; len(files[name]) == 0 {
			delete(files, name)
		}
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(part)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		count += len(readAll(t, r))
	}
	if err := r.Close(); err != nil || count != len(h.Records) || len(r.Problems()) > 0 {
		t.Errorf("%d records, want %d; %v, %q", count, len(h.Records), err, r.Problems())
	}
}

func TestReaderReportsWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	h := ordinary(50)
	whole := h.Files(t)
	insert := func(name, text string) func(map[string][]byte) {
		return func(files map[string][]byte) {
			i := bytes.IndexByte(files[name], '\n') + 1
			files[name] = slices.Insert(slices.Clone(files[name]), i, []byte(text)...)
		}
	}
	invalid := " has 1 line that cannot be read as records; the first is line 2: "
	for want, spoil := range map[string]func(map[string][]byte){
		record.AccessLogFile + invalid:                           insert(record.AccessLogFile, "{\"v\":1,\"id\":\"11.ht\n"),
		record.InstancesFile + invalid + "not a record: id \"\"": insert(record.InstancesFile, `{"v":2,"time":"2026-11-24T09:00:00Z","pid":1,"call":1}`+"\n"),
		record.ClientFile + " has 2 lines that cannot be read as records; the first is line 2: not a record: planned":           insert(record.ClientFile, strings.Repeat(`{"v":3,"late_us":0,"latency_us":0,"service_us":0}`+"\n", 2)),
		record.AccessLogFile + invalid + "not a record: lists of different":                                                     insert(record.AccessLogFile, `{"v":1,"id":"x","upstream_addr":"a:1, b:1","upstream_status":"-, -","upstream_header_time":"-","upstream_bytes_sent":"0, 0"}`+"\n"),
		record.AccessLogFile + invalid + "not a record: upstream_bytes_sent \"x\"":                                              insert(record.AccessLogFile, `{"v":1,"id":"x","upstream_addr":"a:1","upstream_header_time":"-","upstream_bytes_sent":"x"}`+"\n"),
		record.AccessLogFile + invalid + "not a record: no id":                                                                  insert(record.AccessLogFile, `{"v":1}`+"\n"),
		record.ClientFile + " has 1 record of another version; the first is line 2: version 1, and this trivet reads version 3": insert(record.ClientFile, "{\"v\":1,\"outcome\":\"ok\"}\n"),
		record.EventsFile + invalid + "unexpected end of JSON input":                                                            insert(record.EventsFile, "\n"),
		record.InstancesFile + ` ends within a line: "{\"v\":2,"`: func(f map[string][]byte) {
			f[record.InstancesFile] = append(slices.Clone(f[record.InstancesFile]), `{"v":2,`...)
		},
		record.SamplesFile + " exists, and manifest.json says that the trial has no samples": func(f map[string][]byte) { f[record.SamplesFile] = []byte("{}\n") },
		record.AccessLogFile + " does not exist":                                             func(f map[string][]byte) { delete(f, record.AccessLogFile) },
		// A line of 8 MiB is read in pieces.
		record.AccessLogFile + " has ": insert(record.AccessLogFile, strings.Repeat("x", 8<<20)+"\n"),
	} {
		files := maps.Clone(whole)
		spoil(files)
		got := problems(t, h.Manifest, files)
		if len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%.300q, want %q", got, want)
		}
	}
}

// After the end there is nothing.
func TestEventAfterTheEndIsNoRecord(t *testing.T) {
	t.Parallel()
	h := ordinary(50)
	whole := h.Files(t)
	lines := bytes.SplitAfter(bytes.TrimSuffix(whole[record.EventsFile], []byte("\n")), []byte("\n"))
	last := append(lines[len(lines)-1], '\n')
	for name, c := range map[string]struct {
		events [][]byte
		lines  string // that are no records
	}{
		"as it is":           {append(slices.Clone(lines[:len(lines)-1]), last), ""},
		"end comes first":    {append([][]byte{last}, lines[:len(lines)-1]...), "3 lines"},
		"end is there twice": {append(slices.Clone(lines[:len(lines)-1]), last, last), "1 line"},
	} {
		files := maps.Clone(whole)
		files[record.EventsFile] = bytes.Join(c.events, nil)
		got := strings.Join(problems(t, h.Manifest, files), "\n")
		if want := record.EventsFile + " has " + c.lines + " that cannot be read as records"; strings.Contains(got, want) != (c.lines != "") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// rewritten is a record with other values; nil removes a field.
func rewritten(t *testing.T, r any, fields map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(r)
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

func TestImpossibleValuesAreNoRecord(t *testing.T) {
	t.Parallel()
	type fields = map[string]any
	m := labtest.Manifest(1)
	for i := range m.Scenario.Loads {
		m.Scenario.Loads[i].Deadline = time.Second
	}
	ok := labtest.OK("11.http.0.0", m.Begin)
	dropped := record.Client{V: record.ClientVersion, ID: ok.ID, Protocol: scenario.HTTP, Planned: m.Begin, Late: 1_000_001, Latency: 0, Outcome: record.Dropped, Reason: record.Overdue}
	refused := record.Client{V: record.ClientVersion, ID: ok.ID, Protocol: scenario.HTTP, Planned: m.Begin, Late: 100, Latency: 100, Outcome: record.Incomplete, Reason: record.InFlightLimit}
	deadline := record.Client{V: record.ClientVersion, ID: "11.grpc.1.0", Protocol: scenario.GRPC, Load: 1, Planned: m.Begin, Late: 5, Latency: 1_000_005, Service: 1_000_000,
		Outcome: record.Incomplete, Reason: record.Deadline, Code: "DeadlineExceeded", Attempts: 1, MaybeUnlogged: []string{record.Deadline}}
	for _, c := range []struct {
		record any
		fields fields
		want   string // "": it is possible
	}{
		{ok, nil, ""},
		{dropped, nil, ""},
		{refused, nil, ""},
		{deadline, nil, ""},
		{ok, fields{"planned": m.Begin.Add(m.Scenario.Length())}, ""},
		{ok, fields{"planned": m.Begin.AddDate(4, 0, 0)}, "planned 2030-11-24T09:00:00Z, but the trial lasted from 2026-11-24T09:00:00Z to 2026-11-24T09:00:10.5Z"},
		{ok, fields{"planned": m.Begin.Add(-1)}, "planned 2026-11-24T08:59:59.999999999Z"},
		{ok, fields{"service_us": -5}, "late_us is 100, latency_us 1000, service_us -5"},
		{ok, fields{"service_us": 9_300_000_000_000_000, "latency_us": 9_300_000_000_000_100}, "late_us is 100, latency_us 9300000000000100, "},
		{ok, fields{"late_us": -1}, "late_us is -1, latency_us 1000, service_us 900"},
		{ok, fields{"stalled_us": -1}, "late_us is 100, latency_us 1000, service_us 900, stalled_us -1"},
		{ok, fields{"late_us": json.RawMessage("null"), "latency_us": 900}, "no late_us"},
		{ok, fields{"latency_us": json.RawMessage("null")}, "no latency_us"},
		{ok, fields{"service_us": json.RawMessage("null"), "latency_us": 100}, "no service_us"},
		{ok, fields{"late_us": nil}, "no late_us"},
		{ok, fields{"late_us": nil, "latency_us": 900}, "no late_us"},
		{ok, fields{"service_us": nil}, "no service_us"},
		{ok, fields{"latency_us": nil}, "no latency_us"},
		{ok, fields{"latency_us": 1002}, ""},
		{ok, fields{"latency_us": 998}, ""},
		{ok, fields{"latency_us": 1003}, "latency_us 1003 is not late_us 100 plus service_us 900"},
		{ok, fields{"latency_us": 997}, "latency_us 997 is not"},
		{ok, fields{"load": 2}, "protocol http and load 2, but the id is 11.http.0.0"},
		{ok, fields{"protocol": "grpc", "code": "OK"}, "protocol grpc and load 0, but the id is 11.http.0.0"},
		{ok, fields{"code": "502"}, `outcome "ok" with code "502"`},
		{ok, fields{"outcome": "fine"}, `outcome "fine"`},
		{ok, fields{"outcome": record.InstanceError}, `outcome "instance_error" with code "200"`},
		{ok, fields{"outcome": record.NginxError, "code": "502"}, `outcome "nginx_error" with code "502", reason "", instance "whoami-1"`},
		{ok, fields{"outcome": record.Incomplete, "reason": record.Reset, "code": nil}, `outcome "incomplete" with code ""`},
		{ok, fields{"outcome": record.Incomplete}, `outcome "incomplete" with code "200", reason ""`},
		{ok, fields{"maybe_unlogged": []string{record.ConnectionClosed, record.ConnectionClosed}}, "2 attempts may be unlogged, of 1"},
		{dropped, fields{"service_us": 7}, "it was dropped, and took 7 µs"},
		{dropped, fields{"reason": record.InFlightLimit}, `outcome "dropped" with code "", reason "in_flight_limit"`},
		{refused, fields{"service_us": 7, "latency_us": 107}, "it was never sent, and took 7 µs"},
		{refused, fields{"code": "Unavailable"}, `outcome "incomplete" with code "Unavailable", reason "in_flight_limit"`},
		{refused, fields{"reason": record.Overdue}, `outcome "incomplete" with code "", reason "overdue"`},
		{deadline, fields{"code": "OK"}, `outcome "incomplete" with code "OK"`},
		{deadline, fields{"latency_us": 900_005, "service_us": 900_000}, "the deadline of 1s passed after only 900ms"},
	} {
		checkImpossible(t, m, record.ClientFile, c.record, c.fields, c.want)
	}
}

func TestImpossibleValuesOfOtherSourcesAreNoRecord(t *testing.T) {
	t.Parallel()
	type fields = map[string]any
	m := labtest.Manifest(1)
	id := "11.http.0.0"
	arrival := record.Call{V: record.CallVersion, Event: record.Arrival, Time: m.Begin, Instance: "whoami-1", PID: 1, Start: "a", Call: 1, ID: id, Protocol: scenario.HTTP}
	completion := arrival
	completion.Event, completion.Code = record.Completion, "200"
	outgoing := record.Outgoing{Call: arrival, Attempts: 1}
	outgoing.Event, outgoing.ID, outgoing.Protocol, outgoing.Code = record.OutgoingCall, id+".1", scenario.GRPC, "OK"
	web := outgoing
	web.Protocol, web.Code = scenario.HTTP, "502"
	waiting := record.Event{V: record.EventVersion, Time: m.Begin, Event: record.ActionStarted, Action: scenario.Wait, Wait: 1}
	entry := record.AccessLogEntry{V: record.AccessLogVersion, ID: id, End: 1}
	for _, c := range []struct {
		file   string
		record any
		fields fields
		want   string // "": it is possible
	}{
		{record.InstancesFile, arrival, nil, ""},
		{record.InstancesFile, completion, nil, ""},
		{record.InstancesFile, arrival, fields{"pid": nil}, `time 2026-11-24T09:00:00Z, pid 0, start "a", call 1`},
		{record.InstancesFile, arrival, fields{"start": nil}, `time 2026-11-24T09:00:00Z, pid 1, start "", call 1`},
		{record.InstancesFile, arrival, fields{"call": nil}, `time 2026-11-24T09:00:00Z, pid 1, start "a", call 0`},
		{record.InstancesFile, arrival, fields{"time": nil}, "time 0001-01-01T00:00:00Z"},
		{record.InstancesFile, completion, fields{"code": nil}, "a completion without a code"},
		{record.InstancesFile, completion, fields{"duration_us": -1}, "duration_us is -1"},
		{record.InstancesFile, outgoing, nil, ""},
		{record.InstancesFile, outgoing, fields{"code": "DEADLINE_EXCEEDED"}, ""},
		{record.InstancesFile, outgoing, fields{"code": "Unavailable", "reason": record.Refused, "maybe_unlogged": []string{record.Refused}}, ""},
		{record.InstancesFile, outgoing, fields{"code": "200"}, `an outgoing call with code "200"`},
		{record.InstancesFile, outgoing, fields{"code": nil}, `an outgoing call with code ""`},
		{record.InstancesFile, outgoing, fields{"attempts": 0}, `an outgoing call with code "OK", reason "" and 0 attempts`},
		{record.InstancesFile, outgoing, fields{"reason": record.Reset}, `an outgoing call with code "OK", reason "reset"`},
		{record.InstancesFile, outgoing, fields{"attempts": -1}, "0 attempts may be unlogged, of -1"},
		{record.InstancesFile, outgoing, fields{"duration_us": 9_300_000_000_000_000}, "duration_us is 9300000000000000"},
		{record.InstancesFile, outgoing, fields{"call": 0}, `time 2026-11-24T09:00:00Z, pid 1, start "a", call 0`},
		{record.InstancesFile, web, nil, ""},
		{record.InstancesFile, web, fields{"code": "CANCELED"}, ""},
		{record.InstancesFile, web, fields{"code": "NOT_FOUND"}, `an outgoing call with code "NotFound"`},
		{record.InstancesFile, web, fields{"code": nil}, `an outgoing call with code ""`},
		{record.EventsFile, waiting, nil, ""},
		{record.EventsFile, waiting, fields{"wait_us": -1}, "time 2026-11-24T09:00:00Z, wait_us -1"},
		{record.EventsFile, waiting, fields{"time": nil}, "time 0001-01-01T00:00:00Z"},
		{record.AccessLogFile, entry, nil, ""},
		{record.AccessLogFile, entry, fields{"end": nil}, "end is 0"},
		{record.AccessLogFile, entry, fields{"end": -1}, "end is -1"},
	} {
		checkImpossible(t, m, c.file, c.record, c.fields, c.want)
	}
}

// checkImpossible wants a record with these fields to be none, and why; if that is "", to be one.
func checkImpossible(t *testing.T, m record.Manifest, file string, r any, fields map[string]any, why string) {
	t.Helper()
	got := strings.Join(problems(t, m, map[string][]byte{file: rewritten(t, r, fields)}), "\n")
	want := file + " has 1 line that cannot be read as records; the first is line 1: not a record: " + why
	if why != "" && !strings.Contains(got, want) || why == "" && strings.Contains(got, "cannot be read") {
		t.Errorf("%v: %q, want %q", fields, got, want)
	}
}

// A manifest of another year has no record of its own.
func TestRecordsOfAnotherYearAreNone(t *testing.T) {
	t.Parallel()
	h := ordinary(50)
	files := h.Files(t)
	h.Begin = h.Begin.AddDate(1, 0, 0)
	if got, want := problems(t, h.Manifest, files), record.ClientFile+" has 50 lines that cannot be read as records"; !slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, want) }) {
		t.Errorf("%q", got)
	}
}

func TestUnusableManifestIsAnError(t *testing.T) {
	t.Parallel()
	const whole = `{"v":3,"planned":[1],"scenario":{"instances":1,"workers":1,"phases":[{"name":"a","for":1}],"loads":[{"protocol":"http","deadline":1,"rate":{"per_second":[1]}}]}}`
	for want, text := range map[string]string{
		"not a trial directory":                                         "",
		"has version 1, and this trivet reads version 3: run":           `{"v":1}`,
		"manifest.json: invalid character":                              "banana",
		`manifest.json: json: unknown field "x"`:                        `{"v":3,"x":1}`,
		"manifest.json: scenario: phases: 0, want 1 or more":            `{"v":3,"scenario":{"instances":1,"workers":1,"loads":[{}]}}`,
		"manifest.json: planned: [], want a count for each of 1 load":   strings.Replace(whole, "[1]", "[]", 1),
		"manifest.json: planned: [-1], want a count for each of 1 load": strings.Replace(whole, "[1]", "[-1]", 1),
	} {
		dir := t.TempDir()
		if text != "" {
			if err := os.WriteFile(filepath.Join(dir, record.ManifestFile), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := record.ReadManifest(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
