package exporter

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A logFile is an access log, and what a follower reads of it.
type logFile struct {
	*follower
	t                               *testing.T
	now                             time.Time
	lines                           []string
	rotations, truncations, tooLong int
}

func newLog(t *testing.T) *logFile {
	l := &logFile{t: t, now: time.Unix(1, 0)}
	l.follower = &follower{
		path: filepath.Join(t.TempDir(), "access.log"), grace: rotationGrace,
		rotated: func() { l.rotations++ }, truncated: func() { l.truncations++ }, tooLong: func() { l.tooLong++ },
	}
	t.Cleanup(func() { l.close() })
	return l
}

// add appends text to the file that has the log's name, or name.
func (l *logFile) add(text string, name ...string) {
	l.t.Helper()
	f, err := os.OpenFile(append(name, l.path)[0], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		l.t.Fatal(err)
	}
}

// want polls after some time, and compares what has been read in all.
func (l *logFile) want(after time.Duration, want ...string) {
	l.t.Helper()
	l.now = l.now.Add(after)
	if err := l.poll(l.now, func(line []byte) { l.lines = append(l.lines, string(line)) }); err != nil {
		l.t.Fatal(err)
	}
	if !slices.Equal(l.lines, want) {
		l.t.Fatalf("read %q, want %q", l.lines, want)
	}
}

func TestFollowerWaitsForFileAndWholeLines(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.want(0)
	l.add("one\ntw")
	l.want(0, "one")
	if l.unread() != 0 {
		t.Errorf("%d bytes unread", l.unread())
	}
	l.add("o\nthree\n")
	if l.unread() != 8 {
		t.Errorf("%d bytes unread, want 8", l.unread())
	}
	l.want(0, "one", "two", "three")
}

func TestFollowerBeginsWhereTheLogEnded(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.add("before\n")
	l.begin = 7
	l.add("after\n")
	l.want(0, "after")
	l = newLog(t)
	l.begin = 7 // of a file that another has replaced
	l.add("new\n")
	l.want(0, "new")
}

func TestFollowerKeepsLinesOfRotation(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.add("one\n")
	l.want(0, "one")
	old := l.path + ".1"
	if err := os.Rename(l.path, old); err != nil {
		t.Fatal(err)
	}
	l.add("two\n", old) // nginx has not reopened its log.
	l.want(time.Minute, "one", "two")
	l.add("four\n") // One worker has reopened it, another has not yet.
	l.add("three\n", old)
	l.want(0, "one", "two", "three")
	if l.unread() != 5 {
		t.Errorf("%d bytes unread, want those of the new file: 5", l.unread())
	}
	l.want(rotationGrace, "one", "two", "three", "four")
	l.add("five\n")
	l.want(0, "one", "two", "three", "four", "five")
	if l.rotations != 1 || l.truncations != 0 {
		t.Errorf("%d rotations, %d truncations", l.rotations, l.truncations)
	}
}

func TestFollowerReadsTruncatedFileAnew(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.add("one\nhal")
	l.want(0, "one")
	if err := os.Truncate(l.path, 0); err != nil {
		t.Fatal(err)
	}
	l.add("two\n")
	l.want(0, "one", "two")
	if l.truncations != 1 || l.rotations != 0 {
		t.Errorf("%d truncations, %d rotations", l.truncations, l.rotations)
	}
}

func TestFollowerBoundsLines(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.add("one\n" + strings.Repeat("x", 3*longestLine) + "\ntwo\n")
	l.want(0, "one", "two")
	if l.tooLong != 1 {
		t.Errorf("%d lines too long, want 1", l.tooLong)
	}
	if c := cap(l.buffer); c > 3*longestLine {
		t.Errorf("the buffer has %d bytes", c)
	}
	var all []string
	for i := range 20000 {
		all = append(all, fmt.Sprint(i))
	}
	l.lines = nil
	l.add(strings.Join(all, "\n") + "\n")
	l.want(0, all...)
}
