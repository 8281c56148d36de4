package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/engine"
	"trivet/lab/logstream"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// fake is a docker that prints what a real one (20.10.24 under client 28.2.2) printed for the stack of docker-compose.yml, with RECORDS=stdout.
const fake = `#!/bin/sh
case $1 in
ps) cat "$dir/ps.jsonl" ;;
inspect) cat "$dir/inspect.json" ;;
info) echo '"2026-11-27T00:37:27.09Z"' ;;
exec) echo "nginx version: nginx/1.30.6" >&2 ;;
events) cat "$dir/events.jsonl"; exec sleep 1000 ;;
logs) exec sleep 1000 ;;
*) echo "docker: unknown command: $1" >&2; exit 1 ;;
esac
`

// install puts the fake on PATH, with the captured files after replacements of texts.
func install(t *testing.T, replacements ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"ps.jsonl", "inspect.json", "events.jsonl"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		text = []byte(strings.NewReplacer(replacements...).Replace(string(text)))
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(strings.Replace(fake, "case", "dir="+dir+"\ncase", 1)), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestOpenReadsTheProject(t *testing.T) {
	install(t)
	s, err := Open(t.Context(), "compose", "")
	if err != nil {
		t.Fatal(err)
	}
	want := []record.Instance{
		{Name: "whoami-1", HTTP: "172.18.0.3:8001", GRPC: "172.18.0.3:9001"},
		{Name: "whoami-2", HTTP: "172.18.0.4:8002", GRPC: "172.18.0.4:9002"},
		{Name: "whoami-3", HTTP: "172.18.0.2:8003", GRPC: "172.18.0.2:9003"},
	}
	if got := s.Instances(); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if target := s.Target(); !target.AccessLog || !target.Calls || target.Name != "compose" || target.Kind != scenario.Compose || target.Nginxes != 1 {
		t.Errorf("%+v", target)
	}
	if s.project != "trivet" || s.http != "127.0.0.1:8080" || s.grpc != "127.0.0.1:9090" || s.Nginx() != "1.30.6" || s.Edits() || s.PreStop() || s.Through() {
		t.Errorf("%+v", s)
	}
	can := map[string][]string{"whoami-3": scenario.InstanceKinds, scenario.Nginx: scenario.NginxKinds}
	for _, process := range []string{"whoami-3", scenario.Nginx, "whoami-4", "whoami", "nginx-worker-1"} {
		for _, kind := range slices.Concat(scenario.Kinds, scenario.ServiceKinds, scenario.NodeKinds) {
			if got, want := s.Can(scenario.Operation{Kind: kind, Process: process}), slices.Contains(can[process], kind); got != want {
				t.Errorf("%s %s: %v", kind, process, got)
			}
		}
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	for name, test := range map[string]struct {
		project string
		replace []string
		want    string
	}{
		"another project":    {"shop", nil, "there is no Compose project shop; there are: trivet"},
		"several projects":   {"", []string{`"com.docker.compose.project": "trivet", "com.docker.compose.service": "whoami-3"`, `"com.docker.compose.project": "shop", "com.docker.compose.service": "whoami-3"`}, "several Compose projects run: name one of them, compose:shop, compose:trivet"},
		"an instance down":   {"", []string{`"Running": true, "StartedAt": "2026-11-27T00:39:58`, `"Running": false, "StartedAt": "2026-11-27T00:39:58`}, "not running: whoami-2 (running); start them by docker compose up --detach --wait"},
		"no published ports": {"", []string{`"HostPort": "9090"`, `"HostPort": ""`, `"9090/tcp": [`, `"9091/tcp": [`}, "nginx publishes no ports 8080 and 9090"},
		"no nginx":           {"", []string{`"com.docker.compose.service": "nginx"`, `"com.docker.compose.service": "caddy"`}, "has no nginx with instances whoami-1"},
		"two of one":         {"", []string{`"com.docker.compose.service": "whoami-3"`, `"com.docker.compose.service": "whoami-2"`}, "has several containers of service whoami-2"},
	} {
		t.Run(name, func(t *testing.T) {
			install(t, test.replace...)
			_, err := Open(t.Context(), "compose", test.project)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// Without its setting on each instance, the stack gives no records of instances.
func TestRecordsAreOffUnlessAllWriteThem(t *testing.T) {
	install(t, `"LOG_FORMAT=text", "RECORDS=stdout", "PATH=`, `"LOG_FORMAT=text", "RECORDS=off", "PATH=`)
	s, err := Open(t.Context(), "compose", "trivet")
	if err != nil || s.Target().Calls {
		t.Errorf("%v, %+v", err, s)
	}
}

// What Docker reports of a kill, a start, a pause and a stop.
func TestEventsOfDockerBecomeTheTrials(t *testing.T) {
	install(t)
	s, err := Open(t.Context(), "compose", "")
	if err != nil {
		t.Fatal(err)
	}
	cli, err := engine.Find("docker", "")
	if err != nil {
		t.Fatal(err)
	}
	var events []record.Event // The watcher's goroutine adds to it, which has ended when it is read.
	observe := func(e record.Event) { events = append(events, e) }
	logs, err := logstream.Open(cli, t.TempDir(), s.http, s.calls, func(record.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.watch(t.Context(), observe, logs)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/events.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	var last event
	if err := json.Unmarshal(lines[len(lines)-1], &last); err != nil {
		t.Fatal(err)
	}
	if err := w.await(t.Context(), "wait for events", func() bool { return w.last == last.TimeNano }); err != nil {
		t.Fatal(err)
	}
	w.stop()
	<-w.done
	var got []string
	for _, e := range events {
		got = append(got, e.Process+" "+e.Kind+" "+e.Exit.String())
	}
	if want := []string{"whoami-2 died signal SIGKILL", "whoami-2 died exit code 0"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	f := w.all["whoami-2"]
	if !f.up || f.paused || f.ends != 2 {
		t.Errorf("up %v, paused %v, ended %d times", f.up, f.paused, f.ends)
	}
	events, f.asked = nil, scenario.Drain
	last.Action, last.Actor.Attributes["exitCode"] = "die", "1"
	w.take(last, nil)
	if len(events) != 1 || events[0].Kind != record.Stopped || events[0].Exit.Code != 1 || f.up {
		t.Errorf("%+v", events)
	}
}

// The address by which nginx calls an instance is in the network that both are in.
func TestAddressIsInSharedNetwork(t *testing.T) {
	t.Parallel()
	var all []container
	if err := json.Unmarshal([]byte(`[
		{"Config":{"Env":["HTTP_PORT=8001","GRPC_PORT=9500","INSTANCE=one"],"Labels":{"com.docker.compose.service":"whoami-1"}},
			"NetworkSettings":{"Networks":{"a":{"IPAddress":"10.0.0.1"},"mesh":{"IPAddress":"10.1.0.1"}}}},
		{"NetworkSettings":{"Networks":{"mesh":{"IPAddress":"10.1.0.9"}},"Ports":{"8080/tcp":[{"HostIp":"0.0.0.0","HostPort":"80"}],"9090/tcp":null}}},
		{"NetworkSettings":{"Networks":{"host":{"IPAddress":""}}}}]`), &all); err != nil {
		t.Fatal(err)
	}
	if got, want := all[0].instance(all[1]), (record.Instance{Name: "one", HTTP: "10.1.0.1:8001", GRPC: "10.1.0.1:9500"}); got != want {
		t.Errorf("%+v", got)
	}
	if got := all[0].instance(all[2]); got.HTTP != "" || got.GRPC != "" {
		t.Errorf("%+v", got)
	}
	if all[1].published("8080") != "127.0.0.1:80" || all[1].published("9090") != "" {
		t.Errorf("%q, %q", all[1].published("8080"), all[1].published("9090"))
	}
}

// What does not end by itself is bounded: a wait ends with its context.
func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w := &watcher{changed: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.await(ctx, "wait for a change", func() bool { return false }); err == nil || !strings.HasPrefix(err.Error(), "wait for a change: ") {
		t.Error(err)
	}
}
