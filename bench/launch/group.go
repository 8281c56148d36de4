// Package launch starts the programs that bench compares and ends them. Nothing outlives bench: the kernel signals each process when the
// thread that started it ends, and that thread lives as long as the group.
package launch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Group is a set of processes that end together.
type Group struct {
	dir       string
	jobs      chan func()
	processes []*Process
}

// NewGroup returns an empty group that keeps its processes' logs in dir.
func NewGroup(dir string) *Group {
	g := &Group{dir: dir, jobs: make(chan func())}
	go func() {
		runtime.LockOSThread() // Never unlocked: the thread ends with the goroutine.
		for job := range g.jobs {
			job()
		}
	}()
	return g
}

// Program is how a process is started.
type Program struct {
	Path  string
	Args  []string
	Env   []string // added to bench's own
	Dir   string   // working directory; "" is bench's own
	Stdin *os.File // nil is empty
}

// Process is a started program.
type Process struct {
	PID   int
	Began time.Time
	cmd   *exec.Cmd
	log   string
	done  chan struct{}
	err   error // valid once done is closed
}

// Start starts a program, both outputs of which go to a log file.
func (g *Group) Start(p Program) (*Process, error) {
	log := filepath.Join(g.dir, fmt.Sprintf("%s-%d.log", filepath.Base(p.Path), len(g.processes)))
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.Dir, file, file
	if p.Stdin != nil {
		cmd.Stdin = p.Stdin
	}
	cmd.Env = append(os.Environ(), p.Env...)
	// SIGTERM and not SIGKILL if bench dies: a killed nginx master leaves its workers behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	made := &Process{cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error)
	g.jobs <- func() {
		made.Began = time.Now()
		started <- cmd.Start()
	}
	if err := <-started; err != nil {
		return nil, err
	}
	made.PID = cmd.Process.Pid
	go func() {
		defer close(made.done)
		made.err = cmd.Wait()
	}()
	g.processes = append(g.processes, made)
	return made, nil
}

// Stop kills all processes with their children and returns when they are gone. None gets time to finish: what is measured is over.
func (g *Group) Stop() {
	for _, p := range g.processes {
		p.kill()
	}
	for _, p := range g.processes {
		<-p.done
	}
	close(g.jobs)
}

// kill ends the process group, unless its leader has been reaped: its number may by now be another's.
func (p *Process) kill() {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.PID, syscall.SIGKILL) // Fails only if it ended just now.
	}
}

// Signal sends a signal to the process, but not to its children.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Wait returns the CPU time of a process that has ended, and an error with the end of its log if it failed. It is killed if ctx ends first.
func (p *Process) Wait(ctx context.Context) (time.Duration, error) {
	defer context.AfterFunc(ctx, p.kill)()
	<-p.done
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("%s: %w", filepath.Base(p.cmd.Path), context.Cause(ctx))
	case p.err != nil:
		return 0, fmt.Errorf("%s: %w: %s", filepath.Base(p.cmd.Path), p.err, p.tail())
	}
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), nil
}

// Await calls ready until it returns no error, for up to two minutes. Its own error ends with the last lines of the process's log.
func (p *Process) Await(ctx context.Context, every time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("not ready within two minutes"))
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready: %s", p.cmd.Path, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w: %s", p.cmd.Path, context.Cause(ctx), err, p.tail())
		case <-tick.C:
		}
	}
}

// Output returns what the process has written so far, to both outputs.
func (p *Process) Output() ([]byte, error) { return os.ReadFile(p.log) }

func (p *Process) tail() string {
	text, err := p.Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-500):]))
}

// Listening returns a check for [Process.Await] that the addresses accept connections.
func Listening(addresses ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		var dialer net.Dialer
		for _, address := range addresses {
			c, err := dialer.DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			c.Close()
		}
		return nil
	}
}

// FreePorts returns n different ports of 127.0.0.1 that were free just now.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // All at the end, so that no port comes twice.
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// Local returns the address of a port of 127.0.0.1.
func Local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
