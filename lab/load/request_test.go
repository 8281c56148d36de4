package load

import (
	"context"
	"fmt"
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
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// requests is an HTTP server that keeps what it is asked.
type requests struct {
	mu     sync.Mutex
	all    map[string]string // by ID: method, path, host, length, body and headers
	remote map[string]string // by ID: the client's address and port
}

func (s *requests) start(t *testing.T) string {
	t.Helper()
	s.all, s.remote = map[string]string{}, map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if len(body) > 10 {
			body = fmt.Appendf(nil, "%.10s… %d", body, len(body))
		}
		id := r.Header.Get("X-Request-Id")
		r.Header.Del("X-Request-Id")
		r.Header.Del("Content-Length")
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all[id] = fmt.Sprintf("%s %s %s %d %v %q %v", r.Method, r.RequestURI, r.Host, r.ContentLength, r.TransferEncoding, body, r.Header)
		s.remote[id] = r.RemoteAddr
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestHTTPRequestIsSentAsPlanned(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		request      scenario.Request
		method, want string // in the record; at the server, after which the headers follow
	}{
		"default":      {scenario.Request{}, "GET /", `GET / ADDRESS 0 [] "" map[User-Agent:[trivet]]`},
		"path, query":  {scenario.Request{Path: "/a%2Fb/c?d=e%20f"}, "GET /a%2Fb/c?d=e%20f", `GET /a%2Fb/c?d=e%20f ADDRESS 0 [] "" map[User-Agent:[trivet]]`},
		"hops":         {scenario.Request{Path: "/?a=b"}, "GET /?a=b", `GET /?a=b&hops=grpc%2Chttp&hops=grpc%2B1ms ADDRESS 0 [] "" map[User-Agent:[trivet]]`},
		"without body": {scenario.Request{Method: "POST", Path: "/x"}, "POST /x", `POST /x ADDRESS 0 [] "" map[User-Agent:[trivet]]`},
		"body": {
			scenario.Request{Method: "POST", Body: "a text", Headers: map[string]string{"content-type": "text/plain", "X-Api-Key": "k1"}},
			"POST /", `POST / ADDRESS 6 [] "a text" map[Content-Type:[text/plain] User-Agent:[trivet] X-Api-Key:[k1]]`,
		},
		"size": {scenario.Request{Method: "PUT", BodySize: 100_000}, "PUT /", `PUT / ADDRESS 100000 [] "xxxxxxxxxx… 100000" map[User-Agent:[trivet]]`},
		"host": {scenario.Request{Headers: map[string]string{"host": "example.com", "User-Agent": "me"}}, "GET /", `GET / example.com 0 [] "" map[User-Agent:[me]]`},
	} {
		for _, retry := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, retry %v", name, retry), func(t *testing.T) {
				t.Parallel()
				server := &requests{}
				l := get(50)
				l.Request, l.Retry = test.request, retry
				if name == "hops" {
					l.Hops = []string{"grpc,http", "grpc+1ms"}
				}
				p := plan(t, 100*time.Millisecond, l)
				p.HTTP = server.start(t)
				for _, r := range carriedOut(t, p)[0] {
					want := strings.Replace(test.want, "ADDRESS", p.HTTP, 1)
					if got := server.all[r.ID]; got != want || r.Method != test.method || r.Outcome != record.OK {
						t.Errorf("the server got\n%s\nwant\n%s\nand the record is %+v", got, want, r)
					}
				}
			})
		}
	}
}

// A body does not make net/http resend what it would not without one, and with retry it sends it again whole.
func TestBodyIsResentOnlyWithRetry(t *testing.T) {
	t.Parallel()
	for retry, want := range fickleEndings {
		for _, body := range []string{"", "body"} {
			f := &fickle{Listener: listen(t)}
			go f.serve()
			l := get(20)
			l.Retry, l.Connections, l.Request.Method, l.Request.Body = retry, 1, "GET", body
			p := plan(t, 200*time.Millisecond, l)
			p.HTTP = f.Addr().String()
			if got := endings(carriedOut(t, p)[0]); !maps.Equal(got, want) {
				t.Errorf("with retry %v and body %q: %v, want %v", retry, body, got, want)
			}
		}
	}
}

func TestUsersHaveConnectionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	server := &requests{}
	l := get(60)
	l.Users, l.Connections, l.Addresses = 3, 1, []string{"127.0.0.2", "127.0.0.3"}
	p := plan(t, 200*time.Millisecond, l)
	p.HTTP = server.start(t)
	ports := map[string]int{} // requests by connection
	for n, r := range carriedOut(t, p)[0] {
		address := l.Addresses[n%3%2]
		if r.Outcome != record.OK || r.User != n%3 || r.Address != address || !strings.HasPrefix(server.remote[r.ID], address+":") {
			t.Errorf("from %s: %+v; want user %d from %s", server.remote[r.ID], r, n%3, address)
		}
		if first := server.remote[fmt.Sprint("7.http.0.", n%3)]; server.remote[r.ID] != first {
			t.Errorf("%s came from %s, and the first request of its user from %s", r.ID, server.remote[r.ID], first)
		}
		ports[server.remote[r.ID]]++
	}
	if got := slices.Collect(maps.Values(ports)); !slices.Equal(got, []int{4, 4, 4}) {
		t.Errorf("%v requests by connection, want 4 on each of 3", got)
	}
}

func TestNewConnectionForEachRequest(t *testing.T) {
	t.Parallel()
	server := &requests{}
	l := get(60)
	l.NewConnection, l.Addresses = true, []string{"127.0.0.4"}
	p := plan(t, 200*time.Millisecond, l)
	p.HTTP = server.start(t)
	if got := count(carriedOut(t, p)[0], func(r record.Client) string { return ending(r) + r.Address }); got[`ok 200 1[]127.0.0.4`] != 12 {
		t.Errorf("%v", got)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if from := slices.Compact(slices.Sorted(maps.Values(server.remote))); len(from) != 12 {
		t.Errorf("12 requests came over %v", from)
	}
}

// calls is a gRPC server that keeps what it is asked.
type calls struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	mu     sync.Mutex
	all    []string // message, bytes of it that no field has, metadata
	remote []string // the client's address and port
}

func (s *calls) got(ctx context.Context, message proto.Message) {
	md, _ := metadata.FromIncomingContext(ctx)
	from, _ := peer.FromContext(ctx)
	text, _ := protojson.Marshal(message)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, fmt.Sprint(strings.ReplaceAll(string(text), " ", ""), " ", len(message.ProtoReflect().GetUnknown()), " ", md["x-tenant"]))
	s.remote = append(s.remote, from.Addr.String())
}

func (s *calls) WhoAmI(ctx context.Context, r *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	s.got(ctx, r)
	return &whoamiv1.WhoAmIResponse{}, nil
}

func (s *calls) WatchWhoAmI(r *whoamiv1.WatchWhoAmIRequest, to grpc.ServerStreamingServer[whoamiv1.WatchWhoAmIResponse]) error {
	s.got(to.Context(), r)
	return nil
}

func (s *calls) start(t *testing.T) string {
	t.Helper()
	server := grpc.NewServer()
	whoamiv1.RegisterWhoAmIServiceServer(server, s)
	l := listen(t)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

func TestGRPCRequestIsSentAsPlanned(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		call    string
		request scenario.Request
		want    string
	}{
		"default":  {scenario.Unary, scenario.Request{}, "{} 0 []"},
		"hops":     {scenario.Unary, scenario.Request{Message: `{"work":"0.010s"}`}, `{"hops":["grpc*3+1ms"],"work":"0.010s"} 0 []`},
		"metadata": {scenario.Unary, scenario.Request{Metadata: map[string]string{"x-tenant": "a b"}}, "{} 0 [a b]"},
		// The field's number takes 5 bytes, its length 2.
		"padding":        {scenario.Unary, scenario.Request{Message: "{}", Padding: 1000}, "{} 1007 []"},
		"watch":          {scenario.Watch, scenario.Request{}, `{"interval":"0.100s"} 0 []`},
		"watch, message": {scenario.Watch, scenario.Request{Message: `{"interval": "2.5s"}`, Metadata: map[string]string{"x-tenant": "a"}}, `{"interval":"2.500s"} 0 [a]`},
		"watch, padding": {scenario.Watch, scenario.Request{Padding: 1}, `{"interval":"0.100s"} 7 []`},
		"watch, {}":      {scenario.Watch, scenario.Request{Message: "{}"}, `{"interval":"0.100s"} 0 []`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &calls{}
			l := call(50)
			l.Call, l.Request, l.Hold = test.call, test.request, 10*time.Second
			if name == "hops" {
				l.Hops = []string{"grpc*3+1ms"}
			}
			p := plan(t, 100*time.Millisecond, l)
			p.GRPC = server.start(t)
			carriedOut(t, p)
			if got := slices.Compact(server.all); !slices.Equal(got, []string{test.want}) {
				t.Errorf("the server got %q, want %s alone", got, test.want)
			}
		})
	}
}

// Channels take the addresses in turn; with a channel for each call it is the same channel's address.
func TestChannelsTakeAddressesInTurn(t *testing.T) {
	t.Parallel()
	for newConnection, connections := range map[bool]int{false: 3, true: 12} {
		server := &calls{}
		l := call(60)
		l.Channels, l.NewConnection, l.Addresses = 3, newConnection, []string{"127.0.0.2", "127.0.0.3"}
		p := plan(t, 200*time.Millisecond, l)
		p.GRPC = server.start(t)
		for n, r := range carriedOut(t, p)[0] {
			if want := l.Addresses[n%3%2]; r.Outcome != record.OK || r.Address != want || r.User != 0 {
				t.Errorf("%+v, want OK from %s", r, want)
			}
		}
		from := map[string]int{}
		for _, remote := range server.remote {
			host, _, _ := net.SplitHostPort(remote)
			from[host]++
		}
		if !maps.Equal(from, map[string]int{"127.0.0.2": 8, "127.0.0.3": 4}) {
			t.Errorf("calls by address: %v", from)
		}
		if all := slices.Compact(slices.Sorted(slices.Values(server.remote))); len(all) != connections {
			t.Errorf("with a new connection %v: %d connections, want %d", newConnection, len(all), connections)
		}
	}
}

func TestRequestThatCannotBeMadeEndsLoad(t *testing.T) {
	t.Parallel()
	path, message := get(10), call(10)
	path.Name, path.Request.Path = "web", "no/slash"
	message.Name, message.Request.Message = "calls", `{"interval": 1}`
	for want, l := range map[string]scenario.Load{"load web: path: parse \"no/slash\": invalid URI": path, "load calls: message: proto:": message} {
		if code, stderr := serve(t, plan(t, time.Second, l)); code != 1 || !strings.HasPrefix(stderr, "trivet load: "+want) {
			t.Errorf("exit code %d, %q; want 1, %s", code, stderr, want)
		}
	}
}
