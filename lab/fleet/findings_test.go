package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/labtest"
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx/confedit"
)

func TestEachLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100<<10)
	for text, want := range map[string][]string{
		"": nil, "one\n two \n": {"one", "two"}, "one\ntwo": {"one", "two"}, long + "\nend\n": {long[:64<<10], long[64<<10:], "end"},
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []string
		if err := eachLine(path, func(line []byte) { got = append(got, string(line)) }); err != nil || !slices.Equal(got, want) {
			t.Errorf("%.20q: %d lines, %v", text, len(got), err)
		}
	}
	if err := eachLine(filepath.Join(t.TempDir(), "log"), nil); !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}

// masterText is what nginx 1.22.1 logs for a reload, for the end of its old workers, and for SIGQUIT. %s is after the reload.
const masterText = `
[notice] 14#14: start worker processes
[notice] 14#14: start worker process 15
[notice] 14#14: start worker process 16
[notice] 14#14: signal 1 (SIGHUP) received from 9, reconfiguring
[notice] 14#14: reconfiguring
[notice] 14#14: start worker processes
[notice] 14#14: start worker process 69
[notice] 15#15: gracefully shutting down
[notice] 14#14: worker process 15 exited with code 0
[notice] 14#14: start worker process 70
[notice] 14#14: signal 17 (SIGCHLD) received from 16
[notice] 14#14: worker process 16 exited with code 0
%s[notice] 14#14: signal 3 (SIGQUIT) received from 9, shutting down
[notice] 14#14: worker process 69 exited with code 0
[notice] 14#14: worker process 70 exited with code 0
[notice] 14#14: exit`

func TestFindingsInMasterLog(t *testing.T) {
	t.Parallel()
	const killed, another = "[alert] 14#14: worker process 69 exited on signal 9\n", "[notice] 14#14: start worker process 71\n"
	begin := time.Date(2026, 11, 25, 9, 0, 0, 500_000_000, time.Local)
	requested := Reloading{begin, begin.Add(100 * time.Millisecond)}
	const restarted = `
[notice] 14#14: exit
[notice] 24#24: start worker processes
[notice] 24#24: start worker process 25
[notice] 24#24: start worker process 26
[debug] 24#24: channel 3:5
[notice] 24#24: start worker process 27
[notice] 24#24: signal 29 (SIGIO) received
`
	for _, test := range []struct {
		log     string
		reloads []Reloading
		want    []string
		killed  []int
	}{
		{log: "", reloads: []Reloading{requested}},
		// An action killed the worker; another one ended by itself, or the same one again.
		{killed + another, []Reloading{requested}, nil, []int{69}},
		{killed + another, []Reloading{requested}, []string{"worker_ended 69 signal SIGKILL"}, []int{70}},
		{killed + another + killed + another, []Reloading{requested}, []string{"worker_ended 69 signal SIGKILL"}, []int{69}},
		{killed + another + another, []Reloading{requested}, []string{"worker_replaced 71"}, []int{69}},
		{"[alert] 14#14: worker process 69 exited on signal 11\n", []Reloading{requested}, []string{"worker_ended 69 signal SIGSEGV"}, []int{69}},
		// nginx was started again, with other workers, of which one is killed.
		{restarted, []Reloading{requested}, nil, nil},
		{restarted + "[alert] 24#24: worker process 26 exited on signal 9\n[notice] 24#24: start worker process 28\n", []Reloading{requested}, nil, []int{26}},
		{restarted + "[alert] 24#24: worker process 26 exited on signal 9\n[notice] 24#24: start worker process 28\n[notice] 24#24: start worker process 29\n", []Reloading{requested},
			[]string{"worker_ended 26 signal SIGKILL", "worker_replaced 29"}, nil},
		// A killed master left a worker to start.
		{killed + restarted + "[notice] 24#24: start worker process 28\n", []Reloading{requested}, []string{"worker_replaced 28"}, []int{69}},
		{"", nil, []string{"reconfigured 0"}, nil},
		{"[notice] 14#14: reconfiguring\n[notice] 14#14: start worker processes\n", []Reloading{requested}, []string{"reconfigured 0"}, nil},
		// The clock was set: as many reloads as were requested are those.
		{"", []Reloading{{begin.Add(time.Hour), begin.Add(time.Hour)}}, nil, nil},
		{"", []Reloading{{Begin: begin}}, nil, nil}, // It was interrupted.
		{killed + another, []Reloading{requested}, []string{"worker_ended 69 signal SIGKILL"}, nil},
		{"[alert] 14#14: worker process 69 exited on signal 11 (core dumped)\n", []Reloading{requested}, []string{"worker_ended 69 signal SIGSEGV"}, nil},
		{"[notice] 14#14: worker process 69 exited with code 1\n[alert] 14#14: worker process 70 exited with fatal code 2 and cannot be respawned\n",
			[]Reloading{requested}, []string{"worker_ended 69 exit code 1", "worker_ended 70 exit code 2"}, nil},
		{"[notice] 14#14: worker process 70 exited with code 0\n[notice] 14#14: start worker process 71\n", []Reloading{requested}, []string{"worker_replaced 71"}, nil},
		{killed + "[notice] 14#14: reconfiguring\n[notice] 14#14: start worker processes\n" + another + another + another, []Reloading{requested, requested}, []string{"worker_ended 69 signal SIGKILL"}, nil},
		{"[error] 70#70: *9 connect() failed, request: \"GET /reconfiguring\"\n[error] 70#70: worker process 69 exited on a word\n", []Reloading{requested}, nil, nil},
	} {
		var m masterLog
		for line := range strings.Lines(fmt.Sprintf(masterText, test.log)) {
			m.add([]byte(strings.TrimSpace("2026/11/25 09:00:00 " + line)))
		}
		all := m.findings(Requested{Reloads: test.reloads, Killed: test.killed})
		for _, e := range all {
			if e.Event != record.NginxEvent || !e.Time.Equal(begin.Truncate(time.Second)) {
				t.Errorf("%+v", e)
			}
		}
		if got := summaries(all); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.log, got, test.want)
		}
	}
}

// debugText is what nginx 1.22.1 (--with-debug, error_log debug) logs where masterText has the start and the reload: ngx_process_cycle.c
// and ngx_process.c write channels between the workers' lines.
const debugText = `
[notice] 14#14: start worker processes
[debug] 14#14: channel 5:6
[notice] 14#14: start worker process 15
[debug] 14#14: pass channel s:0 pid:15 fd:5 to s:1 pid:16 fd:7
[debug] 14#14: channel 7:8
[notice] 14#14: start worker process 16
[debug] 14#14: pass channel s:1 pid:16 fd:7 to s:0 pid:15 fd:5
[debug] 14#14: sigsuspend
[debug] 15#15: epoll timer: -1
[debug] 14#14: wake up, sigio 0
[notice] 14#14: signal 1 (SIGHUP) received from 9, reconfiguring
[debug] 14#14: wake up, sigio 0
[notice] 14#14: reconfiguring
[notice] 14#14: start worker processes
[debug] 14#14: channel 5:9
[notice] 14#14: start worker process 69
[debug] 14#14: pass channel s:2 pid:69 fd:5 to s:0 pid:15 fd:5
[debug] 14#14: channel 10:11
[notice] 14#14: start worker process 70
[debug] 14#14: child: 0 15 e:0 t:0 d:0 r:1 j:0
[debug] 14#14: reap children
[notice] 14#14: worker process 15 exited with code 0`

// Debug messages between the starts of workers must not end the count of those that are expected.
func TestFindingsInDebugLog(t *testing.T) {
	t.Parallel()
	var m masterLog
	for line := range strings.Lines(debugText) {
		m.add([]byte(strings.TrimSpace("2026/11/25 09:00:00 " + line)))
	}
	begin := time.Date(2026, 11, 25, 9, 0, 0, 0, time.Local)
	if all := m.findings(Requested{Reloads: []Reloading{{begin, begin.Add(time.Second)}}}); len(all) > 0 {
		t.Errorf("got %q", summaries(all))
	}
}

// Real debug messages where nginx has them: nginx -V names --with-debug.
func TestDebugLogHasNoFindings(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	o.Edits = []confedit.Edit{{Context: "main", Directive: "error_log logs/error.log debug"}}
	f := begin(t, o)
	if err := f.Do(t.Context(), scenario.Operation{Kind: scenario.Reload, Process: scenario.Nginx}); err != nil {
		t.Fatal(err)
	}
	if err := f.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(f.LogFile(scenario.Nginx))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d debug messages", strings.Count(string(log), " [debug] "))
	if all, err := f.Findings(); err != nil || len(all) > 0 {
		t.Errorf("got %q, %v", summaries(all), err)
	}
}

// summaries are kind, PID and exit of each event.
func summaries(all []record.Event) []string {
	var texts []string
	for _, e := range all {
		text := fmt.Sprintf("%s %d", e.Kind, e.PID)
		if e.Exit != nil {
			text += " " + e.Exit.String()
		}
		texts = append(texts, text)
	}
	return texts
}

func TestWorkerEndIsFoundWithoutNotices(t *testing.T) {
	t.Parallel()
	var m masterLog
	m.add([]byte("2026/11/25 09:00:00 [alert] 14#14: worker process 69 exited on signal 9"))
	if all := m.findings(Requested{}); len(all) != 1 || all[0].Kind != record.WorkerEnded || all[0].PID != 69 {
		t.Errorf("%+v", all)
	}
}

// A worker that is killed and a reload by hand, beside one that was requested: only nginx's log has the first two.
func TestFindingsAreWhatNoActionRequested(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 1))
	nginx := f.Process(scenario.Nginx)
	if err := f.Do(t.Context(), scenario.Operation{Kind: scenario.Reload, Process: scenario.Nginx}); err != nil {
		t.Fatal(err)
	}
	killed := slices.DeleteFunc(workers(nginx.PID()), func(w worker) bool { return w.leaving })[0].pid
	if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	logged := func(text string, times int) func() bool {
		return func() bool {
			log, err := os.ReadFile(f.LogFile(scenario.Nginx))
			return err == nil && strings.Count(string(log), text) >= times
		}
	}
	eventually(t, "the master has logged its worker's end", logged(fmt.Sprintf("worker process %d exited on signal 9", killed), 1))
	if err := nginx.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the master reloads again", logged(": reconfiguring", 2))
	if err := f.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := f.Findings()
	if got, want := summaries(all), []string{fmt.Sprintf("worker_ended %d signal SIGKILL", killed), "reconfigured 0"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// Records that are missing because a disk is full must not look like discrepancies.
func TestUnwritableRecordsAreAnError(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		edits   []confedit.Edit
		program func(*testing.T) string
		want    string
	}{
		"access log": {[]confedit.Edit{{Context: "http", Directive: "access_log /dev/full requests"}}, nil, "nginx could not write its records: "},
		"instance":   {nil, func(t *testing.T) string { return program(t, "RECORDS=/dev/full exec "+whoami+` "$@"`) }, "whoami-1 could not write its records: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := Local{Nginx: labtest.Nginx(t), Whoami: whoami}
			if test.program != nil {
				l.Whoami = test.program(t)
			}
			dir := proctest.Passable(t)
			if err := os.Mkdir(filepath.Join(dir, filepath.Dir(record.InstancesFile)), 0o700); err != nil {
				t.Fatal(err)
			}
			f, err := l.Start(t.Context(), scenario.Scenario{Instances: 1, Workers: 1, Edits: test.edits}, dir, func(record.Event) {})
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := f.Findings(); !errors.Is(err, record.ErrRunDir) || !strings.Contains(err.Error(), test.want) || !strings.Contains(strings.ToLower(err.Error()), "no space left on device") {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
