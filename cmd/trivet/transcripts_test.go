package main

import (
	"fmt"
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
	run := filepath.Join(base, "20261126T210451.456085-31232")
	entry := record.Entry{Dir: "1-kill", Experiment: scenario.Experiment{
		Name: "kill", Scenarios: []scenario.Scenario{m.Scenario}, Expect: []scenario.Expectation{{Text: "true"}},
	}}
	dir := entry.Trial(run, scenario.Only, 1)
	for file, from := range map[string]struct {
		name    string
		version int
	}{
		record.ClientFile:    {"client.jsonl", record.ClientVersion},
		record.AccessLogFile: {"access.jsonl", record.AccessLogVersion},
		record.InstancesFile: {"instances.jsonl", record.CallVersion},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", "traced", from.name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		text = regexp.MustCompile(`(?m)^\{"v":\d+`).ReplaceAll(text, fmt.Appendf(nil, `{"v":%d`, from.version))
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := (record.Index{Experiments: []record.Entry{entry}}).Write(run); err != nil {
		t.Fatal(err)
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
	tracedRun(t, filepath.Join(tmp, filepath.Base(experimentsBase())))
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer collector.Close()
	commands := 0
	for _, block := range regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		for _, one := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(one, "\n")
			commands++
			cmd := exec.Command("bash", "-c", strings.NewReplacer("bin/trivet", trivet(t), "http://localhost:4318", collector.URL).Replace(command))
			cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "TMPDIR="+tmp)
			output, err := cmd.CombinedOutput()
			got := strings.NewReplacer(filepath.Join(tmp, filepath.Base(experimentsBase())), "/tmp/trivet-1000-experiments", collector.URL, "http://localhost:4318").Replace(string(output))
			if got != strings.TrimSuffix(want, "\n")+"\n" && got != want || err != nil {
				t.Errorf("%s: %v\ngot\n%s\nand docs/traces.md has\n%s", command, err, got, want)
			}
		}
	}
	if commands < 4 {
		t.Errorf("only %d commands in docs/traces.md", commands)
	}
}
