package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestUsageErrorsNameTheFlag(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"--pears 9", "not defined: -pears"},
		{"--rate 1", "--rate is 1: want 2 to 10000"},
		{"--slice 1ms", "--slice is 1ms: want 1s to 1m"},
		{"--blocks 0", "--blocks is 0: want 1 to 100"},
		{"--early 2m --late 1m", "--early is 2m0s and --late 1m0s"},
		{"now", `unexpected argument "now"`},
	} {
		var out, err bytes.Buffer
		if code := run(t.Context(), strings.Fields(c.args), &out, &err); code != exitUsage || !strings.Contains(err.String(), c.want) || out.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, %q", c.args, code, out.String(), err.String())
		}
	}
}

func TestOutsideTheTreeErrorNamesCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	var out, err bytes.Buffer
	if code := run(t.Context(), nil, &out, &err); code != exitFailed || !strings.Contains(err.String(), "run make bench-page in Trivet's source tree") {
		t.Errorf("exit code %d, %q", code, err.String())
	}
}

func TestVerdictsAndExitCodes(t *testing.T) {
	t.Parallel()
	atMost := func(v float64) bool { return v <= 3 }
	for _, c := range []struct {
		row         row
		verdict     string
		code, smoke int
	}{
		{row{values: []float64{1, 2}}, "-", exitOK, exitOK},
		{row{values: []float64{1, 2}, met: atMost}, "reached", exitOK, exitOK},
		{row{values: []float64{1, 4}, met: atMost}, "inconclusive", exitOK, exitOK},
		{row{values: []float64{4, 5}, met: atMost}, "not reached", exitMissed, exitOK},
		{row{values: []float64{1, 2}, met: atMost, note: "only 3 requests/s were sent"}, "errors", exitErrors, exitOK},
	} {
		rows := []row{{values: []float64{1}}, c.row}
		if got := c.row.verdict(); got != c.verdict || exitCode(rows, false) != c.code || exitCode(rows, true) != c.smoke {
			t.Errorf("%+v: %s, exit codes %d and %d, want %+v", c.row, got, exitCode(rows, false), exitCode(rows, true), c)
		}
	}
	var out bytes.Buffer
	print(&out, options{rate: 2000, blocks: 3}, []row{{what: "trivet", values: []float64{3, 1, 2}, unit: "%", limit: "≤ 3", met: atMost}})
	if want := "trivet  2 % (1–3)            ≤ 3    reached\n"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, out.String())
	}
}

func TestPageURL(t *testing.T) {
	t.Parallel()
	const events = `{"event":"starting"}
{"event":"up","http":"127.0.0.1:1","dashboard":"http://127.0.0.1:2"}
`
	if url, err := pageURL([]byte(events)); err != nil || url != "http://127.0.0.1:2" {
		t.Errorf("%q, %v", url, err)
	}
	if _, err := pageURL([]byte(`{"event":"up","http":"127.0.0.1:1"}`)); err == nil || !strings.Contains(err.Error(), "no page") {
		t.Error(err)
	}
}
