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
	"trivet/lab/record"
	"trivet/lab/scenario"
)

func call(rate float64) scenario.Load {
	return scenario.Load{Protocol: scenario.GRPC, Call: scenario.Unary, Rate: constant(rate), Channels: 1, Deadline: 20 * time.Second}
}

// service responds as its functions say.
type service struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	unary    func(ctx context.Context, attempt int) error // attempt counts the requests of one ID, from 1
	watch    func(grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error
	mu       sync.Mutex
	attempts map[string]int
}

func (s *service) WhoAmI(ctx context.Context, _ *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	id := strings.Join(metadata.ValueFromIncomingContext(ctx, "x-request-id"), ", ")
	s.mu.Lock()
	s.attempts[id]++
	n := s.attempts[id]
	s.mu.Unlock()
	return &whoamiv1.WhoAmIResponse{}, s.unary(ctx, n)
}

func (s *service) WatchWhoAmI(_ *whoamiv1.WatchWhoAmIRequest, to grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
	return s.watch(to)
}

func (s *service) start(t testing.TB) string {
	t.Helper()
	s.attempts = map[string]int{}
	server := grpc.NewServer()
	whoamiv1.RegisterWhoAmIServiceServer(server, s)
	reflection.Register(server)
	l := listen(t)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

var one = metadata.Pairs("x-instance", "one")

func TestGRPCOutcomes(t *testing.T) {
	t.Parallel()
	unavailable := status.Error(codes.Unavailable, "try again")
	for name, test := range map[string]struct {
		retry bool
		unary func(context.Context, int) error
		want  string
	}{
		"ok":                        {false, func(ctx context.Context, _ int) error { return grpc.SetHeader(ctx, one) }, `ok OK 1[]`},
		"an instance's error":       {false, func(ctx context.Context, _ int) error { _ = grpc.SetHeader(ctx, one); return unavailable }, `instance_error Unavailable 1[]`},
		"an instance's trailer":     {false, func(ctx context.Context, _ int) error { _ = grpc.SetTrailer(ctx, one); return unavailable }, `instance_error Unavailable 1[]`},
		"nginx's error":             {false, func(context.Context, int) error { return unavailable }, `nginx_error Unavailable 1[]`},
		"another deadline":          {false, func(context.Context, int) error { return context.DeadlineExceeded }, `nginx_error DeadlineExceeded 1[]`},
		"good at the third attempt": {true, func(_ context.Context, n int) error { return map[bool]error{true: unavailable}[n < 3] }, `ok OK 3[]`},
		"never good":                {true, func(context.Context, int) error { return unavailable }, `nginx_error Unavailable 4[]`},
		"after the header there is no retry": {true, func(ctx context.Context, _ int) error {
			_ = grpc.SendHeader(ctx, one)
			return unavailable
		}, `instance_error Unavailable 1[]`},
		"deadline": {false, func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }, `incomplete DeadlineExceeded deadline 1[]`},
		"deadline after the header": {false, func(ctx context.Context, _ int) error {
			_ = grpc.SendHeader(ctx, one)
			<-ctx.Done()
			return ctx.Err()
		}, `incomplete DeadlineExceeded deadline 1[]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := call(50)
			if l.Retry = test.retry; strings.HasPrefix(name, "deadline") {
				l.Deadline = 100 * time.Millisecond
			}
			p := plan(t, 200*time.Millisecond, l)
			p.GRPC = (&service{unary: test.unary}).start(t)
			if got := count(carriedOut(t, p)[0], endingOnce); !maps.Equal(got, map[string]int{test.want: 10}) {
				t.Errorf("%v, want 10 times %s", got, test.want)
			}
		})
	}
}

// endingOnce is ending, without what depends on whether the server notices a deadline before the client does.
func endingOnce(r record.Client) string {
	if r.Reason == record.Deadline {
		r.MaybeUnlogged = nil
	}
	return ending(r)
}

func TestStreamOutcomes(t *testing.T) {
	t.Parallel()
	const messages = 3
	// Messages that must come before the client cancels have time to, however busy the machine is.
	const soon, late = 300 * time.Millisecond, 2 * time.Second
	const never = 19 * time.Second // below the deadline
	sends := func(to grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
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
		"client cancels": {scenario.Watch, late, func(to grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
			_ = sends(to)
			return waits(to)
		}, `ok OK 1[]`},
		"no message came":  {scenario.Watch, soon, waits, `incomplete Canceled canceled 1["canceled"]`},
		"instance ends it": {scenario.Watch, never, sends, `ok OK 1[]`},
		"with an error": {scenario.Watch, never, func(to grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
			_ = sends(to)
			return status.Error(codes.Unavailable, "draining: reconnect")
		}, `instance_error Unavailable 1[]`},
		"idle": {scenario.Idle, soon, nil, `incomplete DeadlineExceeded deadline 1[]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := call(50)
			l.Call, l.Hold = test.call, test.hold
			if l.Call == scenario.Idle {
				l.Deadline = test.hold
			}
			p := plan(t, 200*time.Millisecond, l)
			p.GRPC = (&service{watch: test.watch}).start(t)
			all := carriedOut(t, p)[0]
			if got := count(all, endingOnce); !maps.Equal(got, map[string]int{test.want: 10}) {
				t.Errorf("%v, want 10 times %s", got, test.want)
			}
			for _, r := range all {
				received := test.call == scenario.Watch && name != "no message came"
				if received && r.Messages > messages || (r.Messages > 0) != received || (r.Instance == "one") != received {
					t.Errorf("%+v", r)
				}
				if test.hold != never && r.Service < test.hold.Microseconds() {
					t.Errorf("%+v ended before %v", r, test.hold)
				}
			}
		})
	}
}

// A deadline that passes between a response and its retry is the client's, although a response had come.
func TestDeadlineBetweenAttemptsIsIncomplete(t *testing.T) {
	t.Parallel()
	l := call(50)
	l.Retry, l.Deadline = true, time.Second
	p := plan(t, 200*time.Millisecond, l)
	p.GRPC = (&service{unary: func(ctx context.Context, _ int) error {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "60000")) // Again in a minute.
		return status.Error(codes.Unavailable, "never")
	}}).start(t)
	for _, r := range carriedOut(t, p)[0] {
		if r.Outcome != record.Incomplete || r.Reason != record.Deadline || r.Attempts != 1 || len(r.MaybeUnlogged) > 0 {
			t.Errorf("%+v: want its deadline, and a logged attempt", r)
		}
	}
}

// An nginx that is not configured for gRPC responds with a page of HTML.
func TestHTMLResponseIsNginxError(t *testing.T) {
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
	if got := count(carriedOut(t, p)[0], ending); !maps.Equal(got, map[string]int{`nginx_error Unavailable 1[]`: 10}) {
		t.Errorf("%v", got)
	}
}

func TestChannelsAreUsedInTurn(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	calls := map[string]int{} // by connection
	l := call(60)
	l.Channels = 3
	p := plan(t, 200*time.Millisecond, l)
	p.GRPC = (&service{unary: func(ctx context.Context, _ int) error {
		from, _ := peer.FromContext(ctx)
		mu.Lock()
		defer mu.Unlock()
		calls[from.Addr.String()]++
		return nil
	}}).start(t)
	if got := count(carriedOut(t, p)[0], ending); got[`ok OK 1[]`] != 12 {
		t.Errorf("%v", got)
	}
	if got := slices.Collect(maps.Values(calls)); !slices.Equal(got, []int{4, 4, 4}) {
		t.Errorf("%v calls on each connection, want 4 on each of 3", got)
	}
}

// frames is an HTTP/2 server that sends one frame after each complete request, in turn.
type frames struct {
	net.Listener
	frames []frame
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
		case head[3] == data && head[4]&endOfStream != 0 && n < len(f.frames):
			stream := binary.BigEndian.Uint32(head[5:])
			if f.frames[n].kind == data {
				return
			}
			if f.frames[n].kind == goAway {
				stream = 0
			}
			write(c, f.frames[n], stream)
			n++
		}
	}
}

// What a connection can do to a call, and whether nginx may have no entry for the attempt.
func TestAttemptsByConnectionFailure(t *testing.T) {
	t.Parallel()
	text := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	field := func(name, value string) []byte { return append(append([]byte{0}, text(name)...), text(value)...) }
	response := frame{headers, endOfStream | endOfHeaders, append(append([]byte{0x88}, field("content-type", "application/grpc")...), field("grpc-status", "9")...)}
	terminated := func(code uint32) frame { return frame{kind: reset, payload: binary.BigEndian.AppendUint32(nil, code)} }
	const internal, refused, canceled = 2, 7, 8
	for name, test := range map[string]struct {
		frames []frame
		want   string
	}{
		"response":               {[]frame{response}, `nginx_error FailedPrecondition 1[]`},
		"reset":                  {[]frame{terminated(internal)}, `incomplete Internal reset 1["reset"]`},
		"canceled":               {[]frame{terminated(canceled)}, `incomplete Canceled reset 1["reset"]`},
		"refused, then response": {[]frame{terminated(refused), response}, `nginx_error FailedPrecondition 2["transparent_retry"]`},
		"refused twice":          {[]frame{terminated(refused), terminated(refused)}, `incomplete Unavailable reset 2["transparent_retry" "reset"]`},
		"the connection closed":  {[]frame{{}}, `incomplete Unavailable reset 1["reset"]`},
		"GOAWAY, and no other server": {
			// No stream was processed: the call is retried on the next connection, in vain.
			[]frame{{kind: goAway, payload: make([]byte, 8)}}, `incomplete Unavailable connection_closed 2["transparent_retry" "connection_closed"]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &frames{Listener: listen(t), frames: test.frames}
			go f.serve()
			p := plan(t, 100*time.Millisecond, call(10))
			p.GRPC = f.Addr().String()
			if got := count(carriedOut(t, p)[0], ending); !maps.Equal(got, map[string]int{test.want: 1}) {
				t.Errorf("%v, want %s", got, test.want)
			}
		})
	}
}

func TestUnansweredCallMayBeUnlogged(t *testing.T) {
	t.Parallel()
	f := &frames{Listener: listen(t)}
	go f.serve()
	l := call(50)
	l.Deadline = 100 * time.Millisecond
	p := plan(t, 200*time.Millisecond, l)
	p.GRPC = f.Addr().String()
	if got := count(carriedOut(t, p)[0], ending); !maps.Equal(got, map[string]int{`incomplete DeadlineExceeded deadline 1["deadline"]`: 10}) {
		t.Errorf("%v", got)
	}
}
