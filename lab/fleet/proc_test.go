package fleet

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		want stat
		ok   bool
	}{
		{"12 (whoami) S 3 4 5 0", stat{12, 3, 4, "S", 0}, true},
		{"12 (a) Z 9 (b) (c)) Z 3 4 5", stat{12, 3, 4, "Z", 0}, true},
		{"12 (gone) X 3 4", stat{12, 3, 4, "X", 0}, true},
		{"12 (short) S 3", stat{}, false},
		{"12 whoami S 3 4", stat{}, false},
		{"x (whoami) S 3 4", stat{}, false},
		{"", stat{}, false},
	} {
		got, ok := parseStat(test.text)
		if ok != test.ok || ok && got != test.want {
			t.Errorf("%q: got %+v, %v", test.text, got, ok)
		}
	}
}

func TestProcessesContainThisOne(t *testing.T) {
	t.Parallel()
	for _, p := range processes() {
		if p.pid == os.Getpid() {
			if p.parent != os.Getppid() || p.zombie() || paused(p.pid) {
				t.Errorf("%+v", p)
			}
			return
		}
	}
	t.Error("this process is not among them")
}

func TestReloaded(t *testing.T) {
	t.Parallel()
	before := []worker{{pid: 1}, {pid: 2}, {pid: 3, leaving: true}} // 3 is of the reload before.
	for _, test := range []struct {
		name string
		now  []worker
		want bool
	}{
		{"nothing changed", before, false},
		{"new beside old workers", []worker{{pid: 1}, {pid: 2}, {pid: 4}, {pid: 5}}, false},
		{"new worker is booting", []worker{{pid: 4}, {pid: 5, booting: true}}, false},
		{"old workers are leaving", []worker{{pid: 1, leaving: true}, {pid: 2, leaving: true}, {pid: 4}}, true},
		{"old workers are gone", []worker{{pid: 4}, {pid: 5}}, true},
		{"all workers are gone", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := reloaded(before, test.now); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func FuzzParseStat(f *testing.F) {
	for _, seed := range []string{"1 (init) S 0 1 1", "7 (a (b) c) Z 1 7 7 0", "7 (x", ") (", "1 () R 1 1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if p, ok := parseStat(text); ok && !strings.HasPrefix(strings.TrimLeft(text, "+-0"), strings.TrimLeft(strconv.Itoa(p.pid), "-0")) {
			t.Errorf("%q is read as %+v", text, p)
		}
	})
}
