package main

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"trivet/lab/feed"
)

// trialOf reads up to the trial message of a live feed.
func trialOf(t *testing.T, page *feedReader) feed.Trial {
	t.Helper()
	if hello := page.until("the Hello", isHello); hello.Hello.Source != feed.Live || hello.Hello.Nginx == "" || hello.Hello.Dir == "" {
		t.Errorf("%+v", hello.Hello)
	}
	return *page.until("the trial", func(m feed.Message) bool { return m.Trial != nil }).Trial
}

func TestUpServesAPageThatFollowsTheFleet(t *testing.T) {
	t.Parallel()
	o := launch(t, "--json", "-n", "2", "--http", "0", "--grpc", "0")
	up := o.until(t, event("up"))
	if !strings.HasPrefix(up.Dashboard, "http://127.") {
		t.Fatalf("the page is at %q", up.Dashboard)
	}
	pages := []*feedReader{readFeed(t, up.Dashboard), readFeed(t, up.Dashboard)}
	for _, page := range pages {
		trial := trialOf(t, page)
		if len(trial.Instances) != 2 || trial.HTTP != up.HTTP || slices.Contains(trial.Lacks, "instances") {
			t.Errorf("%+v", trial)
		}
	}
	if code, _ := get(t, "http://"+up.HTTP+"/"); code != http.StatusOK {
		t.Errorf("nginx responds with %d", code)
	}
	pid := o.pid("whoami-2")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		page.until("the request", func(m feed.Message) bool {
			return m.Bins != nil && slices.ContainsFunc(m.Bins.Bins, func(b feed.Bin) bool { return b.Flows[feed.HTTP] != nil && b.Flows[feed.HTTP].Others > 0 })
		})
		isState := func(process string) func(feed.Message) bool {
			return func(m feed.Message) bool {
				return m.State != nil && m.State.Instance == "whoami-2" && m.State.Process == process
			}
		}
		page.until("the death", isState(feed.Gone))
		page.until("the restart", isState(feed.Running))
	}
	o.signal(t, syscall.SIGTERM)
	for _, page := range pages {
		if end := page.until("the End", isEnd); end.End.Text != "trivet up has ended." {
			t.Errorf("%+v", end.End)
		}
	}
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v", status)
	}
}

func TestPageOfALargeFleet(t *testing.T) {
	t.Parallel()
	o := launch(t, "--json", "-n", "12", "--front", "1", "--tls", "--mtls", "--http", "0", "--grpc", "0")
	up := o.until(t, event("up"))
	page := readFeed(t, up.Dashboard)
	if trial := trialOf(t, page); len(trial.Instances) != 13 || !trial.TLS || !trial.MTLS {
		t.Errorf("%+v", trial)
	}
	healthy := make(map[string]bool)
	page.until("health of all", func(m feed.Message) bool {
		if m.State != nil && m.State.Health == feed.Serving {
			healthy[m.State.Instance] = true
		}
		return len(healthy) == 13
	})
	o.signal(t, syscall.SIGTERM)
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v", status)
	}
}

// The page says which records it does not have.
func TestPageOfInstancesWithRecordsElsewhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "env")
	if err := os.WriteFile(file, []byte("RECORDS="+filepath.Join(dir, "mine.jsonl")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := launch(t, "--json", "-n", "1", "--http", "0", "--grpc", "0", "--env-file", file)
	up := o.until(t, event("up"))
	if trial := trialOf(t, readFeed(t, up.Dashboard)); !slices.Contains(trial.Lacks, "instances") {
		t.Errorf("%+v", trial)
	}
	o.signal(t, syscall.SIGTERM)
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v", status)
	}
}

func TestPageThatIsOff(t *testing.T) {
	t.Parallel()
	o := launch(t, "--json", "-n", "1", "--http", "0", "--grpc", "0", "--dashboard", "off")
	if up := o.until(t, event("up")); up.Dashboard != "" {
		t.Errorf("the page is at %q", up.Dashboard)
	}
	o.signal(t, syscall.SIGTERM)
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v", status)
	}
}
