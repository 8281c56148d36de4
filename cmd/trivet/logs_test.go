package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// writes passes on each write.
type writes chan string

func (s writes) Write(text []byte) (int, error) {
	s <- string(text)
	return len(text), nil
}

func TestFollowedLogShowsAppendedLines(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, ended := make(writes), make(chan error, 1)
	go func() { ended <- show(ctx, out, name, true) }()
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := f.WriteString(line); err != nil {
			t.Fatal(err)
		}
		if got := <-out; got != line {
			t.Errorf("got %q, want %q", got, line)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
