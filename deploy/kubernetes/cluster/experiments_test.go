//go:build cluster

package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The experiments of the catalog whose target is Kubernetes, with their own expectations and their own controls; and one that carries out the
// actions that they do not.
func TestExperimentsPass(t *testing.T) {
	files, err := filepath.Glob("../../../experiments/targets/k8s-*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("experiments %v, %v; want at least two", files, err)
	}
	program, err := filepath.Abs("../../../bin/trivet")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "testdata/actions.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			stack(t)
			command := exec.CommandContext(t.Context(), program, "run", "--target", "k8s:"+namespace, file)
			command.Stdout, command.Stderr = os.Stdout, os.Stderr
			if err := command.Run(); err != nil {
				t.Errorf("trivet run: %v; its report is above", err)
			}
		})
	}
}
