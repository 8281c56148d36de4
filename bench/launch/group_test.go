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

func TestStopEndsAProcessAndItsChildren(t *testing.T) {
	t.Parallel()
	c := NewGroup(t.TempDir())
	p, err := c.Start(Program{Path: "/bin/sh", Args: []string{"-c", "sleep 1000 & echo $!; wait"}})
	if err != nil {
		t.Fatal(err)
	}
	child := ""
	err = p.Await(t.Context(), time.Millisecond, func(context.Context) error {
		if text, err := os.ReadFile(p.log); err != nil || !strings.HasSuffix(string(text), "\n") {
			return errors.Join(errors.New("nothing yet"), err)
		} else {
			child = strings.TrimSpace(string(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Stop()
	if err := syscall.Kill(p.PID, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d: %v", p.PID, err)
	}
	// Whoever takes orphans may not have taken it yet: a zombie runs nothing.
	if stat, err := os.ReadFile("/proc/" + child + "/stat"); err == nil && !strings.Contains(string(stat), ") Z") {
		if deadline := time.Now().Add(5 * time.Second); !gone(child, deadline) {
			t.Errorf("child %s still runs: %s", child, stat)
		}
	}
}

func gone(pid string, deadline time.Time) bool {
	for time.Now().Before(deadline) {
		if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err != nil || strings.Contains(string(stat), ") Z") {
			return true
		}
	}
	return false
}

func TestAwaitTellsWhatAProcessThatEndedSaid(t *testing.T) {
	t.Parallel()
	c := NewGroup(t.TempDir())
	defer c.Stop()
	p, err := c.Start(Program{Path: "/bin/sh", Args: []string{"-c", "echo no such port; exit 1"}})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Await(t.Context(), time.Millisecond, func(context.Context) error { return errors.New("refused") })
	if err == nil || !strings.Contains(err.Error(), "no such port") {
		t.Errorf("%v", err)
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := NewGroup(t.TempDir())
	defer c.Stop()
	p, err := c.Start(Program{Path: "/bin/sh", Args: []string{"-c", "sleep 1000"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := p.Await(ctx, time.Millisecond, func(context.Context) error { cancel(); return errors.New("refused") }); err == nil {
		t.Error("it answered")
	}
}

func TestFreePortsAreDifferent(t *testing.T) {
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
