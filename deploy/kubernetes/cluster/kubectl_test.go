//go:build cluster

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// namespace is the one that the tests load: qa's, where records go to standard output.
const namespace = "trivet-qa"

const overlays = "../overlays/"

func try(ctx context.Context, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, "kubectl", args...)
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// kubectl runs kubectl in the namespace of the tests.
func kubectl(t testing.TB, args ...string) string {
	t.Helper()
	return kubectlIn(t, namespace, args...)
}

func kubectlIn(t testing.TB, namespace string, args ...string) string {
	t.Helper()
	output, err := try(context.WithoutCancel(t.Context()), append([]string{"--namespace", namespace}, args...)...) // cleanups use it
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// get decodes an object, or a list of them, into to.
func get(t testing.TB, to any, args ...string) {
	t.Helper()
	if err := json.Unmarshal([]byte(kubectl(t, append([]string{"get", "--output", "json"}, args...)...)), to); err != nil {
		t.Fatal(err)
	}
}

type metadata struct {
	Name              string
	DeletionTimestamp string
	Labels            map[string]string
}

type condition struct {
	Type, Status       string
	LastTransitionTime time.Time // to the second
}

type pod struct {
	Metadata metadata
	Spec     struct{ NodeName string }
	Status   struct {
		Phase, PodIP string
		Conditions   []condition
	}
}

// ready is when the pod became ready.
func (p pod) ready() time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.LastTransitionTime
		}
	}
	return time.Time{}
}

func is(conditions []condition, kind string) bool {
	for _, c := range conditions {
		if c.Type == kind {
			return c.Status == "True"
		}
	}
	return false
}

// pods returns the ready pods of a Deployment that are not being deleted.
func pods(t testing.TB, name string) (ready []pod) {
	t.Helper()
	var list struct{ Items []pod }
	get(t, &list, "pods", "--selector", "app.kubernetes.io/name="+name)
	for _, p := range list.Items {
		if p.Metadata.DeletionTimestamp == "" && is(p.Status.Conditions, "Ready") {
			ready = append(ready, p)
		}
	}
	return ready
}

// on counts pods by node.
func on(pods []pod) map[string]int {
	count := map[string]int{}
	for _, p := range pods {
		count[p.Spec.NodeName]++
	}
	return count
}

// nodes returns the addresses of the nodes by name.
func nodes(t testing.TB) map[string]string {
	t.Helper()
	var list struct {
		Items []struct {
			Metadata metadata
			Status   struct {
				Addresses []struct{ Type, Address string }
			}
		}
	}
	get(t, &list, "nodes")
	found := map[string]string{}
	for _, n := range list.Items {
		for _, a := range n.Status.Addresses {
			if a.Type == "InternalIP" {
				found[n.Metadata.Name] = a.Address
			}
		}
	}
	if len(found) < 3 {
		t.Fatalf("the cluster has nodes %v, the tests need three", found)
	}
	return found
}

// entry returns where a client outside the cluster reaches nginx through a node.
func entry(t testing.TB, node string) (http, grpc string) {
	t.Helper()
	var service struct {
		Spec struct {
			Ports []struct {
				Name     string
				NodePort int
			}
		}
	}
	get(t, &service, "service", "nginx")
	ports := map[string]string{}
	for _, p := range service.Spec.Ports {
		ports[p.Name] = net.JoinHostPort(nodes(t)[node], fmt.Sprint(p.NodePort))
	}
	return ports["http"], ports["grpc"]
}

// rolledOut waits until a Deployment is rolled out, and until nothing of the one before is left.
func rolledOut(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		kubectl(t, "rollout", "status", "--timeout=3m", "deployment/"+name)
		eventually(t, 2*time.Minute, "old pods of "+name+" are gone", func() bool {
			var list struct{ Items []pod }
			get(t, &list, "pods", "--selector", "app.kubernetes.io/name="+name)
			return len(list.Items) == len(pods(t, name))
		})
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, within time.Duration, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(300 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(within); !condition(); <-ticker.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// stack brings the stack into its normal state: three instances on three nodes, two of nginx.
func stack(t testing.TB) {
	t.Helper()
	kubectl(t, "apply", "--kustomize", overlays+"qa")
	for node := range nodes(t) {
		kubectl(t, "uncordon", node)
	}
	rolledOut(t, "whoami", "nginx")
	if spread := on(pods(t, "whoami")); len(spread) < 3 {
		kubectl(t, "rollout", "restart", "deployment/whoami")
		rolledOut(t, "whoami")
	}
	if spread := on(pods(t, "nginx")); len(spread) < 2 {
		kubectl(t, "rollout", "restart", "deployment/nginx")
		rolledOut(t, "nginx")
	}
	settle(t, 3)
}

// settle waits until nginx sends requests to n instances and no others.
func settle(t testing.TB, n int) {
	t.Helper()
	address, _ := entry(t, anyNode(t))
	send, last := httpSender(address, 0, true), ""
	defer func() {
		if t.Failed() {
			t.Logf("last look at nginx by %s: %s", address, last)
		}
	}()
	eventually(t, time.Minute, fmt.Sprintf("nginx sends requests to the %d instances", n), func() bool {
		seen := map[string]bool{}
		for range 8 * n { // fresh connections reach every nginx
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Second)
			instance, err := send(ctx)
			cancel()
			if err != nil {
				last = err.Error()
				return false
			}
			seen[instance] = true
		}
		ready := names(pods(t, "whoami"))
		last = fmt.Sprintf("responses of %v, ready are %v", seen, ready)
		return len(seen) == n && maps.Equal(seen, ready)
	})
}

func anyNode(t testing.TB) string {
	for node := range nodes(t) {
		return node
	}
	return ""
}

// link cuts a node off the network ("down") or connects it again ("up").
func link(t testing.TB, node, state string) {
	t.Helper()
	program := os.Getenv("TRIVET_LINK")
	if program == "" {
		t.Fatal("set TRIVET_LINK to a program that cuts a node off: it is called with NODE down and NODE up (README.md)")
	}
	if output, err := exec.CommandContext(context.WithoutCancel(t.Context()), program, node, state).CombinedOutput(); err != nil {
		t.Fatalf("%s %s %s: %v: %s", program, node, state, err, output)
	}
}
