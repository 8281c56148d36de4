package manifests

import (
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

// combinations are sets of components that work together: each by itself, and all together but one of those that exclude each other.
func combinations() [][]string {
	all := [][]string{nil, {"front", "service-monitor", "tls", "mtls"}, {"front", "gateway-api", "service-monitor", "tls"}, {"mtls", "tls"}}
	for _, c := range Components {
		all = append(all, []string{c})
	}
	return all
}

// TestOverlaysAreSound renders and checks every overlay, as it is and with components.
func TestOverlaysAreSound(t *testing.T) {
	t.Parallel()
	tree := readTree(t)
	if got := tree.directories(Dir + "/overlays"); !slices.Equal(got, []string{"dev", "prod", "qa"}) {
		t.Errorf("overlays %v", got)
	}
	for _, overlay := range Overlays {
		for _, components := range combinations() {
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
