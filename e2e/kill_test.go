package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/proctest"
	"trivet/lab/record"
)

// SIGKILL loses no record that the ledger requires, whenever it comes: a response's header has its arrival in the file, a whole
// response its completion, and no line is torn.
func TestKilledInstanceHasRecordedItsResponses(t *testing.T) {
	t.Parallel()
	for _, raw := range []bool{false, true} {
		t.Run(fmt.Sprintf("RAW_SYSCALLS=%t", raw), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(13, 13))
			for kill := range 25 {
				killUnderLoad(t, fmt.Sprint(kill), raw, 1+random.IntN(400)).compare(t)
			}
		})
	}
}

// A killed is an instance that was killed while clients called it, and the responses that they had from it by then.
type killed struct {
	records   string
	headers   atomic.Int64
	mutex     sync.Mutex
	responses map[string]bool // whose header arrived, by request ID; true: the whole response did
}

func (k *killed) header(id string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.responses[id] = false
	k.headers.Add(1)
}

func (k *killed) whole(id string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.responses[id] = true
}

// killUnderLoad starts an instance without nginx, kills it once clients of both listeners have had so many headers, and
// returns when all of them have noticed.
func killUnderLoad(t *testing.T, run string, raw bool, headers int) *killed {
	t.Helper()
	k := &killed{records: filepath.Join(t.TempDir(), "records"), responses: make(map[string]bool)}
	httpPort, grpcPort := proctest.Reserve(t), proctest.Reserve(t)
	instance := exec.CommandContext(t.Context(), whoami, "--bind", "127.0.0.1", "--port", httpPort, "--grpc-port", grpcPort,
		"--records", k.records, fmt.Sprintf("--raw-syscalls=%t", raw))
	if err := instance.Start(); err != nil {
		t.Fatal(err)
	}
	connection, err := grpc.NewClient("passthrough:///127.0.0.1:"+grpcPort, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1}, MinConnectTimeout: time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	api := whoamiv1.NewWhoAmIServiceClient(connection)
	if _, err := api.WhoAmI(t.Context(), nil, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	over := make(chan struct{})
	var clients sync.WaitGroup
	client := func(name string, call func(ctx context.Context, id string) error) {
		for n := 0; ; n++ {
			if err := call(ctx, fmt.Sprintf("%s.%s.%d", run, name, n)); err == nil {
				continue
			} else if !isClosed(over) {
				t.Errorf("%s failed before the kill: %v", name, err)
			}
			return
		}
	}
	for c := range 3 {
		clients.Go(func() {
			client(fmt.Sprint("get-", c), func(ctx context.Context, id string) error { return k.get(ctx, "http://127.0.0.1:"+httpPort+"/", id) })
		})
		clients.Go(func() {
			client(fmt.Sprint("call-", c), func(ctx context.Context, id string) error { return k.call(ctx, api, id) })
		})
	}
	clients.Go(func() {
		client("watch", func(ctx context.Context, id string) error { return k.watch(ctx, api, id) })
	})
	ticker := time.NewTicker(100 * time.Microsecond)
	defer ticker.Stop()
	for k.headers.Load() < int64(headers) {
		if <-ticker.C; ctx.Err() != nil {
			t.Fatalf("%d headers, want %d", k.headers.Load(), headers)
		}
	}
	close(over)
	if err := instance.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	clients.Wait()
	_ = instance.Wait() // It was killed.
	return k
}

// isClosed reports whether c is closed.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (k *killed) get(ctx context.Context, url, id string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("X-Request-Id", id)
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	k.header(id)
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	k.whole(id)
	return nil
}

func (k *killed) call(ctx context.Context, api whoamiv1.WhoAmIServiceClient, id string) error {
	var header metadata.MD
	_, err := api.WhoAmI(metadata.AppendToOutgoingContext(ctx, "x-request-id", id), nil, grpc.Header(&header))
	if len(header.Get("x-instance")) > 0 {
		k.header(id)
	}
	if err == nil {
		k.whole(id)
	}
	return err
}

// watch receives two messages and leaves, so no response of it is whole.
func (k *killed) watch(ctx context.Context, api whoamiv1.WhoAmIServiceClient, id string) error {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "x-request-id", id))
	defer cancel()
	stream, err := api.WatchWhoAmI(ctx, &whoamiv1.WatchWhoAmIRequest{Interval: durationpb.New(10 * time.Millisecond)})
	if err != nil {
		return err
	}
	header, err := stream.Header()
	if err != nil {
		return err
	}
	if len(header.Get("x-instance")) > 0 {
		k.header(id)
	}
	for range 2 {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
	return nil
}

// compare compares the responses with the records.
func (k *killed) compare(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(k.records)
	if err != nil {
		t.Fatal(err)
	}
	arrivals, completions := make(map[string]int), make(map[string]int)
	for line := range bytes.Lines(text) {
		var c record.Call
		if err := json.Unmarshal(line, &c); err != nil || line[len(line)-1] != '\n' {
			t.Errorf("line %q: %v", line, err)
		}
		if c.Event == record.Arrival {
			arrivals[c.ID]++
		} else {
			completions[c.ID]++
		}
	}
	for id, whole := range k.responses {
		if arrivals[id] != 1 {
			t.Errorf("the client has a header of %s, and the file %d arrivals", id, arrivals[id])
		}
		if whole && completions[id] != 1 {
			t.Errorf("the client has the whole response of %s, and the file %d completions", id, completions[id])
		}
	}
}
