package logstream

import (
	"strings"
	"testing"
	"time"
)

const stamp = "2026-11-27T00:10:13.000000001Z "

func TestLinesOfBothEngines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 16384)
	for name, test := range map[string]struct {
		text  string
		piece int
		want  string
		fails bool
	}{
		"whole":              {stamp + "{}\n", 0, "{}", false},
		"another time zone":  {"2026-11-27T02:10:13.5+02:00 a b\n", 0, "a b", false},
		"empty":              {stamp + "\n", 0, "", false},
		"no time":            {"failed to watch file\n", 0, "", true},
		"pieces":             {stamp + long + stamp + long + stamp + "end\n", 16384, long + long + "end", false},
		"a piece of the end": {stamp + long + stamp + "\n", 16384, long, false},
		"a long line whole":  {stamp + long + "end\n", 16384, long + "end", false},
		"a time in a line":   {stamp + "{\"user_agent\":\"" + stamp + "\"}\n", 16384, "{\"user_agent\":\"" + stamp + "\"}", false},
	} {
		l, ok := parseLine([]byte(test.text), test.piece)
		if ok == test.fails || string(l.text) != test.want || ok && (l.at.Year() != 2026 || l.at.UTC().Hour() != 0) {
			t.Errorf("%s: %v, %v, %d bytes: %.40s", name, ok, l.at, len(l.text), l.text)
		}
	}
}

// A line without its end is the last of a container that was killed, and Docker prints the next start's first line behind it.
func TestLineBehindATornOne(t *testing.T) {
	t.Parallel()
	l, _ := parseLine([]byte(stamp+`{"v":2,"eve2026-11-27T00:10:14.000000000Z {"v":2}`+"\n"), 16384)
	torn, next, ok := glued(l)
	if !ok || string(torn.text) != `{"v":2,"eve` || string(next.text) != `{"v":2}` || next.at.Second() != 14 {
		t.Errorf("%v: %q, %q at %v", ok, torn.text, next.text, next.at)
	}
	l, _ = parseLine([]byte(stamp+"serving at 2026-11-27T00:10:14.000000000Z now\n"), 16384)
	if _, next, ok := glued(l); ok {
		t.Errorf("%q is no line", next.text)
	}
}

// Lines that are printed again are not taken again, also if several have the same time, and where the first ones are missing.
func TestPositionTakesEachLineOnce(t *testing.T) {
	t.Parallel()
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	var p position
	var taken []int
	read := func(lines ...int) {
		c := cursor{replay: !p.at.IsZero()}
		for _, l := range lines {
			if p.take(&c, at(l)) {
				taken = append(taken, l)
			}
		}
	}
	read(1, 2, 2)
	read(1, 2, 2, 2, 3)
	read(2, 2, 2, 3, 3)
	read(3, 3, 2, 4) // The clock was set back: what comes after what was read is another line.
	if got, want := len(taken), 1+3+2+1; got != want || taken[got-1] != 4 {
		t.Errorf("%v", taken)
	}
}
