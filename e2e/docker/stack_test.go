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

// TestStack is one stack, and what a user does with it.
func TestStack(t *testing.T) {
	s := stack{tool: v1}
	s.up(t)
	if a := ask(t); a.Version != "v9.8.7 (0123456789ab)" || a.Environment != "dev" {
		t.Errorf("version %q, environment %q", a.Version, a.Environment)
	}
	t.Run("shares are equal over both doors", func(t *testing.T) {
		equal(t, "HTTP", shares(t, 300))
		equal(t, "gRPC", grpcShares(t, grpcDoor, 300))
	})
	t.Run("diagnostics are open in dev", func(t *testing.T) { diagnostics(t, 200) })
	t.Run("nothing else is published", func(t *testing.T) { published(t, s) })
	t.Run("nobody is root and nothing can be written", func(t *testing.T) { harmless(t, s) })
	t.Run("nginx has the tree's configuration", func(t *testing.T) { baked(t, s) })
	t.Run("settings are those of the local fleet", func(t *testing.T) { likeLocal(t, s) })
	t.Run("a killed instance comes back", func(t *testing.T) { killed(t, s) })
	t.Run("an instance at a new address is found", func(t *testing.T) { moved(t, s) })
	t.Run("a rebuilt configuration takes effect", func(t *testing.T) { rebuilt(t, s) })
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
			t.Errorf("somebody listens on port %s of the machine", port)
		}
	}
}

func harmless(t *testing.T, s stack) {
	for _, service := range services {
		id := s.container(t, service)
		if got := inspect(t, id, "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}"); got != "true [ALL] [no-new-privileges:true]" {
			t.Errorf("%s: %s", service, got)
		}
		if got := inspect(t, id, "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}"); strings.HasPrefix(got, "0 ") || strings.HasSuffix(got, " 0") {
			t.Errorf("%s: cpu and memory limits are %s", service, got)
		}
		pids := strings.Fields(docker(t, "top", id, "-eo", "pid"))[1:] // after the heading
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
			// Through the process's own eyes: does its / take a file, though we are root?
			if f, err := os.Create("/proc/" + pid + "/root/written"); err == nil {
				f.Close()
				t.Errorf("the root file system of %s can be written", service)
			}
		}
	}
}

// baked compares nginx's files with those that are shared with every place; and no default site is left.
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
			t.Errorf("/etc/nginx/%s is not the tree's", name)
		}
		delete(have, name)
	}
	for name := range have {
		t.Errorf("/etc/nginx/%s is not of the tree", name)
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
	await(t, "whoami-2 answers", time.Minute, func() bool { return calls.answers("whoami-2") > 10 })
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "Docker starts whoami-2 again", time.Minute, func() bool {
		return inspect(t, id, "{{.State.Running}} {{.RestartCount}}") == "true 1"
	})
	before := calls.answers("whoami-2")
	await(t, "whoami-2 answers through nginx again", time.Minute, func() bool { return calls.answers("whoami-2") > before+10 })
	caughtByTheMove(t, s, calls.end(t), address) // While it was down it had no name.
}

func addressOf(t *testing.T, id string) string {
	t.Helper()
	return inspect(t, id, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
}

func moved(t *testing.T, s stack) {
	old := addressOf(t, s.container(t, "whoami-2"))
	calls := load(t)
	s.do(t, "rm", "-sf", "whoami-2")
	// Somebody else gets the address that became free, or the one that came next.
	squatter := docker(t, "run", "-d", "--network", project+"_mesh", "trivet-whoami")
	defer docker(t, "rm", "-f", squatter)
	s.do(t, "up", "-d", "--no-deps", "whoami-2")
	if now := addressOf(t, s.container(t, "whoami-2")); now == old {
		t.Fatalf("whoami-2 has its old address %s: nothing is tested", now)
	}
	before := calls.answers("whoami-2")
	await(t, "whoami-2 answers through nginx from its new address", time.Minute, func() bool { return calls.answers("whoami-2") > before+10 })
	caughtByTheMove(t, s, calls.end(t), old)
	equal(t, "HTTP, afterwards", shares(t, 300))
	equal(t, "gRPC, afterwards", grpcShares(t, grpcDoor, 300))
}

// caughtByTheMove fails for a GET that failed otherwise than `resolve` makes unavoidable: it waited for the old address at the moment when
// nginx learnt that the name has another one or none, and nginx (ngx_http_upstream_get_round_robin_peer, since 1.27.3) lets no request go
// on to another server that began with the servers of before. Each caller can meet each of the two changes once.
func caughtByTheMove(t *testing.T, s stack, failed []failure, address string) {
	t.Helper()
	if most := 2 * callersAtOnce; len(failed) > most {
		t.Errorf("%d GETs failed, want %d at most", len(failed), most)
	}
	asked := upstreams(t, s)
	for _, f := range failed {
		if got := asked[f.id]; got != address+":8002, whoami_http" {
			t.Errorf("%v: nginx asked %q; want the old address, and then nobody", f, got)
		}
	}
}

// upstreams is whom nginx asked on behalf of each request, by the request's id, as its access log tells it.
func upstreams(t *testing.T, s stack) map[string]string {
	t.Helper()
	all := map[string]string{}
	for text := range strings.Lines(docker(t, "logs", s.container(t, "nginx"))) {
		var line struct {
			ID       string `json:"id"`
			Upstream string `json:"upstream_addr"`
		}
		if json.Unmarshal([]byte(text), &line) == nil && line.ID != "" { // The error log is between the lines.
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

// likeLocal compares what each instance thinks its settings are with what `whoami config` says to the flags that the local fleet gives.
func likeLocal(t *testing.T, s stack) {
	local := program(t, "")
	for n := 1; n <= 3; n++ {
		name := fmt.Sprintf("whoami-%d", n)
		here := run(t, nil, local, "config", "--instance", name, "--port", fmt.Sprint(8000+n), "--grpc-port", fmt.Sprint(9000+n), "--env-file", ".env.dev")
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
			t.Errorf("%s: whoami health says %q", name, health)
		}
	}
}

// values are the settings that `whoami config` shows.
func values(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		setting, _, _ := strings.Cut(line, "#")
		name, value, _ := strings.Cut(strings.TrimSpace(setting), "=")
		all[name] = value
	}
	return all
}
