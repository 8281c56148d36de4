package manifests

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// peer is a pod that connects, by its labels, in the stack's namespace or that of another; the zero value is outside of the cluster.
type peer struct {
	name      string
	namespace string // "" is the stack's own
	labels    map[string]string
}

// checkNetwork evaluates the policies as a network plugin would: which connections they admit.
func checkNetwork(s *stack) []error {
	var p problems
	gateway := peer{name: "the Gateway", labels: map[string]string{"gateway.networking.k8s.io/gateway-name": "trivet"}}
	outside := peer{name: "a client outside"}
	monitoring := peer{name: "the namespace monitoring", namespace: "monitoring", labels: map[string]string{"app": "prometheus"}}
	intruder := peer{name: "another namespace", namespace: "default", labels: map[string]string{"app.kubernetes.io/name": "nginx", "app.kubernetes.io/component": "instance"}}
	peers := []peer{outside, monitoring, intruder, gateway}
	for _, d := range of[*appsv1.Deployment](s) {
		peers = append(peers, peer{name: d.Name, labels: d.Spec.Template.Labels})
	}
	hasGateway := len(s.gateways()) > 0
	for _, d := range of[*appsv1.Deployment](s) {
		for _, at := range container(d).Ports {
			for _, from := range peers {
				needed := d.Name == "nginx" && at.Name != "admin" || at.Name != "admin" && (from.name == "nginx" || from.name == gateway.name && hasGateway) ||
					at.Name == "admin" && from.name == monitoring.name
				admitted := s.admits(from, d, at.Name)
				// What is not needed is refused in prod alone.
				if needed && !admitted || !needed && admitted && s.overlay == "prod" {
					p.add("NetworkPolicies admit %s to port %s of %s: %v, want %v", from.name, at.Name, d.Name, admitted, needed)
				}
			}
		}
	}
	return p
}

func (s *stack) gateways() (names []string) {
	for _, o := range s.objects {
		if kind := o.GetObjectKind().GroupVersionKind().Kind; kind == "Gateway" {
			names = append(names, kind)
		}
	}
	return names
}

// admits reports whether a connection passes: if no policy selects the pod, or one that does has a rule for it.
func (s *stack) admits(from peer, to *appsv1.Deployment, port string) bool {
	selected := false
	for _, policy := range of[*networkingv1.NetworkPolicy](s) {
		if !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) || !matches(&policy.Spec.PodSelector, to.Spec.Template.Labels) {
			continue
		}
		selected = true
		for _, rule := range policy.Spec.Ingress {
			ports := len(rule.Ports) == 0 || slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool {
				return p.Port == nil || p.Port.String() == port || p.Port.String() == fmt.Sprint(number(to, port))
			})
			if ports && (len(rule.From) == 0 || slices.ContainsFunc(rule.From, from.is)) {
				return true
			}
		}
	}
	return !selected
}

func number(d *appsv1.Deployment, name string) int32 { return port(container(d), name) }

// is reports whether a rule's peer is this one. An ipBlock counts as everything.
func (f peer) is(rule networkingv1.NetworkPolicyPeer) bool {
	if rule.IPBlock != nil {
		return true
	}
	if f.labels == nil {
		return false
	}
	if rule.NamespaceSelector == nil {
		return f.namespace == "" && matches(rule.PodSelector, f.labels)
	}
	namespace := map[string]string{"kubernetes.io/metadata.name": f.namespace}
	return matches(rule.NamespaceSelector, namespace) && (rule.PodSelector == nil || matches(rule.PodSelector, f.labels))
}

func matches(selector *metav1.LabelSelector, set map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(set))
}
