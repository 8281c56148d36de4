//go:build docker

package docker

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
)

// program builds whoami as make dist does, for an architecture or, if that is "", for this machine: not in the copy of the tree, where Go
// would find nothing in its cache.
func program(t *testing.T, arch string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "whoami")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", name, "trivet/cmd/whoami")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return name
}

// start runs a program until the test ends; then it must stop cleanly.
func start(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestImage builds the instance's image as a user does, and checks its content.
func TestImage(t *testing.T) {
	args := []string{"build", "-q", "-t", "trivet-whoami", "--build-arg", "VERSION=" + version, "--build-arg", "REVISION=" + revision}
	if image := os.Getenv("GO_IMAGE"); image != "" {
		args = append(args, "--build-arg", "GO_IMAGE="+image)
	}
	docker(t, append(args, ".")...)
	size, err := strconv.Atoi(docker(t, "image", "inspect", "-f", "{{.Size}}", "trivet-whoami"))
	if err != nil || size >= 25_000_000 {
		t.Errorf("the image has %d bytes (%v), want less than 25 MB", size, err)
	}
	got := docker(t, "image", "inspect", "-f", "{{.Config.User}} {{.Config.Entrypoint}} {{.Config.Env}} {{len .RootFS.Layers}}", "trivet-whoami")
	if !regexp.MustCompile(`^[1-9]\d*:[1-9]\d* \[/whoami\] \[.*BIND=0\.0\.0\.0.*\] 2$`).MatchString(got) {
		t.Errorf("user, entry point, environment, layers: %s", got)
	}
	id := docker(t, "create", "trivet-whoami")
	defer docker(t, "rm", id)
	dir := t.TempDir()
	docker(t, "cp", id+":/etc/ssl/certs/ca-certificates.crt", dir)
	if text, err := os.ReadFile(filepath.Join(dir, "ca-certificates.crt")); err != nil || !strings.Contains(string(text), "BEGIN CERTIFICATE") {
		t.Errorf("no certificates: %v", err)
	}
	if out := run(t, nil, "docker", "run", "--rm", "trivet-whoami", "--port", "banana"); out.ok || !strings.Contains(out.text, "HTTP_PORT=banana") {
		t.Errorf("usage error accepted (%v): %s", out.ok, out.text)
	}
}

// TestInstancesOnTheMachine runs docker build and docker run as in docs/docker.md, in front of instances on the machine.
func TestInstancesOnTheMachine(t *testing.T) {
	local := program(t, "")
	for _, port := range []string{"8001", "8002", "8003"} {
		start(t, local, "--port", port, "--bind", "0.0.0.0")
	}
	args := []string{"build", "-q", "-t", "trivet-nginx"}
	if image := os.Getenv("NGINX_IMAGE"); image != "" {
		args = append(args, "--build-arg", "NGINX_IMAGE="+image)
	}
	docker(t, append(args, "nginx")...)
	id := docker(t, "run", "-d", "-p", "127.0.0.1:8080:8080", "-p", "127.0.0.1:9090:9090", "--add-host", "host.docker.internal:host-gateway",
		"-e", "WHOAMI_HTTP=host.docker.internal:8001 host.docker.internal:8002 host.docker.internal:8003",
		"-e", "WHOAMI_GRPC=host.docker.internal:9001 host.docker.internal:9002 host.docker.internal:9003", "trivet-nginx")
	defer docker(t, "rm", "-f", id)
	await(t, "nginx and an instance respond", 30*time.Second, func() bool { _, err := get(t.Context(), httpURL); return err == nil })
	equal(t, "HTTP", shares(t, 30))
	equal(t, "gRPC", grpcShares(t, grpcAddr, 30))
	docker(t, "stop", id)
	if code := inspect(t, id, "{{.State.ExitCode}}"); code != "0" {
		t.Errorf("docker stop: exit code %s: %s", code, docker(t, "logs", "--tail", "5", id))
	}
}

// TestARM64 runs the arm64 program, for a Raspberry Pi, in an emulator.
func TestARM64(t *testing.T) {
	http, grpc := proctest.Reserve(t), proctest.Reserve(t)
	start(t, "qemu-aarch64-static", program(t, "arm64"), "--port", http, "--grpc-port", grpc, "--instance", "pi")
	await(t, "the arm64 program responds", time.Minute, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		a, err := get(ctx, "http://127.0.0.1:"+http)
		return err == nil && a.Instance == "pi"
	})
	if got := grpcShares(t, "127.0.0.1:"+grpc, 3); got["pi"] != 3 {
		t.Errorf("gRPC shares %v, want pi only", got)
	}
}
