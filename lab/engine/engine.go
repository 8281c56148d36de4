// Package engine runs the command-line program of a container engine, kubectl or docker: to its end, or as long as it prints. Contexts,
// credentials and plugins are the user's own. No such process outlives this one, and the terminal's Ctrl-C does not reach it: what it was
// doing may be what restores a stack.
package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"trivet/internal/words"
)

// A CLI is a program and the arguments that stand first in all of its command lines.
type CLI struct {
	path string
	args []string
}

// Find finds a program on PATH. The error says what to install.
func Find(program, install string, args ...string) (*CLI, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, install)
	}
	return &CLI{path, args}, nil
}

// starts gets the starts of processes, all made by one operating system thread. The kernel sends Pdeathsig when the *thread* that forked
// ends, and the Go runtime may end any thread, so this one is locked, and lives as long as the program.
var starts = sync.OnceValue(func() chan func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		for job := range jobs {
			job()
		}
	}()
	return jobs
})

// start starts a command in a process group of its own, which the end of ctx kills.
func (c *CLI) start(ctx context.Context, stdin []byte, stdout, stderr io.Writer, args []string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, c.path, append(append([]string{}, c.args...), args...)...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // A child of it may hold its outputs.
	result := make(chan error, 1)
	starts() <- func() { result <- cmd.Start() }
	return cmd, <-result
}

// Run runs a command to its end, and returns what it printed. The error has the last lines of its standard error.
func (c *CLI) Run(ctx context.Context, args ...string) ([]byte, error) {
	return c.Feed(ctx, nil, args...)
}

// Feed does the same with a standard input.
func (c *CLI) Feed(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd, err := c.start(ctx, stdin, &stdout, &stderr, args)
	if err == nil {
		err = cmd.Wait()
	}
	return stdout.Bytes(), c.explain(ctx, err, stderr.Bytes(), args)
}

// Decode runs a command and decodes the JSON that it prints.
func (c *CLI) Decode(ctx context.Context, into any, args ...string) error {
	text, err := c.Run(ctx, args...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", c.Line(args...), err)
	}
	return nil
}

// Stream runs a command while read reads its standard output, and errors its standard error if that is not nil; both must read to the
// end. It returns how the command ended.
func (c *CLI) Stream(ctx context.Context, read, errors func(io.Reader), args ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var last tail
	out, write := io.Pipe()
	var stderr io.Writer = &last
	var errOut *io.PipeReader
	var errWrite *io.PipeWriter
	if errors != nil {
		errOut, errWrite = io.Pipe()
		stderr = io.MultiWriter(&last, errWrite)
	}
	cmd, err := c.start(ctx, nil, write, stderr, args)
	if err != nil {
		return c.explain(ctx, err, nil, args)
	}
	var readers sync.WaitGroup
	readers.Go(func() {
		read(out)
		_ = out.CloseWithError(io.ErrClosedPipe) // It may have given up.
	})
	if errors != nil {
		readers.Go(func() {
			errors(errOut)
			_ = errOut.CloseWithError(io.ErrClosedPipe)
		})
	}
	err = cmd.Wait()
	_ = write.Close()
	if errors != nil {
		_ = errWrite.Close()
	}
	readers.Wait()
	return c.explain(ctx, err, last.text, args)
}

// again is the pause before a command that broke off is run again.
const again = 500 * time.Millisecond

// Watch streams commands, one after the other, until ctx ends: what watches an engine may break off. It calls args for each command line,
// and ended with how each ended.
func (c *CLI) Watch(ctx context.Context, args func() []string, read func(io.Reader), ended func(error)) {
	for ctx.Err() == nil {
		ended(c.Stream(ctx, read, nil, args()...))
		select {
		case <-time.After(again):
		case <-ctx.Done():
		}
	}
}

// A tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-4096):]
	return len(p), nil
}

// attempts are the lines in which kubectl logs each attempt to reach an API server, before it says once what is wrong.
var attempts = regexp.MustCompile(`(?m)^[EIW]\d{4} \d\d:\d\d:\d\d\.\d+ .*\n?`)

// explain adds the command and its last words to an error.
func (c *CLI) explain(ctx context.Context, err error, stderr []byte, args []string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	said := strings.TrimSpace(string(stderr))
	if short := strings.TrimSpace(attempts.ReplaceAllString(said, "")); short != "" {
		said = short
	}
	if lines := strings.Split(said, "\n"); len(lines) > 5 {
		said = strings.Join(lines[len(lines)-5:], "\n")
	}
	if said == "" {
		return fmt.Errorf("%s: %w", c.Line(args...), err)
	}
	return fmt.Errorf("%s: %w: %s", c.Line(args...), err, words.Clip(said, 1000))
}

// Line is a command line that a user can type.
func (c *CLI) Line(args ...string) string {
	all := append([]string{c.path[strings.LastIndexByte(c.path, '/')+1:]}, c.args...)
	for _, a := range args {
		if strings.ContainsAny(a, " \"'{}$&|<>*\n") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		all = append(all, a)
	}
	return words.Clip(strings.Join(all, " "), 300)
}
