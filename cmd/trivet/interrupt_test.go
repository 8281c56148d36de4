package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Ctrl-C goes to all of trivet's process group, and whatever trivet asks of nginx at that moment: it is neither nginx's fault nor the file's.
func TestInterruptedWhileNginxIsAsked(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"run", "check"} {
		for _, when := range []string{"-V", "-t"} {
			t.Run(command+" "+when, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				script := `#!/bin/sh
[ "$1" = ` + when + ` ] && >asked && exec sleep 1000
echo "nginx version: nginx/1.22.1
configure arguments: --with-http_v2_module"
`
				for name, text := range map[string]string{"asked.yaml": asked, "nginx": script} {
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				o := outsideOf(t, &exec.Cmd{Path: trivet(t), Args: []string{"trivet", command, "--nginx", "./nginx", "asked.yaml"}, Dir: dir})
				eventually(t, "nginx is asked", func() bool {
					_, err := os.Stat(filepath.Join(dir, "asked"))
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
