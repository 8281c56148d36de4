//go:build swarm

package swarm

import (
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// Requests this long are in flight for longer than Swarm waits between DNS and SIGTERM, so only a drain completes them.
const (
	longWork    = 4 * time.Second
	longCallers = 2 // per node and protocol
)

// TestSwarm deploys the stack once and does with it what an operator does, and what happens to one. Unless said otherwise nginx's retries
// are off: with them, nginx would hide what an instance loses.
func TestSwarm(t *testing.T) {
	deploy(t, "v1", "no-retries")
	took := await(t, "three instances and three nginx run", 2*time.Minute, func() bool { return settled(t, 3, 3) })
	t.Logf("deployed in %v", took.Round(time.Second))
	if on := slices.Sorted(maps.Values(instances(t))); !slices.Equal(on, nodes) {
		t.Errorf("instances are on %v, want one on each node", on)
	}
	t.Run("shares are equal through each node", shares)
	t.Run("scaling loses nothing", scaled)
	t.Run("failed update rolls back and loses nothing", rolledBack)
	t.Run("update loses nothing", rolled)
	t.Run("update without drain loses requests", undrained)
	t.Run("update of nginx breaks off no request", nginxReplaced)
	t.Run("node cut loses at most what was in flight", cut)
}

// settled reports whether so many tasks run, and no others.
func settled(t *testing.T, whoami, nginx int) bool {
	for service, want := range map[string]int{"whoami": whoami, "nginx": nginx} {
		n := 0
		for _, k := range tasks(t, service) {
			if k.running() {
				n++
			} else if k.DesiredState == "Running" {
				return false
			}
		}
		if n != want {
			return false
		}
	}
	return true
}

func shares(t *testing.T) {
	running := instances(t)
	for _, node := range nodes {
		for _, protocol := range []string{"http", "grpc"} {
			c, count := newCaller(t, protocol, node, 0), map[string]int{}
			for range 300 {
				a, err := c.call(t.Context())
				if err != nil {
					t.Fatalf("%v: %v", c, err)
				}
				count[a.Instance]++
				if a.Node != running[a.Instance] {
					t.Fatalf("%s says that it runs on %q, Swarm says %q", a.Instance, a.Node, running[a.Instance])
				}
			}
			least, most := 300, 0
			for name := range running {
				least, most = min(least, count[name]), max(most, count[name])
			}
			t.Logf("%v: %v", c, count)
			// Up to one request: round robin over the state that nginx's workers share.
			if len(count) != len(running) || most-least > 1 {
				t.Errorf("%v: want equal shares of %v", c, running)
			}
		}
	}
}

func scaled(t *testing.T) {
	l := start(t, nodes, 1, 0)
	for _, replicas := range []string{"6", "3"} {
		before := time.Now()
		docker(t, "service", "scale", "--detach", "trivet_whoami="+replicas)
		want := int(replicas[0] - '0')
		ran := await(t, replicas+" instances run", time.Minute, func() bool { return settled(t, want, 3) })
		running := instances(t)
		await(t, "nginx uses all of "+replicas+" instances", time.Minute, func() bool { return l.sawAll(running, 1) })
		t.Logf("scaled to %s: running after %v, all in use by nginx after %v", replicas, ran.Round(100*time.Millisecond), time.Since(before).Round(100*time.Millisecond))
		if replicas == "3" {
			await(t, "ended tasks receive nothing", time.Minute, func() bool { return l.onlyLately(running, 5*time.Second) })
		}
	}
	l.lossless(t, "scaling 3 to 6 to 3", 3000)
}

// rolledBack updates to instances that cannot run, and to some that run but never get healthy.
func rolledBack(t *testing.T) {
	for _, c := range []struct{ what, flag, value string }{
		{"a setting that the instance refuses", "--env-add", "LOG_LEVEL=loud"},
		{"a health check that fails", "--health-cmd", "/whoami nonsense"},
		{"an image that no node has", "--image", "trivet-whoami:missing"},
	} {
		before := ask(t, "service", "inspect", "-f", "{{json .Spec}}", "trivet_whoami")
		running := instances(t)
		l := start(t, nodes, 1, longCallers)
		docker(t, "service", "update", "-q", "--detach", "--no-resolve-image", c.flag, c.value, "trivet_whoami")
		took := updated(t, "whoami", "rollback_completed")
		l.lossless(t, "update to "+c.what+", rolled back after "+took.Round(time.Second).String(), 2000)
		if after := ask(t, "service", "inspect", "-f", "{{json .Spec}}", "trivet_whoami"); after != before {
			t.Errorf("%s: after the rollback the service is\n%s, want\n%s", c.what, after, before)
		}
		await(t, "three instances run", time.Minute, func() bool { return settled(t, 3, 3) })
		kept := 0
		for name := range instances(t) {
			if _, ok := running[name]; ok {
				kept++
			}
		}
		t.Logf("%s: %d of 3 instances were never replaced", c.what, kept)
		if kept < 2 {
			t.Errorf("%s: want at most one instance replaced", c.what)
		}
	}
}

func rolled(t *testing.T) {
	before := instances(t)
	l := start(t, nodes, 1, longCallers)
	deploy(t, "v2", "no-retries")
	took := updated(t, "whoami", "completed")
	after := instances(t)
	await(t, "each new instance responds", time.Minute, func() bool { return l.sawAll(after, 50) })
	await(t, "old instances receive nothing", time.Minute, func() bool { return l.onlyLately(after, 5*time.Second) })
	l.lossless(t, "update to v2 in "+took.Round(time.Second).String(), 3000)
	for name := range after {
		if _, old := before[name]; old || len(after) != 3 {
			t.Errorf("instances before %v, after %v", before, after)
		}
	}
	for _, node := range nodes {
		if a, err := newCaller(t, "grpc", node, 0).call(t.Context()); err != nil || a.Version != "v2" {
			t.Errorf("through %s: version %q, %v", node, a.Version, err)
		}
	}
}

// undrained is the control of rolled: the same update of instances that do not drain.
func undrained(t *testing.T) {
	deploy(t, "v2", "no-retries", "testdata/no-drain.yml")
	updated(t, "whoami", "completed")
	l := start(t, nodes, 1, longCallers)
	deploy(t, "v1", "no-retries", "testdata/no-drain.yml")
	updated(t, "whoami", "completed")
	if failed := l.end(t, "update without drain", 3000); len(failed) == 0 {
		t.Error("no request failed: the other tests could not see a loss either")
	} else {
		t.Logf("first:\n%s", first(failed))
	}
}

// unreached is in the response of an nginx that has no address of an instance: it has just started and has no answer of the DNS server yet,
// or the request was waiting for a connection while the address left DNS (docs/nginx.md).
const unreached = "nginx: no instance can be reached"

// nginxReplaced updates nginx itself. Each node's ports are closed for a while, so its clients cannot connect; some do, and get no response,
// perhaps from Docker's own proxy, which may hold the port between two tasks. No request fails that nginx has received, but for those that
// come before the new nginx has the instances' addresses, or that wait in the kernel to be accepted when the old one closes its listener,
// which resets them: of each at most one for each caller.
func nginxReplaced(t *testing.T) {
	deploy(t, "v1", "no-retries") // instances that drain
	updated(t, "whoami", "completed")
	l := start(t, nodes, 1, longCallers)
	deploy(t, "v1", "latest")
	took := updated(t, "nginx", "completed")
	failed := l.end(t, "update of nginx in "+took.Round(time.Second).String(), 3000)
	var broken []failure
	refused, silent, early, late := 0, 0, 0, 0
	for _, f := range failed {
		switch {
		case strings.Contains(f.text, "connect: "): // refused; no route to host
			refused++
		case strings.Contains(f.text, "Client.Timeout exceeded") || strings.Contains(f.text, "code = DeadlineExceeded"):
			silent++
		case strings.Contains(f.text, unreached):
			early++
		case strings.Contains(f.text, "with 0s of work") && strings.Contains(f.text, "connection reset by peer"): // A long one would have been accepted.
			late++
		default:
			broken = append(broken, f)
		}
	}
	t.Logf("%d could not connect, %d got no response, %d came before nginx had an address, %d when it closed, %d were broken off", refused, silent, early, late, len(broken))
	if max(early, late) > l.size {
		t.Errorf("%d came before nginx had an address, %d when it closed, want at most one for each of %d callers", early, late, l.size)
	}
	if len(broken) > 0 {
		t.Errorf("broken off, first:\n%s", first(broken))
	}
}

// cut takes one node off the network, with nginx's retries on, as shipped. Lost are at most the requests in flight at it, and those that wait
// for a connection to it while its addresses leave DNS: one for each caller.
func cut(t *testing.T) {
	deploy(t, "v1", "latest") // changes nothing, unless a test before it failed
	// As many as ensure that some run on each node: an update may leave two on one.
	docker(t, "service", "scale", "--detach", "trivet_whoami=6")
	await(t, "six instances and three nginx run", time.Minute, func() bool { return settled(t, 6, 3) })
	const lost = "node-3"
	gone := maps.Clone(instances(t))
	maps.DeleteFunc(gone, func(_, node string) bool { return node != lost })
	if len(gone) == 0 {
		t.Fatalf("no instance runs on %s: %s", lost, describe(t, "whoami"))
	}
	l := start(t, nodes[:2], 5, 0)
	await(t, "load reaches the node", time.Minute, func() bool { return l.sawAll(gone, 50) })
	link(t, lost, "down")
	at := time.Now()
	down := await(t, lost+" is down", 2*time.Minute, func() bool {
		return strings.HasPrefix(ask(t, "node", "inspect", "-f", "{{.Status.State}}", lost), "down")
	})
	again := await(t, "six instances run elsewhere", 2*time.Minute, func() bool {
		rest := instances(t)
		maps.DeleteFunc(rest, func(_, node string) bool { return node == lost })
		return len(rest) == 6 && l.sawAll(rest, 20)
	}) + down
	failed := l.end(t, "node cut: down after "+down.Round(time.Second).String()+", six instances elsewhere in use after "+again.Round(time.Second).String(), 3000)
	waiting := 0
	for i, f := range failed {
		if strings.Contains(f.text, unreached) {
			waiting++
		}
		if i < l.size {
			t.Logf("%v after the cut: %s", f.at.Sub(at).Round(time.Millisecond), f.text)
		}
	}
	t.Logf("%d failed in flight, %d while they waited for a connection", len(failed)-waiting, waiting)
	if len(failed)-waiting > l.size || waiting > l.size {
		t.Errorf("%d requests failed in flight and %d while they waited, want at most one each for %d callers", len(failed)-waiting, waiting, l.size)
	}
	for name := range gone {
		if late := l.last[name].Sub(at); late > time.Second {
			t.Errorf("%s answered %v after its node was cut off", name, late)
		}
	}
	link(t, lost, "up")
	back := await(t, lost+" is back", 2*time.Minute, func() bool {
		return strings.HasPrefix(ask(t, "node", "inspect", "-f", "{{.Status.State}}", lost), "ready") && settled(t, 6, 3)
	})
	t.Logf("%s is back after %v", lost, back.Round(time.Second))
}

// link sets a node's only link up or down.
func link(t *testing.T, node, state string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", "link", "set", node, state).CombinedOutput(); err != nil {
		t.Fatalf("ip link set %s %s: %v: %s", node, state, err, out)
	}
}
