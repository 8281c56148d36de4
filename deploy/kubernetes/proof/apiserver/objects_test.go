package apiserver

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"trivet/deploy/kubernetes/proof/manifests"
)

// readTree reads the repository once for all tests.
var readTree = sync.OnceValues(func() (manifests.Tree, error) { return manifests.ReadTree("../../../..") })

// render returns the objects of an overlay with components, in the order in which kubectl applies them.
func render(t *testing.T, overlay string, components ...string) []*unstructured.Unstructured {
	t.Helper()
	tree, err := readTree()
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := tree.Render(overlay, components...)
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for _, r := range rendered {
		o := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(r.YAML), &o.Object); err != nil {
			t.Fatalf("%s %s: %v", r.Kind, r.Name, err)
		}
		objects = append(objects, o)
	}
	return objects
}

// published says which files of modules in crds/go.mod define the kinds of our components.
var published = map[string][]string{
	"sigs.k8s.io/gateway-api": {
		"config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
		"config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml",
		"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
	},
	"github.com/cert-manager/cert-manager": {
		"deploy/crds/cert-manager.io_certificates.yaml",
		"deploy/crds/cert-manager.io_issuers.yaml",
	},
	"github.com/prometheus-operator/prometheus-operator": {
		"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
	},
}

// definitions returns the published CustomResourceDefinitions.
func definitions(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	for module, names := range published {
		dir := download(t, module)
		for _, name := range names {
			objects = append(objects, read(t, filepath.Join(dir, name))...)
		}
	}
	return objects
}

// download returns the directory of a module in crds/go.mod, downloaded unless the module cache has it.
func download(t *testing.T, module string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	cmd.Dir = "crds"
	output, err := cmd.Output()
	var m struct{ Dir, Error string }
	if err := errors.Join(err, json.Unmarshal(output, &m)); err != nil || m.Dir == "" {
		t.Fatalf("go mod download %s: %v %s", module, err, m.Error)
	}
	return m.Dir
}

// read returns the objects in a file of YAML documents.
func read(t *testing.T, name string) []*unstructured.Unstructured {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var objects []*unstructured.Unstructured
	for decoder := apiyaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(o); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(o.Object) > 0 { // a document of comments alone is empty
			objects = append(objects, o)
		}
	}
}
