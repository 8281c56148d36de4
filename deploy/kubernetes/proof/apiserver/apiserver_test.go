package apiserver

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"trivet/deploy/kubernetes/proof/manifests"
)

// api is the client of the server that all tests share.
var api *client

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "trivet-apiserver-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	s, err := startServer(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		printEnd(dir)
		return 1
	}
	code := 1
	if api, err = newClient(s.config); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if err := s.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop:", err)
		printEnd(dir)
		return 1
	}
	return code
}

// printEnd prints the last lines of the log, which say why the server did not do what it should.
func printEnd(dir string) {
	cmd := exec.Command("tail", "-n", "30", dir+"/log")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Run()
}

// TestOverlaysAreAccepted applies each overlay as rendered, in its order, and a second time: that must change nothing, or each apply would
// restart or scale something.
func TestOverlaysAreAccepted(t *testing.T) {
	for _, overlay := range manifests.Overlays {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			for _, o := range render(t, overlay) {
				first, err := api.apply(t.Context(), o, false)
				if err != nil {
					t.Error(err)
					continue
				}
				second, err := api.apply(t.Context(), o, false)
				if err != nil {
					t.Errorf("again: %v", err)
				} else if a, b := first.GetResourceVersion(), second.GetResourceVersion(); a != b {
					t.Errorf("%s %s: applied again it changes", o.GetKind(), o.GetName())
				}
				if err := api.admitPod(t.Context(), o); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestComponentsAreAccepted adds each component to each overlay, and all that work together: gateway-api and mtls do not.
func TestComponentsAreAccepted(t *testing.T) {
	installDefinitions(t)
	rows := [][]string{{"front", "gateway-api", "service-monitor", "tls"}, {"front", "service-monitor", "tls", "mtls"}}
	for _, c := range manifests.Components {
		rows = append(rows, []string{c})
	}
	for _, overlay := range manifests.Overlays {
		createNamespaces(t, render(t, overlay))
		for _, components := range rows {
			t.Run(overlay+" with "+strings.Join(components, " "), func(t *testing.T) {
				t.Parallel()
				for _, o := range render(t, overlay, components...) {
					if err := api.check(t.Context(), o); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// installed is whether a test has installed definitions already.
var installed sync.Once

// installDefinitions installs what components need that Kubernetes itself does not have.
func installDefinitions(t *testing.T) {
	t.Helper()
	installed.Do(func() {
		if err := api.install(t.Context(), definitions(t)); err != nil {
			t.Fatal(err)
		}
	})
}

// createNamespaces creates the namespaces among objects. A dry run would leave none in which the others could be.
func createNamespaces(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() == "Namespace" {
			if _, err := api.apply(t.Context(), o, false); err != nil {
				t.Fatal(err)
			}
		}
	}
}
