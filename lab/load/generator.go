package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Generator is a process that carries out a plan.
type Generator struct {
	cmd   *exec.Cmd
	stdin io.Closer
	said  tail
	done  chan struct{}
	err   error // once done is closed
}

// Start starts `trivet load` with the plan; path is the file of a trivet. The process leads a session of its own, so that the terminal's
// Ctrl-C is not for it, and never outlives this one: it is killed when this one dies, and ends by itself when its stdin does.
func Start(path string, p Plan) (*Generator, error) {
	line, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: path, Args: []string{"trivet", "load"},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	g := &Generator{cmd: cmd, done: make(chan struct{})}
	cmd.Stderr = &g.said
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	g.stdin = stdin
	started := make(chan error)
	go g.live(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting the load generator: %w", err)
	}
	if _, err := stdin.Write(append(line, '\n')); err != nil {
		return nil, errors.Join(fmt.Errorf("giving the load generator its plan: %w", err), g.Stop(), g.Wait())
	}
	return g, nil
}

// niceness is the generator's, where it may be had: it is the clock of the run, and what makes it late on a busy machine says nothing
// about the balancer. It needs little of the time that it thus gets first.
const niceness = -10

// first lets a session's leader go before others, where this is allowed (it wants CAP_SYS_NICE). Elsewhere it takes its turn like anybody
// else.
func first(pid int) {
	// Of its group, not of the process: priority is each thread's own.
	_ = unix.Setpriority(unix.PRIO_PGRP, pid, niceness)
	// Where the kernel shares the time out among sessions (sched_autogroup_enabled, sched(7)), that counts within the session alone.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte(strconv.Itoa(niceness)), 0)
}

// live starts the process and lives as long as it does, on a thread of its own: the kernel sends Pdeathsig when the *thread* that forked
// ends, and the Go runtime ends threads when it likes.
func (g *Generator) live(started chan<- error) {
	runtime.LockOSThread() // Never unlocked: the thread ends with the goroutine.
	err := g.cmd.Start()
	if err == nil {
		first(g.cmd.Process.Pid)
	}
	started <- err
	if err != nil {
		return
	}
	if err := g.cmd.Wait(); err != nil {
		g.err = fmt.Errorf("the load generator ended with %w: %s", err, g.said.last())
	}
	close(g.done)
}

// PID is the process's id.
func (g *Generator) PID() int { return g.cmd.Process.Pid }

// Signal sends a signal to the process. When it is gone the error is os.ErrProcessDone.
func (g *Generator) Signal(s os.Signal) error { return g.cmd.Process.Signal(s) }

// Done is closed when the process is gone.
func (g *Generator) Done() <-chan struct{} { return g.done }

// Wait returns when the process is gone. The error tells how it ended and the last line that it said, unless each planned request has its record.
func (g *Generator) Wait() error {
	<-g.done
	return g.err
}

// stopPatience is how long a process may take to write what records it has.
const stopPatience = 2 * time.Second

// Stop ends the process early: it gives up what is under way. Stop returns when it is gone; one that does not end by itself, because it
// is stopped or its disk hangs, is killed.
func (g *Generator) Stop() error {
	if err := g.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	select {
	case <-g.done:
		return nil
	case <-time.After(stopPatience):
	}
	if err := g.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-g.done
	return nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// mostTail is how much of it, in bytes.
const mostTail = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - mostTail; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// last is the last line.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(string(t.text))
	if text == "" {
		return "it said nothing"
	}
	return text[strings.LastIndexByte(text, '\n')+1:]
}
