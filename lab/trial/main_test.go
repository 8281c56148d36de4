package trial

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/experiment"
	"trivet/lab/labtest"
	"trivet/lab/ledger"
	"trivet/lab/load"
)

var whoami string // the instances' program, built once

// The test binary is also the generator. The environment is that of somebody whose own instances are set up in another way: it must make
// no difference.
func TestMain(m *testing.M) {
	labtest.Generate(load.Serve)
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		for name, value := range map[string]string{
			"ENVIRONMENT": "prod", "DRAIN_DELAY": "1h", "LOG_LEVEL": "error", "LOG_FORMAT": "json", "RECORDS": "/nobody/reads/this", "INSTANCE": "mine",
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

// written is an experiment of that text, in a file of that name.
func written(t *testing.T, name, text string) *experiment.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := experiment.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// setup is for the experiment's first variant.
func setup(t *testing.T, text string) Setup {
	t.Helper()
	file := written(t, "test.yaml", text)
	return Setup{File: file, Variant: file.Variants[0], Dir: proctest.Passable(t), Nginx: labtest.Nginx(t), Whoami: whoami, Trivet: self(t)}
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// closed is what the records of a run come to, which must balance.
func closed(t *testing.T, dir string) (*ledger.Ledger, ledger.Balance) {
	t.Helper()
	book, balance := read(t, dir)
	if balance.Total > 0 {
		t.Errorf("it does not balance: %v", balance.Breaches)
	}
	return book, balance
}

// read is what the records of a run come to.
func read(t *testing.T, dir string) (*ledger.Ledger, ledger.Balance) {
	t.Helper()
	book, err := ledger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	balance, err := book.Close()
	if err != nil {
		t.Fatal(err)
	}
	return book, balance
}

// reasons are why a run is invalid, without those that a busy machine is to blame for.
func reasons(balance ledger.Balance) []string {
	return slices.DeleteFunc(balance.Reasons, func(r string) bool {
		return strings.Contains(r, "the generator was late") || strings.Contains(r, "the generator did not send") ||
			strings.Contains(r, "the laboratory was late") || strings.Contains(r, "was still running when the phase ended") || strings.Contains(r, "requests was sent")
	})
}

// events are the diary's.
func events(t *testing.T, dir string) []ledger.Event {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, ledger.EventsFile))
	if err != nil {
		t.Fatal(err)
	}
	var all []ledger.Event
	for line := range bytes.Lines(text) {
		var e ledger.Event
		if err := json.Unmarshal(line, &e); err != nil || !bytes.HasSuffix(line, []byte("\n")) {
			t.Fatalf("%q: %v", line, err)
		}
		if e.V != ledger.SceneVersion || e.Time.IsZero() {
			t.Errorf("%s has no version, or no time", line)
		}
		all = append(all, e)
	}
	return all
}

// words are the events as words, in their order: "during: kill whoami-1", "whoami-1 died (signal SIGKILL)".
func words(all []ledger.Event) []string {
	var told []string
	for _, e := range all {
		switch e.Event {
		case ledger.PhaseBegan:
			told = append(told, "phase "+e.Phase)
		case ledger.ActionBegan, ledger.ActionDone:
			told = append(told, strings.Join(strings.Fields(fmt.Sprintf("%s: %s %s %s", e.Phase, e.Event, e.Verb, e.Target)), " "))
		case ledger.ProcessIs:
			text := e.Name + " " + e.Kind
			if e.Exit != "" {
				text += " (" + e.Exit + ")"
			}
			told = append(told, text)
		default:
			told = append(told, e.Event)
		}
	}
	return told
}

// only are the events of that kind, of processes or of the laboratory.
func only(all []ledger.Event, kind, name string) []ledger.Event {
	return slices.DeleteFunc(slices.Clone(all), func(e ledger.Event) bool {
		return e.Event == ledger.ProcessIs && (e.Kind != kind || e.Name != name) || e.Event != ledger.ProcessIs && (e.Event != kind || e.Target != name)
	})
}

// last is how the run ended, as the diary has it.
func last(t *testing.T, dir string) ledger.Event {
	t.Helper()
	e, err := ledger.LastEvent(dir)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// patience bounds what takes milliseconds, or seconds on a busy machine.
const patience = time.Minute

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(end) {
			t.Errorf("not within %v: %s", patience, what)
			return
		}
	}
}

// gone fails the test unless nothing of a run is left: no process of its, and no file of its folder open anywhere, here included.
func gone(t *testing.T, dir string) {
	t.Helper()
	for _, e := range events(t, dir) {
		if e.Event == ledger.ProcessIs && e.PID != 0 {
			if err := syscall.Kill(e.PID, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("%s, pid %d, is still there: %v", e.Name, e.PID, err)
			}
		}
	}
	// Not at once: a process that another test is just starting has this one's files until its exec.
	eventually(t, "all files are closed", func() bool { return len(holders(t, dir)) == 0 })
	if t.Failed() {
		t.Logf("files open in %s: %v", dir, holders(t, dir))
	}
}

// holders are the files of a folder that processes have open, with the processes' ids.
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
