package manifests

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// stack is all objects of an overlay, decoded, with what they are compared with.
type stack struct {
	tree    Tree
	overlay string
	objects []runtime.Object
}

// foreign are kinds whose types are in no module of this one: those of cert-manager and of the Prometheus operator would raise the
// versions of Kubernetes' modules. Checks read the fields that others depend on, so a misspelled one of these is found.
var foreign = []string{"Certificate", "Issuer", "ServiceMonitor"}

// decode reads objects by their Go types; an unknown or repeated field, and a value of another type, is an error.
func decode(objects []Object) (decoded []runtime.Object, errs []error) {
	types := runtime.NewScheme()
	if err := scheme.AddToScheme(types); err != nil {
		return nil, []error{err}
	}
	if err := gatewayv1.Install(types); err != nil {
		return nil, []error{err}
	}
	decoder := serializer.NewCodecFactory(types, serializer.EnableStrict).UniversalDeserializer()
	for _, o := range objects {
		if slices.Contains(foreign, o.Kind) {
			var fields map[string]any
			if err := yaml.UnmarshalStrict([]byte(o.YAML), &fields); err != nil {
				errs = append(errs, fmt.Errorf("%s %s: %w", o.Kind, o.Name, err))
				continue
			}
			decoded = append(decoded, &unstructured.Unstructured{Object: fields})
			continue
		}
		object, _, err := decoder.Decode([]byte(o.YAML), nil, nil)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", o.Kind, o.Name, err))
			continue
		}
		decoded = append(decoded, object)
	}
	return decoded, errs
}

// of are the objects of one type.
func of[T runtime.Object](s *stack) (all []T) {
	for _, o := range s.objects {
		if typed, ok := o.(T); ok {
			all = append(all, typed)
		}
	}
	return all
}

// named is the object of a type and name, nil if there is none.
func named[T interface {
	runtime.Object
	comparable
	GetName() string
}](s *stack, name string) T {
	for _, o := range of[T](s) {
		if o.GetName() == name {
			return o
		}
	}
	var none T
	return none
}

// others are the objects of a foreign kind.
func (s *stack) others(kind string) (all []*unstructured.Unstructured) {
	for _, o := range of[*unstructured.Unstructured](s) {
		if o.GetKind() == kind {
			all = append(all, o)
		}
	}
	return all
}

// selected are the Deployments whose pods a selector matches.
func (s *stack) selected(selector *metav1.LabelSelector) (all []*appsv1.Deployment) {
	matches, err := metav1.LabelSelectorAsSelector(selector)
	for _, d := range of[*appsv1.Deployment](s) {
		if err == nil && matches.Matches(labels.Set(d.Spec.Template.Labels)) {
			all = append(all, d)
		}
	}
	return all
}

// instances are the Deployments of services, which nginx balances.
func (s *stack) instances() (all []*appsv1.Deployment) {
	for _, d := range of[*appsv1.Deployment](s) {
		if d.Spec.Template.Labels["app.kubernetes.io/component"] == "instance" {
			all = append(all, d)
		}
	}
	return all
}

// container is the only container of a Deployment; the zero value if there is not exactly one, which is reported elsewhere.
func container(d *appsv1.Deployment) corev1.Container {
	if len(d.Spec.Template.Spec.Containers) != 1 {
		return corev1.Container{}
	}
	return d.Spec.Template.Spec.Containers[0]
}

// port is the number of a container's named port, 0 if there is none.
func port(c corev1.Container, name string) int32 {
	for _, p := range c.Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	return 0
}

// environment is what a container's variables are: those of ConfigMaps, then its own. A value that Kubernetes fills in is "".
func (s *stack) environment(c corev1.Container) map[string]string {
	all := map[string]string{}
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			if m := named[*corev1.ConfigMap](s, from.ConfigMapRef.Name); m != nil {
				for name, value := range m.Data {
					all[from.Prefix+name] = value
				}
			}
		}
	}
	for _, e := range c.Env {
		all[e.Name] = e.Value
		if from := e.ValueFrom; from != nil && from.ConfigMapKeyRef != nil {
			if m := named[*corev1.ConfigMap](s, from.ConfigMapKeyRef.Name); m != nil {
				all[e.Name] = m.Data[from.ConfigMapKeyRef.Key]
			}
		}
	}
	return all
}
