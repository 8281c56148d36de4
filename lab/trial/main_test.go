package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/labtest"
	"trivet/lab/load"
	"trivet/lab/measure"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

var whoami string // the instances' program, built once

// The test binary is also the generator. The environment has settings of other instances: they must make no difference.
func TestMain(m *testing.M) {
	labtest.Generate(load.Serve)
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		for name, value := range map[string]string{
			"ENVIRONMENT": "prod", "DRAIN_DELAY": "1h", "LOG_LEVEL": "error", "LOG_FORMAT": "json", "RECORDS": "/no/such/file", "INSTANCE": "mine",
			"MAX_CONNECTIONS": "1", "MAX_CALLS": "refused",
			"GORACE": proctest.QuickExit,
		} {
			if err := os.Setenv(name, value); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		return m.Run()
	}))
}

// during is a scenario of one phase: 50 HTTP requests per second.
func during(length time.Duration, do ...scenario.Action) scenario.Scenario {
	return scenario.Scenario{
		Experiment: "test", Variant: scenario.Only, Seed: 1, Instances: 3, Workers: 2,
		Loads:  []scenario.Load{httpLoad(50)},
		Phases: []scenario.Phase{{Name: "during", For: length, Do: do}},
	}
}

func httpLoad(perSecond float64) scenario.Load {
	return scenario.Load{
		Name: scenario.HTTP, Protocol: scenario.HTTP, Call: scenario.Unary, Rate: constant(perSecond), Deadline: 500 * time.Millisecond, Retry: true,
	}
}

func grpcLoad(name string, perSecond float64) scenario.Load {
	l := httpLoad(perSecond)
	l.Name, l.Protocol, l.Channels = name, scenario.GRPC, 1
	return l
}

func constant(perSecond float64) scenario.Rate {
	return scenario.Rate{Shape: scenario.Constant, PerSecond: []float64{perSecond}}
}

func on(kind string, names ...string) scenario.Action {
	return scenario.Action{Process: &scenario.ProcessAction{Kind: kind, Names: names}}
}

func wait(d time.Duration) scenario.Action {
	return scenario.Action{Wait: &scenario.WaitAction{For: d}}
}

var reload = scenario.Action{Process: &scenario.ProcessAction{Kind: scenario.Reload, Names: []string{scenario.Nginx}}}

// A fake is a System without processes or records: an HTTP server of the test's own answers.
type fake struct {
	server   *httptest.Server
	cannot   string                                                // a kind of action
	do       func(ctx context.Context, kind, process string) error // nil: every action succeeds
	stop     func(ctx context.Context) error
	findings func() ([]record.Event, error)

	mu    sync.Mutex
	calls []string
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{}
	f.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Instance", "whoami-1") }))
	t.Cleanup(f.server.Close)
	return f
}

func (f *fake) start(context.Context, scenario.Scenario, string, func(record.Event)) (System, error) {
	f.called("start")
	return f, nil
}

func (f *fake) called(what ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, strings.Join(what, " "))
}

func (f *fake) HTTP() string                  { return f.server.Listener.Addr().String() }
func (f *fake) GRPC() string                  { return "127.0.0.1:1" }
func (f *fake) TLS() string                   { return "" }
func (f *fake) CA() string                    { return "" }
func (f *fake) Can(o scenario.Operation) bool { return o.Kind != f.cannot }

func (f *fake) Target() *record.Target { return nil }

func (f *fake) Processes() map[string]int { return nil }

func (f *fake) Instances() []record.Instance {
	return []record.Instance{{Name: "whoami-1", HTTP: "127.0.0.1:8001", GRPC: "127.0.0.1:9001"}}
}

func (f *fake) Do(ctx context.Context, o scenario.Operation) error {
	f.called(o.Kind, o.Process)
	if f.do == nil {
		return nil
	}
	return f.do(ctx, o.Kind, o.Process)
}

func (f *fake) Stop(ctx context.Context) error {
	f.called("stop")
	if f.stop == nil {
		return nil
	}
	return f.stop(ctx)
}

func (f *fake) Findings() ([]record.Event, error) {
	f.called("findings")
	if f.findings == nil {
		return nil, nil
	}
	return f.findings()
}

// setup is for a scenario on a system that start starts.
func setup(t *testing.T, s scenario.Scenario, start Start) Setup {
	t.Helper()
	return Setup{Scenario: s, Dir: proctest.Passable(t), Start: start, Nginx: "1.22.1", Trivet: self(t)}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// run fails the test if the trial does not end.
func run(t *testing.T, ctx context.Context, s Setup) error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, s) }()
	select {
	case err := <-ended:
		return err
	case <-time.After(timeout):
		t.Fatal("the trial does not end")
		return nil
	}
}

// errSignal is the cause of the end of contexts here.
var errSignal = errors.New("interrupt signal received")

// checkInterrupted fails the test unless error and records say that the trial was interrupted, and nothing is left.
func checkInterrupted(t *testing.T, s Setup, err error) {
	t.Helper()
	if !errors.Is(err, errSignal) {
		t.Errorf("got %v", err)
	}
	if e := last(t, s.Dir); e.Event != record.Interrupted || e.Error != errSignal.Error() {
		t.Errorf("%+v", e)
	}
	checkGone(t, s.Dir)
}

// result is the result of a trial's records.
func result(t *testing.T, dir string) measure.Result {
	t.Helper()
	m, err := measure.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Close()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// events are those of the event log.
func events(t *testing.T, dir string) []record.Event {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, record.EventsFile))
	if err != nil {
		t.Fatal(err)
	}
	var all []record.Event
	for line := range bytes.Lines(text) {
		var e record.Event
		if err := json.Unmarshal(line, &e); err != nil || !bytes.HasSuffix(line, []byte("\n")) {
			t.Fatalf("%q: %v", line, err)
		}
		if e.V != record.EventVersion || e.Time.IsZero() {
			t.Errorf("%s has no version, or no time", line)
		}
		all = append(all, e)
	}
	return all
}

// words are the events in words, in their order, without probes and health: "during: action_started kill whoami-1", "whoami-1 died (signal SIGKILL)".
func words(all []record.Event) []string {
	var lines []string
	for _, e := range all {
		switch e.Event {
		case record.Probe, record.HealthEvent:
		case record.PhaseStarted:
			lines = append(lines, "phase "+e.Phase)
		case record.ActionStarted, record.ActionDone:
			lines = append(lines, e.Phase+": "+e.Event+" "+e.ActionName())
		case record.ProcessEvent:
			text := e.Process + " " + e.Kind
			if e.Exit != nil {
				text += " (" + e.Exit.String() + ")"
			}
			lines = append(lines, text)
		default:
			lines = append(lines, e.Event)
		}
	}
	return lines
}

// only are the events of that kind, of a process or an action on it.
func only(all []record.Event, kind, process string) []record.Event {
	return slices.DeleteFunc(slices.Clone(all), func(e record.Event) bool {
		return e.Process != process || e.Event == record.ProcessEvent && e.Kind != kind || e.Event != record.ProcessEvent && e.Event != kind
	})
}

// last is how the trial ended, by its event log.
func last(t *testing.T, dir string) record.Event {
	t.Helper()
	e, err := record.LastEvent(dir)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// timeout bounds what takes milliseconds, or seconds on a busy machine.
const timeout = time.Minute

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(timeout); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Errorf("not within %v: %s", timeout, what)
			return
		}
	}
}

// checkGone fails the test unless nothing of a trial is left: no process of its own, and no open file of its directory in any process,
// this one included.
func checkGone(t *testing.T, dir string) {
	t.Helper()
	for _, e := range events(t, dir) {
		if e.Event == record.ProcessEvent && e.PID != 0 {
			if err := syscall.Kill(e.PID, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("%s, pid %d, is still there: %v", e.Process, e.PID, err)
			}
		}
	}
	// Not at once: a process that another test is just starting has this one's files until its exec.
	eventually(t, "all files are closed", func() bool { return len(holders(t, dir)) == 0 })
	if t.Failed() {
		t.Logf("files open in %s: %v", dir, holders(t, dir))
	}
}

// holders are the files of a directory that processes have open, with the processes' ids.
func holders(t *testing.T, dir string) map[string][]int {
	t.Helper()
	found := map[string][]int{}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if file, err := os.Readlink(link); err == nil && strings.HasPrefix(file, dir+"/") {
			pid, err := strconv.Atoi(strings.Split(link, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimPrefix(file, dir+"/")
			found[name] = append(found[name], pid)
		}
	}
	return found
}
