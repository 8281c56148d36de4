// Package e2e tests the stack: instances as processes, behind a real nginx, called by real clients.
//
// It finds nginx in $TRIVET_NGINX, else on PATH, else in .cache/nginx (where `make nginx` puts it), and fails without one.
package e2e

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/proctest"
	"trivet/lab/fleet"
	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx"
)

// Paths of the services' programs, built once for all tests.
var whoami, front string

func TestMain(m *testing.M) {
	os.Exit(labtest.WithPrograms(func(dir string) int {
		whoami, front = filepath.Join(dir, "whoami"), filepath.Join(dir, "front")
		return m.Run()
	}, "whoami", "front"))
}

// A stack is a fleet of three instances and its events.
type stack struct {
	*fleet.Fleet
	events chan fleet.Event
}

// await waits for the event that the process name is ready.
func (s stack) await(t *testing.T, name string) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case e := <-s.events:
			if e.Process == name && e.Kind == record.Ready {
				return
			}
		case <-timeout:
			t.Fatalf("%s is not ready again", name)
		}
	}
}

// start runs a stack until the test ends, on ports that the kernel assigns. Its nginx has the shipped configuration and the
// given number of workers.
func start(t *testing.T, workers int) stack {
	t.Helper()
	return startWith(t, workers, nginx.Conf())
}

func startWith(t *testing.T, workers int, conf fs.FS) stack {
	t.Helper()
	return startFleet(t, fleet.Options{Instances: 3, Conf: conf, Workers: workers})
}

// startFleet runs a stack with options until the test ends.
func startFleet(t *testing.T, o fleet.Options) stack {
	t.Helper()
	events := make(chan fleet.Event, 10_000) // Buffers all events, so that the fleet never waits for a test.
	o.Whoami, o.FrontProgram, o.Nginx, o.Dir = whoami, front, labtest.Nginx(t), proctest.Passable(t)
	o.Observe = func(e fleet.Event) { events <- e }
	f, err := fleet.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := f.Stop(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(f.LogFile(scenario.Nginx))
			t.Logf("nginx's error log:\n%s", log)
		}
	})
	for len(events) > 0 {
		<-events // Of the start.
	}
	return stack{f, events}
}

func dial(t *testing.T, f stack, retry bool) whoamiv1.WhoAmIServiceClient {
	t.Helper()
	return whoamiv1.NewWhoAmIServiceClient(connect(t, f, retry))
}

// connect returns a gRPC connection to nginx. With retry it uses the shipped service config, like the project's clients.
func connect(t *testing.T, f stack, retry bool) *grpc.ClientConn {
	t.Helper()
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry()}
	if retry {
		options = []grpc.DialOption{options[0], grpc.WithDefaultServiceConfig(nginx.ServiceConfig)}
	}
	connection, err := grpc.NewClient("passthrough:///"+f.GRPC(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return connection
}

// browser returns an HTTP client with keep-alive connections of its own.
func browser(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: (&net.Dialer{}).DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// get returns the instance that responded to GET /. A status other than 200 is an error, which contains the response.
func get(ctx context.Context, client *http.Client, f stack) (string, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+f.HTTP()+"/", nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", response.Status, body)
	}
	return response.Header.Get("X-Instance"), nil
}
