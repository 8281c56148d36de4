package manifests

import (
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// checkKinds refuses objects that no other check looks at, like those of an old version of their API.
func checkKinds(s *stack) []error {
	var p problems
	for _, o := range s.objects {
		switch o.(type) {
		case *appsv1.Deployment, *autoscalingv2.HorizontalPodAutoscaler, *corev1.ConfigMap, *corev1.Namespace, *corev1.Service, *networkingv1.NetworkPolicy,
			*policyv1.PodDisruptionBudget, *gatewayv1.Gateway, *gatewayv1.HTTPRoute, *gatewayv1.GRPCRoute, *unstructured.Unstructured:
		default:
			p.add("%s is of no kind that checks know", o.GetObjectKind().GroupVersionKind())
		}
	}
	return p
}

// checkNamespace checks that all objects are in the overlay's namespace, which comes first and admits restricted pods alone.
func checkNamespace(s *stack) []error {
	var p problems
	want := "trivet-" + s.overlay
	for i, o := range s.objects {
		n, isNamespace := o.(*corev1.Namespace)
		switch {
		case isNamespace != (i == 0):
			p.add("object %d: want one Namespace, before everything in it", i)
		case isNamespace:
			if level := n.Labels["pod-security.kubernetes.io/enforce"]; n.Name != want || level != "restricted" {
				p.add("Namespace %s admits %q pods: want %s, restricted", n.Name, level, want)
			}
		default:
			if m, ok := o.(metav1.Object); !ok || m.GetNamespace() != want {
				p.add("%s %s is in namespace %q: want %s", o.GetObjectKind().GroupVersionKind().Kind, m.GetName(), m.GetNamespace(), want)
			}
		}
	}
	return p
}

// keys are the keys of all ConfigMaps, by "ConfigMap NAME", and of the Secrets that certificates are written to, by "Secret NAME".
func (s *stack) keys() map[string][]string {
	all := map[string][]string{}
	for _, m := range of[*corev1.ConfigMap](s) {
		all["ConfigMap "+m.Name] = slices.Sorted(maps.Keys(m.Data))
	}
	for _, c := range s.others("Certificate") {
		name, _, _ := unstructured.NestedString(c.Object, "spec", "secretName")
		keys := []string{"ca.crt", "tls.crt", "tls.key"}
		formats, _, _ := unstructured.NestedSlice(c.Object, "spec", "additionalOutputFormats")
		for _, f := range formats {
			if m, ok := f.(map[string]any); ok && m["type"] == "CombinedPEM" {
				keys = append(keys, "tls-combined.pem")
			}
		}
		all["Secret "+name] = keys
	}
	return all
}

// checkData checks that the ConfigMaps and Secrets that pods refer to exist, with the keys that they refer to, and that each is used.
func checkData(s *stack) []error {
	var p problems
	exist := s.keys()
	used := map[string]bool{}
	refer := func(from, to string, keys ...string) {
		used[to] = true
		have, ok := exist[to]
		if !ok {
			p.add("%s refers to %s, which is not there", from, to)
			return
		}
		for _, key := range keys {
			if !slices.Contains(have, key) {
				p.add("%s refers to key %s of %s, which has %s", from, key, to, strings.Join(have, " "))
			}
		}
	}
	for _, d := range of[*appsv1.Deployment](s) {
		from := "Deployment " + d.Name
		c := container(d)
		for _, e := range c.EnvFrom {
			if e.ConfigMapRef != nil {
				refer(from, "ConfigMap "+e.ConfigMapRef.Name)
			}
		}
		for _, e := range c.Env {
			if v := e.ValueFrom; v != nil && v.ConfigMapKeyRef != nil {
				refer(from, "ConfigMap "+v.ConfigMapKeyRef.Name, v.ConfigMapKeyRef.Key)
			}
		}
		for _, v := range d.Spec.Template.Spec.Volumes {
			if v.Secret != nil {
				refer(from, "Secret "+v.Secret.SecretName, itemKeys(v.Secret.Items)...)
			}
			if v.Projected == nil {
				continue
			}
			for _, source := range v.Projected.Sources {
				if m := source.ConfigMap; m != nil {
					refer(from, "ConfigMap "+m.Name, itemKeys(m.Items)...)
				}
				if m := source.Secret; m != nil {
					refer(from, "Secret "+m.Name, itemKeys(m.Items)...)
				}
			}
		}
	}
	// Instances of front may not be there, and the authority is for its issuer alone.
	for name := range exist {
		if !used[name] && name != "Secret front-mesh" && name != "Secret mesh-authority" {
			p.add("%s is not used", name)
		}
	}
	return p
}

func itemKeys(items []corev1.KeyToPath) (keys []string) {
	for _, i := range items {
		keys = append(keys, i.Key)
	}
	return keys
}

// checkVolumes checks that each mount has its volume, and that no volume with contents is left out.
func checkVolumes(s *stack) []error {
	var p problems
	for _, d := range of[*appsv1.Deployment](s) {
		mounts := map[string]bool{}
		paths := map[string]bool{}
		for _, m := range container(d).VolumeMounts {
			mounts[m.Name] = true
			if paths[m.MountPath] {
				p.add("Deployment %s mounts %s twice", d.Name, m.MountPath)
			}
			paths[m.MountPath] = true
		}
		for _, v := range d.Spec.Template.Spec.Volumes {
			empty := v.Projected != nil && len(v.Projected.Sources) == 0
			if mounts[v.Name] == empty {
				p.add("Deployment %s: volume %s is mounted %v, and empty %v", d.Name, v.Name, mounts[v.Name], empty)
			}
			delete(mounts, v.Name)
		}
		for name := range mounts {
			p.add("Deployment %s mounts %s, which is no volume of it", d.Name, name)
		}
	}
	return p
}

// checkSelectors checks that what selects pods selects those that it is named after.
func checkSelectors(s *stack) []error {
	var p problems
	only := func(what, name string, selector *metav1.LabelSelector) {
		found := s.selected(selector)
		if len(found) != 1 || found[0].Name != strings.TrimSuffix(name, "-headless") {
			p.add("%s %s selects the pods of %d Deployments: want those of its own alone", what, name, len(found))
		}
	}
	for _, d := range of[*appsv1.Deployment](s) {
		only("Deployment", d.Name, d.Spec.Selector)
		for _, c := range d.Spec.Template.Spec.TopologySpreadConstraints {
			only("the topology spread of Deployment", d.Name, c.LabelSelector)
		}
		if named[*corev1.Service](s, d.Name) == nil && d.Name == "nginx" {
			p.add("Deployment %s has no Service", d.Name)
		}
	}
	for _, b := range of[*policyv1.PodDisruptionBudget](s) {
		only("PodDisruptionBudget", b.Name, b.Spec.Selector)
	}
	for _, h := range of[*autoscalingv2.HorizontalPodAutoscaler](s) {
		target := h.Spec.ScaleTargetRef
		if target.Kind != "Deployment" || target.APIVersion != "apps/v1" || named[*appsv1.Deployment](s, target.Name) == nil {
			p.add("HorizontalPodAutoscaler %s scales %s %s, which is not there", h.Name, target.Kind, target.Name)
		}
	}
	for _, v := range of[*corev1.Service](s) {
		selector := &metav1.LabelSelector{MatchLabels: v.Spec.Selector}
		if v.Name == "instances-admin" {
			if len(s.selected(selector)) != len(s.instances()) {
				p.add("Service %s does not select all instances", v.Name)
			}
			continue
		}
		only("Service", v.Name, selector)
	}
	return append(p, s.monitors()...)
}

// monitors checks what Prometheus' operator follows: from a ServiceMonitor to a Service and its port.
func (s *stack) monitors() []error {
	var p problems
	for _, m := range s.others("ServiceMonitor") {
		want, _, _ := unstructured.NestedStringMap(m.Object, "spec", "selector", "matchLabels")
		endpoints, _, _ := unstructured.NestedSlice(m.Object, "spec", "endpoints")
		found := 0
		for _, v := range of[*corev1.Service](s) {
			if len(want) == 0 || !maps.Equal(want, v.Labels) && !contains(v.Labels, want) {
				continue
			}
			found++
			for _, e := range endpoints {
				fields, _ := e.(map[string]any)
				if !slices.ContainsFunc(v.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == fields["port"] }) || fields["path"] != "/metrics" {
					p.add("ServiceMonitor %s scrapes %v at port %v of Service %s, which serves no metrics there", m.GetName(), fields["path"], fields["port"], v.Name)
				}
			}
		}
		if found != 1 || len(endpoints) == 0 {
			p.add("ServiceMonitor %s selects %d Services and has %d endpoints: want one Service", m.GetName(), found, len(endpoints))
		}
	}
	return p
}

// contains reports whether labels has all of some.
func contains(labels, some map[string]string) bool {
	for name, value := range some {
		if labels[name] != value {
			return false
		}
	}
	return true
}

// checkTargets checks that each port of a Service leads to a named port of the pods: of the same name and, but for the admin listeners,
// which differ between services, of the same number.
func checkTargets(s *stack) []error {
	var p problems
	for _, v := range of[*corev1.Service](s) {
		for _, d := range s.selected(&metav1.LabelSelector{MatchLabels: v.Spec.Selector}) {
			for _, at := range v.Spec.Ports {
				number := port(container(d), at.TargetPort.StrVal)
				if at.TargetPort.Type != intstr.String || at.Name != at.TargetPort.StrVal || number == 0 {
					p.add("Service %s: port %s leads to %s, which is no port of Deployment %s", v.Name, at.Name, at.TargetPort.String(), d.Name)
				} else if number != at.Port && at.Name != "admin" {
					p.add("Service %s: port %s is %d, but %d in Deployment %s", v.Name, at.Name, at.Port, number, d.Name)
				}
			}
		}
	}
	return p
}
