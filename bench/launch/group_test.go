package launch

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T, script string) (*Group, *Process) {
	t.Helper()
	g := NewGroup(t.TempDir())
	p, err := g.Start(Program{Path: "/bin/sh", Args: []string{"-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	return g, p
}

func TestStopEndsProcessesAndTheirChildren(t *testing.T) {
	t.Parallel()
	g, p := start(t, "sleep 1000 & echo $!; wait")
	child := ""
	err := p.Await(t.Context(), time.Millisecond, func(context.Context) error {
		text, err := p.Output()
		if err != nil || !strings.HasSuffix(string(text), "\n") {
			return errors.Join(errors.New("nothing yet"), err)
		}
		child = strings.TrimSpace(string(text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Stop()
	if err := syscall.Kill(p.PID, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d: %v", p.PID, err)
	}
	// The orphan's new parent may not have reaped it yet: a zombie runs nothing.
	for deadline := time.Now().Add(5 * time.Second); ; {
		stat, err := os.ReadFile("/proc/" + child + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("child %s still runs: %s", child, stat)
		}
	}
}

func TestAwaitReportsLogOfProcessThatEnded(t *testing.T) {
	t.Parallel()
	g, p := start(t, "echo no such port; exit 1")
	defer g.Stop()
	err := p.Await(t.Context(), time.Millisecond, func(context.Context) error { return errors.New("refused") })
	if err == nil || !strings.Contains(err.Error(), "no such port") {
		t.Errorf("%v", err)
	}
}

func TestAwaitEndsWithContext(t *testing.T) {
	t.Parallel()
	g, p := start(t, "sleep 1000")
	defer g.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	if err := p.Await(ctx, time.Millisecond, func(context.Context) error { cancel(); return errors.New("refused") }); err == nil {
		t.Error("a process that is never ready counts as ready")
	}
	if _, err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that waiting was canceled", err)
	}
}

func TestWaitReturnsCPUTimeOrReason(t *testing.T) {
	t.Parallel()
	g, p := start(t, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
	defer g.Stop()
	if used, err := p.Wait(t.Context()); err != nil || used <= 0 {
		t.Errorf("%v, %v", used, err)
	}
	failing, p := start(t, "echo bad plan; exit 3")
	defer failing.Stop()
	if _, err := p.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "exit status 3: bad plan") {
		t.Errorf("%v", err)
	}
}

func TestFreePortsDiffer(t *testing.T) {
	t.Parallel()
	ports, err := FreePorts(20)
	seen := map[int]bool{}
	for _, p := range ports {
		seen[p] = true
	}
	if err != nil || len(seen) != 20 || seen[0] {
		t.Errorf("%v, %v", ports, err)
	}
}
