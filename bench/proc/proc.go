// Package proc reads what processes have used: CPU time and memory. It needs Linux.
package proc

import (
	"fmt"
	"time"

	"github.com/shirou/gopsutil/v4/process"
	"golang.org/x/sys/unix"
)

// CPU returns the user and system CPU time of all threads of the processes, including threads that have ended.
//
// It reads the clock that clock_getcpuclockid(3) names, in nanoseconds: /proc/PID/stat counts ticks of 10 ms, too coarse for slices of a
// second, and /proc/PID/schedstat covers one thread.
func CPU(pids []int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED, of a whole process
	var sum time.Duration
	for _, pid := range pids {
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid)<<3|schedClock, &t); err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum, nil
}

// Children returns the processes whose parent is pid.
func Children(pid int) ([]int, error) {
	children, err := (&process.Process{Pid: int32(pid)}).Children()
	var pids []int
	for _, c := range children {
		pids = append(pids, int(c.Pid))
	}
	return pids, err
}

// Megabytes is memory of a process, or the mean of several processes.
type Megabytes struct {
	Resident     float64 // VmRSS: includes pages that other processes share
	Proportional float64 // Pss: counts a page that n processes share as one n-th, so that it adds up over processes
}

// Memory returns the mean memory of the processes.
func Memory(pids []int) (Megabytes, error) {
	var mean Megabytes
	for _, pid := range pids {
		p := &process.Process{Pid: int32(pid)}
		resident, err := p.MemoryInfo()
		if err != nil {
			return mean, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		maps, err := p.MemoryMaps(true)
		if err != nil {
			return mean, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		mean.Resident += float64(resident.RSS) / (1 << 20) / float64(len(pids))
		mean.Proportional += float64((*maps)[0].Pss) / (1 << 10) / float64(len(pids)) // in kB
	}
	return mean, nil
}
