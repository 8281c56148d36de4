package fleet

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// tcpBalancer is a Balancer other than nginx: this test binary, which connects each connection to an instance, in turn.
type tcpBalancer struct{}

func (tcpBalancer) Info() BalancerInfo {
	return BalancerInfo{Stop: []StopStep{{Signal: syscall.SIGTERM, Wait: 10 * time.Second}}}
}

func (tcpBalancer) Install(dir string, s Site) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "site.json"), text, 0o600)
}

func (tcpBalancer) Test(context.Context, string) error { return nil }

func (tcpBalancer) Command(dir string) (path string, args []string) {
	return os.Args[0], []string{"balance", filepath.Join(dir, "site.json")}
}

func (tcpBalancer) Reload(context.Context, string, *Process) error { return nil }

func (tcpBalancer) Findings(string, Requested) ([]record.Event, error) { return nil, nil }

// balance is the program of a tcpBalancer. It returns the exit code after an error.
func balance(path string) int {
	var s Site
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &s) != nil {
		return 2
	}
	var http, grpc []string
	for _, i := range s.Instances {
		http, grpc = append(http, i.HTTP), append(grpc, i.GRPC)
	}
	go forward(s.HTTP, http)
	forward(s.GRPC, grpc)
	return 1
}

func forward(address string, servers []string) {
	listener, err := net.Listen("tcp", address)
	for n := 0; err == nil; n++ {
		var client net.Conn
		if client, err = listener.Accept(); err == nil {
			go func() {
				defer client.Close()
				if server, err := net.Dial("tcp", servers[n%len(servers)]); err == nil {
					go func() { _, _ = io.Copy(server, client) }()
					_, _ = io.Copy(client, server)
					server.Close()
				}
			}()
		}
	}
}

func TestFleetWorksWithAnotherBalancer(t *testing.T) {
	t.Parallel()
	o := Options{Instances: 2, Whoami: whoami, Balancer: tcpBalancer{}, Dir: proctest.Passable(t)}
	f := begin(t, o)
	seen := map[string]bool{}
	for range 4 {
		seen[instanceAt(t, f.HTTP())] = true
	}
	if len(seen) != 2 || seen[""] {
		t.Errorf("%v", seen)
	}
	if f.Can(scenario.Operation{Kind: scenario.Reload, Process: scenario.Nginx}) {
		t.Error("it declares no reload")
	}
	if err := f.Do(t.Context(), scenario.Operation{Kind: scenario.Reload, Process: scenario.Nginx}); err == nil || !strings.Contains(err.Error(), "cannot reload") {
		t.Errorf("reload: %v", err)
	}
	if err := f.Do(t.Context(), scenario.Operation{Kind: scenario.Restart, Process: "whoami-1"}); err != nil {
		t.Error(err)
	}
	if err := f.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if all, err := f.Findings(); err != nil || len(all) > 0 {
		t.Errorf("findings %v, %v", all, err)
	}
}

func TestTrialNeedsAllAttemptsInAccessLog(t *testing.T) {
	t.Parallel()
	if _, err := startTrial(t.Context(), Options{Balancer: tcpBalancer{}}); err == nil || !strings.Contains(err.Error(), "has every attempt") {
		t.Errorf("got %v", err)
	}
}
