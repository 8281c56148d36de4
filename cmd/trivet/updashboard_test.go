package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"trivet/lab/feed"
	"trivet/lab/labtest"
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
		gone := false
		stopped := make(map[int]string) // by event, which may come twice
		end := page.until("the End", func(m feed.Message) bool {
			if m.Event != nil && strings.Contains(m.Event.Text, " stopped") {
				stopped[m.Event.N] = m.Event.Process
			}
			gone = gone || m.State != nil && m.State.Instance == "whoami-1" && m.State.Process == feed.Gone
			return isEnd(m)
		})
		if all := slices.Sorted(maps.Values(stopped)); !gone || end.End.Text != "trivet up has ended." || !slices.Equal(all, []string{"nginx", "whoami-1", "whoami-2"}) {
			t.Errorf("%+v, after the end of %q", end.End, all)
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

// Other machines reach the page by an address of this one, and not by a name.
func TestPageForOtherMachines(t *testing.T) {
	t.Parallel()
	o := launch(t, "--json", "-n", "1", "--http", "0", "--grpc", "0", "--dashboard-bind", "0.0.0.0")
	up := o.until(t, event("up"))
	if !slices.ContainsFunc(o.events, func(l line) bool { return l.Event == "note" && strings.Contains(l.Message, "--dashboard-bind 0.0.0.0") }) {
		t.Errorf("no note in %+v", o.events)
	}
	port := strings.TrimSuffix(strings.TrimPrefix(up.Dashboard, "http://localhost:"), "/")
	if code, text := get(t, "http://127.99.88.77:"+port+"/"); code != http.StatusOK || !tokenMeta.MatchString(text) {
		t.Errorf("by address: %d, %s", code, text)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.99.88.77:"+port+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "trivet.example:" + port
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("by name: %s", response.Status)
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

// An orderer sends what a person does on a page.
type orderer struct {
	t          *testing.T
	url, token string
}

var tokenMeta = regexp.MustCompile(`<meta name="trivet-token" content="([A-Z2-7]+)">`)

func orders(t *testing.T, url string) *orderer {
	t.Helper()
	_, index := get(t, url)
	found := tokenMeta.FindStringSubmatch(index)
	if found == nil {
		t.Fatalf("no token in:\n%s", index)
	}
	return &orderer{t, url, found[1]}
}

// post sends an order, and wants a status and a text in the response, which it returns.
func (o *orderer) post(path, body string, code int, says string) string {
	o.t.Helper()
	request, err := http.NewRequestWithContext(o.t.Context(), http.MethodPost, o.url+"api/"+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Trivet-Token", o.token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		o.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != code || !strings.Contains(string(text), says) {
		o.t.Errorf("%s %s: %s, %s (%v); want %d, %s", path, body, response.Status, text, err, code, says)
	}
	return string(text)
}

// hasLoad reports whether a message has a bin with requests of the load over a flow.
func hasLoad(m feed.Message, flow string) bool {
	return m.Bins != nil && slices.ContainsFunc(m.Bins.Bins, func(b feed.Bin) bool { return b.Flows[flow] != nil && b.Flows[flow].OK > 0 })
}

func TestPageChangesTheFleet(t *testing.T) {
	t.Parallel()
	settings := filepath.Join(t.TempDir(), "settings")
	if err := os.WriteFile(settings, []byte("ENVIRONMENT=qa\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := launch(t, "--json", "-n", "3", "--http", "0", "--grpc", "0", "--tls", "--env-file", settings)
	up := o.until(t, event("up"))
	page, do := readFeed(t, up.Dashboard), orders(t, up.Dashboard)
	trialOf(t, page)
	do.post("load", `{"http":100,"grpc":100}`, 200, "{}")
	for _, flow := range []string{feed.HTTP, feed.GRPC} {
		page.until("requests over "+flow, func(m feed.Message) bool { return hasLoad(m, flow) })
	}
	do.post("action", `{"action":"kill","process":"whoami-2"}`, 200, "{}")
	page.until("the kill", func(m feed.Message) bool {
		return m.State != nil && m.State.Instance == "whoami-2" && m.State.Process == feed.Gone
	})
	do.post("action", `{"action":"resume","process":"whoami-1"}`, 409, "whoami-1 is")
	do.post("action", `{"action":"explode","process":"whoami-1"}`, 400, "explode")
	do.post("load", `{"http":1000000}`, 400, "5000")
	do.post("nginx", `{"balancing":"fastest","speed":"9"}`, 400, `balancing is \"fastest\": want one of round_robin`)
	do.post("nginx", `{"balancing":"round_robin"}`, 200, "{}") // As it is: a reload may take long on a busy machine.
	do.post("request", `{"protocol":"grpc"}`, 200, `"sentences":["The client `)
	do.post("load/stop", `{}`, 200, "{}")
	var control struct {
		Load       struct{ Problem string }
		Reconciled struct {
			Loads, Requests, Discrepancies int
			Problem                        string
		}
	}
	page.until("the reconciliation", func(m feed.Message) bool {
		return m.Control != nil && json.Unmarshal(m.Control, &control) == nil && (control.Reconciled.Loads > 0 || control.Reconciled.Problem != "" || control.Load.Problem != "")
	})
	if r := control.Reconciled; r.Loads != 1 || r.Requests == 0 || r.Discrepancies != 0 || r.Problem != "" {
		t.Errorf("%+v", control)
	}
	var saved struct{ Name, YAML string }
	if err := json.Unmarshal([]byte(do.post("experiment", `{}`, 200, "kill: whoami-2")), &saved); err != nil {
		t.Fatal(err)
	}
	// The load went over nginx's plain listeners.
	if unlike := "\n# - the instances had these settings: ENVIRONMENT=qa; here"; !strings.Contains(saved.YAML, unlike) || strings.Contains(saved.YAML, "tls:") {
		t.Errorf("no %q, or TLS, in\n%s", unlike, saved.YAML)
	}
	file := filepath.Join(t.TempDir(), saved.Name+".yaml")
	if err := os.WriteFile(file, []byte(saved.YAML), 0o600); err != nil {
		t.Fatal(err)
	}
	check := &exec.Cmd{Path: trivet(t), Args: []string{"trivet", "check", "--nginx", labtest.Nginx(t).Path, file}, Env: o.cmd.Env}
	if text, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v: %s\n%s", err, text, saved.YAML)
	}
	do.post("load", `{"http":100}`, 200, "{}") // That runs when trivet ends.
	o.signal(t, syscall.SIGTERM)
	page.until("the End", isEnd)
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v", status)
	}
}
