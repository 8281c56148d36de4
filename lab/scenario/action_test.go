package scenario

import (
	"slices"
	"testing"
	"time"
)

func on(kind string, names ...string) Action {
	return Action{Process: &ProcessAction{Kind: kind, Names: names}}
}

func TestOperationsOfNestedActions(t *testing.T) {
	t.Parallel()
	p := Phase{Name: "during", For: time.Minute, Do: []Action{
		on(Kill, "whoami-1"),
		{Together: []Action{on(Start, "whoami-1", "whoami-2"), {Wait: &WaitAction{time.Second}}}},
		{Repeat: &RepeatAction{Times: 2, Every: 3 * time.Second, Do: []Action{on(Reload, Nginx), {Wait: &WaitAction{time.Second}}}}},
		on(Drain, Nginx),
	}}
	var got []string
	for _, o := range p.Operations() {
		got = append(got, o.Name())
	}
	want := []string{
		"kill whoami-1", "start whoami-1", "start whoami-2", "wait", "reload nginx", "wait", "reload nginx", "wait", "drain nginx",
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
	after := [][]int{nil, {0}, {1}, {0}, {2, 3}, {4}, {5}, {6}, {7}}
	for i, o := range p.Operations() {
		base, offset := -1, time.Duration(0)
		if i == 6 || i == 7 {
			base, offset = 4, 3*time.Second
		}
		if !slices.Equal(o.After, after[i]) || o.Base != base || o.Offset != offset {
			t.Errorf("%d, %s: after %v, base %d, offset %v; want %v, %d, %v", i, o.Name(), o.After, o.Base, o.Offset, after[i], base, offset)
		}
	}
}

func TestPlannedStartOfAnOperation(t *testing.T) {
	t.Parallel()
	s := time.Second
	o := Operation{After: []int{0, 1}, Base: 2, Offset: 10 * s}
	times := func(all map[int]time.Duration) func(int) (time.Duration, bool) {
		return func(i int) (time.Duration, bool) { at, ok := all[i]; return at, ok }
	}
	for _, test := range []struct {
		started, ended map[int]time.Duration
		want           time.Duration
		ok             bool
	}{
		{map[int]time.Duration{2: 1 * s}, map[int]time.Duration{0: 2 * s, 1: 3 * s}, 11 * s, true},
		{map[int]time.Duration{2: 1 * s}, map[int]time.Duration{0: 2 * s, 1: 13 * s}, 13 * s, true},
		{map[int]time.Duration{2: 1 * s}, map[int]time.Duration{0: 2 * s}, 0, false},
		{nil, map[int]time.Duration{0: 2 * s, 1: 3 * s}, 0, false},
	} {
		if got, ok := o.Planned(times(test.started), times(test.ended)); got != test.want || ok != test.ok {
			t.Errorf("started %v, ended %v: %v, %v; want %v, %v", test.started, test.ended, got, ok, test.want, test.ok)
		}
	}
}

func TestWorkerNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"nginx-worker-1": 1, "nginx-worker-12": 12, "nginx-worker-0": 0, "nginx-worker-01": 0, "nginx-worker-": 0, "nginx": 0, "whoami-1": 0} {
		if n, ok := WorkerNumber(name); ok != (want > 0) || ok && n != want {
			t.Errorf("%s: %d, %v; want %d", name, n, ok, want)
		}
	}
}
