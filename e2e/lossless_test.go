package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/lab/scenario"
)

// load is a group of clients of both listeners. Each has its own connections and sends one request after the other.
type load struct {
	gets, calls atomic.Int64 // that succeeded
	mutex       sync.Mutex
	failed      []error
	incomplete  int // calls that failed after their headers had arrived, which must not be retried
	ctx         context.Context
	cancel      context.CancelFunc
	clients     sync.WaitGroup
}

// drive starts four clients of each listener.
func drive(t *testing.T, f stack, retry bool) *load {
	t.Helper()
	l := &load{}
	l.ctx, l.cancel = context.WithCancel(t.Context())
	for range 4 {
		web, api := browser(t), dial(t, f, retry)
		l.clients.Go(func() {
			for l.ctx.Err() == nil {
				_, err := get(t.Context(), web, f)
				l.count(&l.gets, "GET", err)
			}
		})
		l.clients.Go(func() {
			for l.ctx.Err() == nil {
				l.call(t.Context(), api)
			}
		})
	}
	return l
}

func (l *load) call(ctx context.Context, api whoamiv1.WhoAmIServiceClient) {
	var header metadata.MD
	_, err := api.WhoAmI(ctx, nil, grpc.Header(&header))
	if err != nil && len(header.Get("x-instance")) > 0 {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		l.incomplete++
		return
	}
	l.count(&l.calls, "WhoAmI", err)
}

func (l *load) count(succeeded *atomic.Int64, what string, err error) {
	if err == nil {
		succeeded.Add(1)
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.failed = append(l.failed, fmt.Errorf("%s: %w", what, err))
}

// flow waits until a hundred more of each have succeeded, so that what the test does next happens under traffic.
func (l *load) flow(t *testing.T) {
	t.Helper()
	gets, calls := l.gets.Load()+100, l.calls.Load()+100
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for timeout := time.After(30 * time.Second); l.gets.Load() < gets || l.calls.Load() < calls; {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("no traffic: %d GETs, %d calls; failed: %v", l.gets.Load(), l.calls.Load(), l.failed)
		}
	}
}

// end stops the clients and returns the errors.
func (l *load) end(t *testing.T) []error {
	t.Helper()
	l.cancel()
	l.clients.Wait()
	t.Logf("%d GETs and %d calls succeeded, %d failed, %d failed after their headers", l.gets.Load(), l.calls.Load(), len(l.failed), l.incomplete)
	return l.failed
}

// These disturbances must fail no GET, and no unary call of a client with the shipped retry policy unless its headers had
// arrived. A GET counts as its client sees it: net/http, like browsers, retries one that was sent on a keep-alive connection
// while that was being closed, which hides the effect of a reload on those.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	for name, disturb := range map[string]func(*testing.T, stack, *load){
		"kill instances":            killInTurn,
		"restart all three in turn": restartInTurn,
		"reload nginx":              reload,
		"stop one instance":         stopOne,
		"restart two at once":       restartTwo,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := start(t, 2)
			l := drive(t, f, true)
			disturb(t, f, l)
			l.flow(t)
			for _, err := range l.end(t) {
				t.Error(err)
			}
		})
	}
}

func killInTurn(t *testing.T, f stack, l *load) {
	for range 2 {
		for _, name := range f.Names() {
			l.flow(t)
			if err := f.Process(name).Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			f.await(t, name)
		}
	}
}

func restartInTurn(t *testing.T, f stack, l *load) {
	for range 2 {
		for _, name := range f.Names() {
			l.flow(t)
			if err := f.Do(t.Context(), scenario.Operation{Kind: scenario.Restart, Process: name}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func restartTwo(t *testing.T, f stack, l *load) {
	l.flow(t)
	var both sync.WaitGroup
	for _, name := range f.Names()[:2] {
		both.Go(func() {
			if err := f.Do(t.Context(), scenario.Operation{Kind: scenario.Restart, Process: name}); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
}

func reload(t *testing.T, f stack, l *load) {
	for range 3 {
		l.flow(t)
		if err := f.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func stopOne(t *testing.T, f stack, l *load) {
	l.flow(t)
	if _, err := f.Process("whoami-2").Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Without the retry policy the calls running on an instance fail when it is killed, with any nginx configuration. Their number
// is random, so it is printed and not asserted.
func TestKillsWithoutRetryPolicyFailWithUnavailable(t *testing.T) {
	t.Parallel()
	f := start(t, 2)
	l := drive(t, f, false)
	killInTurn(t, f, l)
	for _, err := range l.end(t) {
		if status.Code(err) != codes.Unavailable {
			t.Errorf("%v: want only UNAVAILABLE", err)
		}
	}
}

// Clients whose deadlines expire must not fail the calls of others. With nginx's default max_fails they do: the instance resets
// the expired stream, nginx counts that as a failure of the instance, and ejects it.
func TestExpiredDeadlinesFailNoOtherCall(t *testing.T) {
	t.Parallel()
	f := start(t, 2)
	var impatient sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	var expired atomic.Int64
	for range 8 {
		api := reflectionv1.NewServerReflectionClient(connect(t, f, false))
		impatient.Go(func() {
			for ctx.Err() == nil {
				expire(t, api, &expired)
			}
		})
	}
	l := drive(t, f, false)
	for range 10 {
		l.flow(t)
	}
	for _, err := range l.end(t) {
		t.Errorf("client without deadlines: %v", err)
	}
	cancel()
	impatient.Wait()
	if expired.Load() < 20 {
		t.Errorf("only %d deadlines expired, want at least 20", expired.Load())
	}
}

// expire opens a reflection stream with a deadline of 20 ms and sends nothing. So the deadline expires before the response's
// headers; after them nginx would not count it.
func expire(t *testing.T, api reflectionv1.ServerReflectionClient, expired *atomic.Int64) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	stream, err := api.ServerReflectionInfo(ctx)
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil && ctx.Err() != nil {
		expired.Add(1)
	}
}
