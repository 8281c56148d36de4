package instance

import (
	"bytes"
	"os"
	"testing"
	"time"
)

// A reader that is late by seconds at hundreds of requests per second loses nothing.
func TestPipeHoldsRecordsOfALateReader(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	widen(w)
	if err := w.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	line := append(bytes.Repeat([]byte("x"), 299), '\n')
	for n := range 2000 {
		if _, err := w.Write(line); err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
	}
}
