//go:build slow

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"trivet/internal/proctest"
	"trivet/lab/labtest"
)

const aMinute = `question: What does a minute at 1,000 requests per second look like when an instance is killed?
load:
  - {protocol: http, rate: 500/s}
  - {protocol: grpc, rate: 500/s, deadline: 2s}
phases:
  - {name: before, for: 20s}
  - {name: during, for: 20s, do: [{wait: 1s}, {pause: whoami-2}, {wait: 300ms}, {kill: whoami-2}]}
  - {name: after, for: 20s, do: [{start: whoami-2}]}
expect: [during.grpc.failed > 0]
`

// The page of a minute at 1,000 requests per second, with the stories of all that failed, is smaller than 1 MB.
func TestReportPageOfAMinute(t *testing.T) {
	tmp := proctest.Passable(t)
	file := filepath.Join(tmp, "minute.yaml")
	if err := os.WriteFile(file, []byte(aMinute), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), trivet(t), "run", "--nginx", labtest.Nginx(t).Path, file)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	if output, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState.ExitCode() != 3 { // On a busy machine it is invalid.
		t.Fatalf("%v\n%s", err, output)
	}
	runs, err := filepath.Glob(filepath.Join(tmp, "trivet-*-experiments", "2*"))
	if err != nil || len(runs) != 1 {
		t.Fatal(runs, err)
	}
	page, messages := pageOf(t, runs[0])
	stories, failed := 0, 0
	for _, m := range messages {
		if m.Story != nil {
			stories++
		} else if m.Failures != nil {
			failed += len(m.Failures.Requests)
		} else if m.Omitted != nil && failed < 1000 { // On a busy machine more fail than there is room for.
			t.Errorf("%d failed; %s", failed, m.Omitted.Text)
		}
	}
	t.Logf("%d bytes, with %d stories; %d requests failed", len(page), stories, failed)
	if len(page) >= 1_000_000 || stories < 900 || failed == 0 {
		t.Errorf("%d bytes, with %d stories; %d requests failed", len(page), stories, failed)
	}
}
