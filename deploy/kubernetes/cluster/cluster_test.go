//go:build cluster

package cluster

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestInstancesShareEqually(t *testing.T) {
	stack(t)
	for node, n := range on(pods(t, "whoami")) {
		if n != 1 {
			t.Errorf("%d instances on node %s, want one on each", n, node)
		}
	}
	nginxes := len(pods(t, "nginx"))
	l := startLoad(t, anyNode(t), 0)
	eventually(t, time.Minute, "3000 requests", func() bool { return len(l.since(time.Time{})) >= 3000 })
	all := l.end()
	if lost := failed(all); len(lost) > 0 {
		t.Errorf("%d of %d requests failed: %v", len(lost), len(all), lost[0].err)
	}
	for _, protocol := range []string{"http", "grpc"} {
		counts := shares(all, protocol)
		t.Logf("%s: %v", protocol, counts)
		numbers := slices.Sorted(maps.Values(counts))
		// Each nginx takes turns by itself, so each may be one request ahead.
		if len(numbers) != 3 || numbers[2]-numbers[0] > nginxes {
			t.Errorf("%s: instances got %v, want three shares that differ by at most %d", protocol, counts, nginxes)
		}
	}
}

func TestInstancesRollWithoutLoss(t *testing.T) {
	stack(t)
	l := startLoad(t, anyNode(t), 20*time.Millisecond)
	kubectl(t, "rollout", "restart", "deployment/whoami")
	rolledOut(t, "whoami")
	l.nothingLost("rolling update of the instances")
}

// slow is how long a request takes where it matters what becomes of those in flight.
const slow = 200 * time.Millisecond

func TestNginxRollsWithoutLoss(t *testing.T) {
	stack(t)
	l := startLoad(t, anyNode(t), slow)
	kubectl(t, "rollout", "restart", "deployment/nginx")
	rolledOut(t, "nginx")
	l.nothingLost("rolling update of nginx")
}

// It shows that the load notices an nginx that does not let requests end: SIGTERM instead of the image's SIGQUIT.
func TestNginxWithoutGracefulStopLosesRequests(t *testing.T) {
	stack(t)
	preStop := func(handlers string) {
		kubectl(t, "patch", "deployment/nginx", "--patch", `{"spec": {"template": {"spec": {"containers": [{"name": "nginx", "lifecycle": {"preStop": `+handlers+`}}]}}}}`)
	}
	t.Cleanup(func() { preStop(`{"exec": null, "sleep": {"seconds": 10}}`); stack(t) })
	preStop(`{"sleep": null, "exec": {"command": ["sh", "-c", "sleep 10; kill -TERM 1"]}}`)
	rolledOut(t, "nginx")
	l := startLoad(t, anyNode(t), slow)
	kubectl(t, "rollout", "restart", "deployment/nginx")
	rolledOut(t, "nginx")
	all := l.end()
	lost := failed(all)
	t.Logf("rolling update of nginx by SIGTERM: %d requests, %d failed", len(all), len(lost))
	if len(lost) == 0 {
		t.Error("nothing was lost, so the load would not notice a loss")
	}
}

func TestChangedConfigurationRollsNginx(t *testing.T) {
	stack(t)
	t.Cleanup(func() { stack(t) })
	before := names(pods(t, "nginx"))
	dir, err := os.MkdirTemp("..", "overlay") // kustomize takes relative paths only
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// As a user would: an overlay on the overlay, with a file of the configuration changed.
	text, err := os.ReadFile("../../../nginx/conf/limits.conf")
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "keepalive_requests 1000;", "keepalive_requests 1001;", 1)
	overlay := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: " + namespace + "\nresources: [../overlays/qa]\n" +
		"configMapGenerator:\n  - {name: nginx-conf, behavior: merge, files: [limits.conf]}\n"
	for name, text := range map[string]string{"limits.conf": changed, "kustomization.yaml": overlay} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l := startLoad(t, anyNode(t), slow)
	kubectl(t, "apply", "--kustomize", dir)
	rolledOut(t, "nginx")
	l.nothingLost("changed configuration")
	for _, p := range pods(t, "nginx") {
		if before[p.Metadata.Name] {
			t.Errorf("pod %s has not been replaced", p.Metadata.Name)
		}
		if got := kubectl(t, "exec", p.Metadata.Name, "--", "grep", "-c", "keepalive_requests 1001;", "/etc/nginx/limits.conf"); strings.TrimSpace(got) != "1" {
			t.Errorf("pod %s has not the changed configuration", p.Metadata.Name)
		}
	}
}

func names(pods []pod) map[string]bool {
	found := map[string]bool{}
	for _, p := range pods {
		found[p.Metadata.Name] = true
	}
	return found
}

func TestScalingIsSeenAndLosesNothing(t *testing.T) {
	stack(t)
	t.Cleanup(func() { stack(t) })
	l := startLoad(t, anyNode(t), 20*time.Millisecond)
	before := names(pods(t, "whoami"))
	kubectl(t, "scale", "--replicas=6", "deployment/whoami")
	rolledOut(t, "whoami")
	eventually(t, 30*time.Second, "nginx sends requests to six instances", func() bool { return len(shares(l.since(time.Time{}), "")) == 6 })
	for _, p := range pods(t, "whoami") {
		if !before[p.Metadata.Name] {
			t.Logf("3 to 6 instances: first response of %s %.0f s after it was ready", p.Metadata.Name, l.first(p.Metadata.Name).Sub(p.ready()).Seconds())
		}
	}
	down := time.Now()
	kubectl(t, "scale", "--replicas=3", "deployment/whoami")
	rolledOut(t, "whoami")
	gone := time.Now()
	eventually(t, 30*time.Second, "nginx sends requests to three instances", func() bool {
		recent := l.since(time.Now().Add(-2 * time.Second))
		return len(recent) > 100 && len(shares(recent, "")) == 3
	})
	l.nothingLost("3 to 6 to 3 instances")
	t.Logf("6 to 3 instances: pods were gone after %.1f s", gone.Sub(down).Seconds())
}

func TestDrainLosesNothing(t *testing.T) {
	stack(t)
	t.Cleanup(func() { stack(t) })
	drained := pods(t, "nginx")[0].Spec.NodeName // it has an instance, too
	l := startLoad(t, other(t, drained), slow)
	begin := time.Now()
	kubectl(t, "drain", drained, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=3m")
	took := time.Since(begin)
	rolledOut(t, "whoami", "nginx")
	l.nothingLost("drain of node " + drained)
	t.Logf("drain of node %s took %.1f s", drained, took.Seconds())
	for _, name := range []string{"whoami", "nginx"} {
		if n := on(pods(t, name))[drained]; n > 0 {
			t.Errorf("%d pods of %s are left on the node", n, name)
		}
	}
}

// other returns a node that is none of these.
func other(t testing.TB, not ...string) string {
	for node := range nodes(t) {
		if !slices.Contains(not, node) {
			return node
		}
	}
	t.Fatalf("there is no other node than %v", not)
	return ""
}

// The node that is cut has an instance and no nginx: whether clients reach nginx on a lost node depends on the load balancer in front of it.
func TestCutNodeFailsOnlyRequestsInFlight(t *testing.T) {
	stack(t)
	var with []string
	for node := range on(pods(t, "nginx")) {
		with = append(with, node)
	}
	cut := other(t, with...)
	l := startLoad(t, with[0], slow)
	eventually(t, time.Minute, "load", func() bool { return len(l.since(time.Time{})) > 300 })
	t.Cleanup(func() { link(t, cut, "up"); stack(t) })
	begin := time.Now()
	link(t, cut, "down")
	lost := time.Duration(0)
	eventually(t, 2*time.Minute, "the node is not ready", func() bool {
		var node struct {
			Status struct{ Conditions []condition }
		}
		get(t, &node, "node", cut)
		lost = time.Since(begin)
		return !is(node.Status.Conditions, "Ready")
	})
	eventually(t, 30*time.Second, "nginx sends requests to two instances, without waiting for the third", func() bool {
		recent := l.since(time.Now().Add(-5 * time.Second))
		for _, r := range recent {
			if r.err != nil || r.ended.Sub(r.began) > slow+time.Second/2 {
				return false
			}
		}
		return len(recent) > 50 && len(shares(recent, "")) == 2
	})
	all := l.end()
	// Lost are requests to the node: in flight as it was cut, or sent on connections that nginx kept. And those that wait for a connection to
	// it as nginx drops its address: then nginx tries no other server for a request that began before (docs/nginx.md).
	begun, waiting, slowest := 0, 0, time.Duration(0)
	for _, r := range all {
		slowest = max(slowest, r.ended.Sub(r.began))
		switch {
		case r.err == nil:
		case strings.Contains(r.err.Error(), "the request was not handled"):
			waiting++
		case strings.Contains(r.err.Error(), "nginx: the instance did not respond in time"):
			begun++
		default:
			t.Errorf("%s request %.3f s after the cut, for %.3f s: %v", r.protocol, r.began.Sub(begin).Seconds(), r.ended.Sub(r.began).Seconds(), r.err)
		}
	}
	t.Logf("cut of node %s: of %d requests failed %d in flight to it, and %d that waited for it as nginx dropped its address; the slowest took %.1f s; the node counted as lost after %.1f s",
		cut, len(all), begun, waiting, slowest.Seconds(), lost.Seconds())
	// Each nginx has at most one connection to the node per worker.
	if most := len(pods(t, "nginx")) * workers; begun > most || waiting > most {
		t.Errorf("want at most %d of each", most)
	}
}
