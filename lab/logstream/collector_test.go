package logstream

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/record"
)

// Calls of an earlier run have the same IDs. The stream breaks off again and again, within lines, and the instance is killed and starts
// again while it does. Each call of the trial is there once, its start is announced before, and nothing of the earlier run is.
func TestEveryRecordOfTheTrialIsReadOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ breaks, piece int }{
		"one stream per start":  {0, 0},
		"streams break off":     {40, 0},
		"lines come in pieces":  {0, 100},
		"pieces that break off": {40, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := newContainer(t, t.TempDir(), test.piece)
			one.call(0, 60)
			c, events := collector(t, "")
			stream := c.Follow(one.source(test.breaks))
			if err := c.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			one.call(0, 100)
			one.kill()
			stream.Down()
			one.start()
			stream.Up(one.source(test.breaks))
			one.call(100, 200)
			if err := c.End(t.Context()); err != nil {
				t.Fatal(err)
			}
			seen, calls := map[string]int{}, map[string][]uint64{}
			var starts []string
			for _, call := range recorded[record.Call](t, c, record.InstancesFile) {
				if strings.HasPrefix(call.ID, "7.") {
					seen[call.ID+call.Event]++
				}
				if call.Event == record.Arrival {
					calls[call.Start] = append(calls[call.Start], call.Call)
				}
				if !slices.Contains(starts, call.Start) {
					starts = append(starts, call.Start)
				}
			}
			for n := range 200 {
				for _, event := range []string{record.Arrival, record.Completion} {
					if id := fmt.Sprintf("7.http.0.%d", n) + event; seen[id] != 1 {
						t.Errorf("%s is there %d times", id, seen[id])
					}
				}
			}
			var announced []string
			for _, e := range events.all {
				if e.Kind == record.Started {
					announced = append(announced, e.Start)
				}
			}
			if !slices.Equal(starts, announced) || len(starts) != 2 {
				t.Fatalf("starts %q, announced %q", starts, announced)
			}
			for i, start := range starts {
				first := calls[start][0]
				if i == 0 && first <= 60 || i == 1 && first != 1 {
					t.Errorf("start %d begins with call %d", i, first)
				}
				for k, n := range calls[start] {
					if n != first+uint64(k) {
						t.Errorf("start %d: call %d follows %d others from %d", i, n, k, first)
						break
					}
				}
			}
		})
	}
}

// A balancer logs like nginx, what it has logged for an earlier run included.
func TestEntriesOfAnEarlierRunAreNotCounted(t *testing.T) {
	t.Parallel()
	log := t.TempDir() + "/nginx.log"
	file, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	entry := func(id string, duration float64) {
		text, _ := json.Marshal(map[string]any{"v": 1, "id": id, "end": float64(time.Now().UnixMilli()) / 1000, "duration": duration, "upstream_addr": ""})
		fmt.Fprintf(file, "%s %s\n", time.Now().UTC().Format(time.RFC3339Nano), text)
	}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { entry(r.Header.Get("X-Request-Id"), 0) }))
	defer server.Close()
	address := server.Listener.Addr().String()
	for range 20 {
		entry("7.http.0.1", 0)
	}
	c, _ := collector(t, address)
	c.Follow(Source{Name: "nginx", Nginx: true, Follow: func(since time.Time) []string {
		return []string{"print-log", log, since.Format(time.RFC3339Nano), "15"}
	}})
	if err := c.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	entry("7.http.0.2", 60) // It began before the trial.
	for n := range 50 {
		if err := get(t.Context(), address, fmt.Sprintf("7.http.0.%d", n)); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintf(file, "%s 2026/11/27 00:00:00 [notice] 1#1: a message\n", time.Now().UTC().Format(time.RFC3339Nano))
	if err := c.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, e := range recorded[record.AccessLogEntry](t, c, record.AccessLogFile) {
		if !strings.HasPrefix(e.ID, record.ProbeIDPrefix) {
			seen[e.ID]++
		}
	}
	for n := range 50 {
		if id := fmt.Sprintf("7.http.0.%d", n); seen[id] != 1 {
			t.Errorf("%s is there %d times", id, seen[id])
		}
	}
	text, err := os.ReadFile(record.LogFile(c.dir, "nginx"))
	if err != nil || !strings.HasSuffix(string(text), "[notice] 1#1: a message\n") || len(seen) != 50 {
		t.Errorf("%v, %d IDs, log: %s", err, len(seen), text)
	}
}

// What an instance recorded is not complete before its probe has come back, and a container of which none does is named.
func TestMissingProbesAndLostRecordsAreErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(*container)
		want  string
	}{
		"nothing": {func(*container) {}, ""},
		"no more lines": {func(c *container) { // It has ended, and its stream does not say so.
			_ = c.cmd.Process.Kill()
			c.copied.Wait()
		}, "no probe came back in the log of whoami-1 within"},
		"loss in the log": {func(c *container) {
			copyLog(c.log, strings.NewReader("level=ERROR msg=\"records are incomplete from here on\"\n"), 0)
		}, "whoami-1 could not write its records: level=ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := newContainer(t, t.TempDir(), 0)
			c, _ := collector(t, "127.0.0.1:1")
			c.timeout = time.Second
			c.Follow(one.source(0))
			if err := c.Begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			test.spoil(one)
			err := c.End(t.Context())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) || (c.Err() == nil) != (err == nil) {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// A container of which nothing comes back when the trial is to begin would leave no records of it.
func TestTrialDoesNotBeginWithoutAProbe(t *testing.T) {
	t.Parallel()
	c, _ := collector(t, "127.0.0.1:1")
	c.timeout = 300 * time.Millisecond
	c.Follow(Source{Name: "whoami-1", Records: true, Follow: func(time.Time) []string { return []string{"print-log", "/nonexistent", "", ""} }})
	err := c.Begin(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no probe came back in the log of whoami-1 within 300ms") || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
}
