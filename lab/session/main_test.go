package session

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/feed"
	"trivet/lab/fleet"
	"trivet/lab/labtest"
	"trivet/lab/load"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

var whoami string // the instances' program, built once

// The test binary is also the load generator.
func TestMain(m *testing.M) {
	labtest.Generate(load.Serve)
	os.Exit(labtest.WithWhoami(func(path string) int {
		whoami = path
		return m.Run()
	}))
}

// A fake is a Feed that keeps what it gets, and shows it as the page of trivet up does.
type fake struct {
	*Shared
	mu     sync.Mutex
	added  []string
	ended  []string
	events []record.Event
	said   []feed.Event
}

func (f *fake) AddLoad(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.added = append(f.added, dir)
	return f.Shared.AddLoad(dir)
}

func (f *fake) EndLoad(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.ended, dir) {
		f.ended = append(f.ended, dir)
	}
	f.Shared.EndLoad(dir)
}

func (f *fake) Event(e record.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
	f.Shared.Event(e)
}

func (f *fake) Say(e feed.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, e)
	f.Shared.Say(e)
}

// words are what was said.
func (f *fake) words() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, e := range f.said {
		all = append(all, e.Text)
	}
	return strings.Join(all, "\n")
}

// has reports whether there is an event that is so.
func (f *fake) has(is func(record.Event) bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.events, is)
}

// begin starts a fleet of three, and a session with it, as trivet up does. conf is nginx's configuration; nil: the shipped one.
func begin(t *testing.T, conf fs.FS) (*Session, *fake) {
	t.Helper()
	observer, shown := new(Observer), new(fake)
	dir := proctest.Passable(t)
	if err := record.MkdirAll(filepath.Join(dir, "records")); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	nginx := labtest.Nginx(t)
	f, err := fleet.Start(t.Context(), fleet.Options{
		Instances: 3, Workers: 2, Whoami: whoami, Nginx: nginx, Conf: conf, Dir: dir, Env: []string{"RECORDS=" + filepath.Join(dir, record.InstancesFile)},
		Observe: observer.Process, Health: observer.Health, Probed: observer.Probed,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Stop(context.Background()) })
	if err := (record.Fleet{Time: begun, Instances: f.Instances(), HTTP: f.HTTP(), GRPC: f.GRPC()}).Write(dir); err != nil {
		t.Fatal(err)
	}
	shown.Shared = Share(feed.NewLive(feed.LiveOptions{Dir: dir, Instances: f.Instances(), Begin: begun, Workers: 2, HTTP: f.HTTP(), GRPC: f.GRPC()}))
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Fleet: f, Observer: observer, Feed: shown, Trivet: program, Nginx: nginx.Version.String(), Begin: begun, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("%+v\n%s\nnginx's log:\n%s", s.Control(), shown.words(), record.Tail(f.LogFile(scenario.Nginx), 20))
		}
	})
	return s, shown
}

// eventually waits up to 60 s for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := time.After(time.Minute)
	for !holds() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

// do does what must succeed.
func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// isKind fails the test unless err is an Error of a kind.
func isKind(t *testing.T, err error, kind string) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind != kind {
		t.Fatalf("got %v, want an error of kind %s", err, kind)
	}
	return e
}

// generator is that of the load.
func generator(s *Session) *load.Generator {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.generator
}

// sent counts the client's records of a load.
func sent(s *Session, n string) int {
	text, _ := os.ReadFile(filepath.Join(s.dir, record.LoadsDir, n, record.ClientFile))
	return strings.Count(string(text), "\n")
}

// reconciled waits until so many loads are, and checks that nothing contradicts, that no planned request is missing, and that the page has the
// same sums.
func reconciled(t *testing.T, s *Session, shown *fake, loads int) {
	t.Helper()
	eventually(t, "all loads are reconciled", func() bool {
		r := s.Control().Reconciled
		return r.Loads >= loads || r.Problem != ""
	})
	r := s.Control().Reconciled
	planned := 0
	var before record.Manifest
	for n := range loads {
		m, err := record.ReadManifest(filepath.Join(s.dir, record.LoadsDir, string(rune('1'+n))))
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range m.Planned {
			if planned += p; p != m.Scenario.Loads[i].Rate.Count(m.Scenario.Length()) {
				t.Errorf("load %d: %d are planned, and the rate plans %d", n+1, p, m.Scenario.Loads[i].Rate.Count(m.Scenario.Length()))
			}
		}
		// A generator that learned of its end too late has sent more, and says so: on a busy machine two loads may overlap.
		if end := before.Begin.Add(before.Scenario.Length()); n > 0 && m.Begin.After(end) {
			t.Errorf("load %d begins %v after the end of the one before", n+1, m.Begin.Sub(end))
		}
		before = m
	}
	if r.Loads != loads || r.Discrepancies != 0 || r.Problem != "" || r.Requests != planned {
		t.Errorf("%+v, want %d loads of %d requests without a discrepancy", r, loads, planned)
	}
	do(t, shown.Advance())
	requests, ok, dropped := 0, 0, 0
	for _, m := range shown.Snapshot() {
		for _, b := range bins(m) {
			for _, flow := range b.Flows {
				requests, ok, dropped = requests+flow.Requests, ok+flow.OK, dropped+flow.Dropped
			}
		}
	}
	if requests != r.Requests || ok != r.OK || requests-ok-dropped != r.Failed {
		t.Errorf("the page shows %d requests, %d of them OK and %d never sent, and the ledger has %d, %d OK and %d failed", requests, ok, dropped, r.Requests, r.OK, r.Failed)
	}
}

func bins(m feed.Message) []feed.Bin {
	if m.Bins == nil {
		return nil
	}
	return m.Bins.Bins
}

// firstAttempts counts nginx's first attempts at each address.
func firstAttempts(t *testing.T, s *Session) map[string]int {
	t.Helper()
	file, err := os.Open(filepath.Join(s.dir, record.AccessLogFile))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	counts := make(map[string]int)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var e record.AccessLogEntry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(e.Addr, ",")
		counts[first]++
	}
	return counts
}
