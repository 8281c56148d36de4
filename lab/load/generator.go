package load

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// A Generator is a process that carries out a plan. It has the priority of the system under test, and no session of its own: the kernel
// divides time among sessions first (sched_autogroup_enabled, sched(7)). A generator with precedence would be on time while the system is
// starved, and the starvation would be taken for the system's slowness.
type Generator struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr lastOutput
	done   chan struct{}
	err    error // once done is closed
}

// Start starts `trivet load` with the plan; path is the file of a trivet. The process leads a group of its own, so that the terminal's
// Ctrl-C does not reach it. It never outlives this one: the kernel kills it when this one dies, and it ends when its stdin does.
func Start(path string, p Plan) (*Generator, error) {
	line, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: path, Args: []string{"trivet", "load"},
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	g := &Generator{cmd: cmd, done: make(chan struct{})}
	cmd.Stderr = &g.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	g.stdin = stdin
	started := make(chan error)
	go g.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start load generator: %w", err)
	}
	if _, err := stdin.Write(append(line, '\n')); err != nil {
		return nil, errors.Join(fmt.Errorf("send the load generator its plan: %w", err), g.Stop(), g.Wait())
	}
	return g, nil
}

// run starts the process and returns when it ends, on a locked thread: the kernel sends Pdeathsig when the *thread* that forked ends, and
// the Go runtime may end any other thread.
func (g *Generator) run(started chan<- error) {
	runtime.LockOSThread() // Never unlocked: the thread ends with the goroutine.
	err := g.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	if err := g.cmd.Wait(); err != nil {
		g.err = fmt.Errorf("the load generator ended with %w: %s", err, g.stderr.lastLine())
	}
	close(g.done)
}

// PID is the process's ID, which may be another process's once this one is gone.
func (g *Generator) PID() int { return g.cmd.Process.Pid }

// Done is closed when the process is gone.
func (g *Generator) Done() <-chan struct{} { return g.done }

// Wait returns when the process is gone. The error is nil if each planned request has its record; else it says how the process ended and
// the last line it wrote to stderr.
func (g *Generator) Wait() error {
	<-g.done
	return g.err
}

// Finish ends the load early and gracefully: nothing that is planned so long after Begin or later is sent, as if the plan's For had been that. Requests
// in flight end by themselves, and each that was planned before has its record. Of several calls the earliest time counts. A generator
// that gets it later has sent what was planned until then.
func (g *Generator) Finish(after time.Duration) error {
	line, err := json.Marshal(instruction{Finish: max(after, 1)})
	if err != nil {
		return err
	}
	if _, err := g.stdin.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("send the load generator (pid %d) when to finish: %w; it may have ended", g.PID(), err)
	}
	return nil
}

// stopTimeout is how long a process may take to write its remaining records.
const stopTimeout = 2 * time.Second

// killTimeout bounds the wait for a process that was killed.
const killTimeout = 10 * time.Second

// Stop ends the process early: it cancels requests in flight. Stop returns when it is gone; one that does not end by itself, because it is
// paused or its disk hangs, is killed.
func (g *Generator) Stop() error {
	if err := g.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	select {
	case <-g.done:
		return nil
	case <-time.After(stopTimeout):
	}
	if err := g.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-g.done:
		return nil
	case <-time.After(killTimeout):
		return fmt.Errorf("the load generator (pid %d) runs %v after SIGKILL: it hangs in the kernel", g.PID(), killTimeout)
	}
}

// lastOutput keeps the last maxLastOutput bytes of what is written to it.
type lastOutput []byte

const maxLastOutput = 4096

func (o *lastOutput) Write(p []byte) (int, error) {
	*o = append(*o, p...)
	*o = (*o)[max(0, len(*o)-maxLastOutput):]
	return len(p), nil
}

func (o lastOutput) lastLine() string {
	text := strings.TrimSpace(string(o))
	return cmp.Or(text[strings.LastIndexByte(text, '\n')+1:], "no output")
}
