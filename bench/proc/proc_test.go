package proc

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// burn uses CPU time until this process has used so much more of it.
func burn(t *testing.T, d time.Duration) {
	t.Helper()
	for begin := cpu(t); cpu(t)-begin < d; {
	}
}

func cpu(t *testing.T) time.Duration {
	t.Helper()
	used, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return used
}

func TestCPUIsWhatStatTellsButFiner(t *testing.T) {
	burn(t, 50*time.Millisecond)
	before := cpu(t)
	coarse, err := CPUFromStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// stat cuts user and system time off to ticks, each.
	if after := cpu(t); coarse < before-3*tick || coarse > after+tick {
		t.Errorf("stat tells %v, the clock %v and then %v", coarse, before, after)
	}
}

func TestCPUOfAnotherProcess(t *testing.T) {
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
	used, err := CPUs([]int{cmd.Process.Pid})
	if err != nil || used <= 0 {
		t.Errorf("%v, %v", used, err)
	}
	children, err := Children(os.Getpid())
	if err != nil || !slices.Contains(children, cmd.Process.Pid) {
		t.Errorf("children %v, %v, want %d among them", children, err, cmd.Process.Pid)
	}
	in.Close()
	if err := cmd.Wait(); err == nil {
		t.Log("the shell ended well")
	}
	if total := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(); used > total+2*tick {
		t.Errorf("%v while it ran, %v in all", used, total)
	}
	if _, err := CPUs([]int{cmd.Process.Pid}); err == nil {
		t.Error("a process that is gone still uses CPU time")
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	s, err := parseStat([]byte("71 (a (b) c) S 7 71 71 0 -1 4194560 100 0 0 0 123 45 6 7 20 0 1 0 100 0 0\n"))
	if err != nil || s.parent != 7 || s.cpu != 1680*time.Millisecond {
		t.Errorf("%+v, %v", s, err)
	}
	for _, text := range []string{"", "71", "71 (x", "71 (x) S 1", "71 (x) S x 0 0 0 0 0 0 0 0 0 0 0 0"} {
		if s, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q is taken for %+v", text, s)
		}
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	resident, err := Resident(os.Getpid())
	if err != nil || resident < 1<<20 {
		t.Errorf("resident %d, %v", resident, err)
	}
	// Of its own pages a process has all, of shared ones a part; some slack, because it goes on using memory.
	if part, err := Proportional(os.Getpid()); err != nil || part < 1<<18 || part > resident+32<<20 {
		t.Errorf("proportional %d of %d, %v", part, resident, err)
	}
	if n, err := parseKilobytes("A: 1 kB\nVmRSS:\t  12345 kB\n", "VmRSS:"); err != nil || n != 12345<<10 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := parseKilobytes("VmSize: 1 kB\n", "VmRSS:"); err == nil {
		t.Error("a line that is not there is found")
	}
}
