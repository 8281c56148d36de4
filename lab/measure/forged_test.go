package measure_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trivet/lab/record"
)

// forgeries change the numbers of a real trial, by file. What a line says otherwise stays consistent.
var forgeries = []struct {
	name, file string
	forge      func(i int, line map[string]any)
	want       string // part of a reason
}{
	{"all service times are 1 µs", record.ClientFile, func(_ int, l map[string]any) { serve(l, 1) }, "contradict each other"},
	{"all service times are a tenth", record.ClientFile, func(_ int, l map[string]any) { serve(l, int64(l["service_us"].(float64))/10) }, "contradict each other"},
	{"half of the service times are a tenth", record.ClientFile, func(i int, l map[string]any) {
		if i%2 == 0 {
			serve(l, int64(l["service_us"].(float64))/10)
		}
	}, "contradict"},
	{"nginx took 9 s", record.AccessLogFile, func(_ int, l map[string]any) { l["duration"] = 9.0 }, "contradict each other"},
	{"an instance took 9 s", record.InstancesFile, func(i int, l map[string]any) {
		if l["event"] == record.Completion {
			l["duration_us"] = 9_000_000
		}
	}, "contradict each other"},
	{"planned in another phase", record.ClientFile, func(_ int, l map[string]any) { l["planned"] = "2026-01-01T00:00:00Z" }, "cannot be read as records"},
}

// serve gives a client's line another service time, and keeps its sum.
func serve(line map[string]any, us int64) {
	if line["service_us"].(float64) > 0 {
		line["service_us"], line["latency_us"] = us, int64(line["late_us"].(float64))+us
	}
}

// forge applies each forgery to a trial directory, wants its reason, and undoes it.
func forge(t *testing.T, dir string) {
	t.Helper()
	for _, f := range forgeries {
		path := filepath.Join(dir, f.file)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var forged bytes.Buffer
		i := 0
		for line := range bytes.Lines(whole) {
			var values map[string]any
			if err := json.Unmarshal(line, &values); err != nil {
				t.Fatal(err)
			}
			f.forge(i, values)
			if err := json.NewEncoder(&forged).Encode(values); err != nil {
				t.Fatal(err)
			}
			i++
		}
		if err := os.WriteFile(path, forged.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		if r := closed(t, open(t, dir)); !strings.Contains(strings.Join(r.Reasons, " "), f.want) {
			t.Errorf("%s: %q", f.name, r.Reasons)
		}
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
