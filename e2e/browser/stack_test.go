package browser

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/labtest"
	"trivet/nginx"
)

// command is a command of trivet whose runs go to a directory of their own.
func command(t *testing.T, tmp string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "trivet"), args...)
	cmd.Dir = tmp                                                      // In the source tree it would build whoami.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // These tests end no thread, only all of them at once.
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "PATH="+programs+string(os.PathListSeparator)+os.Getenv("PATH"))
	return cmd
}

// A stack is a trivet that serves a page.
type stack struct {
	t    *testing.T
	cmd  *exec.Cmd
	URL  string // of the page
	Dir  string // run directory
	tmp  string
	done chan struct{} // closed when all of its output was read

	mu     sync.Mutex
	output bytes.Buffer
}

// up starts trivet up, with three instances unless args say otherwise, until the test ends.
func up(t *testing.T, args ...string) *stack {
	t.Helper()
	tmp := proctest.Passable(t)
	args = append([]string{"up", "--json", "--http", "0", "--grpc", "0", "--dashboard", "0", "--nginx", labtest.Nginx(t).Path}, args...)
	return serve(t, tmp, args, func(line []byte) (url, dir string) {
		var l struct{ Event, Dashboard, Dir string }
		if json.Unmarshal(line, &l) != nil || l.Event != "up" {
			return "", ""
		}
		return l.Dashboard, l.Dir
	})
}

// view starts trivet view of a run until the test ends.
func view(t *testing.T, dir string) *stack {
	t.Helper()
	return serve(t, proctest.Passable(t), []string{"view", "--dashboard", "0", dir}, pageLine)
}

// watched starts trivet run --watch of an experiment.
func watched(t *testing.T, experiment string) *stack {
	t.Helper()
	tmp := proctest.Passable(t)
	path := filepath.Join(tmp, "watched.yaml")
	if err := os.WriteFile(path, []byte(experiment), 0o644); err != nil {
		t.Fatal(err)
	}
	return serve(t, tmp, []string{"run", "--watch", "--dashboard", "0", "--nginx", labtest.Nginx(t).Path, path}, pageLine)
}

// pageLine is a line with nothing but the URL of the page.
func pageLine(line []byte) (url, _ string) {
	if text := strings.TrimSpace(string(line)); strings.HasPrefix(text, "http://") {
		return text, ""
	}
	return "", ""
}

// serve starts trivet and waits for the line that has the URL of the page.
func serve(t *testing.T, tmp string, args []string, ready func(line []byte) (url, dir string)) *stack {
	t.Helper()
	s := &stack{t: t, tmp: tmp, done: make(chan struct{}), cmd: command(t, tmp, args...)}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = s.cmd.Stdout
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.finish)
	served := make(chan struct{})
	go func() {
		defer close(s.done)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			_, _ = s.Write(append(lines.Bytes(), '\n'))
			if s.URL == "" {
				if s.URL, s.Dir = ready(lines.Bytes()); s.URL != "" {
					close(served)
				}
			}
		}
	}()
	select {
	case <-served:
	case <-s.done:
		t.Fatalf("trivet %q ended without a page:\n%s", args, s.printed())
	case <-time.After(timeout):
		t.Fatalf("trivet %q has no page:\n%s", args, s.printed())
	}
	return s
}

// Write takes what trivet printed.
func (s *stack) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.Write(p)
}

func (s *stack) printed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

// stop ends trivet as Ctrl-C does.
func (s *stack) stop() {
	if s.cmd.ProcessState != nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	ended := time.AfterFunc(timeout, func() { _ = s.cmd.Process.Kill() })
	<-s.done
	err := s.cmd.Wait()
	if ended.Stop(); err != nil {
		s.t.Errorf("trivet ended with %v", err)
	}
}

func (s *stack) finish() {
	s.stop()
	if s.t.Failed() {
		_ = os.WriteFile(artifacts(s.t, "failed/"+strings.ReplaceAll(s.t.Name(), "/", "-")+".trivet.txt"), []byte(s.printed()), 0o644)
	}
}

// unfittable is a directory with nginx's configuration in which only some balancing methods fit: random supports no backup server.
func unfittable(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "conf")
	name := filepath.Join(dir, "upstreams.conf")
	if err := os.CopyFS(dir, nginx.Conf()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const upstream = "upstream whoami_http {\n"
	text = bytes.Replace(text, []byte(upstream), []byte(upstream+"\tserver 127.0.0.1:1 backup;\n"), 1)
	if err := os.WriteFile(name, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
