package instance

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// recordLine is a line of the records file.
type recordLine struct {
	Version int       `json:"v"`
	Event   string    `json:"event"`
	Time    time.Time `json:"time"`
	record
	Code     string `json:"code"`
	Duration *int64 `json:"duration_us"`
}

// fifo creates a FIFO and returns its path.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "records")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRecordsFIFOWithoutReaderIsAnError(t *testing.T) {
	t.Parallel()
	path := fifo(t)
	c, err := load(t, map[string]string{"RECORDS": path})
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), fixture, c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "RECORDS="+path+": no process reads this FIFO") {
		t.Errorf("%v", err)
	}
}

// full returns a recorder to a FIFO, or to a pipe that blocks as standard output does, and the reader, which must read before anything
// more than a few kilobytes is written.
func full(t *testing.T, blocks, raw bool, log io.Writer) (*recorder, *os.File) {
	t.Helper()
	r := &recorder{instance: "whoami-1", start: "a", log: slog.New(slog.NewTextHandler(log, nil))}
	if blocks {
		var ends [2]int
		if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		reader := os.NewFile(uintptr(ends[0]), "reader")
		t.Cleanup(func() { reader.Close() })
		r.file = newRecordFile(os.NewFile(uintptr(ends[1]), "stdout"), raw)
		return r, reader
	}
	path := fifo(t)
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	if r.file, err = openRecordFile(path, raw); err != nil {
		t.Fatal(err)
	}
	return r, reader
}

// pipes runs a test with each kind of pipe and of system call.
func pipes(t *testing.T, test func(t *testing.T, blocks, raw bool)) {
	for _, blocks := range []bool{false, true} {
		for _, raw := range []bool{false, true} {
			t.Run(fmt.Sprintf("blocks=%t,RAW_SYSCALLS=%t", blocks, raw), func(t *testing.T) {
				t.Parallel()
				test(t, blocks, raw)
			})
		}
	}
}

// torn is a call whose record a pipe, which holds 64 KiB, does not hold; a write of more than 4 KiB may be partial.
func torn() *Call {
	return &Call{ID: "torn", Method: "GET /" + strings.Repeat("x", 100<<10), Began: time.Now()}
}

// After a write that failed midway the next record starts a new line. Here the reader of a pipe is slow, so the write of a
// long record ends at its timeout; a full disk has the same effect. A pipe that blocks gets the whole line later.
func TestRecordAfterTornOneStartsNewLine(t *testing.T) {
	t.Parallel()
	pipes(t, func(t *testing.T, blocks, raw bool) {
		var log bytes.Buffer
		r, reader := full(t, blocks, raw, &log)
		r.arrive(torn(), "")
		read := make(chan string)
		go func() { b, _ := io.ReadAll(reader); read <- string(b) }()
		r.arrive(&Call{ID: "whole", Method: "GET /", Began: time.Now()}, "")
		r.arrive(&Call{ID: "next", Method: "GET /", Began: time.Now()}, "")
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(<-read, "\n"), "\n")
		if len(lines) != 3 || !strings.Contains(log.String(), "records are incomplete") {
			t.Fatalf("%d lines, want 3; log: %s", len(lines), log.String())
		}
		if whole := json.Valid([]byte(lines[0])); whole != blocks {
			t.Errorf("the first line is whole: %t, want %t", whole, blocks)
		}
		for n, id := range map[int]string{1: "whole", 2: "next"} {
			var got recordLine
			if err := json.Unmarshal([]byte(lines[n]), &got); err != nil || got.ID != id {
				t.Errorf("line %d: %v, ID %q, want %q", n, err, got.ID, id)
			}
		}
	})
}

// A call waits at most recordTimeout for a pipe that is full, also when others begin meanwhile.
func TestFullPipeDelaysCallsOnlyOnce(t *testing.T) {
	t.Parallel()
	pipes(t, func(t *testing.T, blocks, raw bool) {
		r, _ := full(t, blocks, raw, io.Discard)
		first := make(chan struct{})
		go func() { defer close(first); r.arrive(torn(), "") }()
		var others sync.WaitGroup
		ticker := time.NewTicker(recordTimeout / 10)
		defer ticker.Stop()
		returned := false
		for range 50 {
			select {
			case <-first:
				returned = true
			case <-ticker.C:
				others.Go(func() { r.arrive(torn(), "") })
				continue
			}
			break
		}
		others.Wait()
		if !returned {
			t.Error("a call waited as long as others began")
		}
	})
}

// Lines are whole, and in the order of the writes, though many calls write at the same time, and some more than a pipe takes at once.
func TestConcurrentRecordsAreWholeAndInOrder(t *testing.T) {
	t.Parallel()
	pipes(t, func(t *testing.T, blocks, raw bool) {
		var log bytes.Buffer
		r, reader := full(t, blocks, raw, &log)
		const clients, calls = 16, 50
		go func() {
			var all sync.WaitGroup
			for client := range clients {
				all.Go(func() {
					for n := range calls {
						c := &Call{ID: fmt.Sprintf("%d.%d", client, n), Method: "GET /" + strings.Repeat("x", n%5*2000), Began: time.Now()}
						r.arrive(c, "")
						r.complete(c, "200")
					}
				})
			}
			all.Wait()
			r.close()
		}()
		next := make(map[string]string) // by client: the event and ID that come next
		count := 0
		for lines := bufio.NewReader(reader); ; count++ {
			line, err := lines.ReadBytes('\n')
			if err == io.EOF {
				break
			}
			var got recordLine
			if err := errors.Join(err, json.Unmarshal(line, &got)); err != nil {
				t.Fatalf("line %d: %v", count, err)
			}
			client, number, _ := strings.Cut(got.ID, ".")
			if want := cmp.Or(next[client], "arrival 0"); got.Event+" "+number != want {
				t.Fatalf("%s %s after all before %s of client %s", got.Event, number, want, client)
			}
			next[client] = "completion " + number
			if n, _ := strconv.Atoi(number); got.Event == "completion" {
				next[client] = fmt.Sprint("arrival ", n+1)
			}
		}
		if count != clients*calls*2 || log.Len() > 0 {
			t.Errorf("%d lines, want %d; log: %s", count, clients*calls*2, log.String())
		}
	})
}

// What clients send may not break a line, and both lines of a call have it.
func TestRecordsQuoteWhatClientsSend(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "records")
	r, err := openRecorder(Config{Records: path, Instance: `a"b`, StartID: "a"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	const method, attempts = "GET /\"}\n{\x00 <é> \u2028", `1","id":"forged`
	c := &Call{ID: "one", Protocol: HTTP, Method: method, Began: time.Now()}
	r.arrive(c, attempts)
	r.complete(c, "200")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []recordLine
	for line := range bytes.Lines(text) {
		var one recordLine
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		got = append(got, one)
	}
	want := record{Instance: `a"b`, PID: os.Getpid(), Start: "a", Call: 1, ID: "one", Protocol: HTTP, Method: method, Attempts: attempts}
	if len(got) != 2 || got[0].record != want || got[1].record != want {
		t.Fatalf("%+v, want twice %+v", got, want)
	}
	if a, b := got[0], got[1]; a.Event != "arrival" || a.Code != "" || a.Duration != nil || !a.Time.Equal(c.Began) ||
		b.Event != "completion" || b.Code != "200" || b.Duration == nil || *b.Duration != b.Time.Sub(a.Time).Microseconds() {
		t.Errorf("%+v", got)
	}
}
