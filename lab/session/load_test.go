package session

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/lab/draft"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

func TestLoadsOutOfBoundsAreRefused(t *testing.T) {
	t.Parallel()
	for _, l := range []Load{{HTTP: -1}, {GRPC: 1e-9}, {GRPC: MaxRate + 1}, {HTTP: math.NaN()}, {Streams: -1}, {Streams: MaxStreams + 1}, {HTTP: 1, DeadlineMS: 9}, {HTTP: 1, DeadlineMS: 60_001}} {
		if l.validate() == nil {
			t.Errorf("%+v is a load", l)
		}
	}
	l := Load{HTTP: MaxRate, GRPC: MaxRate, Streams: MaxStreams}
	if err := l.validate(); err != nil || l.DeadlineMS != DefaultDeadline {
		t.Errorf("%+v, %v", l, err)
	}
}

// Before an exact time every reader counts the same requests: the generator by offsets, the ledger by the rate.
func TestExactTimesCountTheSame(t *testing.T) {
	t.Parallel()
	for _, rates := range [][]float64{{500}, {1000, 5000, 0.2}, {3, 7, 333.333}} {
		var loads []scenario.Load
		for _, r := range rates {
			loads = append(loads, scenario.Load{Rate: scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{r}}})
		}
		for at := time.Duration(1); at < 10*time.Second; at += 501 * time.Millisecond {
			d := exact(at, loads)
			if d < at || d > at+100*time.Millisecond {
				t.Errorf("%v: %v is not soon after %v", rates, d, at)
			}
			for _, l := range loads {
				before := 0
				for offset := range l.Rate.Offsets(time.Minute) {
					if offset < d {
						before++
					}
				}
				if n := l.Rate.Count(d); n != before || max(0, int(math.Ceil(l.Rate.PerSecond[0]*d.Seconds()-0.5))) != n {
					t.Errorf("%v in %v: %d and %d", rates, d, n, before)
				}
			}
		}
	}
}

// A generator that learns late of the end has sent more of each load, and not equally much more.
func TestLoadThatEndsLateIsSettled(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		sent, want []int
		length     time.Duration
	}{
		{[]int{100, 200}, []int{100, 200}, time.Second},
		{[]int{90, 200}, []int{100, 200}, time.Second}, // The ledger finds what is missing.
		{[]int{130, 204}, []int{130, 204}, 1300 * time.Millisecond},
		{[]int{104, 260}, []int{104, 260}, 1300 * time.Millisecond},
	} {
		l := &running{dir: t.TempDir(), length: time.Second, manifest: record.Manifest{Planned: make([]int, 2), Scenario: scenario.Scenario{Phases: make([]scenario.Phase, 1)}}}
		var lines strings.Builder
		for i, protocol := range []string{scenario.HTTP, scenario.GRPC} {
			rate := scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{100 * float64(i+1)}}
			l.manifest.Scenario.Loads = append(l.manifest.Scenario.Loads, scenario.Load{Protocol: protocol, Rate: rate})
			for n := range test.sent[i] {
				fmt.Fprintf(&lines, "{\"id\":\"1.%s.%d.%d\"}\n", protocol, i, n)
			}
		}
		if err := errors.Join(record.MkdirAll(filepath.Join(l.dir, "records")), os.WriteFile(filepath.Join(l.dir, record.ClientFile), []byte(lines.String()), 0o600), l.settle()); err != nil {
			t.Fatal(err)
		}
		if m := l.manifest; !slices.Equal(m.Planned, test.want) || m.Scenario.Phases[0].For != test.length {
			t.Errorf("sent %v: planned %v in %v, want %v in %v", test.sent, m.Planned, m.Scenario.Phases[0].For, test.want, test.length)
		}
	}
}

func TestHistoryHasASegmentForEachChange(t *testing.T) {
	t.Parallel()
	var h history
	s := time.Second
	edits, words := editsOf(settings())
	h.configure(0, edits, words)
	h.load(1*s, Load{HTTP: 10, DeadlineMS: 1000})
	h.load(3*s, Load{GRPC: 20, DeadlineMS: 1000})
	chosen, err := choose(settings(), map[string]string{"keepalive": "small"})
	if err != nil {
		t.Fatal(err)
	}
	edits, words = editsOf(chosen)
	h.configure(5*s, edits, words)
	h.act(draft.Action{At: 7 * s, Kind: scenario.Kill, Process: "whoami-2"})
	h.act(draft.Action{At: 6 * s, Kind: scenario.Pause, Process: "whoami-1"})
	if open := h.copy(8 * s); len(open.Segments) != 3 || open.Segments[2].To != 8*s || h.len() != 5 {
		t.Errorf("%+v", open)
	}
	h.end(9 * s)
	h.end(10 * s)
	all := h.copy(11 * s)
	for i, want := range []draft.Segment{{From: 1 * s, To: 3 * s, HTTP: 10}, {From: 3 * s, To: 5 * s, GRPC: 20}, {From: 5 * s, To: 9 * s, GRPC: 20}} {
		got := all.Segments[i]
		if got.From != want.From || got.To != want.To || got.HTTP != want.HTTP || got.GRPC != want.GRPC || got.Deadline != s || len(got.Edits) != 2*max(0, i-1) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if got := all.Segments[2].Settings; len(got) != 1 || got[0] != "idle connections: 4 per worker" {
		t.Errorf("%q", got)
	}
	if all.Actions[0].Process != "whoami-1" {
		t.Errorf("%+v", all.Actions)
	}
}

// What goes on is in the history, and of many actions those are forgotten that no longer matter.
func TestHistoryKnowsWhatIsInEffect(t *testing.T) {
	t.Parallel()
	var h history
	s := time.Second
	h.act(draft.Action{At: s, Kind: scenario.Pause, Process: "whoami-1"})
	for n := range 2 * maxHistory {
		h.act(draft.Action{At: time.Duration(2+n) * s, Kind: scenario.Reload, Process: scenario.Nginx})
	}
	h.begin(draft.Action{At: 3 * s, Kind: scenario.Drain, Process: "whoami-2"})
	all := h.copy(1000 * s).Actions
	if len(all) != maxHistory+1 || h.len() != maxHistory || all[0].Kind != scenario.Pause || all[1].Kind != scenario.Drain || all[1].Until != 1000*s || all[maxHistory].At != time.Duration(1+2*maxHistory)*s {
		t.Errorf("%d actions: %+v", len(all), all[:2])
	}
}

func TestDeathIsAnAction(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		exit record.Exit
		want string
	}{
		{record.Exit{}, scenario.Drain}, {record.Exit{Code: 1}, scenario.Drain}, {record.Exit{Code: 2}, scenario.Kill}, {record.Exit{Signal: "SIGKILL"}, scenario.Kill},
		{record.Exit{Signal: "SIGSEGV"}, scenario.Kill}, {record.Exit{Error: "lost"}, scenario.Kill},
	} {
		if got := death(&test.exit); got != test.want {
			t.Errorf("%v: %s, want %s", test.exit, got, test.want)
		}
	}
}

func TestLoadNeedsRoomForItsRecords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := checkSpace(dir, Load{HTTP: 100}); err != nil {
		t.Error(err)
	}
	if e := isKind(t, checkSpace(dir, Load{HTTP: 1e12}), State); !strings.Contains(e.Text, dir+" has ") {
		t.Errorf("%v", e)
	}
}
