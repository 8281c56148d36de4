package labtest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A History is the records of a trial, in any order: each a record.Client, AccessLogEntry, Call, Outgoing, Event or Sample.
type History struct {
	record.Manifest
	Records []any
}

// Manifest is of three phases, two HTTP loads and a gRPC load, each of n requests, at three instances.
func Manifest(n int) record.Manifest {
	m := record.Manifest{
		V: record.ManifestVersion, Begin: time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC), Planned: []int{n, n, n},
		Scenario: scenario.Scenario{
			Seed: 11, Instances: 3, Workers: 2,
			Phases: []scenario.Phase{{Name: "before", For: 3500 * time.Millisecond}, {Name: "during", For: 4 * time.Second}, {Name: "after", For: 3 * time.Second}},
			Loads:  []scenario.Load{{Name: "web", Protocol: scenario.HTTP}, {Name: "calls", Protocol: scenario.GRPC}, {Name: "more", Protocol: scenario.HTTP}},
		},
	}
	for i := range m.Scenario.Loads {
		m.Scenario.Loads[i].Deadline = time.Millisecond
		m.Scenario.Loads[i].Rate = scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{float64(n) / m.Scenario.Length().Seconds()}}
	}
	for i := range 3 {
		m.Instances = append(m.Instances, record.Instance{Name: scenario.InstanceName(i + 1), HTTP: fmt.Sprint("127.0.0.1:", 8001+i), GRPC: fmt.Sprint("127.0.0.1:", 9001+i)})
	}
	return m
}

// Files are the history as the files of a trial directory, each whole.
func (h History) Files(t testing.TB) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for _, r := range h.Records {
		name := record.ClientFile
		switch r.(type) {
		case record.AccessLogEntry:
			name = record.AccessLogFile
		case record.Call, record.Outgoing:
			name = record.InstancesFile
		case record.Event:
			name = record.EventsFile
		case record.Sample:
			name = record.SamplesFile
		}
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = append(append(files[name], line...), '\n')
	}
	return files
}

// TrialDir is a trial directory with the manifest and those files.
func TrialDir(t testing.TB, m record.Manifest, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := m.Write(dir); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// OK is a client record of an HTTP request that whoami-1 responded to.
func OK(id string, planned time.Time) record.Client {
	return record.Client{
		V: record.ClientVersion, ID: id, Protocol: scenario.HTTP, Method: "GET /", Planned: planned, Latency: 1000, Service: 900, Late: 100,
		Outcome: record.OK, Code: "200", Instance: "whoami-1", Attempts: 1,
	}
}

// Planned is the planned start of the n-th request of a load.
func Planned(m record.Manifest, load, n int) time.Time {
	i := 0
	for offset := range m.Scenario.Loads[load].Rate.Offsets(m.Scenario.Length()) {
		if i == n {
			return m.Begin.Add(offset)
		}
		i++
	}
	panic(fmt.Sprintf("load %d has %d requests", load, i))
}

// Ordinary are all records of the n-th request of the manifest's first load, by the instances in turn.
func Ordinary(m record.Manifest, n int) []any {
	at, instance := Planned(m, 0, n), m.Instances[n%3]
	client := OK(fmt.Sprintf("11.http.0.%d", n), at)
	client.Instance = instance.Name
	arrival := record.Call{
		V: record.CallVersion, Event: record.Arrival, Time: at.Add(400 * time.Microsecond), Instance: instance.Name, PID: 1, Start: instance.Name, Call: uint64(n/3 + 1), ID: client.ID, Protocol: scenario.HTTP,
	}
	completion := arrival
	completion.Event, completion.Code, completion.Duration, completion.Time = record.Completion, "200", 200, at.Add(600*time.Microsecond)
	end := at.Add(900 * time.Microsecond)
	entry := record.AccessLogEntry{
		V: record.AccessLogVersion, ID: client.ID, End: float64(end.UnixMilli()) / 1000, Status: "200", Addr: instance.HTTP, AddrStatus: "200", HeaderTime: "0.001", BytesSent: "254",
	}
	return []any{arrival, completion, entry, client}
}
