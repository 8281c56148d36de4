package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"trivet/internal/proctest"
)

const refused = "refused"

// fetch returns the status and the body of a response, over a connection of its own, as a kubelet's probe.
func fetch(url string) (status, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err.Error(), ""
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return refused, ""
	}
	if err != nil {
		return err.Error(), ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.Status[:3], string(text) + errorText(err)
}

func errorText(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// health returns the gRPC health of a service, over a connection of its own.
func health(address, service string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	connection, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		return err.Error()
	}
	defer connection.Close()
	response, err := healthv1.NewHealthClient(connection).Check(ctx, &healthv1.HealthCheckRequest{Service: service})
	if err != nil && strings.Contains(err.Error(), syscall.ECONNREFUSED.Error()) {
		return refused
	}
	if err != nil {
		return err.Error()
	}
	return response.GetStatus().String()
}

// A probed is an instance, by its three listeners.
type probed struct{ http, grpc, admin string }

// live returns what probes of liveness say, by the three listeners, and ready those of readiness.
func (p probed) live() []string {
	public, _ := fetch(p.http + "/healthz")
	admin, _ := fetch(p.admin + "/healthz")
	return []string{health(p.grpc, ""), public, admin}
}

func (p probed) ready() []string {
	public, _ := fetch(p.http + "/readyz")
	admin, _ := fetch(p.admin + "/readyz")
	return []string{health(p.grpc, "whoami.v1.WhoAmIService"), health(p.grpc, "readiness"), public, admin}
}

func (p probed) want(t *testing.T, when string, live, ready []string) {
	t.Helper()
	if got := p.live(); !slices.Equal(got, live) {
		t.Errorf("%s: liveness is %v, want %v", when, got, live)
	}
	if got := p.ready(); !slices.Equal(got, ready) {
		t.Errorf("%s: readiness is %v, want %v", when, got, ready)
	}
}

// until polls until a condition is true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	over := time.After(20 * time.Second)
	for !is() {
		select {
		case <-ticker.C:
		case <-over:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// Probes of readiness fail from SIGTERM on. Those of liveness never do while their listener is open, and the admin listener is open for as
// long as calls run.
func TestProbesBeforeDuringAndAfterDrain(t *testing.T) {
	t.Parallel()
	const on, off = "SERVING", "NOT_SERVING"
	for delay, draining := range map[string][2][]string{
		"10m": {{on, "200", "200"}, {off, off, "503", "503"}},
		"0s":  {{refused, refused, "200"}, {refused, refused, refused, "503"}},
	} {
		t.Run("DRAIN_DELAY="+delay, func(t *testing.T) {
			t.Parallel()
			rest, rpc, admin := proctest.Reserve(t), proctest.Reserve(t), proctest.Reserve(t)
			p := probed{"http://127.0.0.1:" + rest, "127.0.0.1:" + rpc, "http://127.0.0.1:" + admin}
			cmd, log := start(t, "--port", rest, "--grpc-port", rpc, "--admin-port", admin, "--drain-delay", delay, "--drain-timeout", "10m", "--max-work", "10m", "--call-timeout", "10m")
			readTo(t, log, "msg=serving")
			p.want(t, "before", []string{on, "200", "200"}, []string{on, on, "200", "200"})

			call, leave := context.WithCancel(t.Context()) // What the drain waits for.
			request, err := http.NewRequestWithContext(call, "GET", p.http+"/?work=600s", nil)
			if err != nil {
				t.Fatal(err)
			}
			left := make(chan struct{})
			go func() {
				defer close(left)
				if response, err := http.DefaultClient.Do(request); err == nil {
					response.Body.Close()
				}
			}()
			until(t, "the call runs", func() bool {
				_, status := fetch(p.admin + "/status")
				return strings.Contains(status, `"unary_calls":1`)
			})
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			readTo(t, log, "msg=draining") // Just before it begins.
			until(t, "the listeners are as wanted", func() bool { return slices.Equal(p.live(), draining[0]) && p.ready()[3] == "503" })
			p.want(t, "draining", draining[0], draining[1])

			leave()
			<-left
			if delay != "0s" {
				_ = cmd.Process.Signal(os.Interrupt) // Ends it at once.
			}
			_, _ = io.Copy(io.Discard, log)
			if err := cmd.Wait(); (err == nil) != (delay == "0s") {
				t.Errorf("ended by %v", err)
			}
			p.want(t, "after", []string{refused, refused, refused}, []string{refused, refused, refused, refused})
		})
	}
}
