package load

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
)

func call(rate float64) Stream {
	return Stream{Protocol: GRPC, Call: Unary, Rate: constant(rate), Channels: 1, Deadline: 20 * time.Second}
}

// service answers as its functions say.
type service struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	ask   func(ctx context.Context, attempt int) error // attempt counts the requests of one id, from 1
	watch func(grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error
	mu    sync.Mutex
	asked map[string]int
}

func (s *service) WhoAmI(ctx context.Context, _ *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	id := strings.Join(metadata.ValueFromIncomingContext(ctx, "x-request-id"), ", ")
	s.mu.Lock()
	s.asked[id]++
	n := s.asked[id]
	s.mu.Unlock()
	return &whoamiv1.WhoAmIResponse{}, s.ask(ctx, n)
}

func (s *service) WatchWhoAmI(_ *whoamiv1.WatchWhoAmIRequest, to grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
	return s.watch(to)
}

func (s *service) start(t *testing.T) string {
	t.Helper()
	s.asked = map[string]int{}
	server := grpc.NewServer()
	whoamiv1.RegisterWhoAmIServiceServer(server, s)
	reflection.Register(server)
	l := listen(t)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

var one = metadata.Pairs("x-instance", "one")

func TestAnswersOverGRPC(t *testing.T) {
	t.Parallel()
	unavailable := status.Error(codes.Unavailable, "try again")
	for name, test := range map[string]struct {
		retry bool
		ask   func(context.Context, int) error
		want  string
	}{
		"ok":                        {false, func(ctx context.Context, _ int) error { return grpc.SetHeader(ctx, one) }, `ok OK 1[]`},
		"an instance's error":       {false, func(ctx context.Context, _ int) error { _ = grpc.SetHeader(ctx, one); return unavailable }, `instance Unavailable 1[]`},
		"an instance's trailer":     {false, func(ctx context.Context, _ int) error { _ = grpc.SetTrailer(ctx, one); return unavailable }, `instance Unavailable 1[]`},
		"nginx's error":             {false, func(context.Context, int) error { return unavailable }, `nginx Unavailable 1[]`},
		"another one's deadline":    {false, func(context.Context, int) error { return context.DeadlineExceeded }, `nginx DeadlineExceeded 1[]`},
		"good at the third attempt": {true, func(_ context.Context, n int) error { return map[bool]error{true: unavailable}[n < 3] }, `ok OK 3[]`},
		"never good":                {true, func(context.Context, int) error { return unavailable }, `nginx Unavailable 4[]`},
		"after the header there is no retry": {true, func(ctx context.Context, _ int) error {
			_ = grpc.SendHeader(ctx, one)
			return unavailable
		}, `instance Unavailable 1[]`},
		"deadline": {false, func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }, `client DeadlineExceeded deadline 1[]`},
		"deadline after the header": {false, func(ctx context.Context, _ int) error {
			_ = grpc.SendHeader(ctx, one)
			<-ctx.Done()
			return ctx.Err()
		}, `client DeadlineExceeded deadline 1[]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := call(50)
			if s.Retry = test.retry; strings.HasPrefix(name, "deadline") {
				s.Deadline = 100 * time.Millisecond
			}
			p := plan(t, 200*time.Millisecond, s)
			p.GRPC = (&service{ask: test.ask}).start(t)
			if got := tally(carriedOut(t, p)[0], atDeadline); !maps.Equal(got, map[string]int{test.want: 10}) {
				t.Errorf("%v, want 10 times %s", got, test.want)
			}
		})
	}
}

// atDeadline is ending, without what depends on whether the server's word of the deadline comes before the client's own.
func atDeadline(r Record) string {
	if r.Reason == Deadline {
		r.Own = nil
	}
	return ending(r)
}

func TestStreams(t *testing.T) {
	t.Parallel()
	const messages = 3
	// What must come before the caller hangs up has time to, however busy the machine; where that is the end, nobody waits for the rest.
	const soon, late = 300 * time.Millisecond, 2 * time.Second
	const never = 19 * time.Second // below the deadline
	speaks := func(to grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
		_ = to.SetHeader(one)
		for range messages {
			_ = to.Send(&whoamiv1.WatchWhoAmIResponse{})
		}
		return nil
	}
	waits := func(to grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
		<-to.Context().Done()
		return to.Context().Err()
	}
	for name, test := range map[string]struct {
		call  string
		hold  time.Duration
		watch func(grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error
		want  string
	}{
		"the caller hangs up": {Watch, late, func(to grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
			_ = speaks(to)
			return waits(to)
		}, `ok OK 1[]`},
		"no message came":      {Watch, soon, waits, `client Canceled hung up 1["hung up"]`},
		"the instance ends it": {Watch, never, speaks, `ok OK 1[]`},
		"with an error": {Watch, never, func(to grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
			_ = speaks(to)
			return status.Error(codes.Unavailable, "draining: reconnect")
		}, `instance Unavailable 1[]`},
		"silent": {Silent, soon, nil, `client DeadlineExceeded deadline 1[]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := call(50)
			s.Call, s.Hold = test.call, test.hold
			if s.Call == Silent {
				s.Deadline = test.hold
			}
			p := plan(t, 200*time.Millisecond, s)
			p.GRPC = (&service{watch: test.watch}).start(t)
			all := carriedOut(t, p)[0]
			if got := tally(all, atDeadline); !maps.Equal(got, map[string]int{test.want: 10}) {
				t.Errorf("%v, want 10 times %s", got, test.want)
			}
			for _, r := range all {
				spoken := test.call == Watch && name != "no message came"
				if spoken && r.Messages > messages || (r.Messages > 0) != spoken || (r.Instance == "one") != spoken {
					t.Errorf("%+v", r)
				}
				if test.hold != never && r.Service < test.hold.Microseconds() {
					t.Errorf("%+v ended before %v", r, test.hold)
				}
			}
		})
	}
}

// A retry's pause in which the deadline passes: the end is the client's word, though an answer had come.
func TestDeadlineBetweenAttempts(t *testing.T) {
	t.Parallel()
	s := call(50)
	s.Retry, s.Deadline = true, time.Second
	p := plan(t, 200*time.Millisecond, s)
	p.GRPC = (&service{ask: func(ctx context.Context, _ int) error {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "60000")) // Again in a minute.
		return status.Error(codes.Unavailable, "never")
	}}).start(t)
	for _, r := range carriedOut(t, p)[0] {
		if r.Outcome != AtClient || r.Reason != Deadline || r.Attempts != 1 || len(r.Own) > 0 {
			t.Errorf("%+v: want its deadline, and the attempt answered", r)
		}
	}
}

// An nginx that nobody taught to speak gRPC answers with a page of HTML.
func TestAPageOfHTML(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "<html>502 Bad Gateway</html>", http.StatusBadGateway)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	defer server.Close()
	p := plan(t, 200*time.Millisecond, call(50))
	p.GRPC = server.Listener.Addr().String()
	if got := tally(carriedOut(t, p)[0], ending); !maps.Equal(got, map[string]int{`nginx Unavailable 1[]`: 10}) {
		t.Errorf("%v", got)
	}
}

// Channels are used in turn.
func TestChannels(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	calls := map[string]int{} // by connection
	s := call(60)
	s.Channels = 3
	p := plan(t, 200*time.Millisecond, s)
	p.GRPC = (&service{ask: func(ctx context.Context, _ int) error {
		from, _ := peer.FromContext(ctx)
		mu.Lock()
		defer mu.Unlock()
		calls[from.Addr.String()]++
		return nil
	}}).start(t)
	if got := tally(carriedOut(t, p)[0], ending); got[`ok OK 1[]`] != 12 {
		t.Errorf("%v", got)
	}
	if got := slices.Collect(maps.Values(calls)); !slices.Equal(got, []int{4, 4, 4}) {
		t.Errorf("%v calls on each connection, want 4 on each of 3", got)
	}
}

// frames is a server that answers each request, once it is complete, with one frame, in turn: HTTP/2 at its barest.
type frames struct {
	net.Listener
	answers []frame
}

type frame struct {
	kind, flags byte
	payload     []byte
}

const (
	data, headers, reset, settings, goAway = 0, 1, 3, 4, 7
	endOfStream, endOfHeaders, ack         = 1, 4, 1
)

func (f *frames) serve() {
	for {
		c, err := f.Accept()
		if err != nil {
			return
		}
		go f.converse(c)
	}
}

func write(to io.Writer, f frame, stream uint32) {
	head := append([]byte{0, byte(len(f.payload) >> 8), byte(len(f.payload)), f.kind, f.flags}, binary.BigEndian.AppendUint32(nil, stream)...)
	_, _ = to.Write(append(head, f.payload...))
}

func (f *frames) converse(c net.Conn) {
	defer c.Close()
	from := bufio.NewReader(c)
	if _, err := from.Discard(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		return
	}
	write(c, frame{kind: settings}, 0)
	for n := 0; ; {
		var head [9]byte
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return
		}
		if _, err := from.Discard(int(head[0])<<16 | int(head[1])<<8 | int(head[2])); err != nil {
			return
		}
		switch {
		case head[3] == settings && head[4]&ack == 0:
			write(c, frame{kind: settings, flags: ack}, 0)
		case head[3] == data && head[4]&endOfStream != 0 && n < len(f.answers):
			stream := binary.BigEndian.Uint32(head[5:])
			if f.answers[n].kind == data {
				return
			}
			if f.answers[n].kind == goAway {
				stream = 0
			}
			write(c, f.answers[n], stream)
			n++
		}
	}
}

// What a connection can do to a call, and whether nginx has a line for the attempt.
func TestAttempts(t *testing.T) {
	t.Parallel()
	text := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	field := func(name, value string) []byte { return append(append([]byte{0}, text(name)...), text(value)...) }
	answer := frame{headers, endOfStream | endOfHeaders, append(append([]byte{0x88}, field("content-type", "application/grpc")...), field("grpc-status", "9")...)}
	terminated := func(code uint32) frame { return frame{kind: reset, payload: binary.BigEndian.AppendUint32(nil, code)} }
	const internal, refused, canceled = 2, 7, 8
	for name, test := range map[string]struct {
		answers []frame
		want    string
	}{
		"an answer":             {[]frame{answer}, `nginx FailedPrecondition 1[]`},
		"reset":                 {[]frame{terminated(internal)}, `client Internal reset 1["reset"]`},
		"canceled":              {[]frame{terminated(canceled)}, `client Canceled reset 1["reset"]`},
		"refused, then answer":  {[]frame{terminated(refused), answer}, `nginx FailedPrecondition 2["transparent retry"]`},
		"refused twice":         {[]frame{terminated(refused), terminated(refused)}, `client Unavailable reset 2["transparent retry" "reset"]`},
		"the connection closed": {[]frame{{}}, `client Unavailable reset 1["reset"]`},
		"not taken any more, with nobody else to ask": {
			// Of stream 0 and above, nothing: the call is tried again on the next connection, and there once more in vain.
			[]frame{{kind: goAway, payload: make([]byte, 8)}}, `client Unavailable lost 2["transparent retry" "lost"]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &frames{Listener: listen(t), answers: test.answers}
			go f.serve()
			p := plan(t, 100*time.Millisecond, call(10))
			p.GRPC = f.Addr().String()
			if got := tally(carriedOut(t, p)[0], ending); !maps.Equal(got, map[string]int{test.want: 1}) {
				t.Errorf("%v, want %s", got, test.want)
			}
		})
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", mostError-1) + "é" + strings.Repeat("x", 50)
	if got := clip(long); got != strings.Repeat("x", mostError-1) {
		t.Errorf("%d bytes: %s", len(got), strconv.Quote(got))
	}
}

// Of a call that nobody answers nginx may have no line.
func TestDeadlineWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	f := &frames{Listener: listen(t)}
	go f.serve()
	s := call(50)
	s.Deadline = 100 * time.Millisecond
	p := plan(t, 200*time.Millisecond, s)
	p.GRPC = f.Addr().String()
	if got := tally(carriedOut(t, p)[0], ending); !maps.Equal(got, map[string]int{`client DeadlineExceeded deadline 1["deadline"]`: 10}) {
		t.Errorf("%v", got)
	}
}
