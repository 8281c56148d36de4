package sampler

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// A fakeProc is a directory like /proc, of a machine with four CPUs.
type fakeProc struct {
	t   *testing.T
	dir string
}

// write writes a file of the directory.
func (f fakeProc) write(path, format string, args ...any) {
	f.t.Helper()
	path = filepath.Join(f.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// idle sets how long each CPU was idle, half of it waiting for a disk.
func (f fakeProc) idle(ticks ...int) {
	sum, lines := 0, ""
	for cpu, n := range ticks {
		sum += n
		lines += fmt.Sprintf("cpu%d 7 7 7 %d %d 7 7 7 0 0\n", cpu, n-n/2, n/2)
	}
	f.write("stat", "cpu  28 28 28 %d %d 28 28 28 0 0\n%sintr 1 2 3\ncpus 5\n", sum-sum/2, sum/2, lines)
}

// process sets the state and the start of a process.
func (f fakeProc) process(pid int, state string, started int) {
	f.write(strconv.Itoa(pid)+"/stat", "%d (a) b (c) %s 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 %d 20 21\n", pid, state, started)
}

// thread sets the milliseconds that a thread ran and waited.
func (f fakeProc) thread(pid, id, run, delay int) {
	f.write(fmt.Sprintf("%d/task/%d/schedstat", pid, id), "%d %d 5\n", run*1e6, delay*1e6)
}

// remove removes a directory. Files that are open are not readable any more, as in /proc.
func (f fakeProc) remove(path string) {
	for _, pattern := range []string{"stat", "schedstat", "task/*/schedstat"} {
		files, err := filepath.Glob(filepath.Join(f.dir, path, pattern))
		if err != nil {
			f.t.Error(err)
		}
		for _, file := range files {
			if err := os.Truncate(file, 0); err != nil {
				f.t.Error(err)
			}
		}
	}
	if err := os.RemoveAll(filepath.Join(f.dir, path)); err != nil {
		f.t.Error(err)
	}
}

// window begins a window of the processes, on these CPUs; so many files stay open.
func (f fakeProc) window(most int, processes map[string]int, cpus ...int) *window {
	f.t.Helper()
	w := &window{proc: proc{root: f.dir, most: most}, list: func() map[string]int { return maps.Clone(processes) }, cpus: cpus}
	if err := w.first(time.Unix(1000, 0)); err != nil {
		f.t.Fatal(err)
	}
	return w
}

// next ends a window of 100 ms.
func (f fakeProc) next(w *window) record.Sample {
	f.t.Helper()
	s, err := w.next(w.end.Add(100 * time.Millisecond))
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func TestSampleHasWhatEachProcessDidInItsWindow(t *testing.T) {
	t.Parallel()
	for _, most := range []int{0, 3, 100} {
		checkSamples(t, most)
	}
}

func checkSamples(t *testing.T, most int) {
	t.Helper()
	f := fakeProc{t, t.TempDir()}
	f.idle(100, 100, 100, 100)
	f.process(10, "S", 5)
	f.thread(10, 10, 1000, 500)
	f.thread(10, 11, 2000, 600)
	f.process(20, "R", 5)
	f.thread(20, 20, 50, 0)
	w := f.window(most, map[string]int{"whoami-10": 20, "whoami-2": 10, "whoami-3": 0, "whoami-4": 40}, 0, 1, 2, 3)

	// Threads of 10 ran for 20 and 30 ms, and a new one for 5. 20 is stopped. CPUs were idle for 150 of 400 ms.
	f.idle(105, 110, 100, 100)
	f.thread(10, 10, 1020, 501)
	f.thread(10, 11, 2030, 602)
	f.thread(10, 12, 5, 4)
	f.process(20, "T", 5)
	want := record.Sample{V: record.SampleVersion, Window: 100_000, Outside: 1.95, Processes: []record.ProcessSample{
		{Process: "whoami-2", PID: 10, Run: 55_000, Delay: 7000}, {Process: "whoami-10", PID: 20, Stopped: true},
	}}
	if got := f.next(w); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}

	// A thread of 10 is gone, and with it what it did. Counters do not go back, whatever /proc says. 40 is new. The CPUs were idle.
	f.idle(115, 120, 110, 110)
	f.remove("10/task/11")
	f.thread(10, 10, 1010, 500)
	f.thread(10, 12, 10, 4)
	f.process(20, "S", 5)
	f.process(40, "S", 120)
	f.thread(40, 40, 30, 2)
	want.Outside, want.Processes = 0, []record.ProcessSample{
		{Process: "whoami-2", PID: 10, Run: 5000}, {Process: "whoami-4", PID: 40, Run: 30_000, Delay: 2000}, {Process: "whoami-10", PID: 20},
	}
	if got := f.next(w); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}

	if len(w.open) > most {
		t.Errorf("%d files are open, want at most %d", len(w.open), most)
	}

	// 10 is gone, and 40 is another process. What both did before they ended is taken to be what they did in the window before.
	f.idle(120, 120, 110, 110)
	f.remove("10")
	f.process(40, "S", 130)
	f.thread(40, 40, 25, 1)
	want.Outside, want.Processes = 4-0.5-0.25-0.3-0.05, []record.ProcessSample{
		{Process: "whoami-4", PID: 40, Run: 25_000, Delay: 1000}, {Process: "whoami-10", PID: 20},
	}
	if got := f.next(w); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// What happens on others is of no interest.
func TestOnlyTheCPUsThatMayBeUsedCount(t *testing.T) {
	t.Parallel()
	f := fakeProc{t, t.TempDir()}
	f.idle(100, 100, 100, 100)
	w := f.window(100, nil, 1, 2)
	f.idle(100, 105, 107, 110)
	if got := f.next(w); got.Outside != 0.8 {
		t.Errorf("%+v", got)
	}
}

func TestWithoutCPUTimesThereIsNoSample(t *testing.T) {
	t.Parallel()
	f := fakeProc{t, t.TempDir()}
	w := &window{proc: proc{root: f.dir}, list: func() map[string]int { return nil }}
	if err := w.first(time.Now()); err == nil {
		t.Error("no error without a file")
	}
	f.write("stat", "intr 5\n")
	if err := w.first(time.Now()); err == nil || !strings.Contains(err.Error(), "no line of a CPU") {
		t.Errorf("got %v", err)
	}
}

func TestWindowsAreLongerWhereSamplesCostMore(t *testing.T) {
	t.Parallel()
	for cost, want := range map[time.Duration]time.Duration{
		0: minWindow, 500 * time.Microsecond: minWindow, 3 * time.Millisecond: 300 * time.Millisecond, 20 * time.Millisecond: maxWindow,
	} {
		length := minWindow
		for range 100 {
			length = lengthFor(length, cost)
		}
		if d := length - want; d.Abs() > time.Millisecond {
			t.Errorf("samples of %v: windows of %v, want %v", cost, length, want)
		}
	}
}

// samples are those of a file.
func samples(t *testing.T, path string) []record.Sample {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []record.Sample
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var s record.Sample
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		all = append(all, s)
	}
	return all
}

// A process that uses a CPU is one of ours, then another program; and it is stopped, and gone.
func TestSamplesOfRealProcesses(t *testing.T) {
	t.Parallel()
	if err := Supported(); err != nil {
		t.Fatal(err)
	}
	busy := exec.Command("/bin/sh", "-c", "while kill -0 $PPID; do :; done")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Process.Kill(); _ = busy.Wait() })
	path, begin := filepath.Join(t.TempDir(), "samples"), time.Now()
	s, err := Start(path, begin, func() map[string]int { return map[string]int{scenario.Lab: os.Getpid(), "busy": busy.Process.Pid} })
	if err != nil {
		t.Fatal(err)
	}
	// seen waits for a sample in which the process is as wanted.
	seen := func(what string, is func(record.ProcessSample) bool) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(time.Minute); ; <-tick.C {
			if all := samples(t, path); slices.ContainsFunc(all, func(s record.Sample) bool { return slices.ContainsFunc(s.Processes, is) }) {
				return
			}
			if time.Now().After(end) {
				t.Errorf("never: %s", what)
				return
			}
		}
	}
	seen("it runs", func(p record.ProcessSample) bool { return p.Process == "busy" && p.Run > 10_000 && !p.Stopped })
	if err := busy.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Error(err)
	}
	seen("it is stopped", func(p record.ProcessSample) bool { return p.Process == "busy" && p.Stopped })
	if err := busy.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = busy.Wait() // It was killed.
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	all := samples(t, path)
	end := begin
	for i, s := range all {
		from := s.Time.Add(-time.Duration(s.Window) * time.Microsecond)
		if s.V != record.SampleVersion || i > 0 && from.Sub(end).Abs() > 2*time.Microsecond || s.Processes[len(s.Processes)-1].Process != scenario.Lab {
			t.Errorf("%d, the one before ended at %v: %+v", i, end, s)
		}
		end = s.Time
	}
	if last := all[len(all)-1]; len(last.Processes) != 1 {
		t.Errorf("the last has a process that is gone: %+v", last)
	}
}

// The busy process is not in the list.
func TestSamplesShowWhatOtherProgramsUse(t *testing.T) {
	t.Parallel()
	busy := exec.Command("/bin/sh", "-c", "while kill -0 $PPID; do :; done")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Process.Kill(); _ = busy.Wait() })
	path := filepath.Join(t.TempDir(), "samples")
	s, err := Start(path, time.Now(), func() map[string]int { return map[string]int{scenario.Lab: os.Getpid()} })
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; <-tick.C {
		if slices.ContainsFunc(samples(t, path), func(s record.Sample) bool { return s.Outside > 0.3 }) {
			break
		}
		if time.Now().After(end) {
			t.Errorf("no sample shows it: %+v", samples(t, path))
			break
		}
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

func TestUnwritableSamplesAreAnError(t *testing.T) {
	t.Parallel()
	if _, err := Start(filepath.Join(t.TempDir(), "no", "file"), time.Now(), nil); !errors.Is(err, record.ErrRunDir) {
		t.Errorf("got %v", err)
	}
	s, err := Start("/dev/full", time.Now(), func() map[string]int { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); !errors.Is(err, record.ErrRunDir) {
		t.Errorf("got %v", err)
	}
}

// BenchmarkSample is a sample of this process and of some that sleep, with as many threads as an instance has.
func BenchmarkSample(b *testing.B) {
	w := &window{proc: proc{root: "/proc", most: mostOpen()}, list: func() map[string]int { return map[string]int{scenario.Lab: os.Getpid()} }}
	if err := w.first(time.Now()); err != nil {
		b.Fatal(err)
	}
	threads := len(w.known[os.Getpid()].threads)
	for b.Loop() {
		if _, err := w.next(time.Now()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(threads), "threads")
}

// A signal or a debugger stops a process.
func TestStatesOfStoppedProcesses(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]bool{"T": true, "t": true, "S": false, "R": false} {
		f := fakeProc{t, t.TempDir()}
		f.process(20, state, 7)
		f.thread(20, 20, 1, 1)
		p := proc{root: f.dir}
		if got, ok := p.process(20); !ok || got.stopped != want {
			t.Errorf("%s: %+v, want %t", state, got, want)
		}
		p.close()
	}
}
