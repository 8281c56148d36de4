//go:build swarm

package swarm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// nodes are the machines of the Swarm, all of them managers; node-N has the address 192.168.77.N.
var nodes = []string{"node-1", "node-2", "node-3"}

func address(node string) string { return "192.168.77." + strings.TrimPrefix(node, "node-") }

// docker runs a docker command on a manager. It must succeed.
func docker(t *testing.T, args ...string) {
	t.Helper()
	if text, err := tryDocker(t, nil, args...); err != nil {
		t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, text)
	}
}

// ask runs a docker command that changes nothing, again for a minute if it fails: managers refuse while they lose or regain a third.
func ask(t *testing.T, args ...string) string {
	t.Helper()
	var text string
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if text, err = tryDocker(t, nil, args...); err == nil {
			return text
		}
	}
	t.Fatalf("docker %s: %v: %s", strings.Join(args, " "), err, text)
	return ""
}

func tryDocker(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	dir := os.Getenv("TRIVET_SWARM")
	if dir == "" {
		t.Fatal("TRIVET_SWARM is not set; run: make test-swarm")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", append([]string{"-H", "unix://" + dir + "/node-1/docker.sock"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// deploy does what a user does, with the images of this test: a version of the instance and nginx with or without retries.
func deploy(t *testing.T, whoami, nginx string, files ...string) {
	t.Helper()
	env := []string{"TRIVET_WHOAMI_IMAGE=trivet-whoami:" + whoami, "TRIVET_NGINX_IMAGE=trivet-nginx:" + nginx, "ENVIRONMENT=qa"}
	args := []string{"stack", "deploy", "--resolve-image", "never"}
	for _, file := range append([]string{"stack.yml", "testdata/work.yml"}, files...) {
		args = append(args, "-c", file)
	}
	if out, err := tryDocker(t, env, append(args, "trivet")...); err != nil {
		t.Fatalf("docker stack deploy: %v: %s", err, out)
	}
}

// task is one line of docker service ps.
type task struct{ Name, Node, CurrentState, DesiredState, Image, Error, ID string }

func (k task) running() bool {
	return k.DesiredState == "Running" && strings.HasPrefix(k.CurrentState, "Running")
}

// instance is the name that the task's instance has: INSTANCE in stack.yml.
func (k task) instance() string { return k.Name + "." + k.ID }

// tasks returns all tasks of a service, ended ones too.
func tasks(t *testing.T, service string) []task {
	t.Helper()
	var all []task
	text := ask(t, "service", "ps", "--no-trunc", "--format", "{{json .}}", "trivet_"+service)
	for line := range strings.Lines(text) {
		var k task
		if err := json.Unmarshal([]byte(line), &k); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, k)
	}
	return all
}

// instances are the names of the instances that run, with their nodes.
func instances(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, k := range tasks(t, "whoami") {
		if k.running() {
			all[k.instance()] = k.Node
		}
	}
	return all
}

// describe is a service's tasks and state, for failures.
func describe(t *testing.T, service string) string {
	text := fmt.Sprintln(service, ask(t, "service", "inspect", "-f", "{{json .UpdateStatus}}", "trivet_"+service))
	for _, k := range tasks(t, service) {
		text += fmt.Sprintf("  %s %s: want %s, is %s %s\n", k.instance(), k.Node, k.DesiredState, k.CurrentState, k.Error)
	}
	return text
}

// await polls until ok reports true, and returns how long it took.
func await(t *testing.T, what string, within time.Duration, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(within); ; {
		if ok() {
			return time.Since(start)
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %v: %s\n%s%s", within, what, describe(t, "whoami"), describe(t, "nginx"))
		}
	}
}

// updated waits until a service has ended its update in a state, like completed or rollback_completed.
func updated(t *testing.T, service, state string) time.Duration {
	t.Helper()
	return await(t, "update of "+service+" "+state, 4*time.Minute, func() bool {
		got := ask(t, "service", "inspect", "-f", "{{with .UpdateStatus}}{{.State}}{{end}}", "trivet_"+service)
		if got != "" && got != state && got != "updating" && got != "rollback_started" {
			t.Fatalf("update %s, want %s\n%s", got, state, describe(t, service))
		}
		return got == state
	})
}
