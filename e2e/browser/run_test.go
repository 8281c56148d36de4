package browser

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"trivet/lab/labtest"
)

// hostile is a text that would do something if a page took it for HTML or for a script.
const hostile = `<img src=x onerror="alert(1)"></script><script>alert(2)</script><b id="injected">&amp; "x"</b>`

// small is an experiment with failed requests: of calls in flight at an instance that is paused and killed.
const small = `question: %[1]q
seed: 1
load:
  - {protocol: http, rate: 100/s}
  - {protocol: grpc, rate: 100/s, deadline: 2s}
phases:
  - {name: before, for: 1500ms}
  - {name: during, for: 2500ms, do: [{wait: 300ms}, {pause: whoami-2}, {wait: 300ms}, {kill: whoami-2}]}
  - {name: after, for: 1500ms, do: [{start: whoami-2}]}
expect:
  - plain.during.grpc.failed > 0
  - with_retry.during.grpc.failed == 0
variants:
  plain:
    description: %[1]q
  with_retry:
    description: clients retry
    nginx: {edits: [{context: upstream whoami_http, directive: keepalive 64}]}
    load:
      - {protocol: http, rate: 100/s}
      - {protocol: grpc, rate: 100/s, deadline: 2s, retry: true}
`

// recorded is the run directory of that experiment.
var recorded struct {
	once sync.Once
	dir  string
	err  error
}

// run runs the experiment once for all tests, and returns its run directory. Its verdict depends on how busy the machine is.
func run(t *testing.T) string {
	t.Helper()
	recorded.once.Do(func() {
		tmp := filepath.Join(programs, "runs")
		path := filepath.Join(tmp, "small.yaml")
		recorded.err = errors.Join(os.Chmod(programs, 0o711), os.MkdirAll(tmp, 0o711), os.WriteFile(path, fmt.Appendf(nil, small, hostile), 0o644))
		if recorded.err != nil {
			return
		}
		output, err := command(t, tmp, "run", "--nginx", labtest.Nginx(t).Path, path).CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1 && exit.ExitCode() != 3) {
			recorded.err = fmt.Errorf("trivet run: %w\n%s", err, output)
			return
		}
		dirs, _ := filepath.Glob(filepath.Join(tmp, "*", "*", "run.json"))
		if len(dirs) != 1 {
			dirs, _ = filepath.Glob(filepath.Join(tmp, "*", "2*"))
		}
		if len(dirs) != 1 {
			recorded.err = fmt.Errorf("run directories %q", dirs)
			return
		}
		recorded.dir = strings.TrimSuffix(dirs[0], "/run.json")
	})
	if recorded.err != nil {
		t.Fatal(recorded.err)
	}
	return recorded.dir
}

// reportOf writes the page of a run as one file.
func reportOf(t *testing.T, dir string) string {
	t.Helper()
	cmd := command(t, t.TempDir(), "report", "--format", "html", dir)
	html, err := cmd.Output()
	if err != nil {
		t.Fatalf("trivet report: %v", err)
	}
	path := artifacts(t, "report-"+t.Name()+".html")
	if err := os.WriteFile(path, html, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestReportIsOneFile opens the report from disk. It shows the question, with its text as text, the verdict, and the story of a request
// that failed; nothing is loaded from elsewhere.
func TestReportIsOneFile(t *testing.T) {
	t.Parallel()
	path := reportOf(t, run(t))
	p := open(t, (&url.URL{Scheme: "file", Path: path}).String(), laptop)
	p.wait(`document.querySelector("[data-verdict]")?.innerText`)
	p.harmless()
	p.failedRequest()
	p.editsInView()
	var loaded []string
	p.eval(`performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:") && !n.startsWith("blob:"))`, &loaded)
	if len(loaded) > 0 {
		t.Errorf("the file loads %q", loaded)
	}
}

// harmless checks that hostile texts are shown as they are.
func (p *tab) harmless() {
	p.t.Helper()
	p.wait(`document.getElementById("report").innerText.includes(` + quote(hostile) + `)`)
	var injected int
	p.eval(`document.querySelectorAll("#injected, img[src=x]").length`, &injected)
	if injected > 0 {
		p.t.Error("a text of the experiment became HTML")
	}
}

// editsInView checks that each marked line of nginx's configuration is seen without scrolling in its file, which has many more lines.
func (p *tab) editsInView() {
	p.t.Helper()
	p.wait(`document.querySelectorAll(".file .added").length === 1 && document.querySelectorAll(".file .removed").length === 1`)
	p.eval(`document.querySelector(".file .added").scrollIntoView()`, nil)
	var hidden []string
	p.eval(`[...document.querySelectorAll(".file .added, .file .removed")].filter(e => {
		const [line, box] = [e, e.closest("pre")].map(x => x.getBoundingClientRect());
		return !line.height || line.top < box.top || line.bottom > box.bottom;
	}).map(e => e.innerText)`, &hidden)
	if len(hidden) > 0 {
		p.t.Errorf("out of sight: %q", hidden)
	}
	p.wait(`document.querySelectorAll(".file pre")[0].textContent.split("\n").length > 40`) // What is folded is there.
}

// failedRequest opens the story of the first failed request.
func (p *tab) failedRequest() {
	p.t.Helper()
	p.click("#details [data-id]")
	p.wait(`/whoami-[123]/.test(document.querySelector("dialog[data-story][open]")?.innerText)`) // On a busy machine others fail, too.
}

// TestViewReplays replays the run: it plays, pauses, and goes to a moment.
func TestViewReplays(t *testing.T) {
	t.Parallel()
	s := view(t, run(t))
	p := open(t, s.URL, laptop)
	p.wait(`document.querySelector("[data-verdict]")?.innerText`)
	p.harmless()
	p.click("#replay [data-do=play]")
	p.wait("!store.live && store.now > 0 && store.now < store.length(store.focus)")
	p.click("#replay [data-do=play]")
	// When a busy machine really did it is in the records.
	for _, state := range []string{"paused", "gone", "running"} {
		var at int
		p.eval(fmt.Sprintf(`trial.states.get("whoami-2").find(s => s.process === %q).at`, state), &at)
		p.set("#replay input[type=range]", fmt.Sprint(at+1))
		p.wait(fmt.Sprintf("Math.abs(store.now - %d) <= 1", at+1))
		p.instance("whoami-2", "data-process-state", state)
	}
	// Between two bins of 100 ms, the rate is that of the ten whole ones before.
	p.set("#replay input[type=range]", "1450")
	p.wait(`store.now === 1450 && document.querySelector(".box.client").innerText.includes((sum => sum.requests - sum.dropped)(module.sumFlow(trial, "http", 400, 1400)) + "/s")`)
	p.recoveries()
	p.failedRequest()
}

// TestRunIsWatched sees a run while it goes on, from its first trial to its verdict. A page that is opened later sees the same.
func TestRunIsWatched(t *testing.T) {
	t.Parallel()
	s := watched(t, fmt.Sprintf(small, "What does a page show of a run that goes on?"))
	p := open(t, s.URL, laptop)
	p.wait(`store.live && document.querySelector("[data-verdict=open]") && document.querySelectorAll("[data-instance]").length === 3`)
	p.wait(`trial.info.variant === "plain" && /HTTP\s+[1-9]\d*\/s/.test(document.querySelector(".client").innerText)`)
	p.wait(`document.getElementById("log").innerText.includes("whoami-2 paused")`)
	later := open(t, s.URL, laptop)
	for _, p := range []*tab{p, later} {
		p.wait(`trial.info.variant === "with_retry"`)
		p.wait(`store.reports.size === 1 && store.ended?.includes("trivet view")`)
	}
	<-s.done
	_ = s.cmd.Wait() // Its exit code depends on how busy the machine is, like the verdict.
	dirs, err := filepath.Glob(filepath.Join(s.tmp, "*", "2*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("run directories %q, %v\n%s", dirs, err, s.printed())
	}
	text, _ := command(t, s.tmp, "report", "--format", "json", dirs[0]).Output()
	var of struct{ Experiments []struct{ Verdict string } }
	if err := json.Unmarshal(text, &of); err != nil || len(of.Experiments) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	for _, p := range []*tab{p, later} {
		p.wait(`document.querySelector("[data-verdict=` + of.Experiments[0].Verdict + `]")`)
	}
}

// recoveries checks of which group of a report the recovery of a flow is, and that few responses say nothing about shares.
func (p *tab) recoveries() {
	p.t.Helper()
	var got []string
	p.eval(`(async () => {
		const { recoveries } = await import("/assets/recovery.js");
		const load = (flow, name) => ({flow, name});
		const group = (name, first, responses) => ({name, metrics: {recovery: {first_failure: first * 1e6, last_failure: first * 1e6, fair_since: 0, fair_responses: responses}}});
		const groups = [group("http", 1, 29), group("grpc", 2, 30), group("held", 3, 30), group("calls", 4, 30)];
		const span = {name: "a", from: 0, to: 1000, do: []};
		const of = (loads, flow) => {
			const info = {experiment: "e", variant: "v", number: 1, width_ms: 100, loads, phases: [span], instances: [1, 2, 3].map(n => ({name: "whoami-" + n, service: "whoami"}))};
			const page = {run: {experiments: [{name: "e"}]}, reports: new Map([[0, {variants: [{name: "v", trials: [{phases: [{groups}]}]}]}]])};
			const [r] = recoveries(page, {info, bins: new Map(), events: [], end: 1000}, flow);
			return r ? [r.firstFailure, r.fairSince, r.few].join(" ") : "bins";
		};
		return [
			of([load("http", "http")], "http"), of([load("http", "a"), load("http", "b")], "http"), of([load("streams", "held")], "streams"),
			of([load("grpc", "calls"), load("streams", "held")], "streams"), of([load("grpc", "calls"), load("streams", "held")], "grpc"),
			of([load("grpc", "grpc"), load("streams", "held")], "grpc"), of([load("grpc", "calls"), load("streams", "held"), load("streams", "b")], "streams"),
		];
	})()`, &got)
	want := []string{"1  true", "1  true", "2 0 false", "3 0 false", "4 0 false", "bins", "bins"}
	if !slices.Equal(got, want) {
		p.t.Errorf("got  %q\nwant %q", got, want)
	}
}
