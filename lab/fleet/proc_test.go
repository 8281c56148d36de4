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
		want row
		ok   bool
	}{
		{"12 (whoami) S 3 4 5 0", row{12, 3, 4, false}, true},
		{"12 (a) Z 9 (b) (c)) Z 3 4 5", row{12, 3, 4, true}, true},
		{"12 (gone) X 3 4", row{12, 3, 4, true}, true},
		{"12 (short) S 3", row{}, false},
		{"12 whoami S 3 4", row{}, false},
		{"x (whoami) S 3 4", row{}, false},
		{"", row{}, false},
	} {
		got, ok := parseStat(test.text)
		if ok != test.ok || ok && got != test.want {
			t.Errorf("%q: got %+v, %v", test.text, got, ok)
		}
	}
}

func TestProcessesHoldThisOne(t *testing.T) {
	t.Parallel()
	for _, p := range processes() {
		if p.pid == os.Getpid() {
			if p.parent != os.Getppid() || p.zombie {
				t.Errorf("%+v", p)
			}
			return
		}
	}
	t.Error("not there")
}

func TestReloaded(t *testing.T) {
	t.Parallel()
	before := []worker{{pid: 1}, {pid: 2}, {pid: 3, leaving: true}} // 3 is left from the reload before.
	for _, test := range []struct {
		name string
		now  []worker
		want bool
	}{
		{"nothing happened", before, false},
		{"new ones beside the old", []worker{{pid: 1}, {pid: 2}, {pid: 4}, {pid: 5}}, false},
		{"a new one does not serve yet", []worker{{pid: 4}, {pid: 5, booting: true}}, false},
		{"old ones are leaving", []worker{{pid: 1, leaving: true}, {pid: 2, leaving: true}, {pid: 4}}, true},
		{"old ones are gone", []worker{{pid: 4}, {pid: 5}}, true},
		{"all are gone", nil, false},
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
