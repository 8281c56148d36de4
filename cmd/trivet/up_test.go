package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/labtest"
)

// outside is trivet as a user sees it: a process, and what it prints.
type outside struct {
	cmd    *exec.Cmd
	tmp    string // its TMPDIR
	lines  *bufio.Reader
	ended  bool
	events []line
}

// launch starts trivet up.
func launch(t *testing.T, args ...string) *outside {
	t.Helper()
	return outsideOf(t, &exec.Cmd{
		Path: trivet(t), Args: append([]string{"trivet", "up", "--nginx", labtest.Nginx(t).Path, "--bind", ownAddress()}, args...),
	})
}

// trivet returns the path of the program.
func trivet(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("trivet")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// outsideOf starts trivet in a session of its own and with a TMPDIR of its own. Its descendants stay in the session or, like the load generator,
// have the same TMPDIR in their environment: so those left have outlived trivet.
func outsideOf(t *testing.T, cmd *exec.Cmd) *outside {
	t.Helper()
	o := &outside{cmd: cmd, tmp: proctest.Passable(t)}
	o.cmd.Env = append(os.Environ(), "TMPDIR="+o.tmp)
	if o.cmd.Dir == "" {
		o.cmd.Dir = t.TempDir() // In the source tree it would build whoami.
	}
	if o.cmd.SysProcAttr == nil {
		o.cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	o.cmd.SysProcAttr.Setsid = true
	if o.cmd.Stderr == nil {
		o.cmd.Stderr = t.Output()
	}
	stdout, err := o.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o.lines = bufio.NewReader(stdout)
	t.Cleanup(func() {
		if !o.ended {
			_ = o.cmd.Process.Kill()
			_ = o.cmd.Wait()
		}
	})
	return o
}

// until reads events up to a wanted one.
func (o *outside) until(t *testing.T, wanted func(line) bool) line {
	t.Helper()
	for {
		text, err := o.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("trivet ended (%v) after %+v", err, o.events)
		}
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		o.events = append(o.events, l)
		if wanted(l) {
			return l
		}
	}
}

func event(name string) func(line) bool { return func(l line) bool { return l.Event == name } }

func (o *outside) pid(name string) int {
	for _, l := range slices.Backward(o.events) {
		if l.Event == "started" && l.Name == name {
			return l.PID
		}
	}
	return 0
}

func (o *outside) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := o.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait returns how trivet ended, after checking that no process outlives it.
func (o *outside) wait(t *testing.T) syscall.WaitStatus {
	t.Helper()
	for { // All output, or trivet could block on it.
		if _, err := o.lines.ReadString('\n'); err != nil {
			break
		}
	}
	if err := o.cmd.Wait(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	o.ended = true
	o.gone(t)
	return o.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

// gone waits until no descendant is left: the kernel's signals arrive at once, but a process needs a moment to end.
func (o *outside) gone(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		left := o.living()
		if len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("processes outlive trivet:\n%s", strings.Join(left, "\n"))
			return
		}
	}
}

// living returns the stat lines of trivet and its descendants that have not ended.
func (o *outside) living() []string {
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	var living []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) <= 3 || fields[0] == "Z" || fields[0] == "X" {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "environ"))
		if fields[3] == strconv.Itoa(o.cmd.Process.Pid) || slices.Contains(strings.Split(string(environ), "\x00"), "TMPDIR="+o.tmp) {
			living = append(living, strings.TrimSpace(string(text)))
		}
	}
	return living
}

// TestProgramsEndWithTests kills a shell in the place of the tests, which SIGKILL gives no time to end what they started.
func TestProgramsEndWithTests(t *testing.T) {
	t.Parallel()
	o := outsideOf(t, &exec.Cmd{Path: "/bin/sh", WaitDelay: time.Second, Args: []string{
		"sh", "-c", `"$0" up --json --http 0 --grpc 0 --nginx "$1" & wait`, trivet(t), labtest.Nginx(t).Path,
	}})
	t.Cleanup(func() { _ = syscall.Kill(-o.cmd.Process.Pid, syscall.SIGKILL) })
	o.until(t, event("up"))
	o.signal(t, syscall.SIGKILL)
	_ = o.cmd.Wait() // It was killed.
	o.ended = true
	o.gone(t)
}

func TestKilledTrivetLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		do   func(*testing.T, *outside)
	}{
		{"that serves", func(*testing.T, *outside) {}},
		{"with an instance that is stopped", func(t *testing.T, o *outside) {
			send(t, o.pid("whoami-2"), syscall.SIGSTOP)
		}},
		{"with an nginx that is stopped", func(t *testing.T, o *outside) {
			pid := o.pid("nginx")
			send(t, pid, syscall.SIGSTOP)
			// When a parent dies, the kernel wakes a stopped child, but not one that is about to stop.
			eventually(t, "nginx has stopped", func() bool {
				text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
				return err == nil && strings.Contains(string(text), "(nginx) T ")
			})
		}},
		{"in mid reload", func(t *testing.T, o *outside) {
			if err := syscall.Kill(o.pid("nginx"), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}},
		{"while a process is started again", func(t *testing.T, o *outside) {
			if err := syscall.Kill(o.pid("whoami-1"), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			o.until(t, event("started"))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := launch(t, "--json")
			o.until(t, event("up"))
			test.do(t, o)
			o.signal(t, syscall.SIGKILL)
			if status := o.wait(t); status.Signal() != syscall.SIGKILL {
				t.Errorf("ended by %v", status)
			}
		})
	}
}

// Trivet ends after 1, 4 or 9 of its 11 processes have been started.
func TestEndedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT} {
		for _, after := range []int{1, 4, 9} {
			t.Run(fmt.Sprintf("%v after %d", signal, after), func(t *testing.T) {
				t.Parallel()
				o := launch(t, "--json", "-n", "10")
				for range after {
					o.until(t, event("started"))
				}
				o.signal(t, signal)
				status := o.wait(t)
				if signal == syscall.SIGKILL && status.Signal() != signal || signal != syscall.SIGKILL && status != 0 {
					t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
				}
			})
		}
	}
}

func TestSignalsStopEverythingInOrder(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			o := launch(t, "--json", "-n", "2")
			o.until(t, event("up"))
			o.signal(t, signal)
			if why := o.until(t, event("stopping")); !strings.Contains(why.Message, signal.String()) {
				t.Errorf("%+v", why)
			}
			for i := range 3 {
				stopped := o.until(t, event("stopped"))
				if !stopped.Exit.Clean() || (i == 0) != (stopped.Name == "nginx") {
					t.Errorf("stopped as number %d: %+v", i, stopped)
				}
			}
			if status := o.wait(t); status != 0 {
				t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
			}
		})
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	o := launch(t, "--json", "-n", "1")
	up := o.until(t, event("up"))
	// nginx waits for a request in flight.
	conn, err := net.Dial("tcp", up.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n")); err != nil {
		t.Fatal(err)
	}
	o.signal(t, syscall.SIGINT)
	o.until(t, event("stopping"))
	o.signal(t, syscall.SIGINT)
	if status := o.wait(t); status.Signal() != syscall.SIGINT {
		t.Errorf("ended with %v", status)
	}
}

func TestDeadProcessIsReportedAndRestarted(t *testing.T) {
	t.Parallel()
	o := launch(t, "--json", "-n", "2")
	o.until(t, event("up"))
	for _, name := range []string{"whoami-2", "nginx"} {
		pid := o.pid(name)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if died := o.until(t, event("died")); died.Name != name || died.PID != pid || !died.Exit.Killed() || died.RestartInMS < 50 || died.RestartInMS > 100 {
			t.Errorf("%+v", died)
		}
		if ready := o.until(t, event("ready")); ready.Name != name || ready.PID == pid || ready.StartCount != 2 {
			t.Errorf("%+v", ready)
		}
	}
	o.signal(t, syscall.SIGTERM)
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v", status)
	}
}

func TestTextOutputNamesWhatToTry(t *testing.T) {
	t.Parallel()
	o := launch(t)
	var said strings.Builder
	read := func(last string) {
		t.Helper()
		for {
			text, err := o.lines.ReadString('\n')
			if said.WriteString(text); err != nil {
				t.Fatalf("no %q in:\n%s", last, said.String())
			}
			if strings.Contains(text, last) {
				return
			}
		}
	}
	read("Ctrl-C stops everything.")
	for _, want := range []string{
		"3 instances behind nginx 1.", "whoami-3  http://127.", ":8003", ":9003", "ready after ", "curl 127.",
		":7079/metrics", "-plaintext 127.", "whoami.v1.WhoAmIService/WhoAmI", "logs -f whoami-1", "Run directory: ",
	} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no %q in:\n%s", want, said.String())
		}
	}
	if found := urlLine.FindStringSubmatch(said.String()); found == nil {
		t.Errorf("no URL on a line of its own in:\n%s", said.String())
	} else if code, _ := get(t, found[1]); code != http.StatusOK {
		t.Errorf("the page responds with %d", code)
	}
	if strings.ContainsRune(said.String(), '\x1b') {
		t.Error("colors without a terminal")
	}
	_, rest, _ := strings.Cut(said.String(), "curl ")
	address, _, _ := strings.Cut(rest, "\n")
	answer, err := http.Get("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("the URL to try responds with %s", answer.Status)
	}
	_, rest, _ = strings.Cut(said.String(), "kill -9 ")
	pid, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	read("whoami-1 died (pid " + strconv.Itoa(pid) + ", signal SIGKILL)")
	read("whoami-1 is back")
	o.signal(t, syscall.SIGINT)
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v", status)
	}
}

func TestUpServesMetricsOfNginx(t *testing.T) {
	t.Parallel()
	o := launch(t, "--json", "-n", "1", "--http", "0", "--grpc", "0")
	up := o.until(t, event("up"))
	response, err := http.Get("http://" + up.HTTP + "/")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	eventually(t, "a request is counted", func() bool {
		response, err := http.Get("http://" + up.Metrics + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		// The first one is the probe of trivet up's own.
		return strings.Contains(string(text), "nginx_requests_total{code=\"200\",protocol=\"http\",route=\"/\"} 2\n") &&
			strings.Contains(string(text), "nginx_requests_total{code=\"OK\",protocol=\"grpc\",route=\"/whoami.v1.WhoAmIService/WhoAmI\"} 1\n") &&
			strings.Contains(string(text), "\nnginx_up 1\n")
	})
	o.signal(t, syscall.SIGTERM)
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v", status)
	}
}

func TestExporterFollowsAnyLog(t *testing.T) {
	t.Parallel()
	logFile := filepath.Join(t.TempDir(), "access.log")
	o := outsideOf(t, &exec.Cmd{Path: trivet(t), Args: []string{"trivet", "exporter", "--access-log", logFile, "--listen", "127.0.0.1:0", "--route", "/users/{id}"}})
	said, err := o.lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address, _, _ := strings.Cut(strings.TrimPrefix(said, "serving "), ";")
	if err := os.WriteFile(logFile, []byte(`{"v":1,"method":"GET","uri":"/users/7","protocol":"HTTP/1.1","status":"200"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a request is counted", func() bool {
		response, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return err == nil && strings.Contains(string(text), "nginx_requests_total{code=\"200\",protocol=\"http\",route=\"/users/{id}\"} 1\n")
	})
	o.signal(t, syscall.SIGINT)
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v", status)
	}
}

// trivet waits for the version of a program.
func TestSignalEndsStartBeforeAnyProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	slow, asked := filepath.Join(dir, "slow"), filepath.Join(dir, "asked")
	if err := syscall.Mkfifo(asked, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(slow, []byte("#!/bin/sh\necho > "+asked+"\nexec sleep 100\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	o := launch(t, "--nginx", slow)
	if _, err := os.ReadFile(asked); err != nil { // Returns when the program is run.
		t.Fatal(err)
	}
	o.signal(t, syscall.SIGTERM)
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v", status)
	}
}
