package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

var whoami string // the instances' program, built once

// The test binary is also the generator, and a parent of one.
func TestMain(m *testing.M) {
	labtest.Generate(Serve)
	if len(os.Args) == 2 && os.Args[1] == "parent" {
		os.Exit(parent())
	}
	if len(os.Args) == 2 && os.Args[1] == "bare" {
		os.Exit(bare())
	}
	maxDelay = time.Minute // In this process: generators that are processes of their own have the real one.
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		return m.Run()
	}))
}

// plan is a plan of the given loads that begins soon.
func plan(t *testing.T, d time.Duration, loads ...scenario.Load) Plan {
	t.Helper()
	return Plan{Seed: 7, Records: filepath.Join(t.TempDir(), "client.jsonl"), Begin: time.Now().Add(100 * time.Millisecond), For: d, Loads: loads}
}

func constant(rate float64) scenario.Rate {
	return scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{rate}}
}

// carriedOut is the records of a plan that Serve carries out in this process.
func carriedOut(t *testing.T, p Plan) [][]record.Client {
	t.Helper()
	code, stderr := serve(t, p)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	return records(t, p)
}

func serve(t *testing.T, p Plan, instructions ...string) (code int, stderr string) {
	t.Helper()
	line, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	open, end := io.Pipe()
	defer end.Close()
	var output bytes.Buffer
	code = Serve(t.Context(), io.MultiReader(bytes.NewReader(append(line, '\n')), strings.NewReader(strings.Join(instructions, "\n")+"\n"), open), &output)
	return code, output.String()
}

// records are those of a plan that was carried out, by load and number. Each planned request must have exactly one, and each must be
// valid in itself.
func records(t *testing.T, p Plan) [][]record.Client {
	t.Helper()
	all := make([][]record.Client, len(p.Loads))
	for i, l := range p.Loads {
		all[i] = make([]record.Client, l.Rate.Count(p.For))
	}
	for _, r := range written(t, p.Records) {
		var seed, n int
		var protocol string
		words := strings.Split(r.ID, ".")
		if _, err := fmt.Sscanf(strings.Join(words, " "), "%d %s %d %d", &seed, &protocol, new(int), &n); err != nil || len(words) != 4 {
			t.Fatalf("id %q: %v", r.ID, err)
		}
		if want := fmt.Sprintf("%d.%s.%d.%d", p.Seed, p.Loads[r.Load].Protocol, r.Load, n); r.ID != want || r.Protocol != protocol || r.V != record.ClientVersion {
			t.Errorf("%+v: want the id %s", r, want)
		}
		if n >= len(all[r.Load]) || all[r.Load][n].V != 0 {
			t.Fatalf("%s was not planned, or has two records", r.ID)
		}
		all[r.Load][n] = r
		check(t, r)
		if deadline := p.Loads[r.Load].Deadline; r.Outcome != record.Incomplete && r.Service >= deadline.Microseconds() {
			t.Errorf("%+v: it ended after its deadline of %v", r, deadline)
		}
	}
	for i, l := range p.Loads {
		n := 0
		for offset := range l.Rate.Offsets(p.For) {
			if r := all[i][n]; r.V == 0 || !r.Planned.Equal(p.Begin.Add(offset)) {
				t.Errorf("request %d of load %d was planned for %v: %+v", n, i, p.Begin.Add(offset), r)
			}
			n++
		}
	}
	return all
}

// check fails the test for values that no record may have.
func check(t *testing.T, r record.Client) {
	t.Helper()
	sent, dropped := r.Sent(), r.Outcome == record.Dropped
	for what, wrong := range map[string]bool{
		"started too early": r.Late < 0,
		"times":             !dropped && (r.Latency < r.Service || max(r.Late+r.Service-r.Latency, r.Latency-r.Late-r.Service) > 2),
		"times if unsent":   !sent && (dropped && r.Latency != 0 || r.Service != 0 || r.Attempts != 0),
		"stalled":           r.Stalled < 0 || r.Stalled > r.Latency,
		"reason":            (r.Reason != "") != (r.Outcome == record.Incomplete || dropped),
		"error":             (r.Error != "") != (!dropped && r.Outcome != record.OK) || len(r.Error) > record.MaxError,
		"instance":          r.Outcome == record.InstanceError && r.Instance == "" || r.Outcome == record.NginxError && r.Instance != "",
		"unlogged":          len(r.MaybeUnlogged) > r.Attempts,
		"unlogged response": r.Outcome != record.Incomplete && sent && len(r.MaybeUnlogged) >= r.Attempts,
		"outcome":           r.Outcome == "",
	} {
		if wrong {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

func written(t testing.TB, path string) []record.Client {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []record.Client
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var r record.Client
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		all = append(all, r)
	}
	return all
}

// listen is a listener that is closed when the test ends.
func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// count counts the values that what has of the records.
func count(all []record.Client, what func(record.Client) string) map[string]int {
	counts := map[string]int{}
	for _, r := range all {
		counts[what(r)]++
	}
	return counts
}

// ending is how a request ended: outcome, code, reason, attempts and MaybeUnlogged.
func ending(r record.Client) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Outcome, r.Code, r.Reason)) + fmt.Sprintf(" %d%q", r.Attempts, r.MaybeUnlogged)
}
