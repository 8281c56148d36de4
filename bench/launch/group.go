// Package launch starts the programs that are compared, and ends them.
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
	"strings"
	"sync"
	"syscall"
	"time"
)

// Group is processes that were started together. Nothing of it outlives this program: the kernel ends each when the thread that started
// it ends, and that thread lives as long as the group.
type Group struct {
	dir     string
	jobs    chan func()
	members []*Process
}

// NewGroup keeps the processes' logs in dir.
func NewGroup(dir string) *Group {
	c := &Group{dir: dir, jobs: make(chan func())}
	go func() {
		runtime.LockOSThread() // Never unlocked: the thread ends with the goroutine.
		for job := range c.jobs {
			job()
		}
	}()
	return c
}

// Process is one that runs.
type Process struct {
	PID   int
	Began time.Time
	cmd   *exec.Cmd
	log   string
	quit  syscall.Signal
	done  chan struct{}
}

// Program is how a process is started.
type Program struct {
	Path string
	Args []string
	Env  []string // beside this process's own
	Dir  string   // "": this one's
	Quit syscall.Signal
}

// Start starts a program. Its output goes to a file.
func (c *Group) Start(p Program) (*Process, error) {
	log := filepath.Join(c.dir, fmt.Sprintf("%s-%d.log", filepath.Base(p.Path), len(c.members)))
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.Dir, file, file
	cmd.Env = append(os.Environ(), p.Env...)
	quit := p.Quit
	if quit == 0 {
		quit = syscall.SIGTERM
	}
	// SIGTERM and not SIGKILL at this program's death: an nginx that is killed leaves its workers.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	made := &Process{cmd: cmd, log: log, quit: quit, done: make(chan struct{})}
	started := make(chan error)
	c.jobs <- func() {
		made.Began = time.Now()
		started <- cmd.Start()
	}
	if err := <-started; err != nil {
		return nil, err
	}
	made.PID = cmd.Process.Pid
	go func() {
		defer close(made.done)
		_ = cmd.Wait() // Whoever needs it alive finds out; how it ended is in its log.
	}()
	c.members = append(c.members, made)
	return made, nil
}

// endPatience is how long a process may take to end when it is asked to.
const endPatience = 5 * time.Second

// Stop ends a process, and whatever it left in its group.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(p.quit) // The only error is that it is gone.
	select {
	case <-p.done:
	case <-time.After(endPatience):
	}
	_ = syscall.Kill(-p.PID, syscall.SIGKILL)
	<-p.done
}

// Stop ends all, the last first, and returns when they are gone.
func (c *Group) Stop() {
	var all sync.WaitGroup
	for _, p := range c.members {
		all.Go(p.Stop)
	}
	all.Wait()
	close(c.jobs)
}

// Await asks again and again until there is no error, for ten seconds; or says why not, with the end of the process's log.
func (p *Process) Await(ctx context.Context, every time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, errors.New("it does not answer within ten seconds"))
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.cmd.Path, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w: %s", p.cmd.Path, context.Cause(ctx), err, p.tail())
		case <-tick.C:
		}
	}
}

// tail is the end of what the process said.
func (p *Process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-500):]))
}

// Listening tells whether somebody takes connections there.
func Listening(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		var dialer net.Dialer
		c, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// FreePort is a port of 127.0.0.1 that nobody listens on.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// FreePorts are n of them, all different.
func FreePorts(n int) ([]int, error) {
	var ports []int
	var held []net.Listener
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		held = append(held, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
