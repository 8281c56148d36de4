package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"trivet/internal/proctest"
	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// tracedRun is the run directory of a trial whose records are those in testdata/traced, in base. These are records of a real trial, in
// which an instance was paused and then killed.
func tracedRun(t *testing.T, base string) {
	t.Helper()
	m := labtest.Manifest(1)
	m.Instances = []record.Instance{
		{Name: "whoami-1", HTTP: "127.0.0.1:35971", GRPC: "127.0.0.1:36349"},
		{Name: "whoami-2", HTTP: "127.0.0.1:46375", GRPC: "127.0.0.1:37915"},
		{Name: "whoami-3", HTTP: "127.0.0.1:34029", GRPC: "127.0.0.1:43325"},
	}
	m.Scenario.Experiment, m.Scenario.Variant = "kill", scenario.Only
	run := filepath.Join(base, "20261126T230451.456085-31232")
	entry := record.Entry{Dir: "1-kill", Experiment: scenario.Experiment{
		Name: "kill", Scenarios: []scenario.Scenario{m.Scenario}, Expect: []scenario.Expectation{{Text: "true"}},
	}}
	dir := entry.Trial(run, scenario.Only, 1)
	placeRecords(t, "traced", dir)
	if err := m.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := (record.Index{Experiments: []record.Entry{entry}}).Write(run); err != nil {
		t.Fatal(err)
	}
}

// tracedUp is the run directory of a trivet up of front and whoami, with the records of a request with hops.
func tracedUp(t *testing.T, base string) {
	t.Helper()
	dir := filepath.Join(base, "20261126T220126.544328-4708")
	placeRecords(t, "traced-up", dir)
	err := record.Fleet{Instances: []record.Instance{
		{Name: "whoami-1", HTTP: "127.0.0.1:41293", GRPC: "127.0.0.1:40551"},
		{Name: "whoami-2", HTTP: "127.0.0.1:36581", GRPC: "127.0.0.1:38805"},
		{Name: "whoami-3", HTTP: "127.0.0.1:37519", GRPC: "127.0.0.1:42975"},
		{Name: "front-1", HTTP: "127.0.0.1:39855", GRPC: "127.0.0.1:40845"},
	}}.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
}

// placeRecords copies records in testdata into a directory, as records of the current version.
func placeRecords(t *testing.T, from, dir string) {
	t.Helper()
	for _, file := range []struct {
		to, from string
		version  int
	}{
		{record.ClientFile, "client.jsonl", record.ClientVersion},
		{record.AccessLogFile, "access.jsonl", record.AccessLogVersion},
		{record.InstancesFile, "instances.jsonl", record.CallVersion},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", from, file.from))
		if errors.Is(err, fs.ErrNotExist) {
			continue // A trivet up has no records of clients.
		}
		path := filepath.Join(dir, file.to)
		text = regexp.MustCompile(`(?m)^\{"v":\d+`).ReplaceAll(text, fmt.Appendf(nil, `{"v":%d`, file.version))
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTranscriptsOfTraces runs the commands in the console blocks of docs/traces.md, and compares their output.
func TestTranscriptsOfTraces(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "traces.md"))
	if err != nil {
		t.Fatal(err)
	}
	tmp := proctest.Passable(t)
	runs, ups := filepath.Join(tmp, filepath.Base(experimentsBase())), filepath.Join(tmp, filepath.Base(record.Base()))
	tracedRun(t, runs)
	tracedUp(t, ups)
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer collector.Close()
	commands := 0
	for _, block := range regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		for _, one := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(one, "\n")
			commands++
			cmd := exec.Command("bash", "-c", strings.NewReplacer("bin/trivet", trivet(t), "http://localhost:4318", collector.URL, "/tmp/trivet-1000/", ups+"/").Replace(command))
			cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "TMPDIR="+tmp)
			output, err := cmd.CombinedOutput()
			got := strings.NewReplacer(runs, "/tmp/trivet-1000-experiments", ups, "/tmp/trivet-1000", collector.URL, "http://localhost:4318").Replace(string(output))
			if got != strings.TrimSuffix(want, "\n")+"\n" && got != want || err != nil {
				t.Errorf("%s: %v\ngot\n%s\nand docs/traces.md has\n%s", command, err, got, want)
			}
		}
	}
	if commands < 5 {
		t.Errorf("only %d commands in docs/traces.md", commands)
	}
}
