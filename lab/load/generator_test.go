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
	"time"

	"golang.org/x/sys/unix"
)

// quick is a server that answers at once, and one that never does.
func quick(t *testing.T) (answers, hangs string) {
	t.Helper()
	handler := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	return handler(func(http.ResponseWriter, *http.Request) {}),
		handler(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

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

func TestAProcessCarriesOutItsPlan(t *testing.T) {
	t.Parallel()
	p := plan(t, 300*time.Millisecond, get(100), get(50))
	p.Begin = p.Begin.Add(time.Second)
	p.HTTP, _ = quick(t)
	g := started(t, p)
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", g.PID()))
	if session, _ := unix.Getsid(g.PID()); err != nil || string(title) != "trivet\x00load\x00" || session != g.PID() {
		t.Errorf("%q, session %d, pid %d, error %v", title, session, g.PID(), err)
	}
	// Where it may go first, its session does. The system call says 20 less the priority.
	raw, _ := unix.Getpriority(unix.PRIO_PGRP, g.PID())
	auto, err := os.ReadFile(fmt.Sprintf("/proc/%d/autogroup", g.PID()))
	if words := strings.Fields(string(auto)); raw == 20-niceness && err == nil && len(words) == 3 && words[2] != strconv.Itoa(niceness) {
		t.Errorf("its session's priority: %s", auto)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, stream := range records(t, p) {
		if got := tally(stream, ending); got[`ok 200 1[]`] != len(stream) {
			t.Errorf("%v", got)
		}
	}
	if err := g.Signal(syscall.SIGTERM); err != os.ErrProcessDone {
		t.Errorf("a signal to what is gone: %v", err)
	}
	if err := g.Stop(); err != nil {
		t.Errorf("stopping what is gone: %v", err)
	}
}

// A generator that is stopped, or starved, says so: what is late is sent and recorded as late, what is more than a second late is not
// sent.
func TestAStoppedGeneratorConvictsItself(t *testing.T) {
	t.Parallel()
	p := plan(t, 3*time.Second, get(200))
	p.Begin = p.Begin.Add(time.Second)
	p.HTTP, _ = quick(t)
	g := started(t, p)
	await(t, p, 20) // It runs.
	if err := halt(g); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	<-time.After(1500 * time.Millisecond)
	woken := time.Now()
	if err := g.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	late := 0
	for _, r := range records(t, p)[0] {
		asleep := woken.Sub(r.Planned) // how long it slept after that
		switch {
		case r.Planned.Before(stopped) || asleep < 0:
		case asleep > overdue:
			if r.Outcome != NotStarted || r.Reason != Overdue || r.Late < overdue.Microseconds() {
				t.Errorf("%+v was overdue", r)
			}
		case r.Reason == Overdue && r.Late >= overdue.Microseconds(): // It became so while others were started.
		default:
			late++
			if r.Late < asleep.Microseconds() || r.Latency < r.Late {
				t.Errorf("%+v: at least %v late", r, asleep)
			}
		}
	}
	if late < 100 {
		t.Errorf("only %d requests were late", late)
	}
}

// halt returns when the process has stopped, a moment after it was told to.
func halt(g *Generator) error {
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

// What ends a generator before its time, and what it says then.
func TestAGeneratorEndsEarly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(*Generator) error
		says string
	}{
		"stop":                     {(*Generator).Stop, "exit status 1: trivet load: its standard input has ended"},
		"the end of its stdin":     {func(g *Generator) error { return g.stdin.Close() }, "exit status 1: trivet load: its standard input has ended"},
		"SIGTERM":                  {func(g *Generator) error { return g.Signal(syscall.SIGTERM) }, "exit status 1: trivet load: "},
		"SIGKILL":                  {func(g *Generator) error { return g.Signal(syscall.SIGKILL) }, "signal: killed: it said nothing"},
		"stop, while it is halted": {func(g *Generator) error { return errors.Join(halt(g), g.Stop()) }, "signal: killed: it said nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fast, hung := get(100), call(10)
			hung.Call, hung.Deadline = Silent, time.Hour
			p := plan(t, time.Hour, fast, hung)
			p.HTTP, _ = quick(t)
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
				if r.Outcome != OK {
					t.Errorf("%+v: what was given up has no record", r)
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

func TestAGeneratorDiesWithItsParent(t *testing.T) {
	t.Parallel()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := plan(t, time.Hour, get(100))
	p.HTTP, _ = quick(t)
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
	// Halted it cannot see the end of its stdin: the kernel must end it.
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

// A generator that cannot write down what it sees stops at once.
func TestRecordsThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/dev/full":           "trivet load: records: write /dev/full: no space left on device\n",
		t.TempDir():           "is a directory\n",
		"/dev/null/no/client": "trivet load: records: open /dev/null/no/client: not a directory\n",
	} {
		p := plan(t, time.Hour, get(100))
		p.Records = path
		p.HTTP, _ = quick(t)
		if code, said := served(t, p); code != 1 || !strings.HasSuffix(said, want) || strings.Count(said, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q; want 1, %q", path, code, said, want)
		}
	}
}

// The fault of a last write is one, too.
func TestRecordsThatCannotBeWrittenAtTheEnd(t *testing.T) {
	t.Parallel()
	p := plan(t, 20*time.Millisecond, get(100))
	p.Records = "/dev/full"
	p.HTTP, _ = quick(t)
	if code, said := served(t, p); code != 1 || !strings.HasSuffix(said, "no space left on device\n") {
		t.Errorf("exit code %d, %q", code, said)
	}
}

func TestNoPlan(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":      "trivet load: standard input is to be a plan: EOF\n",
		"{":     "trivet load: standard input is to be a plan: unexpected EOF\n",
		"hello": "trivet load: standard input is to be a plan: invalid character 'h' looking for beginning of value\n",
	} {
		var said strings.Builder
		if code := Serve(t.Context(), strings.NewReader(in), &said); code != 1 || said.String() != want {
			t.Errorf("%q: exit code %d, %q", in, code, said.String())
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

func TestStartWithoutAProgram(t *testing.T) {
	t.Parallel()
	if _, err := Start("/no/trivet", Plan{}); err == nil || !strings.Contains(err.Error(), "/no/trivet") {
		t.Errorf("%v", err)
	}
	for range 20 { // A program that ends without a word, and reads no plan.
		g, err := Start("/bin/false", Plan{})
		if err == nil {
			err = g.Wait()
		}
		if err == nil || !strings.Contains(err.Error(), "exit status 1") {
			t.Errorf("%v", err)
		}
	}
}

// With 10,000 requests in flight no other is sent.
func TestTooMany(t *testing.T) {
	t.Parallel()
	p := plan(t, 200*time.Millisecond, get(50))
	p.HTTP, _ = quick(t)
	file, err := record(p.Records, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	players, err := recruit(p, file, newHeart())
	if err != nil {
		t.Fatal(err)
	}
	players[0].inFlight.Store(mostInFlight - 1) // One more can be.
	players[0].caller = hung{players[0].caller}
	play(t.Context(), players, time.Now())
	if err := file.close(); err != nil {
		t.Fatal(err)
	}
	if got := tally(records(t, p)[0], ending); got["not_started  too many 0[]"] != 9 || got["client  deadline 0[]"] != 1 {
		t.Errorf("%v", got)
	}
}

// hung is a caller whose calls take a second.
type hung struct{ caller }

func (hung) call(ctx context.Context, _ int, r *Record) {
	<-time.After(time.Second)
	r.fail(Deadline, context.DeadlineExceeded)
}
