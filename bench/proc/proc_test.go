package proc

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestCPUCountsAnotherProcess(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo; read x")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	pids := []int{cmd.Process.Pid}
	used, err := CPU(pids)
	if err != nil || used <= 0 {
		t.Errorf("%v, %v", used, err)
	}
	if children, err := Children(os.Getpid()); err != nil || !slices.Contains(children, cmd.Process.Pid) {
		t.Errorf("children %v, %v, want %d among them", children, err, cmd.Process.Pid)
	}
	in.Close()
	_ = cmd.Wait() // read fails at the end of its input.
	total := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if slack := 20 * time.Millisecond; used > total+slack {
		t.Errorf("%v while it ran, %v in all", used, total)
	}
	if _, err := CPU(pids); err == nil {
		t.Error("a process that has ended still uses CPU time")
	}
	if _, err := Memory(pids); err == nil {
		t.Error("a process that has ended still uses memory")
	}
}

func TestMemoryIsMeanOfProcesses(t *testing.T) {
	t.Parallel()
	m, err := Memory([]int{os.Getpid(), os.Getpid()})
	// All of its own pages and a part of shared ones; 32 MB of slack, because the test goes on using memory.
	if err != nil || m.Resident < 1 || m.Resident > 1000 || m.Proportional < 0.25 || m.Proportional > m.Resident+32 {
		t.Errorf("%+v, %v", m, err)
	}
}
