//go:build docker

package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A trial on the stack as a user has it: records of containers come by docker logs, the kill and the start by docker, and all of them agree.
func TestTrialOnTheStack(t *testing.T) {
	s := stack{tool: v2(t)}
	s.up(t)
	trivet := filepath.Join(t.TempDir(), "trivet")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", trivet, "trivet/cmd/trivet").CombinedOutput(); err != nil {
		t.Fatalf("build trivet: %v\n%s", err, out)
	}
	began := inspect(t, s.container(t, "whoami-2"), "{{.State.StartedAt}}")
	cmd := exec.CommandContext(t.Context(), trivet, "run", "--target", "compose:"+project, filepath.Join(tree(t), "experiments", "targets", "compose-kill-one.yaml"))
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"target compose:" + project, "nginx's access log, the instances'", "compose-kill-one: passed"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the run does not say %q:\n%s", want, out)
		}
	}
	if inspect(t, s.container(t, "whoami-2"), "{{.State.StartedAt}}") == began {
		t.Error("whoami-2 was not killed")
	}
	await(t, "all run again", time.Minute, func() bool {
		for _, service := range services {
			if inspect(t, s.container(t, service), "{{.State.Running}} {{.State.Paused}}") != "true false" {
				return false
			}
		}
		return true
	})
	t.Logf("%s", out)
}
