package hops_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sethvargo/go-envconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	frontv1 "trivet/gen/front/v1"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/proctest"
	"trivet/services/front"
	"trivet/services/instance"
)

// caller is an instance of front in this process, whose calls go where a test wants.
type caller struct {
	frontv1.FrontServiceClient
	records string
	stop    func()
}

func start(t *testing.T, environ map[string]string) caller {
	t.Helper()
	records := filepath.Join(t.TempDir(), "records.jsonl")
	all := envconfig.MultiLookuper(envconfig.MapLookuper(environ), envconfig.MapLookuper(map[string]string{
		"HTTP_PORT": proctest.Reserve(t), "GRPC_PORT": proctest.Reserve(t), "RECORDS": records,
	}))
	c, _, err := front.Service.Load(t.Context(), instance.Sources{Environ: all})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- instance.Run(ctx, front.Service, c, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	connection, err := grpc.NewClient("passthrough:///"+c.GRPCAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	end := func() {
		if stopped {
			return
		}
		stopped = true
		connection.Close()
		stop()
		if err := <-over; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(end)
	return caller{frontv1.NewFrontServiceClient(connection), records, end}
}

// An outgoing is a record of a call, as docs/records.md describes it.
type outgoing struct {
	Event, ID, Protocol, Method, Code, Reason string
	Attempts                                  int
	MaybeUnlogged                             []string `json:"maybe_unlogged"`
	Call                                      int
	Duration                                  *int64 `json:"duration_us"`
}

func (c caller) outgoing(t *testing.T) (all []outgoing) {
	t.Helper()
	text, err := os.ReadFile(c.records)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var o outgoing
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if o.Event == "outgoing" {
			all = append(all, o)
		}
	}
	return all
}

// backend is a whoami over both protocols that keeps what it gets.
type backend struct {
	whoamiv1.UnimplementedWhoAmIServiceServer
	got chan map[string]string
	err error
}

func (b backend) WhoAmI(ctx context.Context, _ *whoamiv1.WhoAmIRequest) (*whoamiv1.WhoAmIResponse, error) {
	seen := map[string]string{}
	if end, has := ctx.Deadline(); has && time.Until(end) < time.Minute {
		seen["deadline"] = "yes"
	}
	for _, key := range []string{"x-request-id", "traceparent", "tracestate", "x-forwarded-for"} {
		seen[key] = strings.Join(metadata.ValueFromIncomingContext(ctx, key), ",")
	}
	b.got <- seen
	return &whoamiv1.WhoAmIResponse{Instance: "whoami-1"}, b.err
}

func (b backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := map[string]string{}
	if strings.HasSuffix(r.Header.Get("Grpc-Timeout"), "u") {
		seen["deadline"] = "yes"
	}
	for _, key := range []string{"x-request-id", "traceparent", "tracestate", "x-forwarded-for"} {
		seen[key] = r.Header.Get(key)
	}
	b.got <- seen
	fmt.Fprint(w, `{"instance":"whoami-1","newer":1}`)
}

func serve(t *testing.T, b backend) (http, grpcAddr string) {
	t.Helper()
	web := httptest.NewServer(b)
	t.Cleanup(web.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	whoamiv1.RegisterWhoAmIServiceServer(server, b)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return web.URL, l.Addr().String()
}

// What goes along with a call is the same over both protocols: its request ID, the deadline, the trace context, and nothing else of the request.
func TestCallsCarryIDDeadlineAndTrace(t *testing.T) {
	t.Parallel()
	b := backend{got: make(chan map[string]string, 1)}
	web, rpc := serve(t, b)
	c := start(t, map[string]string{"HOPS_HTTP": web + "/", "HOPS_GRPC": rpc})
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, protocol := range []string{"grpc", "http"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", "parent", "traceparent", trace, "tracestate", "a=1", "x-forwarded-for", "192.0.2.1")
		response, err := c.Visit(ctx, &frontv1.VisitRequest{Hops: []string{protocol}})
		cancel()
		if err != nil || response.GetCalls()[0].GetResponse().GetInstance() != "whoami-1" {
			t.Fatalf("%s: %v, %v", protocol, response, err)
		}
		want := map[string]string{"x-request-id": "parent.1", "traceparent": trace, "tracestate": "a=1", "x-forwarded-for": "", "deadline": "yes"}
		if got := <-b.got; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", protocol, got, want)
		}
	}
}

// Whatever comes instead of a response has a code, over both protocols, and a record that says why.
func TestFailuresHaveCodesAndRecords(t *testing.T) {
	t.Parallel()
	refused := "127.0.0.1:" + proctest.Reserve(t)
	respond := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if status == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	b := backend{got: make(chan map[string]string, 100), err: status.Error(codes.NotFound, "on purpose")}
	_, notFound := serve(t, b)
	for _, test := range []struct {
		name, hop, http, grpc string
		code                  codes.Code
		record                string // code, attempts, reason, attempts that may be unlogged
	}{
		{"refused over HTTP", "http", "http://" + refused, "", codes.Unavailable, "UNAVAILABLE 1 refused [refused]"},
		{"refused over gRPC", "grpc", "", refused, codes.Unavailable, "Unavailable 1 refused [refused]"},
		{"refused and retried", "grpc*3", "", refused, codes.Unavailable, "Unavailable 3 refused [refused refused refused]"},
		{"an instance's error over gRPC", "grpc", "", notFound, codes.NotFound, "NotFound 1  []"},
		{"a method that is missing", "grpc:front", "", notFound, codes.Unimplemented, "Unimplemented 1  []"},
		{"an instance's error over HTTP", "http", respond(429, `{"code":8,"message":"full","details":[]}`), "", codes.ResourceExhausted, "429 1  []"},
		{"details of an unknown type", "http", respond(400, `{"code":3,"message":"x","details":[{"@type":"type.googleapis.com/no.Such"}]}`), "", codes.InvalidArgument, "400 1  []"},
		{"HTML", "http", respond(404, `<html>`), "", codes.Unimplemented, "404 1  []"},
		{"HTML of a gateway", "http", respond(502, `<html>`), "", codes.Unavailable, "502 1  []"},
		{"something else", "http", respond(200, `[]`), "", codes.Internal, "200 1  []"},
		{"a closed connection", "http", respond(0, ""), "", codes.Unavailable, "UNAVAILABLE 1 reset [reset]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			environ := map[string]string{"HOPS_HTTP": test.http, "HOPS_GRPC": test.grpc}
			c := start(t, environ)
			_, err := c.Visit(t.Context(), &frontv1.VisitRequest{Hops: []string{test.hop}})
			all := c.outgoing(t)
			if status.Code(err) != test.code || len(all) != 1 {
				t.Fatalf("%v, %+v; want %v and a record", err, all, test.code)
			}
			o := all[0]
			if got := fmt.Sprintf("%s %d %s %v", o.Code, o.Attempts, o.Reason, o.MaybeUnlogged); got != test.record || o.Call != 1 || o.Duration == nil {
				t.Errorf("%s, %+v; want %s", got, o, test.record)
			}
		})
	}
}

func TestHopsNeedAnAddress(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	for hop, setting := range map[string]string{"grpc": "HOPS_GRPC", "http": "HOPS_HTTP"} {
		if _, err := c.Visit(t.Context(), &frontv1.VisitRequest{Hops: []string{hop}}); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), setting) {
			t.Errorf("%v, want FAILED_PRECONDITION: %s", err, setting)
		}
	}
}

// A drained instance has closed its connections: no goroutine is left.
func TestConnectionsCloseAtTheEnd(t *testing.T) {
	b := backend{got: make(chan map[string]string, 100)}
	web, rpc := serve(t, b)
	before := runtime.NumGoroutine()
	c := start(t, map[string]string{"HOPS_HTTP": web, "HOPS_GRPC": rpc})
	if _, err := c.Visit(t.Context(), &frontv1.VisitRequest{Hops: []string{"grpc,grpc*2,http,http,http"}}); err != nil {
		t.Fatal(err)
	}
	if during := runtime.NumGoroutine(); during <= before {
		t.Errorf("%d goroutines with open connections, %d before", during, before)
	}
	c.stop()
	left := 0
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); runtime.Gosched() {
		if left = runtime.NumGoroutine(); left <= before {
			return
		}
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, %d before:\n%s", left, before, stacks[:runtime.Stack(stacks, true)])
}

// front states its node, as whoami does.
func TestFrontStatesItsNode(t *testing.T) {
	t.Parallel()
	_, rpc := serve(t, backend{got: make(chan map[string]string, 2)})
	for _, node := range []string{"node-b", ""} {
		visit, err := start(t, map[string]string{"NODE": node, "HOPS_GRPC": rpc}).Visit(t.Context(), &frontv1.VisitRequest{})
		if err != nil || visit.GetNode() != node || (visit.Node == nil) != (node == "") {
			t.Errorf("NODE=%s: %v, %v", node, visit, err)
		}
	}
}
