//go:build cluster

package cluster

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Each overlay runs: all its pods become ready, also under the Pod Security standard that prod's namespace enforces.
func TestEachOverlayRuns(t *testing.T) {
	for _, name := range []string{"dev", "qa", "prod"} {
		t.Run(name, func(t *testing.T) {
			in := "trivet-" + name
			t.Cleanup(func() {
				if name != "qa" {
					kubectlIn(t, in, "delete", "--kustomize", overlays+name, "--timeout=3m")
				}
			})
			kubectlIn(t, in, "apply", "--kustomize", overlays+name)
			if name == "prod" {
				// Without metrics the autoscaler only sees to its minimum: the Deployment names no number.
				eventually(t, time.Minute, "the autoscaler's minimum of instances", func() bool {
					minimum := kubectlIn(t, in, "get", "horizontalpodautoscaler/whoami", "--output", "jsonpath={.spec.minReplicas}")
					return minimum == kubectlIn(t, in, "get", "deployment/whoami", "--output", "jsonpath={.spec.replicas}")
				})
			}
			kubectlIn(t, in, "rollout", "status", "--timeout=3m", "deployment/whoami")
			kubectlIn(t, in, "rollout", "status", "--timeout=3m", "deployment/nginx")
			if enforced := kubectlIn(t, in, "get", "namespace", in, "--output", `jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`); enforced != "restricted" {
				t.Errorf("namespace %s enforces %q, want restricted", in, enforced)
			}
			// A pod that the standard forbids, to show that it is enforced.
			output, err := exec.CommandContext(t.Context(), "kubectl", "--namespace", in, "run", "forbidden", "--image=trivet-whoami").CombinedOutput()
			if err == nil || !strings.Contains(string(output), "violates PodSecurity") {
				t.Errorf("a pod without restrictions in %s: %v, %s; want it refused", in, err, output)
			}
		})
	}
}
