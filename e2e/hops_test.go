package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"

	frontv1 "trivet/gen/front/v1"
	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/fleet"
	"trivet/lab/record"
	"trivet/nginx/confedit"
)

// A mesh is a stack with front, whose instances write records.
type mesh struct {
	stack
	records string
}

func startMesh(t *testing.T, o fleet.Options) mesh {
	t.Helper()
	records := filepath.Join(t.TempDir(), "records.jsonl")
	o.Instances, o.Front, o.Workers = cmp.Or(o.Instances, 3), cmp.Or(o.Front, 2), 2
	o.Env = append(o.Env, "RECORDS="+records)
	return mesh{startFleet(t, o), records}
}

// ask sends a request with hops to a service and returns its response, or that of the status's details.
func (m mesh) ask(ctx context.Context, t *testing.T, protocol, service, id string, hops ...string) (*whoamiv1.WhoAmIResponse, *status.Status) {
	t.Helper()
	if protocol == "http" {
		return m.get(ctx, t, service, id, hops)
	}
	connection := connect(t, m.stack, false)
	ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", id)
	if service == "front" {
		visit, err := frontv1.NewFrontServiceClient(connection).Visit(ctx, &frontv1.VisitRequest{Hops: hops})
		if err != nil {
			return detail(t, status.Convert(err)), status.Convert(err)
		}
		return &whoamiv1.WhoAmIResponse{Instance: visit.GetInstance(), Protocol: visit.GetProtocol(), DeadlineLeft: visit.GetDeadlineLeft(), Calls: visit.GetCalls()}, status.New(codes.OK, "")
	}
	response, err := whoamiv1.NewWhoAmIServiceClient(connection).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{Hops: hops})
	if err != nil {
		return detail(t, status.Convert(err)), status.Convert(err)
	}
	return response, status.New(codes.OK, "")
}

func (m mesh) get(ctx context.Context, t *testing.T, service, id string, hops []string) (*whoamiv1.WhoAmIResponse, *status.Status) {
	t.Helper()
	path := map[string]string{"whoami": "/", "front": "/front"}[service]
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+m.HTTP()+path+"?"+url.Values{"hops": hops}.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Request-Id", id)
	if end, has := ctx.Deadline(); has {
		request.Header.Set("Grpc-Timeout", fmt.Sprint(time.Until(end).Milliseconds())+"m")
	}
	response, err := browser(t).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode == http.StatusOK {
		r := &whoamiv1.WhoAmIResponse{} // front's has the same names of fields.
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, r); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		return r, status.New(codes.OK, "")
	}
	var s rpcstatus.Status
	if err := protojson.Unmarshal(body, &s); err != nil {
		t.Fatalf("%d, %v: %s", response.StatusCode, err, body)
	}
	return detail(t, status.FromProto(&s)), status.FromProto(&s)
}

// detail is the partial response in a status; empty if there is none.
func detail(t *testing.T, s *status.Status) *whoamiv1.WhoAmIResponse {
	t.Helper()
	for _, d := range s.Details() {
		switch r := d.(type) {
		case *whoamiv1.WhoAmIResponse:
			return r
		case *frontv1.VisitResponse:
			return &whoamiv1.WhoAmIResponse{Instance: r.GetInstance(), Calls: r.GetCalls()}
		default:
			t.Errorf("detail %T", d)
		}
	}
	return &whoamiv1.WhoAmIResponse{}
}

// tree writes the calls of a response as "1 grpc whoami OK(1.1 http front OK)": number, hop, service, code, and in parentheses what that called.
func tree(r *whoamiv1.WhoAmIResponse, id string) string {
	var all []string
	for _, c := range r.GetCalls() {
		service, _, _ := strings.Cut(c.GetResponse().GetInstance(), "-")
		text := strings.TrimPrefix(c.GetRequestId(), id+".") + " " + c.GetHop() + " " + service + " " + c.GetCode()
		if below := tree(c.GetResponse(), id); below != "" {
			text += "(" + below + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// What hops do through nginx, on one mesh.
func TestHops(t *testing.T) {
	t.Parallel()
	m := startMesh(t, fleet.Options{Env: []string{"MAX_WORK=10m"}})
	t.Run("tree", m.testTree)
	t.Run("limits", m.testLimits)
	t.Run("failure", m.testFailure)
	t.Run("large failure", m.testLargeFailure)
	t.Run("deadline", m.testDeadline)
	t.Run("cancel", m.testCancel)
	t.Run("drain", m.testDrain)
}

// Chains over gRPC, HTTP and both, from whoami and front: the tree of the response has the calls in the hops' order, nginx has logged each
// call under its ID, and the records of the caller have it too.
func (m mesh) testTree(t *testing.T) {
	for n, test := range []struct {
		protocol, service, hops, want string
	}{
		{"grpc", "whoami", "", ""},
		{"grpc", "whoami", "grpc", "1 grpc whoami OK"},
		{"http", "whoami", "http", "1 http whoami OK"},
		{"http", "whoami", "grpc http", "1 grpc whoami OK(1.1 http whoami OK)"},
		{"grpc", "whoami", "http,grpc:front http", "1 http whoami OK(1.1 http whoami OK), 2 grpc:front front OK(2.1 http whoami OK)"},
		{"http", "front", "", "1 grpc whoami OK"},
		{"grpc", "front", "http:front+1ms", "1 http:front+1ms front OK(1.1 grpc whoami OK)"},
		{"grpc", "whoami", "grpc*3!", "1 grpc*3! whoami OK"},
		{"http", "whoami", "grpc grpc grpc grpc grpc grpc grpc grpc", "1 grpc whoami OK(1.1 grpc whoami OK(1.1.1 grpc whoami OK(1.1.1.1 grpc whoami OK(1.1.1.1.1 grpc whoami OK(" +
			"1.1.1.1.1.1 grpc whoami OK(1.1.1.1.1.1.1 grpc whoami OK(1.1.1.1.1.1.1.1 grpc whoami OK)))))))"},
	} {
		id := fmt.Sprintf("tree-%d", n)
		r, s := m.ask(t.Context(), t, test.protocol, test.service, id, strings.Fields(test.hops)...)
		if got := tree(r, id); got != test.want || s.Code() != codes.OK {
			t.Errorf("%s of %s, hops %q: %v\n got %s\nwant %s", test.protocol, test.service, test.hops, s, got, test.want)
		}
	}
	m.wantLogged(t, "tree-4.1", "tree-4.1.1", "tree-4.2", "tree-4.2.1")
	for _, o := range m.outgoing(t, "tree-4.") {
		if o.Code != "OK" && o.Code != "200" || o.Attempts != 1 || len(o.MaybeUnlogged) > 0 || o.Reason != "" {
			t.Errorf("%+v", o)
		}
	}
	if all := m.outgoing(t, "tree-4."); len(all) != 4 {
		t.Errorf("%d records of outgoing calls, want 4: %+v", len(all), all)
	}
}

// What is not allowed is INVALID_ARGUMENT, with everything that is wrong, over both protocols and of both services; nothing is called.
func (m mesh) testLimits(t *testing.T) {
	long := strings.Repeat("x", 62)
	for _, test := range []struct {
		id, hops, want string
	}{
		{"limits", "tcp http*2", `invalid hop "tcp"`},
		{"limits", "tcp http*2", `invalid hop "http*2"`},
		{"limits", "grpc:nginx", `invalid hop "grpc:nginx"`},
		{"limits", strings.Repeat("grpc ", 9), "9 hops, want at most 8"},
		{"limits", "grpc,grpc,grpc,grpc grpc,grpc,grpc,grpc grpc,grpc,http", `invalid hop "grpc,grpc,http": with it the request has more than 64 calls`},
		{long, "grpc grpc", long + ".1.1 of the deepest call would be longer than 64 characters"},
	} {
		for _, protocol := range []string{"grpc", "http"} {
			for _, service := range []string{"whoami", "front"} {
				_, s := m.ask(t.Context(), t, protocol, service, test.id, strings.Fields(test.hops)...)
				if s.Code() != codes.InvalidArgument || !strings.Contains(s.Message(), test.want) {
					t.Errorf("%s of %s, hops %q: %v; want INVALID_ARGUMENT: %s", protocol, service, test.hops, s, test.want)
				}
			}
		}
	}
	if all := m.outgoing(t, "limits"); len(all) > 0 {
		t.Errorf("calls were made: %+v", all)
	}
}

// A call that fails ends neither the others nor the tree: its code and the tree are in the error, over both protocols. This one fails
// because its receiver is asked for more work than it may do.
func (m mesh) testFailure(t *testing.T) {
	for _, protocol := range []string{"grpc", "http"} {
		for _, first := range []string{"grpc", "http", "grpc:front", "http:front"} {
			id := strings.ReplaceAll("failure-"+protocol+"-"+first, ":", "-")
			r, s := m.ask(t.Context(), t, protocol, "whoami", id, first+",grpc", "http,grpc+11m")
			service := "whoami"
			if strings.Contains(first, "front") {
				service = "front"
			}
			want := fmt.Sprintf("1 %s %s INVALID_ARGUMENT(1.1 http whoami OK, 1.2 grpc+11m  INVALID_ARGUMENT), 2 grpc whoami INVALID_ARGUMENT(2.1 http whoami OK, 2.2 grpc+11m  INVALID_ARGUMENT)", first, service)
			if got := tree(r, id); got != want || s.Code() != codes.InvalidArgument || !strings.Contains(s.Message(), "work is 11m0s: want 0s to 10m0s (MAX_WORK)") {
				t.Errorf("%s: %v\n got %s\nwant %s", protocol, s, got, want)
			}
		}
	}
}

// The largest trees that fail fit into nginx's buffer for headers and trailers, because they are cut.
func (m mesh) testLargeFailure(t *testing.T) {
	for n, hops := range []string{
		"grpc,grpc,grpc,grpc grpc,grpc,grpc,grpc grpc,grpc+11m", // 1 + 4 + 16 + 32 nodes
		strings.TrimSuffix(strings.Repeat("http:whoami+11m,", 64), ","),
		"http,http http,http http,http http,http http:whoami,http+11m",
	} {
		r, s := m.ask(t.Context(), t, "grpc", "whoami", fmt.Sprintf("%s-%d", strings.Repeat("large", 8), n), strings.Fields(hops)...)
		size := proto.Size(s.Proto())
		if s.Code() != codes.InvalidArgument || size > 8<<10 || size < 3<<10 || len(r.GetCalls()) == 0 || !strings.Contains(s.Message(), "MAX_WORK") {
			t.Errorf("hops %q: %v, %d bytes, %d calls; want INVALID_ARGUMENT and the calls, in at most 8 KB", hops, s.Code(), size, len(r.GetCalls()))
		}
	}
}

// Each call has less time than the one that made it, over both protocols, and a deadline that passes ends all.
func (m mesh) testDeadline(t *testing.T) {
	for _, protocol := range []string{"grpc", "http"} {
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		r, s := m.ask(ctx, t, protocol, "whoami", "deadline-"+protocol, "http", "grpc:front", "http")
		cancel()
		before := 8 * time.Second
		depth := 0
		for ; r != nil; depth++ {
			left := r.GetDeadlineLeft().AsDuration()
			if left <= 0 || left >= before {
				t.Errorf("%s, depth %d: %v left, want less than %v", protocol, depth, left, before)
			}
			before = left
			if len(r.GetCalls()) == 0 {
				break
			}
			r = r.GetCalls()[0].GetResponse()
		}
		if depth != 3 || s.Code() != codes.OK {
			t.Errorf("%s: %v, depth %d", protocol, s, depth)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, s := m.ask(ctx, t, "grpc", "whoami", "expired", "http", "grpc+1m")
	// Instances end at the deadline, too: what nginx makes of that may come before a client that is late has noticed.
	if s.Code() != codes.DeadlineExceeded && (s.Code() != codes.Unavailable || ctx.Err() == nil) {
		t.Errorf("%v, want DEADLINE_EXCEEDED", s)
	}
	m.wantEnded(t, "expired", "expired.1", "expired.1.1")
}

// A client that leaves ends the calls of all hops, over both protocols, long before their work is done.
func (m mesh) testCancel(t *testing.T) {
	for _, protocol := range []string{"grpc", "http"} {
		id := "cancel-" + protocol
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() {
			defer close(over)
			connection := connect(t, m.stack, false)
			ctx = metadata.AppendToOutgoingContext(ctx, "x-request-id", id)
			if protocol == "grpc" {
				_, _ = whoamiv1.NewWhoAmIServiceClient(connection).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{Hops: []string{"grpc:front", "http", "grpc+1m"}})
				return
			}
			request, _ := http.NewRequestWithContext(ctx, "GET", "http://"+m.HTTP()+"/front?hops=grpc:front&hops=http&hops=grpc%2B1m", nil)
			request.Header.Set("X-Request-Id", id)
			if response, err := browser(t).Do(request); err == nil {
				response.Body.Close()
			}
		}()
		m.await(t, record.Arrival, id+".1.1.1")
		cancel()
		<-over
		m.wantEnded(t, id, id+".1", id+".1.1", id+".1.1.1")
	}
}

// wantEnded checks that the instances' calls with these IDs end within ten seconds.
func (m mesh) wantEnded(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		m.await(t, record.Completion, id)
	}
}

// await waits for an instance's record of an event of a request.
func (m mesh) await(t *testing.T, event, id string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		for _, o := range m.all(t) {
			if o.Event == event && o.ID == id {
				return
			}
		}
	}
	t.Errorf("no %s of %s", event, id)
}

// An instance that drains finishes its calls, and those that it makes for them.
func (m mesh) testDrain(t *testing.T) {
	client := dial(t, m.stack, true)
	const calls = 12
	results := make(chan error, calls)
	for n := range calls {
		go func() {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", fmt.Sprintf("drain-%d", n))
			_, err := client.WhoAmI(ctx, &whoamiv1.WhoAmIRequest{Hops: []string{"grpc*3+600ms", "http,grpc*3"}})
			results <- err
		}()
	}
	for n := range calls {
		m.await(t, record.Arrival, fmt.Sprintf("drain-%d.1", n))
	}
	if _, err := m.Process("whoami-1").Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for range calls {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// Retries multiply: each of the services that call the next one tries three times, so a third one that is down gets nine calls for each
// of the client's attempts. With a budget the retries of each end early: ten tokens, of which each failure takes one, are three retries.
func TestRetriesMultiply(t *testing.T) {
	t.Parallel()
	m := startMesh(t, fleet.Options{Edits: []confedit.Edit{{
		Context: "location ^~ /whoami.v1.WhoAmIService/", Add: `if ($http_x_request_id ~ "\..*\.") { return 503; }`, // Calls of depth 2.
	}}, Instances: 1, Front: 1})
	const policy = `{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":3,"initialBackoff":"0.001s","maxBackoff":"0.001s","backoffMultiplier":1,"retryableStatusCodes":["UNAVAILABLE"]}}]`
	for _, test := range []struct {
		name, retries, config string
		want                  [3]int // entries of nginx's access log by depth
	}{
		{"none", "", "{}", [3]int{10, 10, 10}},
		{"three", "*3", policy + "}", [3]int{30, 90, 270}},
		{"budget", "*3!", policy + `,"retryThrottling":{"maxTokens":10,"tokenRatio":0.1}}`, [3]int{13, 16, 19}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			connection, err := grpc.NewClient("passthrough:///"+m.GRPC(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(test.config))
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			var calls sync.WaitGroup
			call := func(n int) {
				ctx := metadata.AppendToOutgoingContext(t.Context(), "x-request-id", fmt.Sprintf("%s-%d", test.name, n))
				_, err := whoamiv1.NewWhoAmIServiceClient(connection).WhoAmI(ctx, &whoamiv1.WhoAmIRequest{Hops: []string{"grpc:front" + test.retries, "grpc" + test.retries}})
				r := detail(t, status.Convert(err))
				if status.Code(err) != codes.Unavailable || len(r.GetCalls()) != 1 || len(r.GetCalls()[0].GetResponse().GetCalls()) != 1 {
					t.Errorf("%v, %v; want UNAVAILABLE, and the calls in the details", err, r)
				}
			}
			for n := range 10 {
				calls.Go(func() { call(n) })
				if test.name == "budget" {
					calls.Wait() // Else how much of it is left would be chance.
				}
			}
			calls.Wait()
			var got [3]int
			for end := time.Now().Add(10 * time.Second); got != test.want && time.Now().Before(end); { // nginx buffers its log.
				got = [3]int{}
				for id, entries := range m.logged(t) {
					if strings.HasPrefix(id, test.name) {
						got[min(strings.Count(id, "."), 2)] += entries
					}
				}
			}
			if got != test.want {
				t.Errorf("%d requests at nginx by depth, want %d", got, test.want)
			}
			// What the third attempt of the second attempt of a call has called has an ID of its own.
			if id := test.name + "-0-2.1-3.1"; test.name == "three" && m.logged(t)[id] != 3 {
				t.Errorf("%d requests with ID %s, want 3", m.logged(t)[id], id)
			}
		})
	}
}

// wantLogged checks that nginx has an access-log entry of each request ID.
func (m mesh) wantLogged(t *testing.T, ids ...string) {
	t.Helper()
	missing := make(map[string]bool)
	for _, id := range ids {
		missing[id] = true
	}
	for end := time.Now().Add(10 * time.Second); len(missing) > 0 && time.Now().Before(end); { // nginx buffers its log.
		for id := range m.logged(t) {
			delete(missing, id)
		}
	}
	if len(missing) > 0 {
		t.Errorf("nginx has not logged %v", missing)
	}
}

// logged is how many access-log entries each request ID has.
func (m mesh) logged(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.Dir(), "logs", "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		var entry struct{ ID string }
		if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &entry) == nil {
			all[entry.ID]++
		}
	}
	return all
}

// outgoing are the records of calls that instances made whose IDs begin with prefix.
func (m mesh) outgoing(t *testing.T, prefix string) (made []record.Outgoing) {
	t.Helper()
	for _, o := range m.all(t) {
		if o.Event == record.OutgoingCall && strings.HasPrefix(o.ID, prefix) {
			made = append(made, o)
		}
	}
	return made
}

// all are the instances' records.
func (m mesh) all(t *testing.T) (all []record.Outgoing) {
	t.Helper()
	text, err := os.ReadFile(m.records)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var o record.Outgoing
		if !strings.HasSuffix(line, "\n") {
			break // It is being written.
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}
