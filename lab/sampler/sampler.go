// Package sampler writes down, several times a second, how much CPU time the processes of a trial got, how long they waited for a CPU, and
// what other programs used: [record.Sample]. It reads /proc and judges nothing: package measure does that.
package sampler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Lengths of windows. A sample takes CPU time from what it measures, so windows are longer where there are many processes: that share is
// the most, unless it would take windows longer than maxWindow.
const (
	minWindow = 100 * time.Millisecond
	maxWindow = 500 * time.Millisecond
	share     = 0.01 // of a CPU
)

// Supported returns an error if this kernel does not say how long a process waits for a CPU.
func Supported() error {
	var p proc
	defer p.close()
	if c, err := p.counters(fmt.Sprintf("/proc/%d/schedstat", os.Getpid())); err != nil || c.run == 0 {
		return errors.Join(errors.New("this kernel has no /proc/PID/schedstat (CONFIG_SCHED_INFO)"), err)
	}
	return nil
}

// A Sampler writes samples until it is stopped.
type Sampler struct {
	stop  context.CancelFunc
	ended chan error
}

// Start starts a Sampler that writes a file. It gets the PIDs of all processes by name from list, for each sample; a PID of 0 is none. Times
// are counted from begin, by its monotonic clock.
func Start(path string, begin time.Time, list func() map[string]int) (*Sampler, error) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	w := window{proc: proc{root: "/proc", most: mostOpen()}, list: list}
	if w.cpus, err = affinity(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Sampler{stop: stop, ended: make(chan error, 1)}
	go func() { // Until Stop.
		err := w.write(ctx, file, begin)
		s.ended <- errors.Join(err, file.Close())
	}()
	return s, nil
}

// Stop writes a last sample and ends the Sampler. It must be called once. The error wraps record.ErrRunDir if a sample could not be written.
func (s *Sampler) Stop() error {
	s.stop()
	return <-s.ended
}

// affinity are the CPUs that this process and those that it starts may use.
func affinity() (cpus []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("CPUs that may be used: %w", err)
	}
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// write writes a sample for each window until ctx ends, and the last one then.
func (w *window) write(ctx context.Context, file *os.File, begin time.Time) error {
	defer w.close()
	if err := w.first(time.Now()); err != nil {
		return err
	}
	for ended := false; !ended; {
		select {
		case <-time.After(w.length):
		case <-ctx.Done():
			ended = true
		}
		cost, err := w.writeOne(file, begin)
		if err != nil {
			return err
		}
		w.length = lengthFor(w.length, cost)
	}
	return nil
}

// writeOne ends a window and writes its sample, and returns the CPU time that this took.
func (w *window) writeOne(file *os.File, begin time.Time) (cost time.Duration, err error) {
	runtime.LockOSThread() // Only a thread's CPU time can be measured.
	defer runtime.UnlockOSThread()
	before := threadTime()
	sample, err := w.next(time.Now())
	if err != nil {
		return 0, err
	}
	sample.Time = begin.Add(w.end.Sub(begin))
	line, err := json.Marshal(sample)
	if err == nil {
		_, err = file.Write(append(line, '\n'))
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", record.ErrRunDir, err)
	}
	return threadTime() - before, nil
}

// lengthFor is the length of the next window, from that of the last one and the CPU time of its sample. It changes slowly: a single sample
// may cost more for other reasons.
func lengthFor(last, cost time.Duration) time.Duration {
	want := time.Duration(float64(cost) / share)
	return min(max((3*last+want)/4, minWindow), maxWindow)
}

// threadTime is the CPU time of this thread.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// A window is the time between two samples.
type window struct {
	proc
	list   func() map[string]int
	cpus   []int // that the processes may use
	length time.Duration
	end    time.Time            // of the last window, when idle and known were read
	idle   time.Duration        // of cpus together, since the machine's start
	known  map[int]*processTime // by PID
}

// processTime is what is known of a process at the end of a window.
type processTime struct {
	name    string
	started uint64 // since the machine's start, in ticks; the same PID with another is another process
	stopped bool
	threads map[int]counters
	run     time.Duration // in its last window
	delay   time.Duration
}

// counters are of one thread, since its start.
type counters struct{ run, delay time.Duration }

// first reads what windows are counted from.
func (w *window) first(now time.Time) (err error) {
	w.length, w.end = minWindow, now
	w.idle, err = w.idleTime(w.cpus)
	w.known = w.processes()
	return err
}

// next ends a window.
func (w *window) next(now time.Time) (record.Sample, error) {
	idle, err := w.idleTime(w.cpus)
	if err != nil {
		return record.Sample{}, err
	}
	length := max(now.Sub(w.end), time.Microsecond)
	sample := record.Sample{V: record.SampleVersion, Window: length.Microseconds()}
	own := time.Duration(0)
	all := w.processes()
	for pid, p := range all {
		p.since(w.known[pid])
		own += p.run
		sample.Processes = append(sample.Processes, record.ProcessSample{
			Process: p.name, PID: pid, Run: p.run.Microseconds(), Delay: p.delay.Microseconds(), Stopped: p.stopped,
		})
	}
	for pid, p := range w.known {
		if now := all[pid]; now == nil || now.started != p.started {
			// Nothing has what it did in the window in which it ended: its last whole window says best.
			own += p.run
		}
	}
	slices.SortFunc(sample.Processes, func(a, b record.ProcessSample) int { return scenario.CompareNames(a.Process, b.Process) })
	busy := time.Duration(len(w.cpus))*length - max(0, idle-w.idle)
	sample.Outside = math.Round(max(0, float64(busy-own)/float64(length))*1000) / 1000
	w.end, w.idle, w.known = now, idle, all
	return sample, nil
}

// since computes what the process did since before, when it was last seen: all of its time if it was not. What a thread that has ended did
// in the window is not known, and left out.
func (p *processTime) since(before *processTime) {
	var old map[int]counters
	if before != nil && before.started == p.started {
		old = before.threads
	}
	for id, now := range p.threads {
		p.run += max(0, now.run-old[id].run)
		p.delay += max(0, now.delay-old[id].delay)
	}
}

// processes are all that run now.
func (w *window) processes() map[int]*processTime {
	all := make(map[int]*processTime)
	for name, pid := range w.list() {
		if pid == 0 {
			continue
		}
		if p, ok := w.process(pid); ok {
			p.name = name
			all[pid] = p
		}
	}
	w.sweep()
	return all
}
