package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/fleet"
	"trivet/lab/labtest"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/sampler"
	"trivet/lab/scenario"
)

// samples are those of a trial, also while it runs.
func samples(t *testing.T, dir string) []record.Sample {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, record.SamplesFile))
	if err != nil {
		t.Fatal(err)
	}
	var all []record.Sample
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // It is being written.
		}
		var s record.Sample
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, s)
	}
	return all
}

// latest is a process in the latest sample that has it.
func latest(t *testing.T, dir, process string) (p record.ProcessSample, ok bool) {
	t.Helper()
	for _, s := range slices.Backward(samples(t, dir)) {
		if i := slices.IndexFunc(s.Processes, func(p record.ProcessSample) bool { return p.Process == process }); i >= 0 {
			return s.Processes[i], true
		}
	}
	return p, false
}

// pauseByHand stops a process until a sample shows it.
func pauseByHand(t *testing.T, dir, process string) {
	t.Helper()
	eventually(t, process+" is in a sample", func() bool { _, ok := latest(t, dir, process); return ok })
	p, _ := latest(t, dir, process)
	for _, step := range []struct {
		signal  syscall.Signal
		stopped bool
	}{{syscall.SIGSTOP, true}, {syscall.SIGCONT, false}} {
		if err := syscall.Kill(p.PID, step.signal); err != nil {
			t.Errorf("%s: %v", process, err)
		}
		eventually(t, process+" stops, and goes on", func() bool {
			now, _ := latest(t, dir, process)
			return now.PID == p.PID && now.Stopped == step.stopped
		})
	}
}

// From before the first phase to the end of the load, without a gap.
func TestSamplesHaveAllProcesses(t *testing.T) {
	t.Parallel()
	s := setup(t, during(3*time.Second, on(scenario.Kill, "whoami-3"), reload), local(t, whoami))
	s.Watch = once(func() {
		for _, process := range []string{"whoami-2", scenario.WorkerName(1), scenario.Generator} {
			pauseByHand(t, s.Dir, process)
		}
	})
	if err := run(t, t.Context(), s); err != nil {
		t.Fatal(err)
	}
	checkGone(t, s.Dir)
	m, err := record.ReadManifest(s.Dir)
	if err != nil || !m.Sampled {
		t.Fatalf("%+v, %v", m, err)
	}
	all := samples(t, s.Dir)
	pids := map[string]map[int]bool{}
	for i, sample := range all {
		from := sample.Time.Add(-time.Duration(sample.Window) * time.Microsecond)
		if i > 0 && from.Sub(all[i-1].Time).Abs() > 2*time.Microsecond {
			t.Errorf("a window begins at %v, the one before ended at %v", from, all[i-1].Time)
		}
		if i == 0 && from.After(m.Begin) {
			t.Errorf("the first window begins at %v, the load at %v", from, m.Begin)
		}
		for _, p := range sample.Processes {
			if pids[p.Process] == nil {
				pids[p.Process] = map[int]bool{}
			}
			pids[p.Process][p.PID] = true
			if p.Run < 0 || p.Delay < 0 {
				t.Errorf("%+v", p)
			}
		}
	}
	for _, process := range []string{"nginx", "nginx-worker-1", "nginx-worker-2", "whoami-1", "whoami-2", "whoami-3", "generator", "trivet"} {
		want := 1
		if _, worker := scenario.WorkerNumber(process); worker {
			want = 2 // before and after the reload
		}
		if len(pids[process]) < want || want == 1 && len(pids[process]) > 1 {
			t.Errorf("%s has the PIDs %v", process, pids[process])
		}
	}
	eachLine(t, filepath.Join(s.Dir, record.ClientFile), func(c record.Client) {
		if end := c.Planned.Add(time.Duration(c.Latency) * time.Microsecond); end.After(all[len(all)-1].Time) {
			t.Errorf("%s ended at %v, the last sample", c.ID, end)
		}
	})
	for _, process := range []string{"whoami-3", "generator"} { // One was killed, the other ended.
		if last := all[len(all)-1]; slices.ContainsFunc(last.Processes, func(p record.ProcessSample) bool { return p.Process == process }) {
			t.Errorf("%s is in the last sample: %+v", process, last)
		}
	}
}

func TestSystemWithoutProcessesIsNotSampled(t *testing.T) {
	t.Parallel()
	s := setup(t, during(100*time.Millisecond), newFake(t).start)
	s.Watch = func(m *measure.Trial) {
		if m.Manifest().Sampled {
			t.Error("the manifest says that there are samples")
		}
	}
	if err := run(t, t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, record.SamplesFile)); !os.IsNotExist(err) {
		t.Errorf("there are samples: %v", err)
	}
}

// BenchmarkSampling measures the CPU time of this process for each sample of an idle fleet.
func BenchmarkSampling(b *testing.B) {
	for _, instances := range []int{3, 60} {
		b.Run(fmt.Sprint(instances), func(b *testing.B) {
			dir := b.TempDir()
			if err := errors.Join(os.Mkdir(filepath.Join(dir, "records"), 0o700), os.Chmod(dir, 0o711), os.Chmod(filepath.Dir(dir), 0o711)); err != nil {
				b.Fatal(err)
			}
			l := fleet.Local{Nginx: labtest.Nginx(b), Whoami: whoami}
			f, err := l.Start(b.Context(), scenario.Scenario{Instances: instances, Workers: 2}, dir, func(record.Event) {})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = f.Stop(context.Background()) }()
			for b.Loop() {
				var before, after unix.Rusage
				_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
				path := filepath.Join(b.TempDir(), "samples")
				s, err := sampler.Start(path, time.Now(), func() map[string]int {
					all := f.Processes()
					all[scenario.Lab] = os.Getpid()
					return all
				})
				if err != nil {
					b.Fatal(err)
				}
				<-time.After(10 * time.Second)
				if err := s.Stop(); err != nil {
					b.Error(err)
				}
				_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
				text, err := os.ReadFile(path)
				if err != nil {
					b.Error(err)
				}
				n := float64(bytes.Count(text, []byte("\n")))
				b.ReportMetric(float64(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano())/1000/n, "cpu-µs/sample")
				b.ReportMetric(10_000/n, "ms/window")
			}
		})
	}
}
