package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

func get(rate float64) scenario.Load {
	return scenario.Load{Protocol: scenario.HTTP, Call: scenario.Unary, Rate: constant(rate), Deadline: time.Minute}
}

func TestHTTPOutcomes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    string
		message string
	}{
		"ok": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Instance", "one") }, `ok 200 1[]`, ""},
		"an instance's error": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Instance", "one")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, `instance_error 503 1[]`, "503 Service Unavailable"},
		"nginx's error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, `nginx_error 502 1[]`, "502 Bad Gateway"},
		"a redirect is not followed": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusFound)
		}, `nginx_error 302 1[]`, "302 Found"},
		"reset in the body": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Instance", "one")
			_, _ = io.WriteString(w, "half a")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, `incomplete 200 reset 1[]`, "unexpected EOF"},
		"reset before the header": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, `incomplete  reset 1["reset"]`, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(test.handler)
			defer server.Close()
			p := plan(t, 200*time.Millisecond, get(50))
			p.HTTP = server.Listener.Addr().String()
			all := carriedOut(t, p)[0]
			if got := count(all, ending); !maps.Equal(got, map[string]int{test.want: 10}) {
				t.Errorf("%v, want 10 times %s", got, test.want)
			}
			if !strings.Contains(all[0].Error, test.message) {
				t.Errorf("error %q, want %q", all[0].Error, test.message)
			}
		})
	}
}

func TestHTTPDeadlineIsIncomplete(t *testing.T) {
	t.Parallel()
	half := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("X-Request-Id"), "0") {
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}
	server := httptest.NewServer(http.HandlerFunc(half))
	defer server.Close()
	l := get(10)
	l.Deadline = 100 * time.Millisecond
	capped := l
	capped.Connections = 1
	p := plan(t, 200*time.Millisecond, l, capped)
	p.HTTP = server.Listener.Addr().String()
	all := carriedOut(t, p)
	want := map[string]int{`incomplete 200 deadline 1[]`: 1, `incomplete  deadline 1["deadline"]`: 1}
	if got := count(all[0], ending); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, load := range all {
		for _, r := range load {
			if r.Service < l.Deadline.Microseconds() {
				t.Errorf("%+v: ended before its deadline", r)
			}
		}
	}
}

// A deadline that passes while the connection is made: none of package net's errors for it is a refusal.
func TestDeadlineWhileConnectingIsNotRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want string
	}{
		{context.DeadlineExceeded, record.Deadline}, {os.ErrDeadlineExceeded, record.Deadline},
		{os.NewSyscallError("connect", syscall.ECONNREFUSED), record.Refused}, {os.NewSyscallError("connect", syscall.ETIMEDOUT), record.Refused},
	} {
		r := record.Client{Attempts: 1}
		(&httpClient{}).noResponse(t.Context(), &r, &net.OpError{Op: "dial", Net: "tcp", Err: test.err})
		if r.Outcome != record.Incomplete || r.Reason != test.want || !slices.Equal(r.MaybeUnlogged, []string{test.want}) {
			t.Errorf("%v: %+v, want %s", test.err, r, test.want)
		}
	}
}

func TestUnboundPortIsRefused(t *testing.T) {
	t.Parallel()
	address := "127.0.0.1:" + proctest.Reserve(t)
	p := plan(t, 200*time.Millisecond, get(50), call(50))
	p.HTTP, p.GRPC = address, address
	all := carriedOut(t, p)
	for i, want := range []string{`incomplete  refused 1["refused"]`, `incomplete Unavailable refused 1["refused"]`} {
		if got := count(all[i], ending); !maps.Equal(got, map[string]int{want: 10}) {
			t.Errorf("%v, want 10 times %s", got, want)
		}
	}
}

// fickle responds to the first request of each connection, and closes it when the second has come. It keeps the bytes of all requests.
type fickle struct {
	net.Listener
	mu       sync.Mutex
	requests []string
}

func (f *fickle) serve() {
	for {
		c, err := f.Accept()
		if err != nil {
			return
		}
		go f.converse(c)
	}
}

func (f *fickle) converse(c net.Conn) {
	defer c.Close()
	lines := bufio.NewReader(c)
	for n := range 2 {
		var request strings.Builder
		for !strings.HasSuffix(request.String(), "\r\n\r\n") {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			request.WriteString(line)
		}
		f.mu.Lock()
		f.requests = append(f.requests, request.String())
		f.mu.Unlock()
		if n == 0 {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Instance: one\r\nContent-Length: 2\r\n\r\nok")
		}
		// What else came, like a chunked body, would be the beginning of another request.
		if lines.Buffered() > 0 {
			rest, _ := lines.Peek(lines.Buffered())
			f.mu.Lock()
			f.requests = append(f.requests, "too much: "+string(rest))
			f.mu.Unlock()
		}
	}
}

// fickleEndings says by Retry how four requests over one connection at a time end: each connection responds to one and fails the next. Which request has how
// many attempts depends on whether two of them wait for the connection, so only the sums are known.
var fickleEndings = map[bool]map[string]int{
	true:  {"ok 200": 4, "attempts": 7, "connection_closed": 3},
	false: {"ok 200": 2, "incomplete  reset": 2, "attempts": 4, "reset": 2},
}

// endings counts outcomes, attempts, and why nginx may not have logged an attempt.
func endings(records []record.Client) map[string]int {
	sums := map[string]int{}
	for _, r := range records {
		sums[strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Outcome, r.Code, r.Reason))]++
		sums["attempts"] += r.Attempts
		for _, reason := range r.MaybeUnlogged {
			sums[string(reason)]++
		}
	}
	return sums
}

// net/http silently resends a GET that it wrote to a connection which was being closed.
func TestReplayedGETCountsTwoAttempts(t *testing.T) {
	t.Parallel()
	for retry, want := range fickleEndings {
		f := &fickle{Listener: listen(t)}
		go f.serve()
		l := get(20)
		l.Retry, l.Connections = retry, 1
		p := plan(t, 200*time.Millisecond, l)
		p.HTTP = f.Addr().String()
		if got := endings(carriedOut(t, p)[0]); !maps.Equal(got, want) {
			t.Errorf("with retry %v: %v, want %v", retry, got, want)
		}
		f.mu.Lock()
		for _, request := range f.requests {
			head, id, _ := strings.Cut(request, "X-Request-Id: 7.http.0.")
			if head != "GET / HTTP/1.1\r\nHost: "+p.HTTP+"\r\nUser-Agent: trivet\r\n" || len(id) != len("0\r\n\r\n") {
				t.Errorf("with retry %v, on the wire: %q", retry, request)
			}
		}
		f.mu.Unlock()
	}
}

func TestConnectionsAreCappedAndKept(t *testing.T) {
	t.Parallel()
	var made, open, most atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.Header.Get("X-Request-Id"), "0") {
			return
		}
		select { // Every tenth takes a while, so that others come meanwhile.
		case <-time.After(20 * time.Millisecond):
		case <-r.Context().Done():
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			made.Add(1)
			most.Store(max(most.Load(), open.Add(1)))
		case http.StateClosed:
			open.Add(-1)
		}
	}
	server.Start()
	defer server.Close()
	l := get(400)
	l.Connections = 3
	p := plan(t, 500*time.Millisecond, l)
	p.HTTP = server.Listener.Addr().String()
	if got := count(carriedOut(t, p)[0], ending); got[`ok 200 1[]`] != 200 {
		t.Errorf("%v", got)
	}
	// Net/http gives up a connection whose request took over 50 ms to be written, as on a busy machine: some are made anew.
	if made.Load() > 20 || most.Load() > 3 {
		t.Errorf("%d connections were made for 200 requests and %d were open at once: want at most 3, and kept", made.Load(), most.Load())
	}
}

// An open loop goes on while a server stalls. So each request planned during the stall waits for its end, and the records must say so; a
// generator that waited for responses would record one long request and omit the rest.
func TestServerStallIsInLatency(t *testing.T) {
	t.Parallel()
	const stall = time.Second
	var mu sync.Mutex
	arrived := 0
	var begun, ended time.Time // of the stall
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		if arrived++; arrived == 50 {
			begun = time.Now()
			time.AfterFunc(stall, func() {
				mu.Lock()
				ended = time.Now()
				mu.Unlock()
				close(end)
			})
		}
		stalls := !begun.IsZero() && ended.IsZero()
		mu.Unlock()
		if stalls {
			<-end
		}
	}))
	defer server.Close()
	p := plan(t, 3*time.Second, get(100)) // So long that a busy machine may begin the stall late.
	p.HTTP = server.Listener.Addr().String()
	waited := 0
	for _, r := range carriedOut(t, p)[0] {
		if r.Outcome == record.Dropped || r.Planned.Before(begun) || !r.Planned.Before(ended) {
			continue
		}
		waited++ // Also requests sent late, after the stall: latency runs from the planned start.
		if least := ended.Sub(r.Planned).Microseconds(); r.Latency < least-1000 {
			t.Errorf("%+v was planned %v into the stall: its latency is at least %d µs", r, r.Planned.Sub(begun), least)
		}
	}
	if waited < 95 {
		t.Errorf("%d requests were planned during the stall of a second, want 100", waited)
	}
}

// brokenServer closes what it accepts.
func brokenServer(t *testing.T) string {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				c.Close()
			}
		}
	}()
	return l.Addr().String()
}

func TestServerThatClosesIsIncomplete(t *testing.T) {
	t.Parallel()
	p := plan(t, 200*time.Millisecond, get(50))
	p.HTTP = brokenServer(t)
	for ending, n := range count(carriedOut(t, p)[0], ending) {
		if !strings.HasPrefix(ending, "incomplete ") || strings.HasSuffix(ending, "[]") {
			t.Errorf("%d times %s", n, ending)
		}
	}
}
