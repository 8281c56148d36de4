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
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		return m.Run()
	}))
}

// plan is one for the given streams, soon.
func plan(t *testing.T, d time.Duration, streams ...Stream) Plan {
	t.Helper()
	return Plan{Seed: 7, Records: filepath.Join(t.TempDir(), "client.jsonl"), Begin: time.Now().Add(100 * time.Millisecond), For: d, Streams: streams}
}

func constant(rate float64) []Point { return []Point{{0, rate}} }

// carriedOut is what Serve leaves of a plan, in this process.
func carriedOut(t *testing.T, p Plan) [][]Record {
	t.Helper()
	code, said := served(t, p)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, said)
	}
	return records(t, p)
}

func served(t *testing.T, p Plan) (code int, said string) {
	t.Helper()
	line, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	open, end := io.Pipe()
	defer end.Close()
	var stderr bytes.Buffer
	code = Serve(t.Context(), io.MultiReader(bytes.NewReader(append(line, '\n')), open), &stderr)
	return code, stderr.String()
}

// records are those of a plan that was carried out, by stream and number. Each planned request must have exactly one, and each must be
// right in itself.
func records(t *testing.T, p Plan) [][]Record {
	t.Helper()
	all := make([][]Record, len(p.Streams))
	for i, s := range p.Streams {
		all[i] = make([]Record, s.Count(p.For))
	}
	for _, r := range written(t, p.Records) {
		var seed, n int
		var protocol string
		words := strings.Split(r.ID, ".")
		if _, err := fmt.Sscanf(strings.Join(words, " "), "%d %s %d %d", &seed, &protocol, new(int), &n); err != nil || len(words) != 4 {
			t.Fatalf("id %q: %v", r.ID, err)
		}
		if want := fmt.Sprintf("%d.%s.%d.%d", p.Seed, p.Streams[r.Stream].Protocol, r.Stream, n); r.ID != want || r.Protocol != protocol || r.V != RecordVersion {
			t.Errorf("%+v: want the id %s", r, want)
		}
		if n >= len(all[r.Stream]) || all[r.Stream][n].V != 0 {
			t.Fatalf("%s was not planned, or has two records", r.ID)
		}
		all[r.Stream][n] = r
		check(t, r)
	}
	for i, s := range p.Streams {
		n := 0
		for offset := range s.Offsets(p.For) {
			if r := all[i][n]; r.V == 0 || !r.Planned.Equal(p.Begin.Add(offset)) {
				t.Errorf("request %d of stream %d was planned for %v: %+v", n, i, p.Begin.Add(offset), r)
			}
			n++
		}
	}
	return all
}

// check finds what no record may say.
func check(t *testing.T, r Record) {
	t.Helper()
	sent := r.Outcome != NotStarted
	for what, wrong := range map[string]bool{
		"started too early": r.Late < 0,
		"times":             sent && (r.Latency < r.Service || max(r.Late+r.Service-r.Latency, r.Latency-r.Late-r.Service) > 2),
		"times of nothing":  !sent && (r.Latency != 0 || r.Service != 0 || r.Attempts != 0),
		"stalled":           r.Stalled < 0 || r.Stalled > r.Latency,
		"reason":            (r.Reason != "") != (r.Outcome == AtClient || !sent),
		"error":             (r.Error != "") != (sent && r.Outcome != OK) || len(r.Error) > mostError,
		"instance":          r.Outcome == ByInstance && r.Instance == "" || r.Outcome == ByNginx && r.Instance != "",
		"own":               len(r.Own) > r.Attempts,
		"own of an answer":  r.Outcome != AtClient && sent && len(r.Own) >= r.Attempts,
		"outcome":           r.Outcome == "",
	} {
		if wrong {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

func written(t *testing.T, path string) []Record {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []Record
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var r Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		all = append(all, r)
	}
	return all
}

// listen is a listener that is closed when the test ends.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// tally counts what of each record.
func tally(all []Record, what func(Record) string) map[string]int {
	counts := map[string]int{}
	for _, r := range all {
		counts[what(r)]++
	}
	return counts
}

// ending is how a request ended, in words.
func ending(r Record) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Outcome, r.Code, r.Reason)) + fmt.Sprintf(" %d%q", r.Attempts, r.Own)
}
