package kubernetes

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/logstream"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

// fake is a kubectl that prints what a real one (1.37.2) printed of overlay qa on three nodes, and notes what else it is to do.
const fake = `#!/bin/sh
shift 2
case "$1 $2 $3" in
"get --output=json "*) cat "$dir/$3${4:+-$4}.json" ;;
"get pods --output=json") exec sleep 1000 ;;
logs*) exec sleep 1000 ;;
exec*) echo "nginx version: nginx/1.30.6" >&2 ;;
*)
	echo "$*" >>"$dir/calls"
	case "$1 $2" in
	"create --filename=-") cat >"$dir/created.json" ;;
	"$(cat "$dir/refuses" 2>/dev/null)") echo "refused" >&2; exit 1 ;;
	esac
	;;
esac
`

// install puts the fake on PATH, and returns where it notes calls.
func install(t *testing.T, replacements ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"deployments", "pods", "services", "nodes", "configmaps"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		text = []byte(strings.NewReplacer(replacements...).Replace(string(text)))
		var all list[json.RawMessage]
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		write := func(name string, text []byte) {
			if err := os.WriteFile(filepath.Join(dir, name+".json"), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		write(name, text)
		for _, one := range all.Items {
			var named struct{ Metadata meta }
			if err := json.Unmarshal(one, &named); err != nil {
				t.Fatal(err)
			}
			write(strings.TrimSuffix(name, "s")+"-"+named.Metadata.Name, one)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(strings.Replace(fake, "shift", "dir="+dir+"\nshift", 1)), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

// reachable are replacements by which the Service nginx responds at nodes' ports.
func reachable(t *testing.T) []string {
	t.Helper()
	var ports []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return []string{`"nodePort": 30359`, `"nodePort": ` + ports[0], `"nodePort": 31222`, `"nodePort": ` + ports[1], "10.200.0.11", "127.0.0.1"}
}

func open(t *testing.T, replacements ...string) (s *Stack, dir string) {
	t.Helper()
	dir = install(t, append(reachable(t), replacements...)...)
	s, err := Open(t.Context(), "k8s:trivet-qa", "trivet-qa")
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func TestOpenReadsTheNamespace(t *testing.T) {
	s, _ := open(t)
	want := []record.Instance{
		{Name: "whoami-585b884cb6-6rwgx", HTTP: "10.244.1.9:8000", GRPC: "10.244.1.9:9000"},
		{Name: "whoami-585b884cb6-c7fnp", HTTP: "10.244.3.10:8000", GRPC: "10.244.3.10:9000"},
		{Name: "whoami-585b884cb6-zs5bx", HTTP: "10.244.2.8:8000", GRPC: "10.244.2.8:9000"},
	}
	if got := s.Instances(); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if got, want := s.Target(), (record.Target{Kind: scenario.Kubernetes, Name: "k8s:trivet-qa", AccessLog: true, Calls: true, Nginxes: 2, Changes: true}); got != want {
		t.Errorf("%+v", got)
	}
	if host, _, _ := net.SplitHostPort(s.http); host != "127.0.0.1" || s.Nginx() != "1.30.6" || !s.Edits() || !s.PreStop() || !s.Through() {
		t.Errorf("%+v", s)
	}
	can := map[string][]string{
		"whoami-1": {scenario.Kill, scenario.Drain, scenario.DrainNode, scenario.UncordonNode}, "whoami-3": {scenario.Kill, scenario.Drain, scenario.DrainNode, scenario.UncordonNode},
		"whoami": scenario.ServiceKinds, scenario.Nginx: scenario.ServiceKinds,
	}
	for _, process := range []string{"whoami-1", "whoami-3", "whoami-4", "whoami", "front", scenario.Nginx, "nginx-worker-1", scenario.Edge} {
		for _, kind := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(scenario.Kinds, scenario.ServiceKinds, scenario.NodeKinds)))) {
			if got, want := s.Can(scenario.Operation{Kind: kind, Process: process}), slices.Contains(can[process], kind); got != want {
				t.Errorf("%s %s: %v", kind, process, got)
			}
		}
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	for name, test := range map[string]struct {
		replace []string
		want    string
	}{
		"no whoami":            {[]string{`"name": "whoami", "namespace": "trivet-qa"`, `"name": "shop", "namespace": "trivet-qa"`}, "namespace trivet-qa has no Deployment whoami: deploy it by kubectl apply -k"},
		"no ports":             {[]string{`"containerPort": 9090, "name": "grpc"`, `"containerPort": 9090, "name": "h2c"`}, "Deployment nginx: container nginx has no ports named http and grpc"},
		"an earlier trial's":   {[]string{`"annotations": {"kubectl.kubernetes.io/restartedAt"`, `"annotations": {"trivet-lab": "x", "kubectl.kubernetes.io/restartedAt"`}, "if none runs there now, change them back by: kubectl --namespace trivet-qa rollout undo deployment/nginx; kubectl --namespace trivet-qa rollout undo deployment/whoami; kubectl --namespace trivet-qa delete configmap --selector=trivet-lab"},
		"scaled by a trial":    {[]string{`"annotations": {"deployment.kubernetes.io/revision"`, `"annotations": {"trivet-lab-replicas": "3", "trivet-lab-nodes": "n1 n2", "deployment.kubernetes.io/revision"`}, "scale deployment/nginx --replicas=3; kubectl --namespace trivet-qa annotate deployment nginx trivet-lab-replicas-; kubectl --namespace trivet-qa uncordon n1 n2;"},
		"nothing that listens": {[]string{"10.200.0.11", "127.0.0.1", "10.200.0.12", "127.0.0.1", "10.200.0.13", "127.0.0.1", "10.96.222.5", "127.0.0.1", `"nodePort": 30359`, `"nodePort": 1`, `"port": 8080`, `"port": 1`}, "Service nginx does not respond from here at 127.0.0.1:1, 127.0.0.1:1, 127.0.0.1:1, 127.0.0.1:1: run on a node, or let `kubectl"},
	} {
		t.Run(name, func(t *testing.T) {
			install(t, test.replace...)
			_, err := Open(t.Context(), "k8s:trivet-qa", "trivet-qa")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// A trial's changes are patches of the templates, and are undone by revision. What cannot be undone is named with its command.
func TestChangesAreMadeAndUndone(t *testing.T) {
	s, dir := open(t)
	y := &system{stack: s, replicas: map[string]int{whoami: 3}, cordoned: map[string]string{"whoami-1": "n1"}, drained: true}
	of := scenario.Scenario{
		PreStop: new(time.Duration), Files: map[string]string{"own.conf": "# own\n"},
		Edits: []confedit.Edit{{Context: "http-locations.conf", Directive: "proxy_next_upstream off"}},
	}
	trial := filepath.Join(t.TempDir(), "control")
	if err := y.change(t.Context(), of, trial); err != nil {
		t.Fatal(err)
	}
	var created configMap
	text, err := os.ReadFile(filepath.Join(dir, "created.json"))
	if err == nil {
		err = json.Unmarshal(text, &created)
	}
	if err != nil || !strings.Contains(created.Data["http-locations.conf"], "proxy_next_upstream off;") || created.Data["own.conf"] != "# own\n" ||
		created.Data["site__http-servers.conf"] == "" || created.Data["nginx.conf"] == "" || created.Metadata.Labels[mark] != "true" {
		t.Errorf("%v, %s", err, text)
	}
	if kept, err := os.ReadFile(filepath.Join(trial, record.ShippedDir, "http-locations.conf")); err != nil || len(kept) == 0 || strings.Contains(string(kept), "proxy_next_upstream off;") {
		t.Errorf("kept before the edit: %v, %s", err, kept)
	}
	calls := called(t, dir)
	for i, want := range []string{
		`create --filename=-`,
		`patch deployment nginx --type=strategic --patch={"spec":{"template":{"metadata":{"annotations":{"trivet-lab":"control"}},"spec":{"volumes":[{"configMap":null,"name":"conf","projected":{"sources":[{"configMap":{"items":[`,
		`patch deployment whoami --type=strategic --patch={"spec":{"template":{"metadata":{"annotations":{"trivet-lab":"control"}},"spec":{"containers":[{"lifecycle":{"preStop":null},"name":"whoami"}]}}}}`,
	} {
		if i >= len(calls) || !strings.HasPrefix(calls[i], want) {
			t.Fatalf("%q, want %s", calls, want)
		}
	}
	if !strings.Contains(calls[1], `{"key":"site__http-servers.conf","path":"site/http-servers.conf"}`) {
		t.Error(calls[1])
	}
	if err := os.WriteFile(filepath.Join(dir, "calls"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := y.restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	calls = called(t, dir)
	for _, want := range []string{
		"uncordon n1", "scale deployment/whoami --replicas=3", "annotate deployment whoami trivet-lab-replicas- --overwrite", "annotate deployment whoami trivet-lab-nodes- --overwrite",
		"rollout undo deployment/nginx --to-revision=" + s.deployments["nginx"].Metadata.Annotations["deployment.kubernetes.io/revision"],
		"rollout undo deployment/whoami --to-revision=" + s.deployments["whoami"].Metadata.Annotations["deployment.kubernetes.io/revision"],
		"delete configmap " + created.Metadata.Name,
	} {
		if !slices.Contains(calls, want) {
			t.Errorf("%q, want %s", calls, want)
		}
	}
}

func called(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func TestSleepIsInWholeSeconds(t *testing.T) {
	t.Parallel()
	for sleep, want := range map[time.Duration]string{
		0: "null", 20 * time.Second: `{"exec":null,"httpGet":null,"sleep":{"seconds":20}}`, 1500 * time.Millisecond: "fleet.pre_stop: 1.5s: Kubernetes sleeps for whole seconds",
	} {
		hook, err := preStop(sleep)
		text, _ := json.Marshal(hook)
		if err != nil {
			text = []byte(err.Error())
		}
		if string(text) != want {
			t.Errorf("%v: %s, want %s", sleep, text, want)
		}
	}
}

// What the API reports of pods that are replaced, deleted by an action or by others, and restarted.
func TestPodsBecomeEvents(t *testing.T) {
	s, _ := open(t)
	var events []record.Event
	logs, err := logstream.Open(s.cli, t.TempDir(), s.http, s.calls, func(record.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	w := &watcher{stack: s, observe: func(e record.Event) { events = append(events, e) }, changed: make(chan struct{}), pods: map[string]*followed{}, requested: map[string]int{}}
	for _, p := range s.pods {
		w.take(p)
	}
	w.synced = true
	w.begin(logs)
	if !w.settled(whoami, 3) || !w.settled(scenario.Nginx, 2) || w.settled(whoami, 2) {
		t.Error("the Deployments are not settled")
	}
	byName := func(name string) pod {
		i := slices.IndexFunc(s.pods, func(p pod) bool { return p.Metadata.Name == name })
		text, _ := json.Marshal(s.pods[i])
		var p pod
		if err := json.Unmarshal(text, &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	now := time.Now()
	end := func(p pod, code int) {
		p.Metadata.DeletionTimestamp = &now
		w.take(p)
		p.Status.ContainerStatuses[0].State = containerState{Terminated: &terminated{ExitCode: code}}
		w.take(p)
		w.remove(p)
	}
	w.requested[whoami]++
	end(byName("whoami-585b884cb6-6rwgx"), 0) // replaced by a rollout
	w.requested[whoami]--
	added := byName("whoami-585b884cb6-c7fnp")
	added.Metadata.UID, added.Metadata.Name = "new", "whoami-new"
	w.take(added)
	if f := w.pods["new"]; f.stream == nil || !w.source(f).Announce {
		t.Error("the log of a pod that came later is not read, or the pod not announced")
	}
	w.pods["new"].asked, w.pods["new"].killed = true, true
	w.remove(added)
	end(byName("whoami-585b884cb6-c7fnp"), 0) // by others
	again := byName("whoami-585b884cb6-zs5bx")
	again.Status.ContainerStatuses[0].ContainerID = "containerd://again"
	again.Status.ContainerStatuses[0].LastState = containerState{Terminated: &terminated{ExitCode: 137}}
	w.take(again)
	again = byName("nginx-78c6c554d6-pbdfp")
	again.Metadata.UID = "nginx-new"
	w.take(again)
	var got []string
	for _, e := range events {
		exit := ""
		if e.Exit != nil {
			exit = e.Exit.String()
		}
		got = append(got, strings.TrimSpace(fmt.Sprint(e.Process, " ", e.Kind, " ", exit)))
	}
	if want := []string{
		"whoami-585b884cb6-6rwgx stopped exit code 0", "whoami-new died signal SIGKILL", "whoami-585b884cb6-c7fnp died exit code 0",
		"whoami-585b884cb6-zs5bx died signal SIGKILL", "nginx started",
	}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A pod that does not start with the trial's changes ends the wait for the rollout, with nginx's reason.
func TestBrokenPodIsFound(t *testing.T) {
	s, _ := open(t)
	w := &watcher{stack: s, pods: map[string]*followed{}}
	for name, test := range map[string]struct {
		mark  string
		state containerState
		want  bool
	}{
		"crash":      {"x", containerState{Waiting: &waitingState{Reason: "CrashLoopBackOff"}}, true},
		"terminated": {"x", containerState{Terminated: &terminated{ExitCode: 1}}, true},
		"starting":   {"x", containerState{Waiting: &waitingState{Reason: "ContainerCreating"}}, false},
		"not ours":   {"", containerState{Terminated: &terminated{ExitCode: 1}}, false},
	} {
		p := pod{}
		p.Metadata.Annotations = map[string]string{mark: test.mark}
		p.Status.ContainerStatuses = []containerStatus{{Name: scenario.Nginx, State: test.state}}
		w.pods["one"] = &followed{pod: p, of: scenario.Nginx}
		if got := w.broken(scenario.Nginx) != nil; got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
