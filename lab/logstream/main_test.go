package logstream

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/engine"
	"trivet/lab/labtest"
	"trivet/lab/record"
)

var whoami string

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "print-log" {
		os.Exit(printLog(os.Args[2], os.Args[3], os.Args[4]))
	}
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		return m.Run()
	}))
}

// printLog is an engine's program: it prints the lines of a container's log since a time, and those that come, until the container has
// ended. It breaks off as a connection does, within a line: after so many of those that come, 0 for never, or else among the earlier ones.
func printLog(file, since, breaks string) int {
	after, _ := time.Parse(time.RFC3339Nano, since)
	most, _ := strconv.Atoi(breaks)
	f, err := os.Open(file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	lines := bufio.NewReader(f)
	var half []byte
	live, printed := false, 0
	if most > 0 && rand.IntN(4) == 0 {
		live, most = true, 3
	}
	for {
		_, ended := os.Stat(file + ".ended")
		text, err := lines.ReadBytes('\n')
		half = append(half, text...)
		if err != nil {
			if ended == nil {
				os.Stdout.Write(half)
				return 0
			}
			live = true
			wait(2 * time.Millisecond)
			continue
		}
		stamp, _, _ := bytes.Cut(half, []byte(" "))
		if at, err := time.Parse(time.RFC3339Nano, string(stamp)); err != nil || !at.Before(after) {
			if live {
				printed++
			}
			if live && printed == most {
				os.Stdout.Write(half[:len(half)/2])
				return 1
			}
			os.Stdout.Write(half)
		}
		half = nil
	}
}

func wait(d time.Duration) { <-time.After(d) }

// A container is an instance whose output goes into a log as an engine writes it: each line with its time, long ones in pieces.
type container struct {
	t         testing.TB
	log       string
	http      string
	args, env []string
	cmd       *exec.Cmd
	copied    sync.WaitGroup
	piece     int
}

func newContainer(t testing.TB, dir string, piece int) *container {
	t.Helper()
	c := &container{t: t, log: filepath.Join(dir, "container.log"), http: "127.0.0.1:" + proctest.Reserve(t), piece: piece}
	_, port, _ := strings.Cut(c.http, ":")
	c.args = []string{"--instance", "whoami-1", "--port", port, "--grpc-port", proctest.Reserve(t), "--admin-port", "off"}
	c.env = append(os.Environ(), "RECORDS=/dev/stdout")
	c.start()
	t.Cleanup(c.kill)
	return c
}

// start starts it, and returns when it serves.
func (c *container) start() {
	c.t.Helper()
	_ = os.Remove(c.log + ".ended")
	c.cmd = exec.Command(whoami, c.args...)
	c.cmd.Env = c.env
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	c.cmd.Stderr = c.cmd.Stdout
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.copied.Go(func() { copyLog(c.log, stdout, c.piece) })
	for end := time.Now().Add(20 * time.Second); get(c.t.Context(), c.http, "ready") != nil; wait(2 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatal("it does not serve")
		}
	}
}

// kill ends it like a container: the log is complete before it has ended.
func (c *container) kill() {
	_ = c.cmd.Process.Kill()
	c.copied.Wait()
	_ = c.cmd.Wait()
	if err := os.WriteFile(c.log+".ended", nil, 0o644); err != nil {
		c.t.Error(err)
	}
}

// copyLog writes what comes as containers' engines do. A last line without its end stays so.
func copyLog(path string, from io.Reader, piece int) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	for lines := bufio.NewReaderSize(from, 256<<10); ; {
		text, err := lines.ReadBytes('\n')
		for len(text) > 0 {
			n := len(text)
			if piece > 0 {
				n = min(n, piece)
			}
			// One write: a reader sees a line begin with its time.
			_, _ = f.Write(append([]byte(time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z07:00 ")), text[:n]...))
			text = text[n:]
		}
		if err != nil {
			return
		}
	}
}

// source is the container for a collector.
func (c *container) source(breaks int) Source {
	return Source{
		Name: "whoami-1", Records: true, Instance: record.Instance{Name: "whoami-1", HTTP: c.http}, HTTP: c.http, Piece: c.piece,
		Follow: func(since time.Time) []string {
			return []string{"print-log", c.log, since.Format(time.RFC3339Nano), strconv.Itoa(breaks)}
		},
	}
}

// call sends requests of these numbers.
func (c *container) call(from, to int) {
	c.t.Helper()
	for n := from; n < to; n++ {
		if err := get(c.t.Context(), c.http, fmt.Sprintf("7.http.0.%d", n)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// An eventList collects events.
type eventList struct {
	sync.Mutex
	all []record.Event
}

func (l *eventList) add(e record.Event) {
	l.Lock()
	defer l.Unlock()
	l.all = append(l.all, e)
}

func collector(t testing.TB, through string) (*Collector, *eventList) {
	t.Helper()
	cli, err := engine.Find(os.Args[0], "")
	if err != nil {
		t.Fatal(err)
	}
	events := &eventList{}
	c, err := Open(cli, t.TempDir(), through, true, events.add)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.cancel)
	return c, events
}

// recorded are the records of a file.
func recorded[T any](t testing.TB, c *Collector, name string) (all []T) {
	t.Helper()
	text, err := os.ReadFile(c.path(name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var one T
		if err := json.Unmarshal(line, &one); err != nil {
			t.Errorf("%s: %v: %s", name, err, line)
		}
		all = append(all, one)
	}
	return all
}
