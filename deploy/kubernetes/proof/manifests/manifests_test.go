package manifests

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the root of the repository.
const root = "../../../.."

func readTree(t *testing.T) Tree {
	t.Helper()
	tree, err := ReadTree(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// combinations are sets of components that work together: in each overlay none, and all but one of the two that exclude each other; in
// prod, where most objects are, also each by itself, and an order in which certificates of another are mounted.
func combinations(overlay string) [][]string {
	all := [][]string{nil, {"front", "service-monitor", "tls", "mtls"}, {"front", "gateway-api", "service-monitor", "tls"}}
	if overlay == "prod" {
		all = append(all, []string{"mtls", "tls"})
		for _, c := range Components {
			all = append(all, []string{c})
		}
	}
	return all
}

// TestOverlaysAreSound renders and checks every overlay, as it is and with components.
func TestOverlaysAreSound(t *testing.T) {
	t.Parallel()
	tree := readTree(t)
	if got := tree.directories(Dir + "/overlays"); !slices.Equal(got, slices.Sorted(slices.Values(Overlays))) {
		t.Errorf("overlays %v are not all checked", got)
	}
	if got := tree.directories(Dir + "/components"); !slices.Equal(got, slices.Sorted(slices.Values(Components))) {
		t.Errorf("components %v are not all checked", got)
	}
	for _, overlay := range Overlays {
		for _, components := range combinations(overlay) {
			t.Run(overlay+" "+strings.Join(components, " "), func(t *testing.T) {
				t.Parallel()
				objects, err := tree.Render(overlay, components...)
				if err != nil {
					t.Fatal(err)
				}
				if err := Check(tree, overlay, objects); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestComponentsThatExcludeEachOtherAreRefused checks the one combination that could be applied, and would not work.
func TestComponentsThatExcludeEachOtherAreRefused(t *testing.T) {
	t.Parallel()
	tree := readTree(t)
	objects, err := tree.Render("dev", "gateway-api", "mtls")
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(tree, "dev", objects); err == nil || !strings.Contains(err.Error(), "take component gateway-api or mtls") {
		t.Errorf("got %v", err)
	}
}

// TestChangedConfigurationRollsPods changes one line, and expects another name in the pods that read it: the Deployment then rolls.
func TestChangedConfigurationRollsPods(t *testing.T) {
	t.Parallel()
	tree := readTree(t)
	for _, c := range []struct{ file, old, with, deployment, other string }{
		{"nginx/conf/limits.conf", "\n", "\n\n", "nginx", "whoami"},
		{"nginx/docker/site/logs.conf", "\n", "\n\n", "nginx", "whoami"},
		{Dir + "/overlays/prod/kustomization.yaml", "LOG_LEVEL=info", "LOG_LEVEL=warn", "whoami", ""},
	} {
		changed := maps.Clone(tree)
		changed[c.file] = strings.Replace(tree[c.file], c.old, c.with, 1)
		before, after := pods(t, tree), pods(t, changed)
		if before[c.deployment] == after[c.deployment] {
			t.Errorf("%s changed, and Deployment %s did not", c.file, c.deployment)
		}
		if before[c.other] != after[c.other] {
			t.Errorf("%s changed, and so did Deployment %s", c.file, c.other)
		}
	}
}

// pods are the Deployments of prod.
func pods(t *testing.T, tree Tree) map[string]string {
	t.Helper()
	objects, err := tree.Render("prod")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, o := range objects {
		if o.Kind == "Deployment" {
			all[o.Name] = o.YAML
		}
	}
	return all
}

// TestToolRendersTheSame compares with the command that the docs name: here the tree is in memory.
func TestToolRendersTheSame(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "tool", "kustomize", "build", filepath.Join(root, Dir, "overlays", "dev"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+os.Getenv("GOFLAGS")+" -trimpath") // As in the Makefile, so that nothing is built twice.
	output, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := readTree(t).Render("dev")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, o := range objects {
		want = append(want, strings.TrimSpace(o.YAML))
	}
	got := strings.Split(strings.TrimSpace(string(output)), "\n---\n")
	slices.Sort(got) // The command sorts objects by kind.
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("kustomize build renders %d objects, Render %d, or others", len(got), len(want))
	}
}
