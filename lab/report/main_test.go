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
	"trivet/lab/experiment"
	"trivet/lab/labtest"
	"trivet/lab/ledger"
	"trivet/lab/load"
	"trivet/lab/trial"
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

const oneVariant = `
question: "Is 1 < 2 & \"so\" on?"
answer: "{during.http.failed} of {run.http.requests} failed."
seed: 7
load: [{protocol: http, rate: 50/s}, {protocol: grpc, rate: 50/s}]
phases: [{name: before, for: 1s}, {name: during, for: 1s}]
expect:
  - before.http.failed == 0
  - run.http.requests == 100 && run.grpc.ok == 100
  - during.http.failed == 0
  - during.grpc.codes["OK"] == 50 && len(during.grpc.codes) == 1
  - run.http.recovery.last_failure <= duration("1010ms")
  - fair(run.http)
`

const twoVariants = `
question: Which is better?
load: [{protocol: http, rate: 50/s}, {protocol: grpc, rate: 50/s}]
seed: 7
phases: [{name: before, for: 1s}, {name: during, for: 1s}]
expect:
  - run.http.failed == 0
  - plain.run.http.failed == other.run.http.failed
variants:
  plain: {about: as it is}
  other: {about: another}
`

// index makes a run folder with experiments of these texts, named one, two and so on, in which nothing has been begun.
func index(t *testing.T, texts ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	all := trial.Index{
		V: trial.IndexVersion, Time: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), Trivet: "(devel)", Nginx: "1.22.1", CPUs: 2,
		Experiments: []trial.Entry{},
	}
	for i, text := range texts {
		name := []string{"one", "two", "three"}[i]
		e := trial.Entry{Path: "experiments/" + name + ".yaml", Folder: fmt.Sprintf("%d-%s", i+1, name)}
		all.Experiments = append(all.Experiments, e)
		write(t, e.Copy(dir), text)
	}
	line, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, trial.IndexFile), string(line))
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

// records are what the witnesses of a variant wrote, by file, each line apart.
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
	for file, lines := range r {
		write(t, filepath.Join(dir, file), strings.Join(lines, ""))
	}
}

var begin = time.Date(2026, 11, 24, 12, 0, 1, 0, time.UTC)

// told are those of a variant in which everything went well.
func told(t *testing.T, instances int) records {
	t.Helper()
	r := records{}
	scene := ledger.Scene{
		V: ledger.SceneVersion, Experiment: "one", Variant: experiment.Only, Seed: 7, Nginx: "1.22.1", Begin: begin, Workers: 2, Settle: 3 * time.Second,
		Phases: []ledger.Phase{{Name: "before", For: time.Second}, {Name: "during", For: time.Second}},
	}
	for i := range instances {
		scene.Instances = append(scene.Instances, ledger.Instance{
			Name: fmt.Sprint("whoami-", i+1), HTTP: fmt.Sprint("127.0.0.1:", 8001+i), GRPC: fmt.Sprint("127.0.0.1:", 9001+i),
		})
	}
	for stream, protocol := range []string{load.HTTP, load.GRPC} {
		scene.Loads = append(scene.Loads, ledger.Load{Name: protocol, Protocol: protocol, Planned: perLoad})
		for n := range perLoad {
			r.request(t, scene, stream, n)
		}
	}
	r.add(t, ledger.SceneFile, scene)
	r.event(t, ledger.Event{Event: ledger.PhaseBegan, Phase: "before"})
	r.event(t, ledger.Event{Event: ledger.PhaseBegan, Phase: "during"})
	r.event(t, ledger.Event{Event: ledger.Ended})
	return r
}

// event comes last, but for the end.
func (r records) event(t *testing.T, e ledger.Event) {
	t.Helper()
	e.V, e.Time = ledger.SceneVersion, begin
	r.add(t, ledger.EventsFile, e)
	if all := r[ledger.EventsFile]; len(all) > 1 && strings.Contains(all[len(all)-2], `"event":"end"`) {
		all[len(all)-1], all[len(all)-2] = all[len(all)-2], all[len(all)-1]
	}
}

// end replaces the last event.
func (r records) end(t *testing.T, e ledger.Event) {
	t.Helper()
	r[ledger.EventsFile] = r[ledger.EventsFile][:2]
	r.event(t, e)
}

// request is the n-th of a stream: OK after three milliseconds, by the instances in turn.
func (r records) request(t *testing.T, s ledger.Scene, stream, n int) {
	t.Helper()
	by, protocol, code := s.Instances[n%len(s.Instances)], s.Loads[stream].Protocol, "200"
	address, trailer := by.HTTP, ""
	if protocol == load.GRPC {
		address, code, trailer = by.GRPC, "OK", "0"
	}
	planned := s.Begin.Add(time.Duration(n)*20*time.Millisecond + 10*time.Millisecond)
	id := fmt.Sprintf("7.%s.%d.%d", protocol, stream, n)
	r.add(t, ledger.ClientFile, load.Record{
		V: load.RecordVersion, ID: id, Stream: stream, Protocol: protocol, Planned: planned, Latency: 3000, Service: 3000,
		Outcome: load.OK, Code: code, Instance: by.Name, Attempts: 1,
	})
	r.add(t, ledger.NginxFile, ledger.NginxLine{
		V: 1, ID: id, End: float64(planned.UnixMilli()+3) / 1000, Status: "200", Trailer: trailer,
		Addr: address, AddrStatus: "200", HeaderTime: "0.001", BytesSent: "218",
	})
	call := ledger.Call{V: 1, Event: ledger.Arrival, Time: planned, Instance: by.Name, PID: 1, Call: uint64(stream*perLoad + n + 1), ID: id, Protocol: protocol}
	r.add(t, ledger.InstancesFile, call)
	call.Event, call.Code = ledger.Completion, code
	r.add(t, ledger.InstancesFile, call)
}

// refused makes a request one that nginx answered, because nobody was there.
func (r records) refused(t *testing.T, stream, n int, code string) {
	t.Helper()
	i := stream*perLoad + n
	var c load.Record
	var l ledger.NginxLine
	for line, into := range map[string]any{r[ledger.ClientFile][i]: &c, r[ledger.NginxFile][i]: &l} {
		if err := json.Unmarshal([]byte(line), into); err != nil {
			t.Fatal(err)
		}
	}
	c.Outcome, c.Code, c.Instance, c.Error = load.ByNginx, code, "", "nobody"
	l.Status, l.Error, l.AddrStatus, l.HeaderTime, l.BytesSent = "502", "502", "502", "-", "0"
	if l.Trailer = ""; code == "Unavailable" { // Another code of gRPC's is one that grpc-go makes of HTTP's status.
		l.Status, l.HeaderStatus = "200", "14"
	}
	more := records{}
	more.add(t, ledger.ClientFile, c)
	more.add(t, ledger.NginxFile, l)
	r[ledger.ClientFile][i], r[ledger.NginxFile][i] = more[ledger.ClientFile][0], more[ledger.NginxFile][0]
	r[ledger.InstancesFile][2*i], r[ledger.InstancesFile][2*i+1] = "", ""
}

// made is the report on a folder, with one experiment at least.
func made(t *testing.T, dir string) *Run {
	t.Helper()
	r, err := From(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// one is the report on the first text, of which these are the only variant's records.
func one(t *testing.T, text string, r records) *Run {
	t.Helper()
	dir := index(t, text)
	r.write(t, filepath.Join(dir, "1-one", experiment.Only))
	return made(t, dir)
}
