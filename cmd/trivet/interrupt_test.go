package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Ctrl-C goes to trivet's whole process group, also to an nginx that checks something: that is an interruption, no error of nginx or the file.
func TestInterruptDuringNginxCheckIsNoError(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"run", "check"} {
		for _, when := range []string{"-V", "-t"} {
			t.Run(command+" "+when, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				script := `#!/bin/sh
[ "$1" = ` + when + ` ] && >ran && exec sleep 1000
echo "nginx version: nginx/1.22.1
configure arguments: --with-http_ssl_module --with-http_v2_module --with-http_stub_status_module"
`
				for name, text := range map[string]string{"long.yaml": long, "nginx": script} {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				o := outsideOf(t, &exec.Cmd{Path: trivet(t), Args: []string{"trivet", command, "--nginx", "./nginx", "long.yaml"}, Dir: dir})
				eventually(t, "nginx is run", func() bool {
					_, err := os.Stat(filepath.Join(dir, "ran"))
					return !errors.Is(err, fs.ErrNotExist)
				})
				send(t, -o.cmd.Process.Pid, syscall.SIGINT)
				if said, status := o.end(t); status.ExitStatus() != 130 || said != "" {
					t.Errorf("ended with %v (exit code %d), and said %q", status, status.ExitStatus(), said)
				}
			})
		}
	}
}

// A killed program cannot remove what it tries: the next one does.
func TestNextCheckRemovesWhatAKilledOneLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := `#!/bin/sh
[ "$1" = -t ] && [ ! -e ran ] && >ran && while kill -0 $PPID; do sleep 0.05; done
echo "nginx version: nginx/1.22.1
configure arguments: --with-http_ssl_module --with-http_v2_module --with-http_stub_status_module"
`
	for name, text := range map[string]string{"long.yaml": long, "nginx": script} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	check := func() *exec.Cmd {
		return &exec.Cmd{Path: trivet(t), Args: []string{"trivet", "check", "--nginx", "./nginx", "long.yaml"}, Dir: dir}
	}
	o := outsideOf(t, check())
	eventually(t, "nginx is run", func() bool {
		_, err := os.Stat(filepath.Join(dir, "ran"))
		return err == nil
	})
	o.signal(t, syscall.SIGKILL)
	o.end(t)
	left := func() []string {
		names, err := filepath.Glob(filepath.Join(o.tmp, "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if len(left()) != 1 {
		t.Errorf("a killed check leaves %q", left())
	}
	next := check()
	next.Env = o.cmd.Env
	if text, err := next.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, text)
	}
	if len(left()) != 0 {
		t.Errorf("the next check leaves %q", left())
	}
}

func TestInterruptEndsReadFromPipe(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		command string
		signal  syscall.Signal
		code    int
	}{
		{"check", syscall.SIGINT, 130}, {"list", syscall.SIGINT, 130}, {"run", syscall.SIGINT, 130}, {"check", syscall.SIGQUIT, 130}, {"load", syscall.SIGQUIT, 1},
	} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer write.Close()
		stderr := &stderrBuffer{to: t.Output()}
		o := outsideOf(t, &exec.Cmd{Path: trivet(t), Args: []string{"trivet", test.command, "/dev/stdin"}, Stdin: read, Stderr: stderr})
		read.Close()
		if _, err := write.WriteString(" "); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is read", func() bool {
			n, err := unix.IoctlGetInt(int(write.Fd()), unix.TIOCINQ)
			return err == nil && n == 0
		})
		o.signal(t, test.signal)
		if _, status := o.end(t); status.ExitStatus() != test.code || strings.Contains(o.words(), "goroutine") {
			t.Errorf("%s after %v ended with %v (exit code %d), and said %q", test.command, test.signal, status, status.ExitStatus(), o.words())
		}
	}
}

func TestQuitEndsRunLikeInterrupt(t *testing.T) {
	t.Parallel()
	o := running(t, long)
	o.untilLoaded(t)
	o.signal(t, syscall.SIGQUIT)
	said, status := o.end(t)
	if status.ExitStatus() != 130 || strings.Contains(o.words(), "goroutine") {
		t.Errorf("ended with %v (exit code %d), and said %q", status, status.ExitStatus(), o.words())
	}
	mustMatch(t, said, `^long: INTERRUPTED: interrupted: quit$`)
}

func TestSecondQuitEndsAtOnceWithoutStacks(t *testing.T) {
	t.Parallel()
	o := running(t, long)
	o.untilLoaded(t)
	send(t, o.generator(), syscall.SIGSTOP) // It cannot end then, and trivet waits for it.
	o.signal(t, syscall.SIGQUIT)
	eventually(t, "trivet has taken the signal", func() bool { return strings.Contains(o.words(), "a second Ctrl-C ends at once") })
	o.signal(t, syscall.SIGQUIT)
	if _, status := o.end(t); status.ExitStatus() != 131 || strings.Contains(o.words(), "goroutine") {
		t.Errorf("ended with %v (exit code %d), and said %q", status, status.ExitStatus(), o.words())
	}
}

// An unreadable directory is not one without experiments.
func TestUnreadableDirectoryIsReported(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "locked")
	if err := os.Mkdir(dir, 0o300); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // Never unlocked, so that the thread and its user ID end with this function.
		if os.Getuid() == 0 {
			if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o711), os.Chmod(filepath.Dir(filepath.Dir(dir)), 0o711), unix.Setfsuid(65534)); err != nil {
				t.Error(err)
			}
		}
		_, err := filesOf([]string{dir})
		done <- err
	}()
	if err := <-done; !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v", err)
	}
}
