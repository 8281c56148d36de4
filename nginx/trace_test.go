package nginx

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

const sentTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"

// TestTraceContext checks that a client's trace goes on, that everything else begins a new one, and that the access log has the IDs.
func TestTraceContext(t *testing.T) {
	b := startNginx(t, []Server{{web(t), free(t)}})
	whole := regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$`)
	type seen struct{ trace, parent, span string }
	all := map[string]seen{}
	for _, c := range []struct {
		id, sent             string
		trace, parent, flags string // trace and parent empty: a new one
	}{
		{"goes-on", sentTrace, "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00"},
		{"sampled", strings.TrimSuffix(sentTrace, "0") + "1", "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "01"},
		{"none", "", "", "", "01"},
		{"zero-trace", "00-00000000000000000000000000000000-b7ad6b7169203331-00", "", "", "01"},
		{"zero-span", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-00", "", "", "01"},
		{"upper-case", strings.ToUpper(sentTrace), "", "", "01"},
		{"unknown-version", "cc" + sentTrace[2:], "", "", "01"},
		{"more", sentTrace + "-more", "", "", "01"},
	} {
		lines := []string{"Tracestate: a=b"}
		if c.sent != "" {
			lines = append(lines, "Traceparent: "+c.sent)
		}
		status, _, body, err := raw(t, b.HTTP, get(c.id, "/", lines...))
		if err != nil || status != 200 {
			t.Fatalf("%s: %d, %v", c.id, status, err)
		}
		var h http.Header
		if err := json.Unmarshal(body, &h); err != nil {
			t.Fatal(err)
		}
		m := whole.FindStringSubmatch(h.Get("Traceparent"))
		if m == nil || c.trace != "" && m[1] != c.trace || m[2] == c.parent || m[3] != c.flags || c.trace == "" && strings.Contains(c.sent, m[1]) {
			t.Errorf("%s: traceparent %q", c.id, h.Get("Traceparent"))
			continue
		}
		if state := h.Get("Tracestate"); (state == "a=b") != (c.parent != "") {
			t.Errorf("%s: tracestate %q", c.id, state)
		}
		all[c.id] = seen{m[1], c.parent, m[2]}
	}
	for _, l := range b.log(t) {
		if got := (seen{l.Trace, l.ParentSpan, l.Span}); got != all[l.ID] || l.TLS != "" || l.Client != "" {
			t.Errorf("%s: logged %+v, passed on %+v", l.ID, l, all[l.ID])
		}
	}
}
