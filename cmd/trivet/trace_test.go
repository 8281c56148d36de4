package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"trivet/internal/collectortest"
	"trivet/lab/labtest"
)

// collecting starts a collector, and sets $COLLECTOR to its endpoint.
func collecting(ts *testscript.TestScript, _ bool, _ []string) {
	c := &collectortest.Collector{}
	mux := http.NewServeMux()
	mux.Handle("/", c)
	mux.HandleFunc("/collected", func(w http.ResponseWriter, _ *http.Request) {
		traces := make(map[string]bool)
		for _, s := range c.Spans() {
			traces[string(s.TraceId)] = true
		}
		_, _ = io.WriteString(w, strconv.Itoa(len(traces)))
	})
	server := httptest.NewServer(mux)
	ts.Defer(server.Close)
	ts.Setenv("COLLECTOR", server.URL)
}

// collected checks how many traces the collector has.
func collected(ts *testscript.TestScript, _ bool, args []string) {
	response, err := http.Get(ts.Getenv("COLLECTOR") + "/collected")
	ts.Check(err)
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	ts.Check(err)
	if string(got) != args[0] {
		ts.Fatalf("the collector has %s traces, want %s", got, args[0])
	}
}

// A running trivet up has records of its instances, so a request can be drawn at once, down to what the instance did. RECORDS says
// otherwise.
func TestUpKeepsRecordsForTrace(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]*regexp.Regexp{
		"":                      regexp.MustCompile(`(?m)^nginx GET / .*\n└ attempt 1: whoami-1 .*\n  └ whoami-1 GET / .* 200$`),
		"RECORDS=" + os.DevNull: regexp.MustCompile(`(?ms)^└ attempt 1: whoami-1 .*^The instances wrote no records \(RECORDS\): their executions are not shown\.$`),
	} {
		cmd := &exec.Cmd{Path: trivet(t), Args: []string{"trivet", "up", "--json", "-n", "1", "--http", "0", "--grpc", "0", "--nginx", labtest.Nginx(t).Path, "--bind", ownAddress(), "--env-file", filepath.Join(t.TempDir(), "env")}}
		if err := os.WriteFile(cmd.Args[len(cmd.Args)-1], []byte(setting+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		o := outsideOf(t, cmd)
		up := o.until(t, event("up"))
		request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+up.HTTP+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Request-Id", "mine")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		var got []byte
		for range 1000 { // nginx may log the request a moment after its response.
			draw := exec.CommandContext(t.Context(), trivet(t), "trace", "mine")
			draw.Env = append(os.Environ(), "TMPDIR="+o.tmp)
			if got, err = draw.CombinedOutput(); err == nil {
				break
			}
		}
		if !want.Match(got) {
			t.Errorf("%q: want %s, got\n%s", setting, want, got)
		}
		o.signal(t, syscall.SIGTERM)
		o.wait(t)
	}
}
