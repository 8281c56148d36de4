package slow

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

func TestLineDelaysAndLosesNothing(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		c, err := server.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, io.LimitReader(c, 1<<20))
	}()
	const roundTrip = 100 * time.Millisecond
	line, err := NewLine(server.Addr().String(), roundTrip)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	client, err := net.Dial("tcp", line.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	began := time.Now()
	go func() { _, _ = client.Write(sent) }()
	got := make([]byte, 1<<20)
	if _, err := io.ReadFull(client, got[:1]); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < roundTrip {
		t.Errorf("the first byte was back after %v, want %v or later", took, roundTrip)
	}
	if _, err := io.ReadFull(client, got[1:]); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%v, or other bytes", err)
	}
	if n, err := client.Read(got); n > 0 || err != io.EOF {
		t.Errorf("%d bytes, %v after the end, want EOF", n, err)
	}
}

func TestCloseEndsConnections(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	line, err := NewLine(server.Addr().String(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", line.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	line.Close()
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlived its line")
	}
}
