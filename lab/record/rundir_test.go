package record

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/scenario"
)

func TestNewestFinishedRunsAreKept(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "trivet")
	day := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	begin := func(hour int) *Run {
		t.Helper()
		r, err := newRun(base, day.Add(time.Duration(hour)*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	living := begin(0)
	var want, removed, got []string
	var marked *Run
	for hour := 1; hour <= 8; hour++ {
		r := begin(hour)
		switch {
		case hour >= 4:
			want = append(want, r.Dir)
		case hour == 1: // Marked: it stays, beside the newest five.
			marked = r
			if err := r.Keep(); err != nil {
				t.Fatal(err)
			}
		default:
			removed = append(removed, r.Dir)
		}
		got = append(got, r.Removed...)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(base, "mine"), 0o700); err != nil { // Not a run directory, so it stays.
		t.Fatal(err)
	}
	newest := begin(9)
	if got = append(got, newest.Removed...); !slices.Equal(got, removed) {
		t.Errorf("removed %q, want %q", got, removed)
	}
	want = append([]string{living.Dir, marked.Dir}, append(want, newest.Dir)...)
	slices.Reverse(want)
	got, err := Runs(base)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s\n%v", strings.Join(got, "\n"), strings.Join(want, "\n"), err)
	}
	if err := errors.Join(living.Close(), newest.Discard()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(base, "mine")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(newest.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a discarded run: %v", err)
	}
}

func TestRunningRunsAreKnown(t *testing.T) {
	t.Parallel()
	r, err := NewRun(filepath.Join(t.TempDir(), "trivet"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // The first question must not end the run's lock.
		if !Running(r.Dir) {
			t.Error("a run that lives is not running")
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if Running(r.Dir) || Running(t.TempDir()) {
		t.Error("a finished run, or no run at all, is running")
	}
}

func TestRunDirectoryIsPassableAndNotListable(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "trivet")
	if err := os.Mkdir(base, 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := NewRun(base)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, dir := range []string{base, r.Dir, filepath.Join(r.Dir, "logs")} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o711 {
			t.Errorf("%s: %v %v", dir, info.Mode(), err)
		}
	}
}

func TestUnusableBaseIsNamedInTheError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link, file, foreign := filepath.Join(dir, "link"), filepath.Join(dir, "file"), filepath.Join(dir, "foreign")
	if err := errors.Join(os.Symlink(dir, link), os.WriteFile(file, nil, 0o600), os.Mkdir(foreign, 0o777)); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		link:                           "is a link",
		file:                           "is not a directory",
		filepath.Join(file, "below"):   "not a directory",
		filepath.Join(dir, "no", "no"): "no such file",
	}
	if os.Getuid() == 0 { // Only root can give a directory to another user.
		if err := os.Chown(foreign, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		tests[foreign] = "belongs to user 12345"
	}
	for base, want := range tests {
		_, err := NewRun(base)
		if !errors.Is(err, ErrRunDir) {
			t.Errorf("%s: %v", base, err)
			continue
		}
		for _, want := range []string{want, base, "TMPDIR"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in: %v", want, err)
			}
		}
		if CheckBase(base) == nil {
			t.Errorf("CheckBase accepts %s", base)
		}
	}
}

func TestCheckBaseLeavesNothing(t *testing.T) {
	t.Parallel()
	base := filepath.Join(proctest.Passable(t), "trivet")
	if err := CheckBase(base); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(base); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", base, err)
	}
}

func TestLogsAreFoundByName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"whoami-10.log", "whoami-2.log", "error.log", "access.log", "other.txt"} {
		if err := os.WriteFile(filepath.Join(dir, "logs", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, names, err := FindLog(dir, "nginx")
	if want := []string{"access", "nginx", "whoami-2", "whoami-10"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("got %v, want %v (%v)", names, want, err)
	}
	if file != filepath.Join(dir, "logs", "error.log") || file != LogFile(dir, scenario.Nginx) {
		t.Errorf("nginx's log is %s", file)
	}
	if file, _, _ := FindLog(dir, "../lock"); file != "" {
		t.Errorf("an unknown name gives %s", file)
	}
}

func TestTailGivesLastLines(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "log")
	if got := Tail(name, 2); !strings.Contains(got, "no such file") {
		t.Errorf("%q", got)
	}
	if err := os.WriteFile(name, []byte(strings.Repeat("x", 10000)+"\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := Tail(name, 2), "  two\n  three"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
