package dashboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestFeedBeginsWithSnapshotAndGoesOn(t *testing.T) {
	t.Parallel()
	s := serve(t, &doer{state: `{"history":7}`}, nil)
	s.source.add("before")
	first := s.open()
	if m := first.next(); m.Hello == nil {
		t.Fatalf("a feed begins with %+v", m)
	}
	first.until("before")
	s.source.add("after")
	first.until("after")
	second := s.open() // It comes later, and sees the same.
	if m := second.next(); m.Hello == nil {
		t.Errorf("a feed begins with %+v", m)
	}
	second.until("before")
	second.until("after")
	if m := second.next(); string(m.Control) != `{"history":7}` {
		t.Errorf("after the events comes %+v", m)
	}
	s.source.add("for both")
	first.until("for both")
	second.until("for both")
}

// A page that sleeps loses its connection. It reconnects, and has what it missed.
func TestPageThatReconnectsHasWhatItMissed(t *testing.T) {
	t.Parallel()
	s := serve(t, nil, nil)
	p := s.open()
	s.source.add("one")
	p.until("one")
	p.response.Body.Close()
	s.source.add("missed")
	again := s.open()
	again.until("one")
	again.until("missed")
}

func TestSlowReaderGetsAnotherSnapshot(t *testing.T) {
	t.Parallel()
	source := newScript()
	h := newHub(source, nil, func(error) {})
	slow, quick := h.join(), h.join()
	if all, _ := h.take(slow); len(all) != 1 {
		t.Fatalf("a new reader gets %q", all)
	}
	h.take(quick)
	long := strings.Repeat("x", 10_000)
	got := 0
	for n := range 300 { // 3 MB
		source.add(fmt.Sprint(n, long))
		h.advance()
		if slow.queued > mostQueued {
			t.Fatalf("%d bytes wait for a reader", slow.queued)
		}
		all, _ := h.take(quick)
		got += len(all)
	}
	if got != 300 {
		t.Errorf("a quick reader got %d messages of 300", got)
	}
	all, _ := h.take(slow)
	if len(all) != 301 || !strings.Contains(string(all[0]), `"hello"`) {
		t.Errorf("a reader that was too slow gets %d messages, the first is %.40s", len(all), all[0])
	}
	source.add("after")
	h.advance()
	if all, _ := h.take(slow); len(all) != 1 {
		t.Errorf("then it gets %d messages", len(all))
	}
	h.leave(slow)
	h.leave(quick)
	if len(h.readers) != 0 {
		t.Errorf("%d readers are left", len(h.readers))
	}
}

func TestSourceProblemIsReportedOnce(t *testing.T) {
	t.Parallel()
	source := newScript()
	var said []string
	h := newHub(source, nil, func(err error) { said = append(said, err.Error()) })
	for _, problem := range []string{"one", "one", "", "one", "two"} {
		source.err = nil
		if problem != "" {
			source.err = errors.New(problem)
		}
		h.advance()
	}
	if got := strings.Join(said, " "); got != "one one two" {
		t.Errorf("said: %s", got)
	}
}

// recorder is a response that is read while it is written.
type recorder struct {
	*httptest.ResponseRecorder
	mu sync.Mutex
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ResponseRecorder.Write(p)
}

func (r *recorder) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Body.String()
}

func TestFeedWithoutNewsHasHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Assets: assets, Source: newScript()})
		ctx, cancel := context.WithCancel(t.Context())
		w := &recorder{ResponseRecorder: httptest.NewRecorder()}
		var parts sync.WaitGroup
		parts.Go(func() { s.hub.run(ctx) })
		parts.Go(func() { s.feed(w, httptest.NewRequest(http.MethodGet, "/api/feed", nil).WithContext(ctx)) })
		<-time.After(2*heartbeat + time.Second)
		synctest.Wait()
		if got := strings.Count(w.said(), "event: alive\ndata: {}\n\n"); got != 2 {
			t.Errorf("%d heartbeats in 11 s: %q", got, w.said())
		}
		cancel()
		parts.Wait()
	})
}

func TestNewsArriveWithinAnInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := newScript()
		s := New(Options{Assets: assets, Source: source})
		ctx, cancel := context.WithCancel(t.Context())
		w := &recorder{ResponseRecorder: httptest.NewRecorder()}
		var parts sync.WaitGroup
		parts.Go(func() { s.hub.run(ctx) })
		parts.Go(func() { s.feed(w, httptest.NewRequest(http.MethodGet, "/api/feed", nil).WithContext(ctx)) })
		synctest.Wait()
		source.add("news")
		<-time.After(interval)
		synctest.Wait()
		if !strings.Contains(w.said(), `"news"`) {
			t.Errorf("after %v: %q", interval, w.said())
		}
		source.add("more")
		s.Soon()
		synctest.Wait()
		if !strings.Contains(w.said(), `"more"`) {
			t.Errorf("at once: %q", w.said())
		}
		cancel()
		parts.Wait()
	})
}

func TestEndIsSentToEveryPage(t *testing.T) {
	t.Parallel()
	s := serve(t, nil, nil)
	pages := []*page{s.open(), s.open()}
	for _, p := range pages {
		p.next()
	}
	s.source.add("the last")
	s.stop()
	for _, p := range pages {
		p.until("the last")
		if m := p.next(); m.End == nil || m.End.Text != "it has ended" {
			t.Errorf("the last message is %+v", m)
		}
		if rest, err := io.ReadAll(p.lines); err != nil || strings.TrimSpace(string(rest)) != "" {
			t.Errorf("after the end: %q, %v", rest, err)
		}
	}
	<-s.ended
}

// A page that reads nothing, and a connection that sends nothing, delay the end by less than a second, even on a busy machine by far less than
// the time that a write may take.
func TestStuckPageDoesNotDelayTheEnd(t *testing.T) {
	t.Parallel()
	s := serve(t, nil, nil)
	for range 100 {
		s.source.add(strings.Repeat("x", 100_000)) // More than the kernel takes.
	}
	stuck, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	if _, err := fmt.Fprintf(stuck, "GET /api/feed HTTP/1.1\r\nHost: %s\r\n\r\n", s.address); err != nil {
		t.Fatal(err)
	}
	if _, err := stuck.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	begin := time.Now()
	s.stop()
	<-s.ended
	if took := time.Since(begin); took > writeTimeout/2 {
		t.Errorf("the end took %v", took)
	}
}

// A request that begins and ends while the server waits for others ends neither the waiting nor the program.
func TestRequestsMayBeginWhileOthersAreAwaited(t *testing.T) {
	t.Parallel()
	s := New(Options{Assets: assets, Source: newScript()})
	handler, done := s.Handler(), make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
				}
			}
		})
	}
	for range 6_000 {
		s.drain(time.Microsecond)
	}
	close(done)
	clients.Wait()
	if n := s.serving.Load(); n != 0 {
		t.Errorf("%d requests are being served", n)
	}
}

// HEAD asks for headers, which do not wait for the end of the feed.
func TestFeedRespondsToHead(t *testing.T) {
	t.Parallel()
	s := serve(t, nil, nil)
	response, err := client.Head("http://" + s.address + "/api/feed")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || kind != "text/event-stream" || s.Pages() != 0 {
		t.Errorf("%s, %s, %d pages", response.Status, kind, s.Pages())
	}
}
