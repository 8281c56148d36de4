//go:build docker

package docker

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// given is a variable which the script run sets.
func given(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: type make test-docker", name)
	}
	return value
}

// tree is the copy of the tree which the tests build from and may edit, as the test has to leave it again.
func tree(t *testing.T) string { return given(t, "TRIVET_TREE") }

// said is what a command printed, both streams, and whether it exited with 0.
type said struct {
	text string
	ok   bool
}

// run runs a command in the copy of the tree. It ends with the test, and within five minutes.
func run(t *testing.T, env []string, name string, args ...string) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = tree(t), append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return said{strings.TrimSpace(out.String()), err == nil}
}

// docker runs docker, which must succeed, and returns what it printed.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	s := run(t, nil, "docker", args...)
	if !s.ok {
		t.Fatalf("docker %s: %s", strings.Join(args, " "), s.text)
	}
	return s.text
}

// A stack is a project of a compose tool's.
type stack struct {
	tool  string   // docker-compose, or the path of Compose v2
	files []string // override files
	env   []string // NAME=value, for the compose files
}

// The two tools that the files are for: what of the one is tested with the other is in each test's own words.
const v1 = "docker-compose"

func v2(t *testing.T) string { return given(t, "TRIVET_COMPOSE_V2") }

const project = "trivet-test"

// What all images are built as: one compilation for all tests.
const (
	version  = "v9.8.7"
	revision = "0123456789abcdef0123456789abcdef01234567"
)

func (s stack) try(t *testing.T, args ...string) said {
	t.Helper()
	all := []string{"-p", project, "-f", "docker-compose.yml"}
	for _, f := range s.files {
		all = append(all, "-f", f)
	}
	return run(t, append([]string{"VERSION=" + version, "REVISION=" + revision}, s.env...), s.tool, append(all, args...)...)
}

func (s stack) do(t *testing.T, args ...string) string {
	t.Helper()
	out := s.try(t, args...)
	if !out.ok {
		t.Fatalf("%s %s: %s", filepath.Base(s.tool), strings.Join(args, " "), out.text)
	}
	return out.text
}

// up builds and starts the stack, and takes it down with the test: then nothing of it must be left.
func (s stack) up(t *testing.T) {
	t.Helper()
	s.build(t)
	t.Cleanup(func() { s.down(t) })
	s.do(t, "up", "-d", "--no-build")
	// nginx waits for no instance, so that a bad one does not keep it from starting.
	for _, service := range services {
		s.healthy(t, service)
	}
}

// upNginx is up of nginx alone, which needs no instance to start.
func (s stack) upNginx(t *testing.T) said {
	t.Helper()
	s.build(t)
	t.Cleanup(func() { s.down(t) })
	return s.try(t, "up", "-d", "--no-build", "--no-deps", "nginx")
}

// build makes the images of the tree as it is; where nothing changed this takes a second. Always with the old tool: Compose v2 wants
// another program, buildx, to build with.
func (s stack) build(t *testing.T) {
	t.Helper()
	stack{tool: v1, env: s.env}.do(t, "build", "-q", "--force-rm")
}

func (s stack) down(t *testing.T) {
	t.Helper()
	// Else nginx waits for them, as long as keepalive_min_timeout says.
	client.CloseIdleConnections()
	s.do(t, "down", "-v", "--remove-orphans")
	label := "label=com.docker.compose.project=" + project
	for _, list := range [][]string{{"ps", "-aq"}, {"network", "ls", "-q"}, {"volume", "ls", "-q"}} {
		if left := docker(t, append(list, "--filter", label)...); left != "" {
			t.Errorf("after down, docker %s lists %q", list[0], left)
		}
	}
}

// container is the id of a service's container.
func (s stack) container(t *testing.T, service string) string {
	t.Helper()
	id := s.do(t, "ps", "-q", service)
	if id == "" {
		t.Fatalf("no container of %s", service)
	}
	return id
}

// healthy returns once the service's health check says so.
func (s stack) healthy(t *testing.T, service string) {
	t.Helper()
	id := s.container(t, service)
	await(t, service+" is healthy", time.Minute, func() bool { return inspect(t, id, "{{.State.Health.Status}}") == "healthy" })
}

// inspect is one value of a container's, by a Go template.
func inspect(t *testing.T, id, template string) string {
	t.Helper()
	return docker(t, "inspect", "-f", template, id)
}

// await asks again and again until ok; what names it.
func await(t *testing.T, what string, within time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(within); ; {
		if ok() {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// edit changes a file of the copy of the tree, as editors do: a new file, renamed. It is put back with the test.
func edit(t *testing.T, name, old, new string) {
	t.Helper()
	path := filepath.Join(tree(t), name)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(before), old); n != 1 {
		t.Fatalf("%q stands %d times in %s, want once", old, n, name)
	}
	put := func(text []byte) {
		if err := os.WriteFile(path+".new", text, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	put([]byte(strings.Replace(string(before), old, new, 1)))
	t.Cleanup(func() { put(before) })
}
