//go:build slow

package nginx

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFetchNextRefusesUnsignedPackages runs nginx/fetch --next with a mirror without signature.
func TestFetchNextRefusesUnsignedPackages(t *testing.T) {
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/dists/forky/InRelease") && !strings.HasSuffix(r.URL.Path, "/dists/forky/Release") {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte("Origin: Debian\nSuite: testing\nCodename: forky\nComponents: main\nArchitectures: amd64 arm64\n"))
	}))
	defer mirror.Close()
	tree := t.TempDir()
	for _, script := range []string{"fetch", "fetch-next"} {
		put(t, filepath.Join(tree, "nginx", script), read(t, script))
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(tree, "nginx", "fetch"), "--next")
	cmd.Env = append(os.Environ(), "TRIVET_DEBIAN="+mirror.URL, "no_proxy=127.0.0.1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "not signed") {
		t.Errorf("%v: %s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(tree, ".cache", "*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
