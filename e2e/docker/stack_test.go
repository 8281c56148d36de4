//go:build docker

package docker

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var services = []string{"nginx", "whoami-1", "whoami-2", "whoami-3"}

// TestStack starts one stack and does with it what a user does.
func TestStack(t *testing.T) {
	s := stack{tool: v1}
	s.up(t)
	if a := getOK(t); a.Version != "v9.8.7 (0123456789ab)" || a.Environment != "dev" {
		t.Errorf("version %q, environment %q", a.Version, a.Environment)
	}
	t.Run("shares are equal over both listeners", func(t *testing.T) {
		equal(t, "HTTP", shares(t, 300))
		equal(t, "gRPC", grpcShares(t, grpcAddr, 300))
	})
	t.Run("diagnostics are open in dev", func(t *testing.T) { diagnostics(t, 200) })
	t.Run("nothing else is published", func(t *testing.T) { published(t, s) })
	t.Run("containers are unprivileged and read-only", func(t *testing.T) { unprivileged(t, s) })
	t.Run("nginx has the tree's configuration", func(t *testing.T) { baked(t, s) })
	t.Run("settings are those of the local fleet", func(t *testing.T) { sameSettings(t, s) })
	t.Run("killed instance restarts", func(t *testing.T) { killed(t, s) })
	t.Run("instance at new address is found", func(t *testing.T) { moved(t, s) })
	t.Run("rebuilt configuration takes effect", func(t *testing.T) { rebuilt(t, s) })
	t.Run("stopping is clean", func(t *testing.T) { stopped(t, s) })
}

func published(t *testing.T, s stack) {
	want := map[string]string{"nginx": "8080/tcp 127.0.0.1 8080, 9090/tcp 127.0.0.1 9090"}
	for _, service := range services {
		var ports map[string][]struct{ HostIP, HostPort string }
		if err := json.Unmarshal([]byte(inspect(t, s.container(t, service), "{{json .NetworkSettings.Ports}}")), &ports); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, inside := range []string{"8080/tcp", "9090/tcp"} {
			for _, p := range ports[inside] {
				got = append(got, inside+" "+p.HostIP+" "+p.HostPort)
			}
			delete(ports, inside)
		}
		for inside, outside := range ports {
			if len(outside) > 0 {
				t.Errorf("%s publishes %s at %v", service, inside, outside)
			}
		}
		if g := strings.Join(got, ", "); g != want[service] {
			t.Errorf("%s publishes %q, want %q", service, g, want[service])
		}
	}
	for _, port := range []string{"7080", "8000", "8001", "8002", "8003", "9000", "9001", "9002", "9003"} {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			t.Errorf("port %s of the machine is open", port)
		}
	}
}

func unprivileged(t *testing.T, s stack) {
	for _, service := range services {
		id := s.container(t, service)
		if got := inspect(t, id, "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}"); got != "true [ALL] [no-new-privileges:true]" {
			t.Errorf("%s: %s", service, got)
		}
		if got := inspect(t, id, "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}"); strings.HasPrefix(got, "0 ") || strings.HasSuffix(got, " 0") {
			t.Errorf("%s: cpu and memory limits are %s", service, got)
		}
		pids := strings.Fields(docker(t, "top", id, "-eo", "pid"))[1:] // without the heading
		if len(pids) == 0 {
			t.Errorf("%s has no processes", service)
		}
		for _, pid := range pids {
			status, err := os.ReadFile("/proc/" + pid + "/status")
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range []string{"CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "NoNewPrivs:\t1\n"} {
				if !strings.Contains(string(status), "\n"+line) {
					t.Errorf("process %s of %s has no %q in\n%s", pid, service, line, status)
				}
			}
			if strings.Contains(string(status), "\nUid:\t0\t") || strings.Contains(string(status), "\nGid:\t0\t") {
				t.Errorf("process %s of %s is root", pid, service)
			}
			// In the process's own view of /, where the test, as root, could write if the file system allowed it.
			if f, err := os.Create("/proc/" + pid + "/root/written"); err == nil {
				f.Close()
				t.Errorf("root file system of %s is writable", service)
			}
		}
	}
}

// baked compares nginx's files in the container with the tree's, and checks that no default site remains.
func baked(t *testing.T, s stack) {
	t.Helper()
	got := t.TempDir()
	docker(t, "cp", s.container(t, "nginx")+":/etc/nginx/.", got)
	conf, site := filepath.Join(tree(t), "nginx", "conf"), filepath.Join(tree(t), "nginx", "docker", "site")
	want := files(t, conf)
	for name, text := range files(t, site) {
		want["site/"+name] = text
	}
	have := files(t, got)
	for name, text := range want {
		if have[name] != text {
			t.Errorf("/etc/nginx/%s differs from the tree's", name)
		}
		delete(have, name)
	}
	for name := range have {
		t.Errorf("/etc/nginx/%s is not in the tree", name)
	}
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		relative, _ := filepath.Rel(dir, name)
		all[filepath.ToSlash(relative)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func killed(t *testing.T, s stack) {
	id := s.container(t, "whoami-2")
	pid, err := strconv.Atoi(inspect(t, id, "{{.State.Pid}}"))
	if err != nil {
		t.Fatal(err)
	}
	address := addressOf(t, id)
	calls := load(t)
	await(t, "whoami-2 responds", time.Minute, func() bool { return calls.responses("whoami-2") > 10 })
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "Docker restarts whoami-2", time.Minute, func() bool {
		return inspect(t, id, "{{.State.Running}} {{.RestartCount}}") == "true 1"
	})
	before := calls.responses("whoami-2")
	await(t, "whoami-2 responds through nginx again", time.Minute, func() bool { return calls.responses("whoami-2") > before+10 })
	wantUnavoidable(t, s, calls.end(t), address) // While it was down, its name did not resolve.
}

func addressOf(t *testing.T, id string) string {
	t.Helper()
	return inspect(t, id, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
}

func moved(t *testing.T, s stack) {
	old := addressOf(t, s.container(t, "whoami-2"))
	calls := load(t)
	s.do(t, "rm", "-sf", "whoami-2")
	// Another container takes the address that became free, or the next one.
	squatter := docker(t, "run", "-d", "--network", project+"_mesh", "trivet-whoami")
	defer docker(t, "rm", "-f", squatter)
	s.do(t, "up", "-d", "--no-deps", "whoami-2")
	if now := addressOf(t, s.container(t, "whoami-2")); now == old {
		t.Fatalf("whoami-2 got its old address %s again, so this tests nothing", now)
	}
	before := calls.responses("whoami-2")
	await(t, "whoami-2 responds through nginx from its new address", time.Minute, func() bool { return calls.responses("whoami-2") > before+10 })
	wantUnavoidable(t, s, calls.end(t), old)
	equal(t, "HTTP, afterwards", shares(t, 300))
	equal(t, "gRPC, afterwards", grpcShares(t, grpcAddr, 300))
}

// wantUnavoidable fails for a GET that failed for another reason than `resolve`: the GET waited for the old address when nginx learned that
// the name has another one or none, and nginx (ngx_http_upstream_get_round_robin_peer, since 1.27.3) lets no request continue that began
// with the previous servers. Each client can meet each of the two changes once.
func wantUnavoidable(t *testing.T, s stack, failed []failure, address string) {
	t.Helper()
	if most := 2 * concurrentClients; len(failed) > most {
		t.Errorf("%d GETs failed, want at most %d", len(failed), most)
	}
	tried := upstreams(t, s)
	for _, f := range failed {
		if got := tried[f.id]; got != address+":8002, whoami_http" {
			t.Errorf("%v: nginx tried %q; want the old address, then no live upstreams", f, got)
		}
	}
}

// upstreams returns upstream_addr of nginx's access log, by request ID.
func upstreams(t *testing.T, s stack) map[string]string {
	t.Helper()
	all := map[string]string{}
	for text := range strings.Lines(docker(t, "logs", s.container(t, "nginx"))) {
		var line struct {
			ID       string `json:"id"`
			Upstream string `json:"upstream_addr"`
		}
		if json.Unmarshal([]byte(text), &line) == nil && line.ID != "" { // The error log is in between.
			all[line.ID] = line.Upstream
		}
	}
	return all
}

func stopped(t *testing.T, s stack) {
	s.do(t, "stop")
	for _, service := range services {
		id := docker(t, "ps", "-aq", "--filter", "label=com.docker.compose.project="+project, "--filter", "label=com.docker.compose.service="+service)
		if got := inspect(t, id, "{{.State.ExitCode}} {{.State.OOMKilled}}"); got != "0 false" {
			t.Errorf("%s ended with (exit code, out of memory) %s, want 0 false", service, got)
		}
	}
}

// sameSettings compares each container's settings with `whoami config` for the flags that the local fleet passes.
func sameSettings(t *testing.T, s stack) {
	local := program(t, "")
	for n := 1; n <= 3; n++ {
		name := fmt.Sprintf("whoami-%d", n)
		here := run(t, nil, local, "config", "--instance", name, "--port", fmt.Sprint(8000+n), "--grpc-port", fmt.Sprint(9000+n), "--env-file", ".env.dev", "--records", "stdout")
		there := s.do(t, "exec", "-T", name, "/whoami", "config")
		a, b := values(here.text), values(there)
		if a["BIND"] != "127.0.0.1" || b["BIND"] != "0.0.0.0" {
			t.Errorf("%s: BIND is %s here, %s in the container", name, a["BIND"], b["BIND"])
		}
		delete(a, "BIND")
		delete(b, "BIND")
		if len(a) < 5 || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%s: the local fleet's settings are\n%v\nand the container's\n%v", name, a, b)
		}
		if health := s.do(t, "exec", "-T", name, "/whoami", "health"); health != "SERVING" {
			t.Errorf("%s: whoami health prints %q", name, health)
		}
	}
}

// values returns the settings in the output of `whoami config`.
func values(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		setting, _, _ := strings.Cut(line, "#")
		name, value, _ := strings.Cut(strings.TrimSpace(setting), "=")
		all[name] = value
	}
	return all
}
