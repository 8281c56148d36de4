package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trivet/bench/stats"
)

func TestWrongUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, says string }{
		{"--pears 9", "not defined: -pears"},
		{"--pairs 0", "--pairs is 0: want 1 to 1000"},
		{"--slice 1ms", "--slice is 1ms: want 50ms to 1m"},
		{"swep", `unexpected argument "swep": did you mean sweep?`},
		{"--rows 9z", "no row is called like 9z"},
	} {
		var out, err bytes.Buffer
		if code := run(t.Context(), strings.Fields(c.args), &out, &err); code != misuse || !strings.Contains(err.String(), c.says) || out.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, %q", c.args, code, out.String(), err.String())
		}
	}
}

func TestHelpAndListMeasureNothing(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{"--help": "Exit codes:", "--list": "\n5 trivet up with 3, 30 and 300 instances\n", "--list sweep": "sweep grpc\n"} {
		var out, err bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), &out, &err); code != done || !strings.Contains(out.String(), says) || err.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, %q", args, code, out.String(), err.String())
		}
	}
}

func TestOutsideTheTreeItSaysWhatToType(t *testing.T) {
	t.Chdir(t.TempDir())
	var out, err bytes.Buffer
	if code := run(t.Context(), nil, &out, &err); code != broken || !strings.Contains(err.String(), "type: make bench") {
		t.Errorf("exit code %d, %q", code, err.String())
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		verdicts []stats.Verdict
		smoke    bool
		want     int
	}{
		{[]stats.Verdict{stats.Reached, stats.NotResolved, stats.NoBar, stats.NotMeasured}, false, done},
		{[]stats.Verdict{stats.NotReached, stats.Reached}, false, missed},
		{[]stats.Verdict{stats.NotReached, stats.Errors}, false, invalid},
		{[]stats.Verdict{stats.NotReached}, true, done},
		{[]stats.Verdict{stats.Errors}, true, invalid},
	} {
		var table []Row
		for _, v := range c.verdicts {
			table = append(table, Row{Verdict: v})
		}
		if got := verdict(table, c.smoke); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.verdicts, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	pairs := Row{What: "1a REST", Figure: "requests/s", A: "whoami", B: "bare", Bar: atLeast(0.95)}
	for range stats.LeastPairs {
		pairs.Pairs = append(pairs.Pairs, [2]float64{2000, 1000})
	}
	values := Row{What: "4 one instance", Figure: "start, ms", Values: []float64{12, 10, 11}, Bar: &stats.Bar{AtMost: true, Value: 50, Unit: "ms"}}
	few := Row{What: "1a REST", Figure: "nginx µs/request", A: "whoami", B: "bare", Pairs: [][2]float64{{30, 60}}}
	for _, r := range []*Row{&pairs, &values, &few} {
		r.judge()
	}
	missing := Row{What: "1b REST", Verdict: stats.NotMeasured, Why: "there is none"}
	got := text([]Row{pairs, few, missing, missing, values}, 61*time.Second)
	for _, want := range []string{
		"1a REST         requests/s        whoami 2000 (2000-2000)  bare 1000 (1000-1000)  2.00 [2.00, 2.00]  ≥ 0.95   reached\n",
		"                nginx µs/request  whoami 30.0              bare 60.0              0.50               -        -\n",
		"1b REST                                                                                              -        not measured (1)\n",
		"4 one instance  start, ms         11.0 (10.0-12.0)                                [8.52, 13.5]       ≤ 50 ms  not resolved\n",
		"(1) there is none\nA and B: medians, with their spread (least to most); measured in 1m1s on ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "(2)") {
		t.Errorf("one reason is told twice:\n%s", got)
	}
}

// Nobody has written down when a request of another generator was planned: the first that is early moves the plan.
func TestLateness(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	var starts []time.Time
	for n := range 100 {
		starts = append(starts, begin.Add(time.Duration(n)*time.Millisecond))
	}
	if l := lateness(starts, 1000); l != 0 {
		t.Errorf("all on time: %v late", l)
	}
	starts[0] = starts[0].Add(500 * time.Microsecond)
	if l := lateness(starts, 1000); l != 0 {
		t.Errorf("the first alone: %v late", l)
	}
	for n := 50; n < 100; n++ {
		starts[n] = starts[n].Add(3 * time.Millisecond)
	}
	if l := lateness(starts, 1000); l != 3*time.Millisecond {
		t.Errorf("half of them by 3 ms: %v late", l)
	}
}

func TestWhatOtherGeneratorsWrite(t *testing.T) {
	t.Parallel()
	starts, err := startsOfVegeta([]byte("1764012000000000005,200,1500,0,300,,eA==,,0,GET,http://x/,\n"))
	if err != nil || len(starts) != 1 || starts[0].UnixNano() != 1764012000000000005 {
		t.Errorf("vegeta: %v, %v", starts, err)
	}
	if _, err := startsOfVegeta([]byte("1764012000000000005,502,1500,0,300,502 Bad Gateway,,,0,GET,http://x/,\n")); err == nil {
		t.Error("vegeta: a 502 counts as an answer")
	}
	starts, err = startsOfGhz([]byte(`{"details":[{"timestamp":"2026-11-24T10:00:00.002Z","latency":2000000,"error":"","status":"OK"}]}`))
	if err != nil || len(starts) != 1 || !starts[0].Equal(time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("ghz: %v, %v", starts, err)
	}
	if _, err := startsOfGhz([]byte(`{"details":[{"status":"Unavailable","error":"gone"}]}`)); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("ghz: %v", err)
	}
}

func TestRecordsOfLoad(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "records")
	write := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"late_us":70,"outcome":"ok"}` + "\n" + `{"late_us":90,"outcome":"ok"}` + "\n")
	if late, err := lateOfRecords(name, 2); err != nil || late != 90*time.Microsecond {
		t.Errorf("%v, %v", late, err)
	}
	if _, err := lateOfRecords(name, 3); err == nil {
		t.Error("a record that is missing is not missed")
	}
	write(`{"outcome":"nginx","error":"502"}` + "\n")
	if _, err := lateOfRecords(name, 1); err == nil {
		t.Error("an error is taken for an answer")
	}
}

func TestAwaitUp(t *testing.T) {
	t.Parallel()
	said := `{"event":"started","name":"whoami-1","http":"127.0.0.1:1"}` + "\n" + `{"event":"up","http":"127.0.0.1:2","grpc":"127.0.0.1:3"}` + "\n"
	if address, err := awaitUp(bufio.NewScanner(strings.NewReader(said))); err != nil || address != "127.0.0.1:2" {
		t.Errorf("%q, %v", address, err)
	}
	for _, said := range []string{"", `{"event":"error","error":"no nginx"}` + "\n", "nonsense\n"} {
		if address, err := awaitUp(bufio.NewScanner(strings.NewReader(said))); err == nil {
			t.Errorf("%q: up at %q", said, address)
		}
	}
}

// All settings of a sweep have names of their own, and the shipped one is among them.
func TestSettings(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, s := range settings("whoami_http") {
		if names[s.name] {
			t.Errorf("%s is there twice", s.name)
		}
		names[s.name] = true
	}
	if !names["keepalive 256, a worker a CPU, log unbuffered"] || len(names) != 45 {
		t.Errorf("%d settings: %v", len(names), names)
	}
}

// A side whose processes are gone is an error, and no cheap one.
func TestASideThatIsGone(t *testing.T) {
	t.Parallel()
	if used, err := (side{name: "x", instances: []int{1 << 25}}).used(); err == nil {
		t.Errorf("it has used %v", used)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&bench{options: options{slice: time.Second}}).failed(ctx, "", side{}, side{}, nil, nil); err == nil {
		t.Error("an interruption counts as a failure of the sides")
	}
}

// A setting that the instance does not have leaves a row unmeasured, instead of comparing a program with itself.
func TestTuningThatTheInstanceDoesNotHave(t *testing.T) {
	t.Parallel()
	tree := t.TempDir()
	if err := os.Mkdir(filepath.Join(tree, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	says := "#!/bin/sh\necho \"GOGC=$GOGC  # environment\"\necho 'STREAM_WORKERS=0  # default'\n"
	if err := os.WriteFile(filepath.Join(tree, "bin", "whoami"), []byte(says), 0o755); err != nil {
		t.Fatal(err)
	}
	b := &bench{tree: tree}
	if err := b.knows(t.Context(), []string{"GOGC=400"}); err != nil {
		t.Error(err)
	}
	var why *unavailable
	if err := b.knows(t.Context(), []string{"GOGC=400", "STREAM_WORKERS=64"}); !errors.As(err, &why) || !strings.Contains(why.Error(), "STREAM_WORKERS=64") {
		t.Errorf("%v, want that it has no STREAM_WORKERS", err)
	}
}
