package engine_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/lab/engine"
)

func shell(t *testing.T) *engine.CLI {
	t.Helper()
	cli, err := engine.Find("sh", "install a shell", "-c")
	if err != nil {
		t.Fatal(err)
	}
	return cli
}

func TestRunReturnsOutputOrWhatWasSaid(t *testing.T) {
	t.Parallel()
	sh := shell(t)
	text, err := sh.Feed(t.Context(), []byte("in"), "cat; echo out; echo warning >&2")
	if err != nil || string(text) != "inout\n" {
		t.Errorf("%q, %v", text, err)
	}
	_, err = sh.Run(t.Context(), "echo refused: why >&2; exit 3")
	if err == nil || err.Error() != "sh -c 'echo refused: why >&2; exit 3': exit status 3: refused: why" {
		t.Error(err)
	}
	_, err = sh.Run(t.Context(), `printf 'E1127 01:51:44.2 1 cache.go:1] "no"\nE1127 01:51:44.3 1 cache.go:1] "no"\nrefused\n' >&2; exit 1`)
	if err == nil || !strings.HasSuffix(err.Error(), ": exit status 1: refused") {
		t.Error(err)
	}
	var v struct{ A int }
	if err := sh.Decode(t.Context(), &v, `echo '{"a":5}'`); err != nil || v.A != 5 {
		t.Error(v, err)
	}
	if err := sh.Decode(t.Context(), &v, `echo nothing`); err == nil {
		t.Error("no JSON was decoded")
	}
}

func TestMissingProgramSaysWhatToInstall(t *testing.T) {
	t.Parallel()
	if _, err := engine.Find("no-such-program", "install it from somewhere"); err == nil || !strings.Contains(err.Error(), "install it from somewhere") {
		t.Error(err)
	}
}

// The end of the context ends the program and its children, also while they print.
func TestEndOfContextEndsStream(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	var group string
	done := make(chan error, 1)
	go func() {
		done <- shell(t).Stream(ctx, func(r io.Reader) {
			group, _ = bufio.NewReader(r).ReadString('\n')
			cancel(errors.New("over"))
			_, _ = io.Copy(io.Discard, r)
		}, nil, "echo $$; sleep 1000 & echo late; sleep 1000")
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "over") {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it runs on")
	}
	var pid int
	for _, d := range strings.TrimSpace(group) {
		pid = 10*pid + int(d-'0')
	}
	for end := time.Now().Add(10 * time.Second); syscall.Kill(-pid, 0) == nil && time.Now().Before(end); <-time.After(time.Millisecond) {
	}
	if pid == 0 || !errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) {
		t.Errorf("processes of group %d run on", pid)
	}
}

func TestStreamSeparatesOutputs(t *testing.T) {
	t.Parallel()
	var out, errs []byte
	err := shell(t).Stream(t.Context(), func(r io.Reader) { out, _ = io.ReadAll(r) }, func(r io.Reader) { errs, _ = io.ReadAll(r) }, "echo a; echo b >&2; exit 1")
	if string(out) != "a\n" || string(errs) != "b\n" || err == nil || !strings.HasSuffix(err.Error(), "exit status 1: b") {
		t.Errorf("%q, %q, %v", out, errs, err)
	}
}
