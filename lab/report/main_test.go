package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/labtest"
	"trivet/lab/load"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

var whoami string // the instances' program, built once

// The test binary is also the generator.
func TestMain(m *testing.M) {
	labtest.Generate(load.Serve)
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		if err := os.Setenv("GORACE", proctest.QuickExit); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}))
}

const perLoad = 100 // requests, evenly over the two seconds of each variant below

// variants is an experiment's scenarios of these names: 50 requests per second of each protocol.
func variants(names ...string) []scenario.Scenario {
	var all []scenario.Scenario
	for _, name := range names {
		s := scenario.Scenario{
			Experiment: "one", Variant: name, Seed: 7, Instances: 3, Workers: 2,
			Phases: []scenario.Phase{{Name: "before", For: time.Second}, {Name: "during", For: time.Second}},
		}
		if name != scenario.Only {
			s.Description = map[string]string{"plain": "as it is", "other": "another"}[name]
		}
		for _, protocol := range []string{scenario.HTTP, scenario.GRPC} {
			s.Loads = append(s.Loads, scenario.Load{
				Name: protocol, Protocol: protocol, Call: scenario.Unary, Deadline: 5 * time.Second,
				Rate: scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{50}},
			})
		}
		all = append(all, s)
	}
	return all
}

// expect gives an experiment these expectations, from line 7 of its file on.
func expect(e scenario.Experiment, texts ...string) scenario.Experiment {
	e.Expect = nil
	for i, text := range texts {
		e.Expect = append(e.Expect, scenario.Expectation{Text: text, Line: 7 + i})
	}
	return e
}

func oneVariant() scenario.Experiment {
	return expect(scenario.Experiment{
		Question: `Is 1 < 2 & "so" on?`, Answer: "{during.http.failed} of {total.http.requests} failed.", Scenarios: variants(scenario.Only),
	},
		"before.http.failed == 0",
		"total.http.requests == 100 && total.grpc.ok == 100",
		"during.http.failed == 0",
		`during.grpc.codes["OK"] == 50 && len(during.grpc.codes) == 1`,
		`!total.http.recovery.failed || total.http.recovery.last_failure <= duration("1010ms")`,
		"fair(total.grpc)",
	)
}

func twoVariants() scenario.Experiment {
	return expect(scenario.Experiment{Question: "Which is better?", Scenarios: variants("plain", "other")},
		"total.http.failed == 0", "plain.total.http.failed == other.total.http.failed")
}

// index makes a run directory with these experiments, named one, two and so on, in which nothing has begun.
func index(t *testing.T, experiments ...scenario.Experiment) (dir string) {
	t.Helper()
	dir = t.TempDir()
	all := record.Index{Time: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), Trivet: "(devel)", Nginx: "1.22.1", CPUs: 2}
	for i, e := range experiments {
		e.Name = []string{"one", "two", "three"}[i]
		e.Path = "experiments/" + e.Name + ".yaml"
		all.Experiments = append(all.Experiments, record.Entry{Dir: fmt.Sprintf("%d-%s", i+1, e.Name), Experiment: e})
	}
	if err := all.Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// records are what the sources of a trial wrote, by file, as separate lines.
type records map[string][]string

func (r records) add(t *testing.T, file string, record any) {
	t.Helper()
	line, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	r[file] = append(r[file], string(line)+"\n")
}

func (r records) write(t *testing.T, dir string) {
	t.Helper()
	r.number()
	for file, lines := range r {
		write(t, filepath.Join(dir, file), strings.Join(lines, ""))
	}
}

// number counts the calls of each start, as instances do.
func (r records) number() {
	counted := make(map[string]map[uint64]uint64)
	for i, text := range r[record.InstancesFile] {
		var c record.Call
		if json.Unmarshal([]byte(text), &c) != nil {
			continue
		}
		if counted[c.Start] == nil {
			counted[c.Start] = make(map[uint64]uint64)
		}
		numbers, call := counted[c.Start], c.Call
		if numbers[call] == 0 {
			numbers[call] = uint64(len(numbers) + 1)
		}
		r[record.InstancesFile][i] = strings.Replace(text, fmt.Sprintf(`"call":%d,`, call), fmt.Sprintf(`"call":%d,`, numbers[call]), 1)
	}
}

var begin = time.Date(2026, 11, 24, 12, 0, 1, 0, time.UTC)

// flawless are those of a trial without a failed request.
func flawless(t *testing.T, s scenario.Scenario) records {
	t.Helper()
	r, starts := records{}, records{}
	m := record.Manifest{V: record.ManifestVersion, Scenario: s, Nginx: "1.22.1", Trivet: "(devel)", Begin: begin, Trial: 1}
	for i, name := range s.ServiceNames() {
		starts.event(t, record.Event{Event: record.ProcessEvent, Kind: record.Started, Process: name, Start: name + "-a"})
		m.Instances = append(m.Instances, record.Instance{Name: name, HTTP: fmt.Sprint("127.0.0.1:", 8001+i), GRPC: fmt.Sprint("127.0.0.1:", 9001+i)})
	}
	for l := range s.Loads {
		m.Planned = append(m.Planned, perLoad)
		for n := range perLoad {
			r.request(t, m, l, n)
		}
	}
	r.add(t, record.ManifestFile, m)
	for i, phase := range s.Phases {
		from, _ := s.Bounds(i)
		r.event(t, record.Event{Event: record.PhaseStarted, Phase: phase.Name, Time: begin.Add(from)})
	}
	r.event(t, record.Event{Event: record.Ended})
	first := r[record.EventsFile]
	first[0] = strings.Join(starts[record.EventsFile], "") + first[0]
	return r
}

// only is flawless of an experiment without variants.
func only(t *testing.T) records {
	t.Helper()
	return flawless(t, variants(scenario.Only)[0])
}

// event adds an event before the end.
func (r records) event(t *testing.T, e record.Event) {
	t.Helper()
	if e.V = record.EventVersion; e.Time.IsZero() {
		e.Time = begin
	}
	r.add(t, record.EventsFile, e)
	if all := r[record.EventsFile]; len(all) > 1 && strings.Contains(all[len(all)-2], `"event":"`+record.Ended+`"`) {
		all[len(all)-1], all[len(all)-2] = all[len(all)-2], all[len(all)-1]
	}
}

// end replaces the last event.
func (r records) end(t *testing.T, e record.Event) {
	t.Helper()
	r[record.EventsFile] = r[record.EventsFile][:2]
	r.event(t, e)
}

// request adds the n-th of a load: OK after three milliseconds, from the instances in turn.
func (r records) request(t *testing.T, m record.Manifest, l, n int) {
	t.Helper()
	by, protocol, code := m.Instances[n%len(m.Instances)], m.Scenario.Loads[l].Protocol, "200"
	address, trailer := by.HTTP, ""
	if protocol == scenario.GRPC {
		address, code, trailer = by.GRPC, "OK", "0"
	}
	planned := m.Begin.Add(time.Duration(n)*20*time.Millisecond + 10*time.Millisecond)
	id := fmt.Sprintf("7.%s.%d.%d", protocol, l, n)
	r.add(t, record.ClientFile, record.Client{
		V: record.ClientVersion, ID: id, Load: l, Protocol: protocol, Planned: planned, Latency: 3000, Service: 3000,
		Outcome: record.OK, Code: code, Instance: by.Name, Attempts: 1,
	})
	r.add(t, record.AccessLogFile, record.AccessLogEntry{
		V: record.AccessLogVersion, ID: id, End: float64(planned.UnixMilli()+3) / 1000, Status: "200", Trailer: trailer,
		Addr: address, AddrStatus: "200", HeaderTime: "0.001", BytesSent: "218",
	})
	call := record.Call{
		V: record.CallVersion, Event: record.Arrival, Time: planned, Instance: by.Name, Start: by.Name + "-a", PID: 1, Call: uint64(l*perLoad + n + 1),
		ID: id, Protocol: protocol,
	}
	r.add(t, record.InstancesFile, call)
	call.Event, call.Code = record.Completion, code
	r.add(t, record.InstancesFile, call)
}

// trial makes the records those of another trial than the first.
func (r records) trial(n int) records {
	r[record.ManifestFile][0] = strings.Replace(r[record.ManifestFile][0], `"trial":1`, fmt.Sprintf(`"trial":%d`, n), 1)
	return r
}

// refuse makes a request one that nginx answered itself, because no instance accepted it.
func (r records) refuse(t *testing.T, l, n int, code string) {
	t.Helper()
	i := l*perLoad + n
	var c record.Client
	var e record.AccessLogEntry
	for line, into := range map[string]any{r[record.ClientFile][i]: &c, r[record.AccessLogFile][i]: &e} {
		if err := json.Unmarshal([]byte(line), into); err != nil {
			t.Fatal(err)
		}
	}
	c.Outcome, c.Code, c.Instance, c.Error = record.NginxError, code, "", "refused"
	e.Status, e.Error, e.AddrStatus, e.HeaderTime, e.BytesSent = "502", "502", "502", "-", "0"
	if e.Trailer = ""; code == "Unavailable" { // grpc-go makes every other gRPC code here of the HTTP status.
		e.Status, e.HeaderStatus = "200", "14"
	}
	more := records{}
	more.add(t, record.ClientFile, c)
	more.add(t, record.AccessLogFile, e)
	r[record.ClientFile][i], r[record.AccessLogFile][i] = more[record.ClientFile][0], more[record.AccessLogFile][0]
	r[record.InstancesFile][2*i], r[record.InstancesFile][2*i+1] = "", ""
}

// refused are only's records but for one refused request over HTTP.
func refused(t *testing.T) records {
	t.Helper()
	r := only(t)
	r.refuse(t, 0, 50, "502")
	return r
}

// contradictory are only's records without an access-log entry.
func contradictory(t *testing.T) records {
	t.Helper()
	r := only(t)
	r[record.AccessLogFile][3] = ""
	return r
}

// from is the report on a run directory, with one experiment at least.
func from(t *testing.T, dir string) *Run {
	t.Helper()
	r, err := From(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// one is the report on an experiment with these records of its only variant.
func one(t *testing.T, e scenario.Experiment, r records) *Run {
	t.Helper()
	dir := index(t, e)
	r.write(t, filepath.Join(dir, "1-one", scenario.Only))
	return from(t, dir)
}
