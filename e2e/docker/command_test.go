//go:build docker

package docker

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// given returns an environment variable that the script run sets.
func given(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set; run: make test-docker", name)
	}
	return value
}

// tree returns the copy of the tree that tests build from. A test may edit it, and must restore it.
func tree(t *testing.T) string { return given(t, "TRIVET_TREE") }

// result is what a command printed to both streams, and whether its exit code was 0.
type result struct {
	text string
	ok   bool
}

// run runs a command in the copy of the tree, for at most five minutes.
func run(t *testing.T, env []string, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = tree(t), append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return result{strings.TrimSpace(out.String()), err == nil}
}

// docker runs a docker command that must succeed, and returns its output.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	s := run(t, nil, "docker", args...)
	if !s.ok {
		t.Fatalf("docker %s: %s", strings.Join(args, " "), s.text)
	}
	return s.text
}

// stack is a Compose project.
type stack struct {
	tool  string   // docker-compose or the path of Compose v2
	files []string // override files
	env   []string // NAME=value, for the Compose files
}

// frontFile is the override file with front.
const frontFile = "docker-compose.front.yml"

// v1 and v2 are the two tools that the files support. Each test says which ones it uses.
const v1 = "docker-compose"

func v2(t *testing.T) string { return given(t, "TRIVET_COMPOSE_V2") }

const project = "trivet-test"

// Version of all images, so that tests share one compilation.
const (
	version  = "v9.8.7"
	revision = "0123456789abcdef0123456789abcdef01234567"
)

func (s stack) try(t *testing.T, args ...string) result {
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

// up builds and starts the stack, and takes it down when the test ends; then nothing of it may remain.
func (s stack) up(t *testing.T) {
	t.Helper()
	s.build(t)
	t.Cleanup(func() { s.down(t) })
	s.do(t, "up", "-d", "--no-build")
	// nginx does not wait for instances, so that a bad one does not prevent its start.
	for _, service := range services {
		s.healthy(t, service)
	}
}

// upNginx starts only nginx, which needs no instance.
func (s stack) upNginx(t *testing.T) result {
	t.Helper()
	s.build(t)
	t.Cleanup(func() { s.down(t) })
	return s.try(t, "up", "-d", "--no-build", "--no-deps", "nginx")
}

// built has the services whose images are those of the tree. Building one again takes seconds, because the tool sends the whole context.
var built = map[string]bool{}

// build builds the images of the tree that are not built yet. It always uses the old tool, because Compose v2 needs buildx to build.
func (s stack) build(t *testing.T) {
	t.Helper()
	needed := []string{"nginx", "whoami-1"} // whoami-2 and -3 have the image of whoami-1.
	b := stack{tool: v1, env: s.env}
	if slices.Contains(s.files, frontFile) {
		needed, b.files = append(needed, "front-1"), []string{frontFile}
	}
	for _, service := range needed {
		if !built[service] {
			b.do(t, "build", "-q", "--force-rm", service)
			built[service] = true
		}
	}
}

func (s stack) down(t *testing.T) {
	t.Helper()
	// Otherwise nginx waits for them as long as keepalive_min_timeout.
	client.CloseIdleConnections()
	s.do(t, "down", "-v", "--remove-orphans")
	label := "label=com.docker.compose.project=" + project
	for _, list := range [][]string{{"ps", "-aq"}, {"network", "ls", "-q"}, {"volume", "ls", "-q"}} {
		if left := docker(t, append(list, "--filter", label)...); left != "" {
			t.Errorf("after down, docker %s still lists %q", list[0], left)
		}
	}
}

// container returns the ID of a service's container.
func (s stack) container(t *testing.T, service string) string {
	t.Helper()
	id := s.do(t, "ps", "-q", service)
	if id == "" {
		t.Fatalf("%s has no container", service)
	}
	return id
}

// healthy waits until the service is healthy.
func (s stack) healthy(t *testing.T, service string) {
	t.Helper()
	id := s.container(t, service)
	await(t, service+" is healthy", time.Minute, func() bool { return inspect(t, id, "{{.State.Health.Status}}") == "healthy" })
}

// inspect returns a value of a container, by Go template.
func inspect(t *testing.T, id, template string) string {
	t.Helper()
	return docker(t, "inspect", "-f", template, id)
}

// await polls until ok reports true; what names the condition.
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

// edit changes a file of the copy of the tree like an editor: it renames a new file. The test's end restores it.
func edit(t *testing.T, name, old, new string) {
	t.Helper()
	path := filepath.Join(tree(t), name)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(before), old); n != 1 {
		t.Fatalf("%q occurs %d times in %s, want once", old, n, name)
	}
	put := func(text []byte) {
		delete(built, "nginx") // whose files all edits are
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
