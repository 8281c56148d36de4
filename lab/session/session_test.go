package session

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/lab/trace"
	"trivet/nginx"
)

// A load reaches all instances equally. Each change of it, also two at once, ends one load and begins the next without a gap; each planned request
// has its records, and none contradicts another.
func TestLoadChangesWithoutAGap(t *testing.T) {
	t.Parallel()
	s, shown := begin(t, nil)
	do(t, s.SetLoad(t.Context(), Load{HTTP: 60, GRPC: 60, Streams: 10, DeadlineMS: 5000}))
	eventually(t, "a second of load", func() bool { return sent(s, "1") > 120 })
	if c := s.Control(); !c.Load.Running || c.Load.HTTP != 60 || c.Load.Streams != 10 || c.History != 1 || c.Load.Since <= 0 || c.Load.Problem != "" {
		t.Errorf("%+v", c.Load)
	}
	var both sync.WaitGroup
	both.Go(func() { do(t, s.SetLoad(t.Context(), Load{HTTP: 120})) })
	both.Go(func() { do(t, s.SetLoad(t.Context(), Load{GRPC: 90, Retry: true})) })
	both.Wait()
	do(t, s.SetLoad(t.Context(), Load{HTTP: 30, GRPC: 30}))
	eventually(t, "the last load", func() bool { return sent(s, "4") > 10 })
	do(t, s.StopLoad(t.Context()))
	if c := s.Control(); c.Load.Running || c.Load.HTTP != 30 {
		t.Errorf("%+v", c.Load)
	}
	reconciled(t, s, shown, 4)
	counts := firstAttempts(t, s)
	for _, of := range []func(record.Instance) string{func(i record.Instance) string { return i.HTTP }, func(i record.Instance) string { return i.GRPC }} {
		var shares []int
		for _, i := range s.options.Fleet.Instances() {
			shares = append(shares, counts[of(i)])
		}
		if slices.Max(shares)-slices.Min(shares) > 1 {
			t.Errorf("shares %v", shares)
		}
	}
	if len(shown.added) != 4 || len(shown.ended) != 4 || !strings.Contains(shown.words(), "load: 60 HTTP requests/s, 60 gRPC calls/s, 10 streams, deadline 5000 ms") || !strings.Contains(shown.words(), "load stopped") {
		t.Errorf("%v, %v, %s", shown.added, shown.ended, shown.words())
	}
	if h := s.History(); len(h.Segments) < 2 || h.Segments[0].HTTP != 60 || h.Segments[len(h.Segments)-1].To > s.now() || h.Instances != 3 {
		t.Errorf("%+v", h)
	}
}

// What is done to instances during a load makes no lawful record look wrong, and is in the history.
func TestActionsDuringALoad(t *testing.T) {
	t.Parallel()
	s, shown := begin(t, nil)
	is := func(process string, want ...string) func() bool {
		return func() bool { return slices.Equal(s.Control().Actions[process], want) }
	}
	running := []string{scenario.Kill, scenario.Drain, scenario.Pause, scenario.Restart}
	isKind(t, s.Do(t.Context(), scenario.Resume, "whoami-1"), State)
	if e := isKind(t, s.Do(t.Context(), "fly", "whoami-9"), Value); !strings.Contains(e.Text, `action is "fly": want kill, drain`) || !strings.Contains(e.Text, `process is "whoami-9": want nginx, or an instance, like whoami-1`) {
		t.Errorf("%s", e.Text)
	}
	isKind(t, s.Do(t.Context(), scenario.Kill, scenario.Nginx), Value)
	do(t, s.SetLoad(t.Context(), Load{HTTP: 60, GRPC: 60, Streams: 5, DeadlineMS: 1000}))
	eventually(t, "load", func() bool { return sent(s, "1") > 20 })
	do(t, s.Do(t.Context(), scenario.Kill, "whoami-1"))
	eventually(t, "whoami-1 is back", is("whoami-1", running...))
	do(t, s.Do(t.Context(), scenario.Pause, "whoami-2"))
	if !is("whoami-2", scenario.Resume, scenario.Kill)() {
		t.Errorf("%v", s.Control().Actions)
	}
	isKind(t, s.Do(t.Context(), scenario.Pause, "whoami-2"), State)
	do(t, s.Do(t.Context(), scenario.Drain, "whoami-3"))
	if !is("whoami-3", scenario.Start)() {
		t.Errorf("%v", s.Control().Actions)
	}
	eventually(t, "the paused one does not respond", func() bool {
		return shown.has(func(e record.Event) bool {
			return e.Event == record.HealthEvent && e.Process == "whoami-2" && e.Kind == record.NoResponse
		})
	})
	do(t, s.Do(t.Context(), scenario.Start, "whoami-3"))
	do(t, s.StopLoad(t.Context()))
	eventually(t, "the load has ended", func() bool { return strings.Contains(shown.words(), "load stopped") })
	if r := s.Control().Reconciled; r.Loads != 0 {
		t.Errorf("%+v: a process is paused", r)
	}
	do(t, s.Do(t.Context(), scenario.Resume, "whoami-2"))
	do(t, s.Do(t.Context(), scenario.Reload, scenario.Nginx))
	reconciled(t, s, shown, 1)
	var did []string
	for _, a := range s.History().Actions {
		did = append(did, scenario.Operation{Kind: a.Kind, Process: a.Process}.Name())
	}
	if want := []string{"kill whoami-1", "start whoami-1", "pause whoami-2", "drain whoami-3", "start whoami-3", "resume whoami-2", "reload nginx"}; !slices.Equal(did, want) {
		t.Errorf("got %q, want %q", did, want)
	}
	if !shown.has(func(e record.Event) bool { return e.Event == record.ActionDone && e.ActionName() == "drain whoami-3" }) {
		t.Error("an action is not in the feed")
	}
}

// What ends a process from outside, and what the fleet starts again, is in the history as if it had been asked for.
func TestDeathsFromOutsideAreInTheHistory(t *testing.T) {
	t.Parallel()
	s, _ := begin(t, nil)
	want := []string{"drain whoami-1", "start whoami-1", "kill nginx", "start nginx"}
	did := func() (names []string) {
		for _, a := range s.History().Actions {
			names = append(names, scenario.Operation{Kind: a.Kind, Process: a.Process}.Name())
		}
		return names
	}
	do(t, syscall.Kill(s.options.Fleet.Process("whoami-1").PID(), syscall.SIGTERM))
	eventually(t, "whoami-1 is started again", func() bool { return slices.Equal(did(), want[:2]) })
	eventually(t, "its start takes until it serves", func() bool { start := s.History().Actions[1]; return start.Until > start.At })
	do(t, syscall.Kill(s.options.Fleet.Process(scenario.Nginx).PID(), syscall.SIGKILL))
	eventually(t, "nginx is started again", func() bool { return slices.Equal(did(), want) })
}

// nginx refuses a method that its upstream cannot have: nothing changes, and nginx's own lines say why.
func TestRefusedSettingChangesNothing(t *testing.T) {
	t.Parallel()
	own := fstest.MapFS{}
	do(t, fs.WalkDir(nginx.Conf(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(nginx.Conf(), name)
		if name == "upstreams.conf" {
			text = []byte(strings.Replace(string(text), "include site/http-servers.conf;", "include site/http-servers.conf; server 127.0.0.1:1 backup;", 1))
		}
		own[name] = &fstest.MapFile{Data: text, Mode: 0o644}
		return err
	}))
	s, shown := begin(t, own)
	s.options.Message = func(text string) string { return strings.ReplaceAll(text, s.dir+"/conf/", "mine/") }
	e := isKind(t, s.SetNginx(t.Context(), map[string]string{"balancing": "hash_client", "keepalive": "small"}), Refused)
	if !strings.Contains(e.Detail, "nginx: [emerg] balancing method does not support parameter \"backup\" in mine/upstreams.conf:") {
		t.Errorf("%q", e.Detail)
	}
	if !shown.has(func(done record.Event) bool { return done.Event == record.ActionDone && done.Error == e.Detail }) {
		t.Error("what happened has other paths")
	}
	c := s.Control()
	if c.Nginx.Refused != e.Detail || c.Nginx.Settings[0].Value != "round_robin" || c.Nginx.Settings[2].Value != "shipped" || strings.Contains(shown.words(), "nginx:") {
		t.Errorf("%+v", c.Nginx)
	}
	for _, values := range []map[string]string{{"balancing": "least_conn; }"}, {"banana": "off"}} {
		isKind(t, s.SetNginx(t.Context(), values), Value)
	}
	do(t, s.SetNginx(t.Context(), map[string]string{"balancing": "least_conn", "failures": "three"}))
	text, err := os.ReadFile(s.dir + "/conf/upstreams.conf")
	if c := s.Control(); err != nil || c.Nginx.Refused != "" || c.Nginx.Settings[0].Value != "least_conn" || strings.Count(string(text), "least_conn; # added") != 2 {
		t.Errorf("%+v, %s, %v", c.Nginx, text, err)
	}
	if !strings.Contains(shown.words(), "nginx: balancing method is now least connections\nnginx: failure counting is now after 3 failures, for 5 s") {
		t.Errorf("%s", shown.words())
	}
	do(t, s.SetLoad(t.Context(), Load{HTTP: 50}))
	do(t, s.StopLoad(t.Context()))
	response, err := http.Get("http://" + s.options.Fleet.HTTP())
	do(t, err)
	response.Body.Close()
	if h := s.History(); response.StatusCode != http.StatusOK || len(h.Segments) > 1 {
		t.Errorf("%s, %+v", response.Status, h)
	}
}

// A generator that dies is said, and its load not called reconciled. The end of a session leaves no generator, and nothing begins after it.
func TestNothingOutlivesASession(t *testing.T) {
	t.Parallel()
	s, shown := begin(t, nil)
	do(t, s.SetLoad(t.Context(), Load{HTTP: 50}))
	do(t, syscall.Kill(generator(s).PID(), syscall.SIGKILL))
	eventually(t, "the death is said", func() bool { return s.Control().Load.Problem != "" && s.Control().Reconciled.Problem != "" })
	if c := s.Control(); c.Load.Running || !strings.Contains(c.Load.Problem, "killed") || c.Reconciled.Loads != 0 || !strings.Contains(shown.words(), "killed") {
		t.Errorf("%+v, %s", c, shown.words())
	}
	do(t, s.SetLoad(t.Context(), Load{HTTP: 50, Streams: 20}))
	eventually(t, "load", func() bool { return sent(s, "2") > 10 })
	g := generator(s)
	do(t, s.Close())
	select {
	case <-g.Done():
	default:
		t.Error("the generator outlives its session")
	}
	if err := s.SetLoad(t.Context(), Load{HTTP: 50}); err == nil {
		t.Error("a load begins after the end")
	}
	if _, _, err := s.Request(t.Context(), scenario.HTTP); !errors.Is(err, errClosed) {
		t.Errorf("a request after the end: %v", err)
	}
	if c := s.Control(); c.Load.Running {
		t.Errorf("%+v", c.Load)
	}
}

// A load ends by itself after an hour, which is said.
func TestLoadEndsByItself(t *testing.T) {
	t.Parallel()
	s, shown := begin(t, nil)
	s.longest = 800 * time.Millisecond
	do(t, s.SetLoad(t.Context(), Load{HTTP: 50, GRPC: 50}))
	reconciled(t, s, shown, 1)
	if c := s.Control(); c.Load.Running || c.Load.Problem != "the load ended after 800ms, the longest that there is; start it again" || c.Reconciled.Requests != 80 || !strings.Contains(shown.words(), c.Load.Problem) {
		t.Errorf("%+v, %s", c, shown.words())
	}
	if h := s.History(); len(h.Segments) != 1 || h.Segments[0].To-h.Segments[0].From > s.longest {
		t.Errorf("%+v", h)
	}
}

// A load that is changed just before it ends by itself has planned nothing after that.
func TestLoadThatIsChangedAtItsEnd(t *testing.T) {
	t.Parallel()
	s, _ := begin(t, nil)
	s.longest = 2 * time.Second
	do(t, s.SetLoad(t.Context(), Load{HTTP: 50}))
	<-time.After(time.Until(s.current.end().Add(-lead / 2)))
	do(t, s.SetLoad(t.Context(), Load{GRPC: 50}))
	eventually(t, "the first load is reconciled", func() bool { r := s.Control().Reconciled; return r.Loads > 0 || r.Problem != "" })
	m, err := record.ReadManifest(filepath.Join(s.dir, record.LoadsDir, "1"))
	if r := s.Control().Reconciled; err != nil || m.Planned[0] != 100 || m.Scenario.Length() > s.longest || r.Problem != "" {
		t.Errorf("%d requests planned in %v, %+v, %v", m.Planned[0], m.Scenario.Length(), r, err)
	}
}

// A single request has a trace with what client, nginx and instance recorded of it; and the shipped configuration takes each setting that there is.
func TestSingleRequestsAndSettings(t *testing.T) {
	t.Parallel()
	s, shown := begin(t, nil)
	for protocol, note := range map[string]string{scenario.HTTP: "200", scenario.GRPC: "OK"} {
		id, one, err := s.Request(t.Context(), protocol)
		if err != nil {
			t.Fatal(err)
		}
		kinds := make(map[trace.Kind]int)
		var visit func([]*trace.Span)
		visit = func(all []*trace.Span) {
			for _, span := range all {
				kinds[span.Kind]++
				visit(span.Children)
			}
		}
		visit(one.Roots)
		if one.Request != id || one.Roots[0].Note != note || kinds[trace.Client] != 1 || kinds[trace.Nginx] != 1 || kinds[trace.Attempt] != 1 || kinds[trace.Instance] != 1 {
			t.Errorf("%s: %+v, %v", protocol, one.Roots[0], kinds)
		}
	}
	if !strings.Contains(shown.words(), "one HTTP request sent: 200") {
		t.Errorf("%s", shown.words())
	}
	_, _, err := s.Request(t.Context(), "smtp")
	isKind(t, err, Value)
	for _, setting := range settings() {
		for _, o := range slices.Backward(setting.Options) { // The shipped one last.
			if err := s.SetNginx(t.Context(), map[string]string{setting.Name: o.Value}); err != nil {
				t.Errorf("%s %s: %v", setting.Name, o.Value, err)
			}
		}
	}
}
