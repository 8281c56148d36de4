package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// quick is the address of a server that responds at once.
func quick(t testing.TB) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// Signal sends a signal to the process. When it is gone the error is os.ErrProcessDone.
func (g *Generator) Signal(s os.Signal) error { return g.cmd.Process.Signal(s) }

func started(t *testing.T, p Plan) *Generator {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	g, err := Start(path, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Stop() })
	return g
}

func TestGeneratorCarriesOutPlan(t *testing.T) {
	t.Parallel()
	p := plan(t, 300*time.Millisecond, get(100), get(50))
	p.Begin = p.Begin.Add(time.Second)
	p.HTTP = quick(t)
	g := started(t, p)
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", g.PID()))
	if group, _ := unix.Getpgid(g.PID()); err != nil || string(title) != "trivet\x00load\x00" || group != g.PID() {
		t.Errorf("%q, group %d, pid %d, error %v", title, group, g.PID(), err)
	}
	// The system under test has the priority and the session of this process, and so must the generator.
	own, _ := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if its, err := unix.Getpriority(unix.PRIO_PGRP, g.PID()); err != nil || its != own {
		t.Errorf("priority %d, want %d; error %v", its, own, err)
	}
	session, _ := unix.Getsid(0)
	if its, err := unix.Getsid(g.PID()); err != nil || its != session {
		t.Errorf("session %d, want %d; error %v", its, session, err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, load := range records(t, p) {
		if got := count(load, ending); got[`ok 200 1[]`] != len(load) {
			t.Errorf("%v", got)
		}
	}
	if err := g.Signal(syscall.SIGTERM); err != os.ErrProcessDone {
		t.Errorf("signal to an ended process: %v", err)
	}
	if err := g.Stop(); err != nil {
		t.Errorf("stop of an ended process: %v", err)
	}
}

// A generator that is paused, or starved, records it: late requests are sent and recorded as late, those over a second late are dropped.
func TestPausedGeneratorRecordsLatenessAndDrops(t *testing.T) {
	t.Parallel()
	p := plan(t, 3*time.Second, get(200))
	p.Begin = p.Begin.Add(time.Second)
	p.HTTP = quick(t)
	g := started(t, p)
	await(t, p, 20) // It runs.
	if err := pause(g); err != nil {
		t.Fatal(err)
	}
	paused := time.Now()
	<-time.After(1500 * time.Millisecond)
	resumed := time.Now()
	if err := g.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	const maxDelay = time.Second // of the process
	late := 0
	for _, r := range records(t, p)[0] {
		stalled := resumed.Sub(r.Planned) // after the planned start
		switch {
		case r.Planned.Before(paused) || stalled < 0:
		case stalled > maxDelay:
			if r.Outcome != record.Dropped || r.Reason != record.Overdue || r.Late < maxDelay.Microseconds() {
				t.Errorf("%+v was overdue", r)
			}
		case r.Reason == record.Overdue && r.Late >= maxDelay.Microseconds(): // It became overdue while earlier requests were started.
		default:
			late++
			if r.Late < stalled.Microseconds() || r.Latency < r.Late {
				t.Errorf("%+v: at least %v late", r, stalled)
			}
		}
	}
	if late < 100 {
		t.Errorf("only %d requests were late", late)
	}
}

// pause returns when the process has stopped, a moment after the signal.
func pause(g *Generator) error {
	err := g.Signal(syscall.SIGSTOP)
	for err == nil {
		if err = unix.Waitid(unix.P_PID, g.PID(), nil, unix.WSTOPPED|unix.WNOWAIT, nil); err == nil {
			return nil
		} else if errors.Is(err, unix.EINTR) {
			err = nil
		}
	}
	return err
}

// await returns when there are n records.
func await(t *testing.T, p Plan, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(p.Records)
		if err == nil && strings.Count(string(text), "\n") >= n {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(context.Cause(t.Context()))
		}
	}
}

func TestGeneratorEndsEarly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(*Generator) error
		says string
	}{
		"stop":                     {(*Generator).Stop, "exit status 1: trivet load: its standard input has ended"},
		"the end of its stdin":     {func(g *Generator) error { return g.stdin.Close() }, "exit status 1: trivet load: its standard input has ended"},
		"SIGTERM":                  {func(g *Generator) error { return g.Signal(syscall.SIGTERM) }, "exit status 1: trivet load: "},
		"SIGKILL":                  {func(g *Generator) error { return g.Signal(syscall.SIGKILL) }, "signal: killed: no output"},
		"stop, while it is paused": {func(g *Generator) error { return errors.Join(pause(g), g.Stop()) }, "signal: killed: no output"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fast, hung := get(100), call(10)
			hung.Call, hung.Deadline = scenario.Idle, time.Hour
			p := plan(t, time.Hour, fast, hung)
			p.HTTP = quick(t)
			p.GRPC = (&service{}).start(t)
			g := started(t, p)
			await(t, p, 5)
			if err := test.end(g); err != nil {
				t.Fatal(err)
			}
			if err := g.Wait(); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v: want %s", err, test.says)
			}
			for _, r := range written(t, p.Records) {
				if r.Outcome != record.OK {
					t.Errorf("%+v: want no record of canceled requests", r)
				}
			}
		})
	}
}

// parent starts a generator, prints its pid, and waits to be killed.
func parent() int {
	var p Plan
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		fmt.Println(err)
		return 1
	}
	path, err := os.Executable()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	g, err := Start(path, p)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(g.PID())
	_ = g.Wait()
	return 1
}

func TestGeneratorDiesWithItsParent(t *testing.T) {
	t.Parallel()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := plan(t, time.Hour, get(100))
	p.HTTP = quick(t)
	line, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "parent")
	cmd.Stdin = strings.NewReader(string(line))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	word, err := bufio.NewReader(out).ReadString('\n')
	pid, err2 := strconv.Atoi(strings.TrimSpace(word))
	if err != nil || err2 != nil {
		t.Fatalf("%q, %v", word, err)
	}
	generator, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(generator)
	await(t, p, 5)
	// While paused it cannot see the end of its stdin: the kernel must end it.
	if err := errors.Join(syscall.Kill(pid, syscall.SIGSTOP), cmd.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// A pidfd is readable when its process has ended.
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(generator), Events: unix.POLLIN}}, 10_000); n != 1 {
		_ = unix.PidfdSendSignal(generator, unix.SIGKILL, nil, 0)
		t.Errorf("the generator outlived its parent: %d, %v", n, err)
	}
}

func TestUnwritableRecordsEndLoadAtOnce(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/dev/full":           "trivet load: records: write /dev/full: no space left on device\n",
		t.TempDir():           "is a directory\n",
		"/dev/null/no/client": "trivet load: records: open /dev/null/no/client: not a directory\n",
	} {
		p := plan(t, time.Hour, get(100))
		p.Records = path
		p.HTTP = quick(t)
		if code, stderr := serve(t, p); code != 1 || !strings.HasSuffix(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q; want 1, %q", path, code, stderr, want)
		}
	}
}

func TestFailedLastWriteIsReported(t *testing.T) {
	t.Parallel()
	p := plan(t, 20*time.Millisecond, get(100))
	p.Records = "/dev/full"
	p.HTTP = quick(t)
	if code, stderr := serve(t, p); code != 1 || !strings.HasSuffix(stderr, "no space left on device\n") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestServeWithoutPlanFails(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":      "trivet load: read plan from standard input: EOF\n",
		"{":     "trivet load: read plan from standard input: unexpected EOF\n",
		"hello": "trivet load: read plan from standard input: invalid character 'h' looking for beginning of value\n",
	} {
		var stderr strings.Builder
		if code := Serve(t.Context(), strings.NewReader(in), &stderr); code != 1 || stderr.String() != want {
			t.Errorf("%q: exit code %d, %q", in, code, stderr.String())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in, out := io.Pipe()
	defer out.Close()
	if code := Serve(ctx, in, io.Discard); code != 1 {
		t.Errorf("when ctx has ended: exit code %d", code)
	}
}

func TestStartWithoutProgramFails(t *testing.T) {
	t.Parallel()
	if _, err := Start("/no/trivet", Plan{}); err == nil || !strings.Contains(err.Error(), "/no/trivet") {
		t.Errorf("%v", err)
	}
	for range 20 { // A program that ends without output and reads no plan.
		g, err := Start("/bin/false", Plan{})
		if err == nil {
			err = g.Wait()
		}
		if err == nil || !strings.Contains(err.Error(), "exit status 1") {
			t.Errorf("%v", err)
		}
	}
}

func TestRequestsOverInFlightLimitFailUnsent(t *testing.T) {
	t.Parallel()
	p := plan(t, 200*time.Millisecond, get(50))
	p.HTTP = quick(t)
	file, err := newRecorder(p.Records, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	dispatchers, err := newDispatchers(newHorizon(t.Context(), p.Begin, p.For), p, file, newStallMeter())
	if err != nil {
		t.Fatal(err)
	}
	dispatchers[0].inFlight.Store(maxInFlight - 1) // One more fits.
	dispatchers[0].client = slowClient{dispatchers[0].client}
	if err := errors.Join(dispatch(t.Context(), dispatchers, time.Now()), file.close()); err != nil {
		t.Fatal(err)
	}
	if got := count(records(t, p)[0], ending); got["incomplete  in_flight_limit 0[]"] != 9 || got["incomplete  deadline 0[]"] != 1 {
		t.Errorf("%v", got)
	}
}

// A response that was read after the request's deadline came too late, whatever it says. What it says stays in the record.
func TestResponseAfterDeadlineIsIncomplete(t *testing.T) {
	t.Parallel()
	late := func(l scenario.Load) scenario.Load { l.Deadline = 10 * time.Millisecond; return l }
	p := plan(t, 100*time.Millisecond, late(get(10)), late(call(10)), late(get(10)))
	file, err := newRecorder(p.Records, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	dispatchers, err := newDispatchers(newHorizon(t.Context(), p.Begin, p.For), p, file, newStallMeter())
	if err != nil {
		t.Fatal(err)
	}
	for i, became := range []func(*record.Client){
		func(r *record.Client) { r.Outcome, r.Code, r.Instance = record.OK, "200", "one" },
		func(r *record.Client) { r.Outcome, r.Code, r.Instance = record.OK, "OK", "one" },
		func(r *record.Client) { r.Code = "502"; r.SetError("502 Bad Gateway") },
	} {
		dispatchers[i].client = deafClient{dispatchers[i].client, became}
	}
	if err := errors.Join(dispatch(t.Context(), dispatchers, time.Now()), file.close()); err != nil {
		t.Fatal(err)
	}
	all := records(t, p)
	for i, want := range []record.Client{
		{Code: "200", Instance: "one", Error: "after the deadline: a whole response"},
		{Code: "DeadlineExceeded", Instance: "one", Error: "after the deadline: a whole response"},
		{Code: "502", Error: "after the deadline: 502 Bad Gateway"},
	} {
		if r := all[i][0]; r.Outcome != record.Incomplete || r.Reason != record.Deadline || r.Code != want.Code || r.Instance != want.Instance || r.Error != want.Error {
			t.Errorf("%+v, want %+v", r, want)
		}
	}
}

// deafClient is a client that does not hear of a deadline: its responses come at the deadline.
type deafClient struct {
	client
	became func(*record.Client)
}

func (c deafClient) send(ctx context.Context, _ int, r *record.Client) {
	<-ctx.Done()
	r.Attempts = 1
	c.became(r)
}

// slowClient is a client whose requests take a second.
type slowClient struct{ client }

func (slowClient) send(ctx context.Context, _ int, r *record.Client) {
	<-time.After(time.Second)
	r.SetIncomplete(record.Deadline, context.DeadlineExceeded)
}

// Such a process hangs in the kernel: the end of a trial must not wait for it.
func TestStopOfAGeneratorThatSIGKILLDoesNotEndIsAnError(t *testing.T) {
	t.Parallel()
	gone := exec.Command("/bin/true") // A signal to it has no effect.
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		g := &Generator{cmd: gone, stdin: struct {
			io.Writer
			io.Closer
		}{io.Discard, io.NopCloser(nil)}, done: make(chan struct{})}
		begun := time.Now()
		if err := g.Stop(); err == nil || !strings.Contains(err.Error(), "runs 10s after SIGKILL") || time.Since(begun) != stopTimeout+killTimeout {
			t.Errorf("got %v after %v", err, time.Since(begun))
		}
	})
}
