package fleet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spawner starts processes, all on one operating system thread. The kernel sends Pdeathsig when the *thread* that forked ends,
// and the Go runtime ends threads when it likes: so the thread is locked, and lives until close.
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

// close ends the thread, and by Pdeathsig whatever it started and still runs.
func (s *spawner) close() { close(s.jobs) }

// recipe is how one process is started.
type recipe struct {
	path   string
	args   []string
	env    []string // added to this process's own
	log    string   // file that gets both its outputs, appended
	atEnd  syscall.Signal
	family bool // It has children of its own, which must not outlive it.
}

// start starts a process in a process group of its own: the terminal's Ctrl-C is not for it, and a kill of the group finds the
// children of one that died without a word.
func (s *spawner) start(r recipe) (*child, error) {
	log, err := os.OpenFile(r.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // The child has its own.
	cmd := exec.Command(r.path, r.args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(environ(), r.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: r.atEnd}
	started := make(chan error, 1)
	s.jobs <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, err
	}
	l := &leader{cmd: cmd, family: r.family}
	c := &child{
		pid: cmd.Process.Pid, began: time.Now(), exited: make(chan string, 1),
		signal: cmd.Process.Signal, kill: l.kill,
	}
	go func() { c.exited <- l.wait() }() // Ends with the process.
	return c, nil
}

// environ is this process's environment without NGINX: in it nginx looks for sockets that a predecessor left it.
func environ() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "NGINX=") {
			env = append(env, e)
		}
	}
	return env
}

// child is one life of a process.
type child struct {
	pid    int
	began  time.Time
	exited chan string // gets how it ended, once, when it and its children are gone; room for one
	signal func(os.Signal) error
	kill   func() // SIGKILL to it and its children; nothing if it is gone
}

// leader is a process that leads its group.
type leader struct {
	cmd    *exec.Cmd
	family bool
	mu     sync.Mutex
	reaped bool // Its pid may be somebody else's now.
}

func (l *leader) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.reaped {
		// The only error is that nobody is left.
		_ = syscall.Kill(-l.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// wait returns how the process ended, when nobody of its group runs any more. Its children are killed while it is a zombie:
// as long as it is, its pid and so the group's number cannot be given to anybody else.
func (l *leader) wait() string {
	pid := l.cmd.Process.Pid
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	if l.family {
		l.kill()
		awaitGroup(pid)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.cmd.Wait() // It does not wait any more, so that kill never waits for it.
	l.reaped = true
	return ending(l.cmd.ProcessState, err)
}

// groupPatience bounds the wait for killed processes. A process that does not even heed SIGKILL hangs in the kernel.
const groupPatience = 5 * time.Second

// awaitGroup returns when no process of the group runs, and takes the zombies that have become ours (see AdoptOrphans).
func awaitGroup(group int) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(groupPatience); time.Now().Before(end); <-tick.C {
		if !runs(group) {
			break
		}
	}
	for _, p := range processes() {
		if p.group == group && p.pid != group && p.zombie {
			_, _ = syscall.Wait4(p.pid, nil, syscall.WNOHANG, nil) // Not ours, then somebody else's to take.
		}
	}
}

func runs(group int) bool {
	for _, p := range processes() {
		if p.group == group && !p.zombie {
			return true
		}
	}
	return false
}

// AdoptOrphans makes this process the one that gets the orphans among its descendants, instead of the machine's first process,
// which in a container often lets zombies lie. It is for a program whose only children are a fleet's.
func AdoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopting orphans: %w", err)
	}
	return nil
}

// ending says how a process ended: "exit code 2", "signal SIGKILL".
func ending(state *os.ProcessState, err error) string {
	if state == nil {
		return err.Error()
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return fmt.Sprintf("exit code %d", state.ExitCode())
	}
	return "signal " + unix.SignalName(status.Signal())
}
