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
)

// load is callers of both doors, each with connections of its own, that ask one thing after the other.
type load struct {
	gets, calls    atomic.Int64 // that ended well
	mutex          sync.Mutex
	failed         []error
	brokenAnswers  int // calls that failed after their headers had arrived: nobody may retry those
	cancel         context.CancelFunc
	all            sync.WaitGroup
	untilCancelled context.Context
}

// drive starts four callers of each door.
func drive(t *testing.T, f stack, retry bool) *load {
	t.Helper()
	l := &load{}
	l.untilCancelled, l.cancel = context.WithCancel(t.Context())
	for range 4 {
		web, api := browser(t), dial(t, f, retry)
		l.all.Go(func() {
			for l.untilCancelled.Err() == nil {
				_, err := get(t.Context(), web, f)
				l.count(&l.gets, "GET", err)
			}
		})
		l.all.Go(func() {
			for l.untilCancelled.Err() == nil {
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
		l.brokenAnswers++
		return
	}
	l.count(&l.calls, "WhoAmI", err)
}

func (l *load) count(well *atomic.Int64, what string, err error) {
	if err == nil {
		well.Add(1)
		return
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.failed = append(l.failed, fmt.Errorf("%s: %w", what, err))
}

// flow waits until a hundred more of each have ended well, so that what the test does next meets traffic.
func (l *load) flow(t *testing.T) {
	t.Helper()
	gets, calls := l.gets.Load()+100, l.calls.Load()+100
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for patience := time.After(30 * time.Second); l.gets.Load() < gets || l.calls.Load() < calls; {
		select {
		case <-ticker.C:
		case <-patience:
			t.Fatalf("no traffic: %d GETs, %d calls; failed: %v", l.gets.Load(), l.calls.Load(), l.failed)
		}
	}
}

// end stops the callers and tells what failed.
func (l *load) end(t *testing.T) []error {
	t.Helper()
	l.cancel()
	l.all.Wait()
	t.Logf("%d GETs and %d calls ended well, %d failed, %d broke off after their headers", l.gets.Load(), l.calls.Load(), len(l.failed), l.brokenAnswers)
	return l.failed
}

// What may happen to the stack while users are served, and must not cost them a GET, nor a unary call of a client with the
// shipped retry policy whose headers had not arrived. A GET counts as its caller sees it: net/http, like browsers, sends one
// again when the kept connection it went into was being closed, and so hides what a reload does to those.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	for name, disturb := range map[string]func(*testing.T, stack, *load){
		"while instances are killed":           killInTurn,
		"while all three restart in turn":      restartInTurn,
		"while nginx reloads its files":        reload,
		"while one instance is down for good":  stopOne,
		"while two instances restart together": restartTwo,
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
			if err := f.Process(name).Restart(t.Context()); err != nil {
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
			if err := f.Process(name).Restart(t.Context()); err != nil {
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
	if err := f.Process("whoami-2").Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// What the retry policy is for. Without it the calls that ran on an instance when it was killed fail, however nginx is
// configured; how many is chance, so the number is printed and not asserted.
func TestKillsWithoutRetryPolicyFailWithUnavailable(t *testing.T) {
	t.Parallel()
	f := start(t, 2)
	l := drive(t, f, false)
	killInTurn(t, f, l)
	for _, err := range l.end(t) {
		if status.Code(err) != codes.Unavailable {
			t.Errorf("%v: want UNAVAILABLE alone", err)
		}
	}
}

// Callers whose deadlines pass must not cost others their calls. With nginx's default max_fails they do: the instance resets
// the expired stream, nginx takes that for a failure of the instance, and leaves it out.
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
		t.Errorf("a healthy caller: %v", err)
	}
	cancel()
	impatient.Wait()
	if expired.Load() < 20 {
		t.Errorf("only %d deadlines expired: this test tested nothing", expired.Load())
	}
}

// expire opens a stream on which the instance waits for a question, with a deadline of 20 ms, and asks none. So the deadline
// passes before the answer's headers: later nginx would not count it.
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
