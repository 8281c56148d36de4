package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/bench/stats"
	service "trivet/services/whoami"
)

func TestUsageErrorsNameTheFlag(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"--pears 9", "not defined: -pears"},
		{"--blocks 0", "--blocks is 0: want 1 to 1000"},
		{"--slice 1ms", "--slice is 1ms: want 50ms to 1m"},
		{"--traefik-whoami /no/such", "--traefik-whoami: stat /no/such"},
		{"swep", `unexpected argument "swep": did you mean sweep?`},
		{"--rows 9z", "--rows: no title contains 9z; bench --list prints them"},
	} {
		var out, err bytes.Buffer
		if code := run(t.Context(), strings.Fields(c.args), &out, &err); code != exitUsage || !strings.Contains(err.String(), c.want) || out.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, %q", c.args, code, out.String(), err.String())
		}
	}
}

func TestHelpAndListMeasureNothing(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--help":                            "Exit codes:",
		"--list":                            "\n5 trivet up: 300 instances / 30\n",
		"--list sweep":                      "3 sweep gRPC: shipped / best variant\n",
		"--list --traefik-whoami /dev/null": "2b gRPC directly: whoami / traefik\n",
		"--list --rows podinfo":             "1b REST through nginx: whoami / podinfo\n2b gRPC through nginx: whoami / podinfo\n",
	} {
		var out, err bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), &out, &err); code != exitOK || !strings.Contains(out.String(), want) || err.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, %q", args, code, out.String(), err.String())
		}
	}
}

func TestOutsideTheTreeErrorNamesCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	var out, err bytes.Buffer
	if code := run(t.Context(), nil, &out, &err); code != exitFailed || !strings.Contains(err.String(), "run make bench in Trivet's source tree") {
		t.Errorf("exit code %d, %q", code, err.String())
	}
}

func TestExitCodeFollowsVerdicts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		verdicts []stats.Verdict
		smoke    bool
		want     int
	}{
		{[]stats.Verdict{stats.Reached, stats.Inconclusive, stats.NoBar, stats.NotMeasured}, false, exitOK},
		{[]stats.Verdict{stats.NotReached, stats.Reached}, false, exitMissed},
		{[]stats.Verdict{stats.NotReached, stats.Errors}, false, exitErrors},
		{[]stats.Verdict{stats.NotReached}, true, exitOK},
		{[]stats.Verdict{stats.Errors}, true, exitErrors},
	} {
		var table []Row
		for _, v := range c.verdicts {
			table = append(table, Row{Verdict: v})
		}
		if got := exitCode(table, c.smoke); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.verdicts, got, c.want)
		}
	}
}

func TestTableShowsRatiosIntervalsAndNotes(t *testing.T) {
	t.Parallel()
	blocks := Row{What: "1a REST", Metric: "requests/s", A: "whoami", B: "bare", Bar: atLeast(0.95)}
	for range stats.MinBlocks {
		blocks.Blocks = append(blocks.Blocks, [2]float64{2000, 1000})
	}
	single := Row{What: "4 one instance", Metric: "start, ms", A: "whoami", Blocks: [][2]float64{{12}, {10}, {11}}, Bar: atMost(50)}
	few := Row{What: "1a REST", Metric: "nginx µs/request", A: "whoami", B: "bare", Blocks: [][2]float64{{30, 60}}}
	for _, r := range []*Row{&blocks, &single, &few} {
		r.judge()
	}
	missing := Row{What: "1b REST", Verdict: stats.NotMeasured, Why: "there is none"}
	b := &bench{options: options{blocks: 9, slice: time.Second, seed: 7}, table: []Row{blocks, few, missing, missing, single}}
	got := b.text(61 * time.Second)
	for _, want := range []string{
		"1a REST         requests/s        whoami 2000 (2000-2000)  bare 1000 (1000-1000)  2.00 [2.00, 2.00]  ≥ 0.95  reached\n",
		"                nginx µs/request  whoami 30.0              bare 60.0              0.50               -       -\n",
		"1b REST                                                                                              -       not measured (1)\n",
		"4 one instance  start, ms         whoami 11.0 (10.0-12.0)                         [8.52, 13.5]       ≤ 50    inconclusive\n",
		"(1) there is none\nA and B: medians of the blocks (least-most). 9 blocks of 1s slices, seed 7, in 1m1s on ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "(2)") {
		t.Errorf("a reason is printed twice:\n%s", got)
	}
}

// measured returns the rows of a job whose blocks fail or not, in turn.
func measured(t *testing.T, blocks int, errs ...error) (rows []Row, failed bool) {
	t.Helper()
	b := &bench{options: options{blocks: blocks}, progress: newProgress(io.Discard), dir: t.TempDir()}
	n := 0
	failed = b.measure(t.Context(), &job{what: "0", a: "x", b: "y", goals: []goal{{p50, nil}}, block: func(_ context.Context, dir string) (block, error) {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			t.Errorf("the block has no directory: %v", err)
		}
		n++
		return block{p50: {float64(n), 1}, fixedRate: {20, 20}}, errs[(n-1)%len(errs)]
	}})
	return b.table, failed
}

func TestBlocksWithErrorsAreReplaced(t *testing.T) {
	t.Parallel()
	rows, failed := measured(t, 2, errors.New("broken"), nil)
	if !failed || len(rows) != 1 || rows[0].Verdict != stats.NoBar || rows[0].Rate != 20 ||
		!slices.Equal(rows[0].Blocks, [][2]float64{{2, 1}, {4, 1}}) || !strings.Contains(rows[0].Why, "2; the last: broken") {
		t.Errorf("%+v, failed %v", rows, failed)
	}
}

func TestRowWithTooManyErrorsIsNotJudged(t *testing.T) {
	t.Parallel()
	rows, failed := measured(t, 9, errors.New("broken"))
	if !failed || len(rows) != 1 || rows[0].Verdict != stats.Errors || !strings.Contains(rows[0].Why, "3; the last: broken") {
		t.Errorf("%+v, failed %v", rows, failed)
	}
}

func TestMissingProgramIsNotMeasured(t *testing.T) {
	t.Parallel()
	_, err := (&bench{tree: t.TempDir()}).fetched("podinfo", "podinfo")
	if !errors.Is(err, errUnavailable) || !strings.Contains(err.Error(), "bench/fetch") {
		t.Errorf("%v", err)
	}
	rows, failed := measured(t, 9, err)
	if failed || len(rows) != 1 || rows[0].Verdict != stats.NotMeasured {
		t.Errorf("%+v, failed %v", rows, failed)
	}
}

func TestGeneratorsReportsMustBeOK(t *testing.T) {
	t.Parallel()
	vegeta := func(name string) (int, error) { return okResponses(name, "200") }
	ghz := func(name string) (int, error) { return okResponses(name, "OK") }
	name := filepath.Join(t.TempDir(), "report")
	for _, c := range []struct {
		text string
		read func(string) (int, error)
		sent int
		ok   bool
	}{
		{`{"outcome":"ok"}` + "\n" + `{"outcome":"ok"}` + "\n", okRecords, 2, true},
		{`{"outcome":"nginx","error":"502"}` + "\n", okRecords, 0, false},
		{"nonsense\n", okRecords, 0, false},
		{`{"requests":9,"status_codes":{"200":9}}`, vegeta, 9, true},
		{`{"requests":10,"status_codes":{"200":9,"502":1}}`, vegeta, 0, false},
		{`{"requests":0,"status_codes":{}}`, vegeta, 0, false},
		{`{"count":9,"statusCodeDistribution":{"OK":9}}`, ghz, 9, true},
		{`{"count":9,"statusCodeDistribution":{"Unavailable":9}}`, ghz, 0, false},
	} {
		if err := os.WriteFile(name, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if sent, err := c.read(name); sent != c.sent || (err == nil) != c.ok {
			t.Errorf("%s: %d, %v", c.text, sent, err)
		}
	}
}

func TestUpAddressComesFromUpEvent(t *testing.T) {
	t.Parallel()
	events := `{"event":"started","name":"whoami-1","http":"127.0.0.1:1"}` + "\nwarning\n" + `{"event":"up","http":"127.0.0.1:2","grpc":"127.0.0.1:3"}` + "\n"
	if address, err := upAddress([]byte(events)); err != nil || address != "127.0.0.1:2" {
		t.Errorf("%q, %v", address, err)
	}
	if address, err := upAddress([]byte(`{"event":"error","error":"no nginx"}` + "\n")); err == nil {
		t.Errorf("up at %q", address)
	}
}

func TestSweepHas45VariantsAmongThemTheShippedOne(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, s := range variants("whoami_http") {
		names[s.name] = true
	}
	if !names["keepalive 256, workers auto, log unbuffered"] || len(names) != 45 {
		t.Errorf("%d variants: %v", len(names), names)
	}
}

// A side whose process has died would otherwise look cheap.
func TestProcessThatEndedIsAnError(t *testing.T) {
	t.Parallel()
	if used, err := (&running{programs: []int{1 << 25}}).cpu(); err == nil {
		t.Errorf("it has used %v", used)
	}
}

// A row with a setting that the instance lacks would compare a program with itself.
func TestTunedSettingsExist(t *testing.T) {
	t.Parallel()
	var names []string
	for _, s := range service.Service.Settings() {
		names = append(names, s.Name)
	}
	for _, c := range (&bench{}).comparisons() {
		for _, env := range slices.Concat(c.a.env, c.b.env) {
			if name, _, _ := strings.Cut(env, "="); !slices.Contains(names, name) {
				t.Errorf("%s: the instance has no setting %s", c.what, name)
			}
		}
	}
}
