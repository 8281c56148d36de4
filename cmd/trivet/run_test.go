package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"trivet/lab/labtest"
	"trivet/lab/record"
)

// maxTries is how often judged runs trivet.
const maxTries = 20

// judged is the testscript command `judged CODE trivet run …`, which is `exits` for a run with a verdict: as long as a busy machine makes the
// run invalid, it runs trivet again.
func judged(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: judged CODE command …")
	}
	code := ""
	for range maxTries {
		code = "0"
		err := ts.Exec(args[1], args[2:]...)
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			code = strconv.Itoa(exit.ExitCode())
		} else {
			ts.Check(err)
		}
		said := ts.ReadFile("stdout")
		if code != "3" || strings.Contains(said, "contradict each other") {
			break
		}
	}
	if code != args[0] {
		ts.Fatalf("%s exited with %s, want %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// document is the testscript command `document FILE PATH PATTERN …`: the file is one JSON document, and the value at each PATH (names and
// numbers separated by dots) matches the PATTERN.
func document(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args)%2 != 1 {
		ts.Fatalf("usage: document FILE PATH PATTERN …")
	}
	var whole any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &whole); err != nil {
		ts.Fatalf("%s is not one JSON document: %v", args[0], err)
	}
	for pair := range slices.Chunk(args[1:], 2) {
		at := whole
		for name := range strings.SplitSeq(pair[0], ".") {
			switch in := at.(type) {
			case map[string]any:
				at = in[name]
			case []any:
				n, err := strconv.Atoi(name)
				if err != nil || n >= len(in) {
					ts.Fatalf("%s: no %s in a list of %d", pair[0], name, len(in))
				}
				at = in[n]
			default:
				ts.Fatalf("%s: no %s in %v", pair[0], name, at)
			}
		}
		if text := fmt.Sprint(at); !regexp.MustCompile(pair[1]).MatchString(text) {
			ts.Fatalf("%s is %s, want %s", pair[0], text, pair[1])
		}
	}
}

// junit is the testscript command `junit FILE TESTS FAILURES ERRORS`: the file is JUnit XML, and its cases and its counts are these.
func junit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: junit FILE TESTS FAILURES ERRORS")
	}
	type counts struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
	}
	var file struct {
		XMLName xml.Name `xml:"testsuites"`
		counts
		Suites []struct {
			counts
			Cases []struct {
				Name     string     `xml:"name,attr"`
				Class    string     `xml:"classname,attr"`
				Failures []struct{} `xml:"failure"`
				Errors   []struct{} `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	ts.Check(xml.Unmarshal([]byte(ts.ReadFile(args[0])), &file))
	var sum, counted counts
	for _, suite := range file.Suites {
		sum = counts{sum.Tests + suite.Tests, sum.Failures + suite.Failures, sum.Errors + suite.Errors}
		for _, c := range suite.Cases {
			if c.Name == "" || c.Class == "" {
				ts.Fatalf("%s: a case without a name: %+v", args[0], c)
			}
			counted = counts{counted.Tests + 1, counted.Failures + len(c.Failures), counted.Errors + len(c.Errors)}
		}
	}
	want := strings.Join(args[1:], " ")
	for _, c := range []counts{file.counts, sum, counted} {
		if got := fmt.Sprintf("%d %d %d", c.Tests, c.Failures, c.Errors); got != want {
			ts.Fatalf("%s: tests, failures and errors are %s (the whole says %+v, its suites %+v, its cases %+v); want %s", args[0], got, file.counts, sum, counted, want)
		}
	}
}

// long is an experiment that takes much longer than any test.
const long = `
question: What if it does not come to its end?
fleet: {instances: 2, workers: 1}
load:
  - {protocol: http, rate: 50/s}
  - {protocol: grpc, rate: 50/s}
phases:
  - {name: before, for: 300ms}
  - {name: during, for: 10m, do: [{pause: whoami-2}]}
expect:
  - total.http.failed == 0
`

// running starts trivet run with an experiment, and with more arguments.
func running(t *testing.T, experiment string, more ...string) *outside {
	t.Helper()
	return runningTo(t, &stderrBuffer{to: t.Output()}, experiment, more...)
}

// runningTo is running with a stderr of its own.
func runningTo(t *testing.T, stderr io.Writer, experiment string, more ...string) *outside {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "long.yaml"), []byte(experiment), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"trivet", "run", "--nginx", labtest.Nginx(t).Path, "long.yaml"}, more...)
	return outsideOf(t, &exec.Cmd{Path: trivet(t), Args: args, Dir: dir, Stderr: stderr})
}

// stderrBuffer keeps what it passes on.
type stderrBuffer struct {
	to   io.Writer
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *stderrBuffer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	return w.to.Write(p)
}

// words returns what trivet has written to stderr.
func (o *outside) words() string {
	w := o.cmd.Stderr.(*stderrBuffer)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// variant returns the trial directory of the running variant; "" before there is one.
func (o *outside) variant() string {
	found, _ := filepath.Glob(filepath.Join(o.tmp, "trivet-*-experiments", "*", "1-long", "only"))
	return strings.Join(found, "")
}

// written returns the content of a file of the variant.
func (o *outside) written(name string) string {
	text, err := os.ReadFile(filepath.Join(o.variant(), name))
	if err != nil {
		return ""
	}
	return string(text)
}

// untilLoaded waits until the load runs.
func (o *outside) untilLoaded(t *testing.T) {
	t.Helper()
	eventually(t, "requests are recorded", func() bool { return strings.Contains(o.written(record.ClientFile), "\n") })
}

// untilStarting waits until the first process has been started.
func (o *outside) untilStarting(t *testing.T) {
	t.Helper()
	eventually(t, "a process is started", func() bool { return strings.Contains(o.written(record.EventsFile), `"started"`) })
}

// generator returns the pid of the load generator; 0 if there is none.
func (o *outside) generator() int {
	for _, stat := range o.living() {
		pid, _, _ := strings.Cut(stat, " ")
		if line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline")); err == nil && string(line) == "trivet\x00load\x00" {
			n, _ := strconv.Atoi(pid)
			return n
		}
	}
	return 0
}

// end returns the rest of what trivet prints, and how it ended.
func (o *outside) end(t *testing.T) (said string, status syscall.WaitStatus) {
	t.Helper()
	text, err := io.ReadAll(o.lines)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), o.wait(t)
}

// again returns what trivet report prints about the run afterwards.
func (o *outside) again(t *testing.T) string {
	t.Helper()
	cmd := &exec.Cmd{Path: trivet(t), Args: []string{"trivet", "report"}, Env: o.cmd.Env, Dir: o.cmd.Dir, Stderr: t.Output()}
	text, err := cmd.Output()
	if err != nil {
		t.Errorf("trivet report: %v", err)
	}
	return string(text)
}

// eventTimeout is longer than anything takes here, however busy the machine.
const eventTimeout = time.Minute

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(eventTimeout)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it never happens that %s", what)
		}
	}
}

func mustMatch(t *testing.T, text string, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		if !regexp.MustCompile("(?m)" + pattern).MatchString(text) {
			t.Errorf("no %q in:\n%s", pattern, text)
		}
	}
}

func send(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if pid == 0 { // 0 is the tests' own process group, which SIGSTOP would stop forever.
		t.Fatalf("%v: the process does not exist", s)
	}
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatalf("%v to pid %d: %v", s, pid, err)
	}
}

func TestStarvedGeneratorMakesRunInvalid(t *testing.T) {
	t.Parallel()
	o := running(t, `
question: Does an overloaded lab blame nginx?
fleet: {instances: 2, workers: 1}
load: [{protocol: http, rate: 100/s, deadline: 30s}]
phases: [{name: during, for: 1s}]
expect: [during.http.failed == 0]
`)
	var manifest record.Manifest
	eventually(t, "the generator has been started", func() bool {
		return json.Unmarshal([]byte(o.written(record.ManifestFile)), &manifest) == nil && o.generator() != 0
	})
	pid := o.generator()
	send(t, pid, syscall.SIGSTOP)
	// A request that is over one second overdue is dropped.
	<-time.After(time.Until(manifest.Begin.Add(1500 * time.Millisecond)))
	send(t, pid, syscall.SIGCONT)
	said, status := o.end(t)
	if status.ExitStatus() != 3 {
		t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
	}
	mustMatch(t, said, `^    INVALID: load http`, `^ +(INVALID: )?load http: the generator dropped \d+ of 100 requests, each more than a second overdue`,
		`^long: INVALID: load http`, `^Run directory: /`)
	if regexp.MustCompile(`(?m)^  (passed|FAILED|INCONCLUSIVE)`).MatchString(said) {
		t.Errorf("an expectation is judged in:\n%s", said)
	}
	if again := o.again(t); again != said {
		t.Errorf("the report says:\n%s\nand the run said:\n%s", again, said)
	}
}

func TestInterruptedRunIsReportedAndLeavesNothing(t *testing.T) {
	t.Parallel()
	t.Run("while the load runs", func(t *testing.T) {
		t.Parallel()
		o := running(t, long)
		o.untilLoaded(t)
		news := regexp.MustCompile(`(?m)^trivet: long, during, \d+\.\ds of 10m0\.3s:  http \d+ ok, \d+ failed.*  grpc \d+ ok, \d+ failed`)
		eventually(t, "it shows its progress", func() bool { return news.MatchString(o.words()) })
		o.signal(t, syscall.SIGINT)
		said, status := o.end(t)
		if status.ExitStatus() != 130 {
			t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
		}
		mustMatch(t, said, `^    before +http +\d`, `^    INTERRUPTED: interrupted: interrupt$`, `^long: INTERRUPTED: interrupted: interrupt$`, `^Run directory: /`)
		if again := o.again(t); again != said {
			t.Errorf("the report says:\n%s\nand the run said:\n%s", again, said)
		}
	})
	t.Run("with --json", func(t *testing.T) {
		t.Parallel()
		o := running(t, long, "--json")
		o.untilLoaded(t)
		o.signal(t, syscall.SIGTERM)
		said, status := o.end(t)
		if status.ExitStatus() != 130 {
			t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
		}
		var document struct {
			Code    int
			Verdict string
		}
		if err := json.Unmarshal([]byte(said), &document); err != nil || document.Code != 130 || document.Verdict != "interrupted" {
			t.Errorf("%v: %s", err, said)
		}
	})
	t.Run("while it starts", func(t *testing.T) {
		t.Parallel()
		o := running(t, long, "long.yaml") // Twice: the second never begins.
		o.untilStarting(t)
		o.signal(t, syscall.SIGINT)
		said, status := o.end(t)
		if status.ExitStatus() != 130 {
			t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
		}
		mustMatch(t, said, `^long: INTERRUPTED: interrupted.*: interrupt$`, `^INTERRUPTED  long  never begun: `)
	})
	t.Run("by two signals, because it takes too long", func(t *testing.T) {
		t.Parallel()
		o := running(t, long)
		o.untilLoaded(t)
		send(t, o.generator(), syscall.SIGSTOP) // It cannot end then, and trivet waits for it.
		o.signal(t, syscall.SIGINT)
		eventually(t, "trivet has taken the signal", func() bool { return strings.Contains(o.words(), "a second Ctrl-C ends at once") })
		o.signal(t, syscall.SIGINT)
		if _, status := o.end(t); status.Signal() != syscall.SIGINT {
			t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
		}
	})
}

func TestKilledRunLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		do     func(*testing.T, *outside)
		report string
	}{
		{"while the load runs", func(t *testing.T, o *outside) { o.untilLoaded(t) }, `^    ERROR: the event log has no end: the run was killed, or is still going on$`},
		{"while it starts", func(t *testing.T, o *outside) { o.untilStarting(t) }, `^long: ERROR: .*the run was killed`},
		{"while processes are stopped", func(t *testing.T, o *outside) {
			o.untilLoaded(t)
			eventually(t, "an instance has been stopped", func() bool { return strings.Contains(o.written(record.EventsFile), `"action":"pause"`) })
			send(t, o.generator(), syscall.SIGSTOP)
		}, `^    before +http +\d`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := running(t, long)
			test.do(t, o)
			o.signal(t, syscall.SIGKILL)
			if said, status := o.end(t); status.Signal() != syscall.SIGKILL || said != "" {
				t.Errorf("ended with %v, and printed %q", status, said)
			}
			mustMatch(t, o.again(t), `^    ERROR: `, `^long: ERROR: `, test.report)
		})
	}
}

// After both programs have been replaced, as make build does, the run restarts an instance and starts all of the second variant.
func TestRebuildDuringRunMixesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"trivet", "whoami"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(path)
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, name), program, 0o755),
			os.WriteFile(filepath.Join(dir, "new-"+name), []byte("#!/bin/sh\n>>"+dir+"/started\n"), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	experiment := `
question: Does a rebuild change a run?
fleet: {instances: 2, workers: 1}
load: [{protocol: http, rate: 50/s, deadline: 30s}]
phases: [{name: during, for: 2s, do: [{wait: 1s}, {restart: whoami-2}]}]
expect: [during.http.ok == 100]
variants: {earlier: {}, later: {}}
`
	if err := os.WriteFile(filepath.Join(dir, "rebuild.yaml"), []byte(experiment), 0o600); err != nil {
		t.Fatal(err)
	}
	o := outsideOf(t, &exec.Cmd{
		Path: filepath.Join(dir, "trivet"), Args: []string{"trivet", "run", "--nginx", labtest.Nginx(t).Path, "rebuild.yaml"}, Dir: dir, Stderr: &stderrBuffer{to: t.Output()},
	})
	eventually(t, "the first variant starts", func() bool { return strings.Contains(o.words(), "rebuild, earlier: starting") })
	for _, name := range []string{"trivet", "whoami"} {
		if err := os.Rename(filepath.Join(dir, "new-"+name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	said, status := o.end(t)
	if code := status.ExitStatus(); code != 0 && code != 3 { // 3: the machine was too busy.
		t.Errorf("ended with %v (exit code %d):\n%s", status, code, said)
	}
	mustMatch(t, said, `^  later: `)
	if _, err := os.Stat(filepath.Join(dir, "started")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a program of the rebuild was started (%v)", err)
	}
	if left, _ := filepath.Glob(filepath.Join(o.tmp, "trivet-*-experiments", "*", "bin")); len(left) > 0 {
		t.Errorf("%v outlives the run", left)
	}
}

// Where a small disk cannot be mounted, the script run-error.txt alone tests this, with a limit of the size of files.
func TestFullDiskIsLabError(t *testing.T) {
	t.Parallel()
	t.Run("before the load", func(t *testing.T) {
		t.Parallel()
		o := onSmallDisk(t, "3m")
		if o == nil {
			return
		}
		said, status := o.end(t)
		if status.ExitStatus() != 4 {
			t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
		}
		why := `run directory unusable: .* has \d+ MB free, and the records need \d+; set TMPDIR to a directory with room`
		mustMatch(t, said, `^    ERROR: the lab failed before the load began: `+why)
		mustMatch(t, o.words(), `^trivet: long, only: `+why)
	})
	if os.Getuid() != 0 { // In a user namespace, nginx cannot change the user of its workers.
		return
	}
	t.Run("in mid run", func(t *testing.T) {
		t.Parallel()
		o := onSmallDisk(t, "200m")
		if o == nil {
			return
		}
		o.tmp = filepath.Join("/proc", strconv.Itoa(o.cmd.Process.Pid), "root", o.tmp) // As trivet sees it.
		o.untilLoaded(t)
		filler, err := os.Create(filepath.Join(o.tmp, "filler"))
		if err != nil {
			t.Fatal(err)
		}
		defer filler.Close()
		if _, err := io.Copy(filler, zeros{}); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		said, status := o.end(t)
		if status.ExitStatus() != 4 {
			t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
		}
		// Either the generator notices first, or the check of free space.
		mustMatch(t, said+o.words(), `no space left on device|has \d+ MB free, and the records need`)
	})
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// onSmallDisk starts trivet run with a TMPDIR on a disk of that size, in a mount namespace of its own. nil: the kernel does not allow it.
func onSmallDisk(t *testing.T, size string) *outside {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "long.yaml"), []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	isolated := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		isolated.Cloneflags = syscall.CLONE_NEWUSER
		isolated.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		isolated.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	mount := exec.Command("sh", "-c", "mount -t tmpfs none . && umount .")
	mount.Dir, mount.SysProcAttr = dir, isolated
	if said, err := mount.CombinedOutput(); err != nil {
		t.Logf("mounting is not allowed here: %v: %s", err, said)
		return nil
	}
	script := fmt.Sprintf(`mount -t tmpfs -o mode=711,size=%s none "$TMPDIR" && exec "$0" run --nginx "$1" long.yaml`, size)
	cmd := exec.Command("sh", "-c", script, trivet(t), labtest.Nginx(t).Path)
	cmd.Dir, cmd.SysProcAttr, cmd.Stderr = dir, isolated, &stderrBuffer{to: t.Output()}
	return outsideOf(t, cmd)
}
