package whoami

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sethvargo/go-envconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/proctest"
	"trivet/services/instance"
)

// launch runs an instance of the service until the test ends, and returns its configuration when both listeners accept connections.
func launch(t *testing.T, environ map[string]string) instance.Config {
	t.Helper()
	all := envconfig.MultiLookuper(envconfig.MapLookuper(environ), envconfig.MapLookuper(map[string]string{
		"INSTANCE": "whoami-7", "ENVIRONMENT": "qa", "HTTP_PORT": proctest.Reserve(t), "GRPC_PORT": proctest.Reserve(t),
	}))
	c, _, err := Service.Load(t.Context(), instance.Sources{Environ: all})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	serving, over := make(chan struct{}), make(chan error, 1)
	log := slog.New(slog.NewTextHandler(&until{Writer: t.Output(), text: "msg=serving", seen: serving}, nil))
	go func() { over <- instance.Run(ctx, Service, c, log) }()
	t.Cleanup(func() {
		stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	<-serving
	return c
}

// until closes seen when a text is written.
type until struct {
	io.Writer
	text string
	seen chan struct{}
	once sync.Once
}

func (u *until) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(u.text)) {
		u.once.Do(func() { close(u.seen) })
	}
	return u.Writer.Write(p)
}

// run is launch, with a client of the gRPC listener.
func run(t *testing.T, environ map[string]string) (instance.Config, *grpc.ClientConn) {
	t.Helper()
	c := launch(t, environ)
	connection, err := grpc.NewClient("passthrough:///"+c.GRPCAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return c, connection
}

// get sends a GET to the HTTP listener, with headers, and returns the response.
func get(t *testing.T, c instance.Config, path string, headers map[string]string) *whoamiv1.WhoAmIResponse {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+c.HTTPAddr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := &whoamiv1.WhoAmIResponse{}
	if err := protojson.Unmarshal(text, m); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return m
}

func TestBothListenersGiveTheSameFields(t *testing.T) {
	t.Parallel()
	c, connection := run(t, nil)
	headers := map[string]string{"x-request-id": "same", "x-forwarded-for": "192.0.2.1, 192.0.2.2", "grpc-metadata-x-instance": "forged", "x-instance": "forged"}
	rest := get(t, c, "/", headers)
	rpc, err := whoamiv1.NewWhoAmIServiceClient(connection).WhoAmI(metadata.NewOutgoingContext(t.Context(), metadata.New(headers)), nil)
	if err != nil {
		t.Fatal(err)
	}
	for listener, m := range map[string]*whoamiv1.WhoAmIResponse{"http": rest, "grpc": rpc} {
		host, port, err := net.SplitHostPort(m.GetCaller().GetPeerAddress())
		if err != nil || host != "127.0.0.1" || port == "0" {
			t.Errorf("%s: peer address %q", listener, m.GetCaller().GetPeerAddress())
		}
		if m.GetProtocol() != listener {
			t.Errorf("protocol %q, want %q", m.GetProtocol(), listener)
		}
		m.Caller.PeerAddress, m.Protocol = "", ""
	}
	if rest.GetPort() != uint32(c.HTTPPort) || rpc.GetPort() != uint32(c.GRPCPort) {
		t.Errorf("ports %d and %d, want the listeners', %d and %d", rest.GetPort(), rpc.GetPort(), c.HTTPPort, c.GRPCPort)
	}
	rest.Port, rpc.Port = 0, 0
	if !proto.Equal(rest, rpc) {
		t.Errorf("REST %v\ngRPC %v", rest, rpc)
	}
	hostname, _ := os.Hostname()
	if rest.GetInstance() != "whoami-7" || rest.GetEnvironment() != "qa" || rest.GetHostname() != hostname || rest.GetVersion() == "" ||
		!rest.GetStartTime().IsValid() || rest.GetCaller().GetRequestId() != "same" || rest.GetCaller().GetForwardedFor() != "192.0.2.1, 192.0.2.2" {
		t.Errorf("%v", rest)
	}
}

// The node is in responses of both listeners and of watches; without NODE it is unset, and absent over REST.
func TestResponseHasNode(t *testing.T) {
	t.Parallel()
	for node, unset := range map[string]bool{"node-a.example.org": false, "": true} {
		c, connection := run(t, map[string]string{"NODE": node})
		client := whoamiv1.NewWhoAmIServiceClient(connection)
		rpc, err := client.WhoAmI(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		watch, err := client.WatchWhoAmI(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		first, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for name, got := range map[string]*whoamiv1.WhoAmIResponse{"REST": get(t, c, "/", nil), "gRPC": rpc, "watch": first.GetAnswer()} {
			if got.GetNode() != node || (got.Node == nil) != unset {
				t.Errorf("%s with NODE=%s: %q, unset: %t", name, node, got.GetNode(), got.Node == nil)
			}
		}
		response, err := http.Get("http://" + c.HTTPAddr() + "/")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || bytes.Contains(text, []byte(`"node"`)) == unset {
			t.Errorf("NODE=%s: %s, %v", node, text, err)
		}
	}
}

// The OpenAPI file is this service's.
func TestOpenAPIDescribesTheService(t *testing.T) {
	t.Parallel()
	c, _ := run(t, nil)
	response, err := http.Get("http://" + c.HTTPAddr() + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var file struct{ Paths map[string]any }
	if err := json.NewDecoder(response.Body).Decode(&file); err != nil || file.Paths["/watch"] == nil {
		t.Errorf("%v, %v; want /watch among the paths", file.Paths, err)
	}
}

func TestWatchRejectsIntervalsOutOfBounds(t *testing.T) {
	t.Parallel()
	_, connection := run(t, nil)
	for _, test := range []struct {
		interval *durationpb.Duration
		code     codes.Code
	}{
		{&durationpb.Duration{}, codes.InvalidArgument},
		{durationpb.New(leastInterval - 1), codes.InvalidArgument},
		{durationpb.New(mostInterval + 1), codes.InvalidArgument},
		{durationpb.New(-leastInterval), codes.InvalidArgument},
		{&durationpb.Duration{Seconds: 1, Nanos: -1}, codes.InvalidArgument},
		{&durationpb.Duration{Seconds: 1 << 62}, codes.InvalidArgument},
		{durationpb.New(leastInterval), codes.OK},
		{durationpb.New(mostInterval), codes.OK},
		{nil, codes.OK},
	} {
		t.Run(test.interval.String(), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			watch, err := whoamiv1.NewWhoAmIServiceClient(connection).WatchWhoAmI(ctx, &whoamiv1.WatchWhoAmIRequest{Interval: test.interval})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := watch.Recv(); status.Code(err) != test.code {
				t.Errorf("%v, want %v", err, test.code)
			}
		})
	}
}

// times is a stream that notes when messages are sent, and ends after five.
type times struct {
	grpc.ServerStream
	ctx    context.Context
	end    context.CancelFunc
	sentAt []time.Duration
	began  time.Time
}

func (s *times) Context() context.Context { return s.ctx }

func (s *times) Send(m *whoamiv1.WatchWhoAmIResponse) error {
	if s.sentAt = append(s.sentAt, time.Since(s.began)); m.GetSequence() == 5 {
		s.end()
	}
	return nil
}

func TestWatchKeepsItsInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for interval, requested := range map[time.Duration]*durationpb.Duration{
			time.Second: nil, 10 * time.Millisecond: durationpb.New(10 * time.Millisecond), time.Hour: durationpb.New(time.Hour),
		} {
			ctx, cancel := context.WithCancel(t.Context())
			stream := &times{ctx: ctx, end: cancel, began: time.Now()}
			if err := (&service{}).WatchWhoAmI(&whoamiv1.WatchWhoAmIRequest{Interval: requested}, stream); status.Code(err) != codes.Canceled {
				t.Errorf("%v, want CANCELED", err)
			}
			for n, at := range stream.sentAt {
				if at != time.Duration(n)*interval {
					t.Errorf("message %d after %v, want %v", n+1, at, time.Duration(n)*interval)
				}
			}
			if len(stream.sentAt) != 5 {
				t.Errorf("%d messages at %s, want 5", len(stream.sentAt), strconv.Quote(interval.String()))
			}
		}
	})
}
