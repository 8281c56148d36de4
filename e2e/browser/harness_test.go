package browser

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestTabs checks what the other tests rely on: two tabs are visible at once, sizes and color schemes apply, screenshots are there, and axe
// finds what is not accessible.
func TestTabs(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><title>A</title><link rel="icon" href="data:,"><main><h1>A</h1><p style="color:#ccc;background:#fff">text</p><button></button></main>`))
	}))
	defer server.Close()
	one, other := open(t, server.URL, phone), open(t, server.URL, projector.inDark())
	for p, want := range map[*tab]string{one: "360 false false", other: "1920 true false"} {
		var got string
		p.eval(`[innerWidth, matchMedia("(prefers-color-scheme: dark)").matches, document.hidden].join(" ")`, &got)
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if info, err := os.Stat(p.picture("harness")); err != nil || info.Size() < 100 {
			t.Errorf("%v, %v", info, err)
		}
		if found := strings.Join(p.axe(), "\n"); !strings.Contains(found, "color-contrast") || !strings.Contains(found, "button-name") {
			t.Errorf("axe: %s", found)
		}
	}
}
