// Package proc reads what processes of this machine have used: CPU time and memory. It needs Linux.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ, which is 100 on every Linux that Go runs on.
const tick = time.Second / 100

// CPU is the CPU time, user and system, that all threads of a process have used, also those that have ended.
//
// /proc/PID/stat tells it in ticks of 10 ms, too coarse for slices of a second. The kernel has it to the nanosecond, on the clock that
// clock_getcpuclockid(3) names; /proc/PID/schedstat has it too, but of one thread. Where that clock cannot be read, stat it is.
func CPU(pid int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED, of a whole process
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|schedClock, &t); err == nil {
		return time.Duration(t.Nano()), nil
	}
	return CPUFromStat(pid)
}

// CPUFromStat is CPU to a hundredth of a second.
func CPUFromStat(pid int) (time.Duration, error) {
	text, err := os.ReadFile(file(pid, "stat"))
	if err != nil {
		return 0, err
	}
	s, err := parseStat(text)
	return s.cpu, err
}

// CPUs is the sum of several processes' CPU.
func CPUs(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		one, err := CPU(pid)
		if err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		sum += one
	}
	return sum, nil
}

type stat struct {
	parent int
	cpu    time.Duration
}

// parseStat reads /proc/PID/stat. The program's name, in parentheses, may hold anything: what counts begins after the last one.
func parseStat(text []byte) (stat, error) {
	_, rest, found := bytes.Cut(text, []byte("("))
	end := bytes.LastIndexByte(rest, ')')
	if !found || end < 0 {
		return stat{}, fmt.Errorf("%q is no line of /proc/PID/stat", text)
	}
	fields := strings.Fields(string(rest[end+1:])) // From the state on, which is the third field.
	if len(fields) < 13 {
		return stat{}, fmt.Errorf("%q is no line of /proc/PID/stat", text)
	}
	parent, err1 := strconv.Atoi(fields[1])
	user, err2 := strconv.ParseInt(fields[11], 10, 64)
	system, err3 := strconv.ParseInt(fields[12], 10, 64)
	return stat{parent, time.Duration(user+system) * tick}, errors.Join(err1, err2, err3)
}

// Children are the processes whose parent is pid.
func Children(pid int) ([]int, error) {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // It has ended.
		}
		if s, err := parseStat(text); err == nil && s.parent == pid {
			child, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				return nil, err
			}
			children = append(children, child)
		}
	}
	return children, nil
}

// Resident is a process's resident memory in bytes, pages that it shares with others included: VmRSS.
func Resident(pid int) (int64, error) { return kilobytes(file(pid, "status"), "VmRSS:") }

// Proportional is a process's resident memory in bytes, where of a page that n processes share each has one n-th: Pss. Of many processes
// of one program it alone adds up.
func Proportional(pid int) (int64, error) { return kilobytes(file(pid, "smaps_rollup"), "Pss:") }

func kilobytes(name, label string) (int64, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	return parseKilobytes(string(text), label)
}

func parseKilobytes(text, label string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, label); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no line %q", label)
}

func file(pid int, name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }

// Name is the name of a process's program, cut off after 15 bytes.
func Name(pid int) (string, error) {
	text, err := os.ReadFile(file(pid, "comm"))
	return strings.TrimSuffix(string(text), "\n"), err
}
