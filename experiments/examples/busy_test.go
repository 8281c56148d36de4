package examples

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/lab/labtest"
)

// twins are two variants that are the same.
const twins = `
question: Do two variants differ that are the same?
load:
  - {protocol: http, rate: 150/s}
  - {protocol: grpc, rate: 150/s, deadline: 500ms}
phases:
  - {name: steady, for: 3s}
expect:
  - %s
variants:
  left: {description: one}
  right: {description: the same}
`

// A machine that is too busy in the right variant makes no difference between them: the run is invalid.
func TestBusyLoopsAreNoResult(t *testing.T) {
	for _, loops := range []int{runtime.NumCPU(), 4 * runtime.NumCPU()} {
		t.Run(strconv.Itoa(loops), func(t *testing.T) {
			code, output := disturb(t, "right.steady.http.service_time.p99 > 3 * left.steady.http.service_time.p99", func(*exec.Cmd) {
				for range loops {
					loop := exec.CommandContext(t.Context(), "sh", "-c", "while kill -0 $PPID; do :; done")
					if err := loop.Start(); err != nil {
						t.Error(err)
						return
					}
					t.Cleanup(func() {
						_ = loop.Process.Kill()
						_ = loop.Wait()
					})
				}
			})
			if code != 3 || !strings.Contains(output, "other programs used") {
				t.Errorf("exit code %d, want 3 because of other programs:\n%s", code, output)
			}
		})
	}
}

// What the load generator did not see for 240 ms is no latency of the system: an expectation in its range is inconclusive.
func TestPauseOfGeneratorIsNoResult(t *testing.T) {
	code, output := disturb(t, `right.steady.http.service_time.max < duration("100ms")`, func(run *exec.Cmd) {
		pause(t, run, func(args string) bool { return strings.HasSuffix(args, "\x00load\x00") })
	})
	if code != 3 {
		t.Errorf("exit code %d, want 3:\n%s", code, output)
	}
}

// An instance that is paused by hand is no result either.
func TestPauseByHandIsNoResult(t *testing.T) {
	code, output := disturb(t, `right.steady.http.service_time.max < duration("100ms")`, func(run *exec.Cmd) {
		pause(t, run, func(args string) bool { return strings.Contains(args, "\x00whoami-2\x00") })
	})
	if code != 3 || !strings.Contains(output, "whoami-2") {
		t.Errorf("exit code %d, want 3 because of whoami-2:\n%s", code, output)
	}
}

// disturb runs the twins, and calls with when the load of the right one has begun. It returns the exit code and the output.
func disturb(t *testing.T, expect string, with func(run *exec.Cmd)) (code int, output string) {
	t.Helper()
	dir := passable(t)
	if err := os.WriteFile(filepath.Join(dir, "twins.yaml"), fmt.Appendf(nil, twins, strconv.Quote(expect)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, filepath.Join(programs, "trivet"), "run", "--nginx", labtest.Nginx(t).Path, "twins.yaml")
	run.Dir, run.Env = dir, append(os.Environ(), "TMPDIR="+dir)
	run.Cancel = func() error { return run.Process.Signal(syscall.SIGTERM) }
	var all, report bytes.Buffer
	run.Stdout = &report
	progress, err := run.StderrPipe()
	if err == nil {
		err = run.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	began := false
	lines := bufio.NewScanner(progress)
	for lines.Scan() {
		fmt.Fprintln(&all, lines.Text())
		if !began && strings.Contains(lines.Text(), "twins, right, steady, ") {
			began = true
			with(run)
		}
	}
	err = run.Wait()
	all.Write(report.Bytes())
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), all.String()
	}
	if err != nil || !began {
		t.Fatalf("the load of the right variant began: %v, error %v\n%s", began, err, &all)
	}
	return 0, all.String()
}

// pause stops a process below run, whose arguments are wanted, for 240 ms.
func pause(t *testing.T, run *exec.Cmd, wanted func(args string) bool) {
	t.Helper()
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", run.Process.Pid))
	if err != nil {
		t.Error(err)
	}
	for _, file := range children {
		pids, _ := os.ReadFile(file)
		for field := range strings.FieldsSeq(string(pids)) {
			args, _ := os.ReadFile(filepath.Join("/proc", field, "cmdline"))
			pid, err := strconv.Atoi(field)
			if err != nil || !wanted(string(args)) {
				continue
			}
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			<-time.After(240 * time.Millisecond)
			_ = syscall.Kill(pid, syscall.SIGCONT)
			return
		}
	}
	t.Errorf("no process to pause among the children of %d", run.Process.Pid)
}
