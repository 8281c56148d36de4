package fleet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/record"
)

// A spawner starts processes, all on one operating system thread. The kernel sends Pdeathsig when the *thread* that forked ends, and the
// Go runtime may end any thread, so this one is locked and lives until close.
type spawner struct{ jobs chan func() }

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func())}
	go func() {
		runtime.LockOSThread() // Never unlocked: the thread ends with the goroutine.
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

// close ends the thread, and by Pdeathsig all processes it started that still run.
func (s *spawner) close() { close(s.jobs) }

// A command is how a process is started.
type command struct {
	path        string
	args        []string
	env         []string       // NAME=value, all of its environment
	log         string         // the file that both its outputs are appended to
	parentDeath syscall.Signal // sent to it when the spawner's thread ends
	children    bool           // it may have children, which must not outlive it
}

// start starts a process in a process group of its own: the terminal's Ctrl-C does not reach it, and a kill of the group reaches the
// children of one that is dead.
func (s *spawner) start(c command) (*child, error) {
	log, err := os.OpenFile(c.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // The child has its own.
	cmd := exec.Command(c.path, c.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = c.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: c.parentDeath}
	result := make(chan error, 1)
	s.jobs <- func() { result <- cmd.Start() }
	if err := <-result; err != nil {
		return nil, err
	}
	l := &leader{cmd: cmd, children: c.children}
	started := &child{
		pid: cmd.Process.Pid, began: time.Now(), exited: make(chan record.Exit, 1),
		signal: cmd.Process.Signal, group: l.signal,
	}
	go func() { started.exited <- l.wait() }() // Ends with the process.
	return started, nil
}

// environ is this process's environment without NGINX, in which nginx looks for sockets of a predecessor.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "NGINX=") })
}

// A child is one start of a process.
type child struct {
	pid    int
	start  string // identity of this start of an instance
	began  time.Time
	exited chan record.Exit // gets one value, when the process and its children are gone; room for one
	signal func(os.Signal) error
	group  func(syscall.Signal) // sends a signal to it and its children, at once; nothing if it is gone
}

// A leader is a process that leads its group.
type leader struct {
	cmd      *exec.Cmd
	children bool
	mu       sync.Mutex
	reaped   bool // its PID may be another process's now
	guard    *guard
}

func (l *leader) signal(s syscall.Signal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reaped {
		return
	}
	group := l.cmd.Process.Pid
	if s == syscall.SIGSTOP && l.children && l.guard == nil {
		l.guard = newGuard(group)
	}
	// The only error is that no process is left.
	_ = syscall.Kill(-group, s)
	if s == syscall.SIGCONT {
		l.unguard()
	}
}

func (l *leader) unguard() {
	if l.guard != nil {
		l.guard.end()
		l.guard = nil
	}
}

// A guard is a process that kills a group when this process has ended. A stopped group needs one: it does not handle the signal that its
// leader gets then.
type guard struct {
	cmd  *exec.Cmd
	open io.Closer // of which the guard sees the end
}

// newGuard returns nil if there is no guard to be had. Then the group goes on, and handles the signal, if the kernel finds it orphaned: if
// the process that adopts it is in another session.
func newGuard(group int) *guard {
	cmd := exec.Command("/bin/sh", "-c", "read -r never; kill -KILL -"+strconv.Itoa(group))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // The terminal's Ctrl-C does not reach it.
	open, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return nil
	}
	return &guard{cmd, open}
}

// end ends the guard, and leaves the group alone.
func (g *guard) end() {
	_ = g.cmd.Process.Kill() // An error: it is gone.
	_ = g.cmd.Wait()         // It was killed.
	_ = g.open.Close()
}

// wait returns how the process ended, when no process of its group runs any more. Its children are killed while it is a zombie: until it is
// reaped, the kernel gives its PID, which is the group's too, to no other process.
func (l *leader) wait() record.Exit {
	pid := l.cmd.Process.Pid
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	if l.children {
		l.signal(syscall.SIGKILL)
		awaitGroup(pid)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.cmd.Wait() // At once, so that kill never waits for it.
	l.reaped = true
	l.unguard()
	return exitOf(l.cmd.ProcessState, err)
}

// groupTimeout bounds the wait for killed processes. One that SIGKILL does not end hangs in the kernel.
const groupTimeout = 5 * time.Second

// awaitGroup returns when no process of the group runs, and reaps zombies that have become this process's children (see AdoptOrphans).
func awaitGroup(group int) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(groupTimeout); groupRuns(group) && time.Now().Before(end); <-tick.C {
	}
	for _, p := range processes() {
		if p.group == group && p.pid != group && p.zombie() {
			_, _ = syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil) // An error: it is another process's child.
		}
	}
}

// AdoptOrphans makes this process the parent of orphans among its descendants, instead of PID 1, which in a container often reaps no
// zombies. It is for a program whose only children are a fleet's.
func AdoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt orphans: %w", err)
	}
	return nil
}

func exitOf(state *os.ProcessState, err error) record.Exit {
	if state == nil {
		return record.Exit{Error: err.Error()}
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return record.Exit{Code: state.ExitCode()}
	}
	return record.Exit{Signal: unix.SignalName(status.Signal())}
}
