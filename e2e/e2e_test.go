// Package e2e tests the whole: real instances, each a process, behind a real nginx, asked by real clients.
//
// It finds nginx in $TRIVET_NGINX, else on PATH, else in .cache/nginx (`make nginx` puts it there), and fails without one.
package e2e

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/proctest"
	"trivet/lab/fleet"
	"trivet/lab/labtest"
	"trivet/nginx"
)

// whoami is the path of the instances' program, built once for all tests.
var whoami string

func TestMain(m *testing.M) {
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		return m.Run()
	}))
}

// A stack is a fleet of three, and what it tells of its processes.
type stack struct {
	*fleet.Fleet
	events chan fleet.Event
}

// await waits until the process of that name is told to be ready.
func (s stack) await(t *testing.T, name string) {
	t.Helper()
	patience := time.After(30 * time.Second)
	for {
		select {
		case e := <-s.events:
			if e.Name == name && e.Kind == fleet.Ready {
				return
			}
		case <-patience:
			t.Fatalf("%s did not come back", name)
		}
	}
}

// start runs a stack on the kernel's ports until the test ends. Its nginx has the given number of workers, and the shipped
// configuration.
func start(t *testing.T, workers int) stack {
	t.Helper()
	return startWith(t, workers, nginx.Conf())
}

func startWith(t *testing.T, workers int, conf fs.FS) stack {
	t.Helper()
	dir := proctest.Passable(t)
	events := make(chan fleet.Event, 10_000) // Room for all, so that the fleet never waits for a test.
	f, err := fleet.Start(t.Context(), fleet.Options{
		Instances: 3, Whoami: whoami, Nginx: labtest.Nginx(t), Conf: conf, Workers: workers, Dir: dir,
		Observe: func(e fleet.Event) { events <- e },
	})
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
			log, _ := os.ReadFile(f.LogFile(fleet.Nginx))
			t.Logf("nginx's error log:\n%s", log)
		}
	})
	for len(events) > 0 {
		<-events // The start's.
	}
	return stack{f, events}
}

func dial(t *testing.T, f stack, retry bool) whoamiv1.WhoAmIServiceClient {
	t.Helper()
	return whoamiv1.NewWhoAmIServiceClient(connect(t, f, retry))
}

// connect makes a gRPC connection to nginx. With the shipped service config it retries, as the project's clients do.
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

// browser is an HTTP client of its own, with connections that it keeps.
func browser(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: (&net.Dialer{}).DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// get gives the instance that answered GET /; the error of what was not 200 shows the answer.
func get(ctx context.Context, client *http.Client, f stack) (string, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", "http://"+f.HTTP()+"/", nil)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", answer.Status, body)
	}
	return answer.Header.Get("X-Instance"), nil
}
