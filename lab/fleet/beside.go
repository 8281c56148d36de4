package fleet

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Beside is the nginx that another program runs in a run directory.
type Beside struct {
	dir    string
	master *os.Process
}

// FindNginx finds it. Without a running nginx the error says so.
func FindNginx(dir string) (Beside, error) {
	text, err := os.ReadFile(filepath.Join(dir, "nginx.pid"))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || !isMaster(pid, dir) {
		return Beside{}, fmt.Errorf("no nginx runs in %s; start one: trivet up --tls --mtls", dir)
	}
	master, err := os.FindProcess(pid)
	return Beside{dir, master}, err
}

// isMaster reports whether a process is the master of an nginx in a run directory: after a crash nginx.pid may name any process.
func isMaster(pid int, dir string) bool {
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.Contains(title, []byte("master process")) && bytes.Contains(title, []byte(dir))
}

// Reload makes nginx read its configuration and certificates again. It returns when new workers serve; old ones may still be finishing
// requests. An error of a configuration that nginx refuses wraps ErrConf.
func (b Beside) Reload(ctx context.Context) error {
	return reload(ctx, b.dir, b.master.Pid, func() error { return b.master.Signal(syscall.SIGHUP) }, func() bool { return isMaster(b.master.Pid, b.dir) })
}

// Leaving counts the workers that finish requests with what nginx had read before its last reload.
func (b Beside) Leaving() (n int) {
	for _, w := range workers(b.master.Pid) {
		if w.leaving {
			n++
		}
	}
	return n
}
