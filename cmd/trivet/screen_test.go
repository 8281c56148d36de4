package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/x/vt"
	"golang.org/x/sys/unix"

	"trivet/lab/labtest"
	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// An emulator is a terminal on which a run shows its progress.
type emulator struct {
	outer  *os.File
	inner  *os.File
	closed chan struct{}

	mu     sync.Mutex
	screen *vt.Emulator
	raw    strings.Builder
	frames []string // what the screen showed after each write
}

// onTerminal starts trivet run with an experiment on a terminal, and with more settings of its environment.
func onTerminal(t *testing.T, columns int, experiment string, environment ...string) (*emulator, *outside) {
	t.Helper()
	e := &emulator{screen: vt.NewEmulator(columns, 24), closed: make(chan struct{})}
	e.outer, e.inner = terminal(t, uint16(columns))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "short.yaml"), []byte(experiment), 0o600); err != nil {
		t.Fatal(err)
	}
	env, err := exec.LookPath("env")
	if err != nil {
		t.Fatal(err)
	}
	args := slices.Concat([]string{"env", "TERM=xterm", "LC_ALL=C.UTF-8"}, environment, []string{trivet(t), "run", "--nginx", labtest.Nginx(t).Path, "short.yaml"})
	o := outsideOf(t, &exec.Cmd{Path: env, Args: args, Dir: dir, Stderr: e.inner})
	go func() {
		defer close(e.closed)
		for part := make([]byte, 4096); ; {
			n, err := e.outer.Read(part)
			if err != nil { // EIO when no process has the inner end open.
				return
			}
			e.mu.Lock()
			e.raw.Write(part[:n])
			_, _ = e.screen.Write(part[:n])
			e.frames = append(e.frames, e.screen.String())
			e.mu.Unlock()
		}
	}()
	return e, o
}

// terminal returns the two ends of a new terminal.
func terminal(t *testing.T, columns uint16) (outer, inner *os.File) {
	t.Helper()
	outer, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { outer.Close() })
	fd := int(outer.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0),
		unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns})); err != nil {
		t.Fatal(err)
	}
	if inner, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inner.Close() })
	return outer, inner
}

func (e *emulator) resize(t *testing.T, columns int) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.screen.Resize(columns, 24)
	if err := unix.IoctlSetWinsize(int(e.outer.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(columns)}); err != nil {
		t.Fatal(err)
	}
}

// mode is the terminal's.
func (e *emulator) mode(t *testing.T) unix.Termios {
	t.Helper()
	mode, err := unix.IoctlGetTermios(int(e.outer.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *mode
}

// shows reports whether the screen shows what a pattern matches now.
func (e *emulator) shows(pattern string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return regexp.MustCompile("(?m)" + pattern).MatchString(e.screen.String())
}

// end waits until no program writes any more, and returns what was written and what the screen showed, the last at the end.
func (e *emulator) end() (raw string, frames []string) {
	e.inner.Close() // Else the outer end would not see that trivet has closed it.
	<-e.closed
	return e.raw.String(), e.frames
}

const paused = `
question: What does a terminal show?
fleet: {instances: 2, workers: 1}
load:
  - {protocol: http, rate: 50/s}
  - {protocol: grpc, rate: 50/s, deadline: 100ms}
phases:
  - {name: before, for: 1500ms}
  - {name: during, for: 1s, do: [{pause: whoami-2}, {wait: 500ms}, {resume: whoami-2}]}
  - {name: after, for: 2500ms}
expect:
  - total.grpc.failed > 0
`

// What the terminal shows last of the trial is what the report says of it.
func TestTerminalShowsTrial(t *testing.T) {
	t.Parallel()
	e, o := onTerminal(t, 100, paused)
	mode := e.mode(t)
	said, status := o.end(t)
	if code := status.ExitStatus(); code != 0 && code != 3 { // 3: the machine was too busy.
		t.Errorf("ended with %v:\n%s", status, said)
	}
	_, frames := e.end()
	var bars, rates, shares []string
	last := ""
	for _, frame := range frames {
		for pattern, list := range map[string]*[]string{`█+│?█*`: &bars, `http +\d+/s`: &rates, `-1 \d+ %  -2 \d+ %`: &shares} {
			if found := regexp.MustCompile(pattern).FindString(frame); found != "" && !slices.Contains(*list, found) {
				*list = append(*list, found)
			}
		}
		if regexp.MustCompile(`grpc +.* failed`).MatchString(frame) {
			last = frame
		}
	}
	if len(bars) < 4 || len(rates) < 2 || len(shares) < 2 {
		t.Errorf("bars %q, rates %q, shares %q", bars, rates, shares)
	}
	mustMatch(t, regexp.MustCompile(`\n{2,}`).ReplaceAllString(strings.Join(frames, "\n"), "\n"), `^short$`, `^trial [█░│]{40,} +\d+ %  \d\.\d s of 5s`, `^  before$`, `^  during: (pause|resume) whoami-2 \(`, `^  after: resume whoami-2 \(`)
	shown := regexp.MustCompile(`(?m)^  grpc .* (\d+) failed`).FindStringSubmatch(last)
	reported := regexp.MustCompile(`(?m)^    total   http .*\n +grpc +\d+ +(\d+)`).FindStringSubmatch(said)
	if shown == nil || reported == nil || shown[1] != reported[1] || shown[1] == "0" {
		t.Errorf("the terminal showed %q, and the report says %q\n%s\n%s", shown, reported, last, said)
	}
	if end := strings.TrimSpace(frames[len(frames)-1]); strings.Contains(end, "failed") || !strings.HasSuffix(end, "5s of load") {
		t.Errorf("the drawing stays:\n%s", end)
	}
	if e.mode(t) != mode || e.screen.CursorHidden() {
		t.Errorf("mode %+v, and before %+v; cursor hidden: %t", e.mode(t), mode, e.screen.CursorHidden())
	}
}

func TestTerminalIsRestoredByInterrupt(t *testing.T) {
	t.Parallel()
	e, o := onTerminal(t, 100, long, "NO_COLOR=1")
	mode := e.mode(t)
	eventually(t, "the bar is drawn", func() bool { return e.shows(`^  during`) })
	// A narrower terminal: what it would wrap could not be drawn over.
	e.resize(t, 40)
	send(t, o.cmd.Process.Pid, syscall.SIGWINCH)
	eventually(t, "it fits", func() bool { return e.shows(`^trial [█░│]{15,} +\d %$`) && !e.shows(`-1.*-2.*\n.*-1.*-2`) })
	o.signal(t, syscall.SIGINT)
	if _, status := o.end(t); status.ExitStatus() != 130 {
		t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
	}
	raw, frames := e.end()
	end := frames[len(frames)-1]
	if !strings.Contains(end, "trivet: stopping (interrupt)") || strings.Contains(end, "█") || strings.Contains(end, " failed") {
		t.Errorf("at the end:\n%s", end)
	}
	if e.mode(t) != mode || e.screen.CursorHidden() || regexp.MustCompile(`\x1b\[[\d;]*m`).MatchString(raw) {
		t.Errorf("mode %+v, and before %+v; cursor hidden: %t; written: %q", e.mode(t), mode, e.screen.CursorHidden(), raw)
	}
}

func TestDumbTerminalGetsLines(t *testing.T) {
	t.Parallel()
	e, o := onTerminal(t, 100, long, "TERM=dumb")
	eventually(t, "a line is there", func() bool { return e.shows(`during, \d`) })
	o.signal(t, syscall.SIGINT)
	o.end(t)
	if raw, _ := e.end(); strings.Contains(raw, "\x1b") {
		t.Errorf("escape sequences: %q", raw)
	}
}

// drawn is a drawing of so many trials, of which the last goes on.
func drawn(trials, instances int) drawing {
	s := scenario.Scenario{
		Instances: instances, Loads: []scenario.Load{{Name: "http", Protocol: scenario.HTTP}, {Name: "grpc", Protocol: scenario.GRPC}},
		Phases: []scenario.Phase{{Name: "before", For: 2 * time.Second}, {Name: "during", For: 8 * time.Second}},
	}
	counts := map[string]int{}
	for i, name := range s.InstanceNames() {
		counts[name] = 100 + i
	}
	d := drawing{experiment: "kill-one", planned: trials, color: true}
	for n := range trials {
		d.trials = append(d.trials, trialDrawing{
			name: fmt.Sprintf("with_a_rather_long_name %d", n+1), scenario: s, at: 5 * time.Second,
			live: measure.Progress{
				Phase: "during", Protocols: map[string]measure.Counts{"http": {OK: 12_345}, "grpc": {OK: 100, Failed: 23, Dropped: 4}},
				Operation: &measure.Operation{Name: "drain whoami-2", At: 3 * time.Second},
			},
			rates: rates{map[string]float64{"http": 300, "grpc": 300}, map[string]float64{"http": 1.29}, map[string]map[string]int{"http": counts, "grpc": counts}},
		})
	}
	return d
}

func TestDrawingFitsTerminal(t *testing.T) {
	t.Parallel()
	sequence := regexp.MustCompile(`\x1b\[[\d;]*m`)
	for _, columns := range []int{0, 12, 40, 60, 80, 132} {
		for _, rows := range []int{0, 6, 10, 50} {
			for _, instances := range []int{1, 3, 12} {
				lines := drawn(20, instances).lines(columns, rows)
				if rows > 0 && len(lines) >= rows {
					t.Errorf("%d lines in %d rows:\n%s", len(lines), rows, strings.Join(lines, "\n"))
				}
				for _, line := range lines {
					if n := utf8.RuneCountInString(sequence.ReplaceAllString(line, "")); columns > 0 && n >= columns {
						t.Errorf("%d characters in %d columns: %q", n, columns, line)
					}
				}
			}
		}
	}
	text := sequence.ReplaceAllString(strings.Join(drawn(2, 12).lines(132, 40), "\n"), "<>")
	for _, want := range []string{
		"kill-one: trial 2 of 2\n", "with_a_rather_long_name 1 █", " 50 %  27 failed\n", " 50 %  5.0 s of 10s\n", "  during: drain whoami-2 (for 2.0 s)\n",
		"  http  300/s  12345 ok    0 failed  1.29 attempts/req   OK from 12 instances: -1 8 % to -12 9 %\n", "   <>23 failed<>  4 dropped",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	named := drawn(2, 3)
	named.experiment = strings.Repeat("long-", 20)
	if title := named.lines(40, 20)[0]; !strings.HasPrefix(title, "long-") || !strings.HasSuffix(title, ": trial 2 of 2") {
		t.Errorf("title %q", title)
	}
	if narrow := strings.Join(drawn(1, 3).lines(40, 20), "\n"); !strings.Contains(narrow, "\n    OK from -1 33 %  -2 33 %  -3 34 %") {
		t.Errorf("narrow:\n%s", narrow)
	}
}

// nginx's records are read sooner than the client's: a ratio of what came from both before anything was known of one is wrong.
func TestAttemptsPerRequestBeginWithBoth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProgress(io.Discard)
		for _, step := range []struct {
			ended, attempts int
			want            float64 // 0: none
		}{{0, 0, 0}, {56, 60, 0}, {116, 120, 1}} {
			p.measure(measure.Progress{Protocols: map[string]measure.Counts{"http": {OK: step.ended}}, NginxAttempts: map[string]int{"http": step.attempts}})
			if got := p.rates.attempts["http"]; got != step.want {
				t.Errorf("after %d requests and %d attempts: %v attempts per request, want %v", step.ended, step.attempts, got, step.want)
			}
			<-time.After(time.Second)
		}
	})
}
