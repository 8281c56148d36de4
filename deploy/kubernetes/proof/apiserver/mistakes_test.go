package apiserver

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"trivet/deploy/kubernetes/proof/manifests"
)

// A mistake is a JSON patch of one object, and what the refusal must say.
type mistake struct {
	name, object, patch, want string
}

// pod and container are paths of a Deployment's.
const (
	pod       = "/spec/template/spec"
	container = pod + "/containers/0"
)

// mistakes are some that are easily made and that a decoder of YAML does not find, with the reason that the apiserver gives.
var mistakes = []mistake{
	// Fields and values that the API does not have.
	{"unknown field", "Deployment/whoami", set(pod+"/terminationGracePeriod", 45), `.spec.template.spec.terminationGracePeriod: field not declared in schema`},
	{"wrong type", "Deployment/whoami", set("/spec/replicas", "three"), `.spec.replicas: expected numeric (int or float), got string`},
	{"port name in a gRPC probe", "Deployment/whoami", set(container+"/readinessProbe/grpc/port", "grpc"), `readinessProbe.grpc.port: expected numeric`},
	{"bad quantity", "Deployment/whoami", set(container+"/resources/requests/cpu", "20mm"), "unable to parse quantity's suffix"},
	{"request above limit", "Deployment/whoami", set(container+"/resources/requests/memory", "1Gi"), "must be less than or equal to memory limit"},
	{"removed API", "PodDisruptionBudget/whoami", set("/apiVersion", "policy/v1beta1"), `no matches for kind "PodDisruptionBudget" in version "policy/v1beta1"`},
	{"misspelled policy", "Deployment/whoami", set(container+"/imagePullPolicy", "IfNotpresent"), `supported values: "Always", "IfNotPresent", "Never"`},
	{"field of no pod", "Deployment/whoami", set(container+"/env/0/valueFrom", map[string]any{"fieldRef": map[string]any{"fieldPath": "spec.nodename"}}), "field label not supported: spec.nodename"},
	{"duplicate port", "Deployment/nginx", add(container+"/ports/-", map[string]any{"name": "again", "containerPort": 8080}), "duplicate entries for key"},
	{"duplicate name of a variable", "Deployment/whoami", add(container+"/env/-", map[string]any{"name": "INSTANCE", "value": "whoami"}), "duplicate entries for key"},
	{"port name too long", "Deployment/whoami", set(container+"/ports/0/name", "http-of-instances"), "must be no more than 15 characters"},
	{"label value with a space", "Deployment/whoami", set("/metadata/labels/app.kubernetes.io~1version", "1 2"), "a valid label must be"},

	// What contradicts something else.
	{"selector unlike labels", "Deployment/whoami", set("/spec/selector/matchLabels", map[string]any{"app.kubernetes.io/name": "front"}), "`selector` does not match template `labels`"},
	{"no surge and none unavailable", "Deployment/whoami", set("/spec/strategy/rollingUpdate", map[string]any{"maxSurge": 0, "maxUnavailable": 0}), "may not be 0 when `maxSurge` is 0"},
	{"sleep below zero", "Deployment/whoami", set(container+"/lifecycle/preStop/sleep/seconds", -1), "must be non-negative and less than terminationGracePeriodSeconds"},
	{"sleep beyond grace", "Deployment/whoami", set(container+"/lifecycle/preStop/sleep/seconds", 60), "must be non-negative and less than terminationGracePeriodSeconds"},
	{"sleep beyond grace of nginx", "Deployment/nginx", set(pod+"/terminationGracePeriodSeconds", 5), "must be non-negative and less than terminationGracePeriodSeconds"},
	{"mount without volume", "Deployment/nginx", set(container+"/volumeMounts/0/name", "etc"), `volumeMounts[0].name: Not found: "etc"`},
	{"disruption budget with both bounds", "PodDisruptionBudget/whoami", set("/spec/minAvailable", 1), "minAvailable and maxUnavailable cannot be both set"},
	{"autoscaler with min above max", "HorizontalPodAutoscaler/whoami", set("/spec/minReplicas", 1000), "must be greater than or equal to `minReplicas`"},
	{"spread with skew 0", "Deployment/whoami", set(pod+"/topologySpreadConstraints/0/maxSkew", 0), "maxSkew: Invalid value: 0: must be greater than zero"},
	{"spread with unknown policy", "Deployment/whoami", set(pod+"/topologySpreadConstraints/0/whenUnsatisfiable", "Schedule"), `supported values: "DoNotSchedule", "ScheduleAnyway"`},
	{"service without address and with a load balancer", "Service/whoami-headless", set("/spec/type", "LoadBalancer"), "may not be set to 'None' for LoadBalancer services"},
	{"two ports of one number", "Service/whoami", set("/spec/ports/1/port", 8000), "duplicate entries for key"},
	{"unnamed ports", "Service/whoami", remove("/spec/ports/0/name"), "spec.ports[0].name: Required value"},
	{"policy with half a network", "NetworkPolicy/instances", add("/spec/ingress/-", map[string]any{"from": []any{map[string]any{"ipBlock": map[string]any{"cidr": "10.0.0.0"}}}}), "must be a valid CIDR value"},

	// Gateway API.
	{"negative weight", "GRPCRoute/whoami", set("/spec/rules/0/backendRefs/0/weight", -5), "should be greater than or equal to 0"},
	{"empty service in a match", "GRPCRoute/whoami", set("/spec/rules/0/matches", []any{map[string]any{"method": map[string]any{"type": "Exact", "service": ""}}}), "service must only contain valid characters"},
	{"relative path", "HTTPRoute/whoami", set("/spec/rules/0/matches", []any{map[string]any{"path": map[string]any{"type": "PathPrefix", "value": "v1"}}}), "must be an absolute path and start with '/'"},
	{"backend without port", "HTTPRoute/whoami", remove("/spec/rules/0/backendRefs/0/port"), "Must have port for Service reference"},

	// cert-manager and the Prometheus operator.
	{"unknown kind of key", "Certificate/nginx-edge", set("/spec/privateKey/algorithm", "DSA"), `supported values: "RSA", "ECDSA", "Ed25519"`},
	{"certificate without secret", "Certificate/nginx-edge", remove("/spec/secretName"), "spec.secretName: Required value"},
	{"unknown field of an endpoint", "ServiceMonitor/instances", set("/spec/endpoints/0/period", "15s"), ".spec.endpoints[0].period: field not declared in schema"},
	{"bad interval", "ServiceMonitor/instances", set("/spec/endpoints/0/interval", "15 s"), "spec.endpoints[0].interval"},

	// What the namespace's Pod Security level forbids.
	{"root", "Deployment/nginx", set(pod+"/securityContext", map[string]any{"runAsUser": 0, "seccompProfile": map[string]any{"type": "RuntimeDefault"}}), "runAsUser=0"},
	{"privileged", "Deployment/whoami", set(container+"/securityContext", map[string]any{"privileged": true}), `privileged (container "whoami" must not set securityContext.privileged=true)`},
	{"escalation", "Deployment/whoami", set(container+"/securityContext/allowPrivilegeEscalation", true), "allowPrivilegeEscalation != false"},
	{"capabilities", "Deployment/nginx", remove(container + "/securityContext/capabilities"), `must set securityContext.capabilities.drop=["ALL"]`},
	{"seccomp off", "Deployment/whoami", set(pod+"/securityContext/seccompProfile/type", "Unconfined"), `must not set securityContext.seccompProfile.type to "Unconfined"`},
	{"directory of the node", "Deployment/nginx", replace(pod+"/volumes/1", map[string]any{"name": "conf", "hostPath": map[string]any{"path": "/etc"}}), `uses restricted volume type "hostPath"`},
	{"network of the node", "Deployment/nginx", set(pod+"/hostNetwork", true), "hostNetwork=true"},
}

func set(path string, value any) string     { return patch("add", path, value) }
func add(path string, value any) string     { return patch("add", path, value) }
func replace(path string, value any) string { return patch("replace", path, value) }
func remove(path string) string             { return patch("remove", path, nil) }

func patch(op, path string, value any) string {
	text, err := json.Marshal([]map[string]any{{"op": op, "path": path, "value": value}})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// TestMistakesAreRefused makes each mistake in an object of the overlay prod with components, which is accepted as it is.
func TestMistakesAreRefused(t *testing.T) {
	installDefinitions(t)
	const namespace = "mistakes" // where nothing is applied, so that no refusal is about a change
	objects := map[string]*unstructured.Unstructured{}
	for _, o := range render(t, "prod", "gateway-api", "service-monitor", "tls") {
		if o.GetKind() == "Namespace" {
			o.SetName(namespace)
			createNamespaces(t, []*unstructured.Unstructured{o})
		}
		o.SetNamespace(namespace)
		objects[o.GetKind()+"/"+o.GetName()] = o
	}
	if len(mistakes) < 18 {
		t.Fatalf("%d mistakes", len(mistakes))
	}
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			good := objects[m.object]
			if good == nil {
				t.Fatalf("no %s", m.object)
			}
			if err := api.check(t.Context(), good); err != nil {
				t.Fatalf("refused without the mistake: %v", err)
			}
			bad, err := patched(good, m.patch)
			if err != nil {
				t.Fatal(err)
			}
			err = api.check(t.Context(), bad)
			if err == nil {
				t.Fatal("accepted")
			}
			if t.Log(err); !strings.Contains(err.Error(), m.want) {
				t.Errorf("refused, but not for %q", m.want)
			}
		})
	}
}

// TestNamespacesAreRestricted asks for a pod with the node's network in the namespace of each overlay.
func TestNamespacesAreRestricted(t *testing.T) {
	for _, overlay := range manifests.Overlays {
		objects := render(t, overlay)
		createNamespaces(t, objects)
		n := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
		bad, err := patched(objects[n], set(pod+"/hostNetwork", true))
		if err != nil {
			t.Fatal(err)
		}
		if err := api.admitPod(t.Context(), bad); err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted:latest"`) {
			t.Errorf("%s: %v", overlay, err)
		}
	}
}

func patched(o *unstructured.Unstructured, patch string) (*unstructured.Unstructured, error) {
	p, err := jsonpatch.DecodePatch([]byte(patch))
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	if text, err = p.Apply(text); err != nil {
		return nil, fmt.Errorf("patch %s: %w", patch, err)
	}
	bad := &unstructured.Unstructured{}
	return bad, json.Unmarshal(text, bad)
}
