package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/feed"
	"trivet/lab/measure"
	"trivet/lab/scenario"
)

// A feedReader is a page that reads the feed.
type feedReader struct {
	t     *testing.T
	body  io.ReadCloser
	lines *bufio.Reader
}

// readFeed opens the feed of a page.
func readFeed(t *testing.T, url string) *feedReader {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}, Timeout: 5 * eventTimeout} // For all that is read.
	response, err := client.Get(url + "api/feed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return &feedReader{t, response.Body, bufio.NewReader(response.Body)}
}

// until reads up to a wanted message.
func (r *feedReader) until(what string, wanted func(feed.Message) bool) feed.Message {
	r.t.Helper()
	for {
		line, err := r.lines.ReadString('\n')
		if err != nil {
			r.t.Fatalf("the feed ends before %s: %v", what, err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var m feed.Message
			if err := json.Unmarshal([]byte(data), &m); err != nil {
				r.t.Fatal(err)
			}
			if wanted(m) {
				return m
			}
		}
	}
}

func isHello(m feed.Message) bool  { return m.Hello != nil }
func isReport(m feed.Message) bool { return m.Experiment != nil }
func isEnd(m feed.Message) bool    { return m.End != nil }

// get returns what a page's path responds with.
func get(t *testing.T, url string) (code int, text string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

var urlLine = regexp.MustCompile(`(?m)^ *(http://\S+/)$`)

// untilURL reads what trivet prints up to a URL on a line of its own.
func (o *outside) untilURL(t *testing.T) string {
	t.Helper()
	for {
		line, err := o.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("no URL: %v", err)
		}
		if found := urlLine.FindStringSubmatch(line); found != nil {
			return found[1]
		}
	}
}

// pageGrace is more than the second by which open pages may delay an end, also on a busy machine, and less than the half minute for which a
// write to one may wait.
const pageGrace = 15 * time.Second

func TestViewReplaysARun(t *testing.T) {
	t.Parallel()
	base := filepath.Join(proctest.Passable(t), filepath.Base(experimentsBase()))
	tracedRun(t, base)
	runs, err := filepath.Glob(filepath.Join(base, "*"))
	if err != nil || len(runs) != 1 {
		t.Fatal(runs, err)
	}
	o := outsideOf(t, &exec.Cmd{Path: trivet(t), Args: []string{"trivet", "view", "--dashboard", "0", runs[0]}})
	url := o.untilURL(t)
	if code, text := get(t, url); code != http.StatusOK || !strings.Contains(text, "<title>Trivet</title>") || strings.Contains(text, "trivet-token") {
		t.Errorf("%d:\n%s", code, text)
	}
	pages := []*feedReader{readFeed(t, url), readFeed(t, url)}
	for _, p := range pages {
		if hello := p.until("the Hello", isHello); hello.Hello.Source != feed.RunDir || hello.Hello.Dir != runs[0] {
			t.Errorf("%+v", hello.Hello)
		}
		p.until("the report", isReport)
	}
	if code, text := get(t, url+"api/story?trial=0&id=1.http.0.20"); code != http.StatusOK || !strings.Contains(text, `"sentences":["The client sent it at `) {
		t.Errorf("the story: %d, %s", code, text)
	}
	begin := time.Now()
	o.signal(t, syscall.SIGINT)
	for _, p := range pages {
		if end := p.until("the End", isEnd); end.End.Text != "trivet view has ended." {
			t.Errorf("%+v", end.End)
		}
	}
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
	}
	if took := time.Since(begin); took > pageGrace {
		t.Errorf("it took %v to end", took)
	}
}

func TestViewOfAFleetNamesWhatItWants(t *testing.T) {
	t.Parallel()
	base := filepath.Join(proctest.Passable(t), "up")
	tracedUp(t, base)
	dirs, err := filepath.Glob(filepath.Join(base, "*"))
	if err != nil || len(dirs) != 1 {
		t.Fatal(dirs, err)
	}
	stderr := &stderrBuffer{to: t.Output()}
	o := outsideOf(t, &exec.Cmd{Path: trivet(t), Args: []string{"trivet", "view", dirs[0]}, Stderr: stderr})
	if said, status := o.end(t); status.ExitStatus() != 2 || said != "" || !strings.Contains(o.words(), "is the directory of a trivet up") {
		t.Errorf("exit code %d, %s%s", status.ExitStatus(), said, o.words())
	}
}

const short = `
question: Does the page have the verdict?
fleet: {instances: 2, workers: 1}
load: [{protocol: http, rate: 50/s}]
phases: [{name: during, for: 1s}]
expect: [total.http.failed == 0]
`

func TestWatchedRunHasItsVerdictOnThePage(t *testing.T) {
	t.Parallel()
	o := running(t, short, "--watch", "--dashboard", "0")
	eventually(t, "the URL is printed", func() bool { return urlLine.MatchString(o.words()) })
	url := urlLine.FindStringSubmatch(o.words())[1]
	page := readFeed(t, url)
	page.until("the trial", func(m feed.Message) bool {
		return m.Trial != nil && m.Trial.Experiment == "long" && len(m.Trial.Instances) == 2
	})
	page.until("a bin with requests", func(m feed.Message) bool {
		return m.Bins != nil && m.Bins.Bins[0].Flows[feed.HTTP] != nil
	})
	verdict := page.until("the verdict", isReport)
	if !regexp.MustCompile(`"verdict":"(PASSED|passed|invalid|INVALID)"`).Match(verdict.Experiment.Report) {
		t.Errorf("%s", verdict.Experiment.Report)
	}
	page.until("the End", isEnd)
	if _, status := o.end(t); status.ExitStatus() != 0 && status.ExitStatus() != 3 { // 3 on a busy machine
		t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
	}
}

func TestInterruptedRunEndsItsPage(t *testing.T) {
	t.Parallel()
	o := running(t, long, "--watch", "--dashboard", "0")
	o.untilLoaded(t)
	page := readFeed(t, urlLine.FindStringSubmatch(o.words())[1])
	page.until("a bin", func(m feed.Message) bool { return m.Bins != nil })
	o.signal(t, syscall.SIGINT)
	if end := page.until("the End", isEnd); !strings.Contains(end.End.Text, "trivet view") {
		t.Errorf("%+v", end.End)
	}
	if _, status := o.end(t); status.ExitStatus() != 130 {
		t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
	}
}

// A run whose directory cannot be read goes on without its page, which is said once.
func TestRunGoesOnWithoutItsPage(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	w := &watchedRun{listener: listener, in: invocation{stderr: &stderr}}
	watched := 0
	see := w.watching(t.TempDir(), 1, func(scenario.Experiment, scenario.Scenario, int, *measure.Trial) { watched++ })
	for range 2 {
		see(scenario.Experiment{}, scenario.Scenario{}, 1, nil)
	}
	if said := stderr.String(); watched != 2 || strings.Count(said, "the page: ") != 1 || !strings.Contains(said, "run.json") {
		t.Errorf("%d calls, %q", watched, said)
	}
	w.close(t.Context())
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the port is still taken: %v", err)
	}
}

// A page that another process has the usual port of is served on another.
func TestPageTakesAnotherPortIfTheUsualOneIsTaken(t *testing.T) {
	t.Parallel()
	base := filepath.Join(proctest.Passable(t), filepath.Base(experimentsBase()))
	tracedRun(t, base)
	runs, _ := filepath.Glob(filepath.Join(base, "*"))
	view := func() (*outside, string) {
		o := outsideOf(t, &exec.Cmd{Path: trivet(t), Args: []string{"trivet", "view", runs[0]}})
		return o, o.untilURL(t)
	}
	first, one := view()
	second, other := view()
	if one == other {
		t.Errorf("both are at %s", one)
	}
	for _, o := range []*outside{first, second} {
		o.signal(t, syscall.SIGTERM)
		if status := o.wait(t); status != 0 {
			t.Errorf("ended with %v", status)
		}
	}
}

// A run that goes on is shown, too, by another program than the one that runs it.
func TestViewFollowsARun(t *testing.T) {
	t.Parallel()
	r := running(t, long)
	r.untilLoaded(t)
	run := filepath.Dir(filepath.Dir(r.variant()))
	o := outsideOf(t, &exec.Cmd{Path: trivet(t), Args: []string{"trivet", "view", "--dashboard", "0", run}})
	url := o.untilURL(t)
	page := readFeed(t, url)
	if hello := page.until("the Hello", isHello); hello.Hello.Dir != run {
		t.Errorf("%+v, want %s", hello.Hello, run)
	}
	first := page.until("a bin", func(m feed.Message) bool { return m.Bins != nil })
	page.until("a later bin", func(m feed.Message) bool { return m.Bins != nil && m.Bins.Bins[0].N > first.Bins.Bins[0].N })
	r.signal(t, syscall.SIGINT)
	page.until("the report", isReport)
	if _, status := r.end(t); status.ExitStatus() != 130 {
		t.Errorf("ended with %v (exit code %d)", status, status.ExitStatus())
	}
	o.signal(t, syscall.SIGINT)
	if status := o.wait(t); status != 0 {
		t.Errorf("ended with %v", status)
	}
}
