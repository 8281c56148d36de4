package rawconn

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWriterAppendsWholeBuffers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w := Writer(f)
	var want strings.Builder
	for _, part := range []string{"a\n", strings.Repeat("x", 3*most+1) + "\n", "", "b\n"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("%d of %d bytes, %v", n, len(part), err)
		}
		want.WriteString(part)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want.String() {
		t.Errorf("%d bytes, want %d; %v", len(got), len(want.String()), err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write([]byte("c")); n != 0 || err == nil {
		t.Errorf("after Close: %d bytes, %v", n, err)
	}
}

func TestWriterErrorsNameTheFile(t *testing.T) {
	t.Parallel()
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Writer(f).Write([]byte("a")); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "/dev/full") {
		t.Errorf("%v, want ENOSPC of /dev/full", err)
	}
}

// A full pipe makes the writer wait until the deadline, without holding its processor.
func TestWriterToFullPipeWaitsUntilDeadline(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	if err := writer.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := Writer(writer).Write(make([]byte, 1<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == 1<<20 {
		t.Errorf("%d bytes, %v; want some bytes and the deadline", n, err)
	}
}
