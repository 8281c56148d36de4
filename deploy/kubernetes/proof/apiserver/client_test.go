package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// A client applies objects as `kubectl apply --server-side --validate=strict --warnings-as-errors` does.
type client struct {
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

func newClient(config *rest.Config) (*client, error) {
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return &client{d, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found))}, nil
}

// withoutVersion returns config for requests to any path of the apiserver.
func withoutVersion(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.GroupVersion, c.NegotiatedSerializer = &schema.GroupVersion{}, scheme.Codecs.WithoutConversion()
	return c
}

// resource returns where objects of o's kind in o's namespace are, as the apiserver describes its API.
func (c *client) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.dynamic.Resource(mapping.Resource), nil
	}
	return c.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
}

// apply applies o, only for show if dry. An unknown or repeated field and a warning are errors.
func (c *client) apply(ctx context.Context, o *unstructured.Unstructured, dry bool) (*unstructured.Unstructured, error) {
	resource, err := c.resource(o)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	options := metav1.PatchOptions{FieldManager: "proof", FieldValidation: metav1.FieldValidationStrict}
	if dry {
		options.DryRun = []string{metav1.DryRunAll}
	}
	collected := &collector{}
	applied, err := resource.Patch(context.WithValue(ctx, collectorKey{}, collected), o.GetName(), types.ApplyPatchType, text, options)
	if err := errors.Join(append(collected.warnings, err)...); err != nil {
		return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return applied, nil
}

// admitPod asks whether a pod from the template of workload would be admitted. Admission of a workload does not look at its pods: without
// this, a pod that its namespace refuses would show only as a Deployment that never gets one.
func (c *client) admitPod(ctx context.Context, workload *unstructured.Unstructured) error {
	template, found, err := unstructured.NestedMap(workload.Object, "spec", "template")
	if err != nil || !found {
		return err
	}
	pod := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(template)}
	pod.SetAPIVersion("v1")
	pod.SetKind("Pod")
	pod.SetName(workload.GetName() + "-pod")
	pod.SetNamespace(workload.GetNamespace())
	_, err = c.apply(ctx, pod, true)
	return err
}

// check applies o only for show, and a pod from its template.
func (c *client) check(ctx context.Context, o *unstructured.Unstructured) error {
	if _, err := c.apply(ctx, o, true); err != nil {
		return err
	}
	return c.admitPod(ctx, o)
}

// install applies CustomResourceDefinitions, and returns once objects of their kinds can be applied.
func (c *client) install(ctx context.Context, definitions []*unstructured.Unstructured) error {
	var kinds []schema.GroupKind
	for _, d := range definitions {
		if _, err := c.apply(ctx, d, false); err != nil {
			return err
		}
		if d.GetKind() == "CustomResourceDefinition" {
			group, _, _ := unstructured.NestedString(d.Object, "spec", "group")
			kind, _, _ := unstructured.NestedString(d.Object, "spec", "names", "kind")
			kinds = append(kinds, schema.GroupKind{Group: group, Kind: kind})
		}
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; c.mapper.Reset() {
		err := c.served(ctx, kinds)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("not served a minute after its definition: %w", err)
		}
	}
}

func (c *client) served(ctx context.Context, kinds []schema.GroupKind) error {
	for _, k := range kinds {
		mapping, err := c.mapper.RESTMapping(k)
		if err != nil {
			return err
		}
		if _, err := c.dynamic.Resource(mapping.Resource).List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
			return err
		}
	}
	return nil
}
