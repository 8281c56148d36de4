package trial

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/lab/ledger"
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

// What nginx 1.22.1 says when it is reloaded, when a worker is killed, when one is told to end (SIGQUIT), and when it ends itself.
const masterLog = `
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

func TestWhatNginxsLogTells(t *testing.T) {
	t.Parallel()
	const killed, another = "[alert] 14#14: worker process 69 exited on signal 9\n", "[notice] 14#14: start worker process 71\n"
	begin := time.Date(2026, 11, 25, 9, 0, 0, 500_000_000, time.Local)
	own := reload{begin, begin.Add(100 * time.Millisecond)}
	for _, test := range []struct {
		log     string
		reloads []reload
		want    []string
	}{
		{"", []reload{own}, nil},
		{"", nil, []string{"reconfigured 0 "}},
		{"[notice] 14#14: reconfiguring\n[notice] 14#14: start worker processes\n", []reload{own}, []string{"reconfigured 0 "}},
		// The clock was set: as many reloads as were asked for are those.
		{"", []reload{{begin.Add(time.Hour), begin.Add(time.Hour)}}, nil},
		{"", []reload{{began: begin}}, nil}, // It was interrupted.
		{killed + another, []reload{own}, []string{"ended 69 signal SIGKILL"}},
		{"[alert] 14#14: worker process 69 exited on signal 11 (core dumped)\n", []reload{own}, []string{"ended 69 signal SIGSEGV"}},
		{"[notice] 14#14: worker process 69 exited with code 1\n[alert] 14#14: worker process 70 exited with fatal code 2 and cannot be respawned\n",
			[]reload{own}, []string{"ended 69 exit code 1", "ended 70 exit code 2"}},
		{"[notice] 14#14: worker process 70 exited with code 0\n[notice] 14#14: start worker process 71\n", []reload{own}, []string{"replaced 71 "}},
		{killed + "[notice] 14#14: reconfiguring\n[notice] 14#14: start worker processes\n" + another + another + another, []reload{own, own}, []string{"ended 69 signal SIGKILL"}},
		{"[error] 70#70: *9 connect() failed, request: \"GET /reconfiguring\"\n[error] 70#70: worker process 69 exited on a word\n", []reload{own}, nil},
	} {
		dir := t.TempDir()
		d, err := openDiary(dir)
		if err != nil {
			t.Fatal(err)
		}
		d.reloads = test.reloads
		m := master{diary: d}
		for line := range strings.Lines(fmt.Sprintf(masterLog, test.log)) {
			m.line([]byte(strings.TrimSpace("2026/11/25 09:00:00 " + line)))
		}
		m.end()
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range events(t, dir) {
			got = append(got, fmt.Sprintf("%s %d %s", e.Kind, e.PID, e.Exit))
			if e.Event != ledger.NginxDid || !e.Time.Equal(begin.Truncate(time.Second)) {
				t.Errorf("%+v", e)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.log, got, test.want)
		}
	}
}

// Where nginx logs no notices, the end of a worker is told all the same.
func TestWhatNginxsLogTellsWithoutNotices(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := openDiary(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := master{diary: d}
	m.line([]byte("2026/11/25 09:00:00 [alert] 14#14: worker process 69 exited on signal 9"))
	m.end()
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if all := events(t, dir); len(all) != 1 || all[0].Kind != ledger.WorkerEnded || all[0].PID != 69 {
		t.Errorf("%+v", all)
	}
}

// A worker of nginx's that is killed, and a reload by hand, beside one that was asked for: nobody hears of either but nginx's log.
func TestWhatNobodyAskedOfNginx(t *testing.T) {
	t.Parallel()
	s := setup(t, fmt.Sprintf(quiet, "1500ms", "{wait: 500ms}, {reload: nginx}"))
	first := true
	s.Watch = func(*ledger.Ledger) { // It is called before the load begins.
		if !first {
			return
		}
		first = false
		nginx := only(events(t, s.Dir), "started", "nginx")[0].PID
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nginx, nginx))
		var worker int
		if _, none := fmt.Sscan(string(text), &worker); err != nil || none != nil {
			t.Error(err, none)
			return
		}
		if err := syscall.Kill(worker, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		eventually(t, "another worker serves", func() bool {
			text, err := os.ReadFile(filepath.Join(s.Dir, "logs", "error.log"))
			return err == nil && strings.Contains(string(text), fmt.Sprintf("worker process %d exited on signal 9", worker))
		})
		if err := syscall.Kill(nginx, syscall.SIGHUP); err != nil {
			t.Error(err)
		}
	}
	if err := inTime(t, t.Context(), s); err != nil {
		t.Fatal(err)
	}
	_, balance := read(t, s.Dir)
	told := strings.Join(balance.Reasons, "\n")
	for _, part := range []string{" ended (signal SIGKILL) ", "nginx was reloaded "} {
		if strings.Count(told, part) != 1 {
			t.Errorf("want one %q in the reasons: %s", part, told)
		}
	}
	if strings.Contains(told, "in the place of") {
		t.Errorf("%s", told)
	}
	if e := last(t, s.Dir); e.Event != ledger.Ended {
		t.Errorf("%+v", e)
	}
}
