// Package prometheus has only tests of the files beside it and of the dashboard: this file checks their text, prometheus_slow_test.go runs
// them on a real Prometheus.
package prometheus

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"
)

// A dashboard is what these tests read of one.
type dashboard struct {
	Panels []panel
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct{ Expr string }
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile("../grafana/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) < 20 {
		t.Fatalf("only %d panels", len(d.Panels))
	}
	return d
}

func TestDashboardIsWellFormed(t *testing.T) {
	t.Parallel()
	ids, taken := map[int]string{}, map[[2]int]string{}
	for _, p := range readDashboard(t).Panels {
		if other, has := ids[p.ID]; has {
			t.Errorf("panels %q and %q have ID %d", other, p.Title, p.ID)
		}
		ids[p.ID] = p.Title
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q has no query", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, has := taken[[2]int{x, y}]; has {
					t.Fatalf("panels %q and %q overlap", other, p.Title)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

// TestMetricsAreThoseOfTheManual finds misspelled metrics, for which Prometheus has no error.
func TestMetricsAreThoseOfTheManual(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:nginx|service)_[a-z_]+)` \\|").FindAllStringSubmatch(string(manual), -1) {
		known[row[1]] = true
	}
	metric := regexp.MustCompile(`\b(?:nginx|service)_[a-z_]+`)
	used := func(where, expression string) {
		names := metric.FindAllString(expression, -1)
		for _, name := range names {
			if !known[name] {
				t.Errorf("%s uses %s, which docs/metrics.md does not list", where, name)
			}
		}
	}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			used("panel "+p.Title, target.Expr)
		}
	}
	for _, name := range []string{"rules.yml", "rules_test.yml", "rules_latency_test.yml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		used(name, regexp.MustCompile(`(?m)#.*$`).ReplaceAllString(string(text), ""))
	}
}
