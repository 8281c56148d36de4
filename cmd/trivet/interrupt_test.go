package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
configure arguments: --with-http_v2_module --with-http_stub_status_module"
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

func TestInterruptEndsReadFromPipe(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"check", "list", "run"} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer write.Close()
		o := outsideOf(t, &exec.Cmd{Path: trivet(t), Args: []string{"trivet", command, "/dev/stdin"}, Stdin: read})
		read.Close()
		if _, err := write.WriteString("question: Q?\n"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is read", func() bool {
			n, err := unix.IoctlGetInt(int(write.Fd()), unix.TIOCINQ)
			return err == nil && n == 0
		})
		o.signal(t, syscall.SIGINT)
		if _, status := o.end(t); status.ExitStatus() != 130 {
			t.Errorf("%s ended with %v (exit code %d)", command, status, status.ExitStatus())
		}
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
