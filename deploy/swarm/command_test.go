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

// docker runs a docker command on a node's engine. It must succeed within two minutes.
func docker(t *testing.T, node string, args ...string) string {
	t.Helper()
	text, err := tryDocker(t, node, nil, args...)
	if err != nil {
		t.Fatalf("%s: docker %s: %v: %s", node, strings.Join(args, " "), err, text)
	}
	return text
}

func tryDocker(t *testing.T, node string, env []string, args ...string) (string, error) {
	t.Helper()
	dir := os.Getenv("TRIVET_SWARM")
	if dir == "" {
		t.Fatal("TRIVET_SWARM is not set; run: make test-swarm")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", append([]string{"-H", "unix://" + dir + "/" + node + "/docker.sock"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// deploy does what a user does, with the images of this test: a version of the instance and nginx with or without retries.
func deploy(t *testing.T, whoami, nginx string) {
	t.Helper()
	env := []string{"TRIVET_WHOAMI_IMAGE=trivet-whoami:" + whoami, "TRIVET_NGINX_IMAGE=trivet-nginx:" + nginx, "ENVIRONMENT=qa"}
	if out, err := tryDocker(t, "node-1", env, "stack", "deploy", "--detach=true", "--resolve-image", "never", "-c", "stack.yml", "trivet"); err != nil {
		t.Fatalf("docker stack deploy: %v: %s", err, out)
	}
}

// change updates a service without waiting.
func change(t *testing.T, service string, args ...string) {
	t.Helper()
	docker(t, "node-1", append(append([]string{"service", "update", "-q", "--detach", "--no-resolve-image"}, args...), "trivet_"+service)...)
}

// task is one line of docker service ps.
type task struct{ Name, Node, CurrentState, DesiredState, Image, Error, ID string }

func (k task) running() bool {
	return k.DesiredState == "Running" && strings.HasPrefix(k.CurrentState, "Running")
}

// instance is the name that the task's instance has: INSTANCE in stack.yml.
func (k task) instance() string { return k.Name + "." + k.ID }

// tasks asks a node for all tasks of a service, ended ones too.
func tasks(t *testing.T, node, service string) []task {
	t.Helper()
	var all []task
	text := docker(t, node, "service", "ps", "--no-trunc", "--format", "{{json .}}", "trivet_"+service)
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
func instances(t *testing.T, node string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, k := range tasks(t, node, "whoami") {
		if k.running() {
			all[k.instance()] = k.Node
		}
	}
	return all
}

// describe is a service's tasks and state, for failures.
func describe(t *testing.T, node, service string) string {
	text := fmt.Sprintln(service, docker(t, node, "service", "inspect", "-f", "{{json .UpdateStatus}}", "trivet_"+service))
	for _, k := range tasks(t, node, service) {
		text += fmt.Sprintf("  %s %s: want %s, is %s %s\n", k.instance(), k.Node, k.DesiredState, k.CurrentState, k.Error)
	}
	return text
}

// await polls until ok reports true, and returns how long it took.
func await(t *testing.T, node, what string, within time.Duration, ok func() bool) time.Duration {
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
			t.Fatalf("not within %v: %s\n%s%s", within, what, describe(t, node, "whoami"), describe(t, node, "nginx"))
		}
	}
}

// updated waits until a service has ended its update in a state, like completed or rollback_completed.
func updated(t *testing.T, service, state string) time.Duration {
	t.Helper()
	return await(t, "node-1", "update of "+service+" "+state, 3*time.Minute, func() bool {
		got := docker(t, "node-1", "service", "inspect", "-f", "{{with .UpdateStatus}}{{.State}}{{end}}", "trivet_"+service)
		if got != state && got != "updating" && got != "rollback_started" {
			t.Fatalf("update %s, want %s\n%s", got, state, describe(t, "node-1", service))
		}
		return got == state
	})
}
