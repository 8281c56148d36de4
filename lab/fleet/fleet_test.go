package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"trivet/internal/proctest"
	"trivet/lab/labtest"
	"trivet/nginx"
)

// eventually asks until a condition holds, for at most half a minute.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := poll(ctx, func(context.Context) error {
		if !holds() {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("never: %s", what)
	}
}

func alive(pid int) bool {
	return slices.ContainsFunc(processes(), func(p row) bool { return p.pid == pid && !p.zombie })
}

func testOptions(t *testing.T, instances int) Options {
	t.Helper()
	return Options{Instances: instances, Workers: 2, Whoami: whoami, Nginx: labtest.Nginx(t), Dir: proctest.Passable(t)}
}

// begin starts a fleet, which ends with the test: then nothing of it may be left.
func begin(t *testing.T, o Options) *Fleet {
	t.Helper()
	var events []Event
	if o.Observe == nil {
		o.Observe = func(e Event) { events = append(events, e) }
	}
	f, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		<-f.Done()
		for _, e := range events {
			if e.PID != 0 && alive(e.PID) {
				t.Errorf("%s (pid %d) outlives its fleet", e.Name, e.PID)
			}
		}
		if t.Failed() {
			t.Logf("nginx's log:\n%s", tail(f.LogFile(Nginx), 30))
		}
	})
	return f
}

// askedOf is who answers on an HTTP address; "" if nobody does.
func askedOf(t *testing.T, address string) string {
	t.Helper()
	answer, err := askREST(t.Context(), address)
	if err != nil {
		return ""
	}
	return answer.GetInstance()
}

func TestAFleetServesInTurnAndStops(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 3)
	o.Bind = "127.0.0.2"
	f := begin(t, o)
	if want := []string{"whoami-1", "whoami-2", "whoami-3"}; !slices.Equal(f.Names(), want) {
		t.Errorf("names %v", f.Names())
	}
	answers := map[string]int{}
	for range 6 {
		answers[askedOf(t, f.HTTP())]++
	}
	for _, name := range f.Names() {
		if p := f.Process(name); answers[name] != 2 || askedOf(t, p.HTTP()) != name {
			t.Errorf("%s answered %d of 6, and %q on its own door", name, answers[name], askedOf(t, p.HTTP()))
		}
		if !strings.HasPrefix(f.Process(name).GRPC(), "127.0.0.2:") {
			t.Errorf("%s listens on %s", name, f.Process(name).GRPC())
		}
	}
	if f.Process("whoami-4") != nil || f.Process(Nginx) == nil {
		t.Error("Process knows other processes than there are")
	}
	if err := errors.Join(f.Stop(t.Context()), f.Stop(t.Context())); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", f.HTTP()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the stop: %v", err)
	}
	if err := f.Process("whoami-1").Start(t.Context()); !errors.Is(err, errOver) {
		t.Errorf("Start in a fleet that stopped: %v", err)
	}
}

func TestAnInstanceThatIsKilledComesBackOnItsPorts(t *testing.T) {
	t.Parallel()
	events := make(chan Event, 100)
	o := testOptions(t, 2)
	o.Observe = func(e Event) { events <- e }
	f := begin(t, o)
	p := f.Process("whoami-2")
	address, pid := p.HTTP(), p.PID()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it answers again", func() bool { return p.PID() != pid && askedOf(t, address) == "whoami-2" })
	for e := range events {
		if e.Kind == Died {
			if e.PID != pid || e.Exit != "signal SIGKILL" || e.Again < firstPause/2 || e.Again > firstPause || e.HTTP != address {
				t.Errorf("%+v", e)
			}
			break
		}
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := askedOf(t, address); got != "" || p.PID() != 0 {
		t.Errorf("after Stop %q answers, pid %d", got, p.PID())
	}
	if err := p.Start(t.Context()); err != nil || askedOf(t, address) != "whoami-2" {
		t.Errorf("after Start: %v", err)
	}
}

func TestNginxsMasterIsKilledAndItsWorkersGoToo(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 1))
	p := f.Process(Nginx)
	pid := p.PID()
	old := workers(pid)
	if len(old) != 2 {
		t.Errorf("%d workers, want 2", len(old))
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nginx answers again", func() bool { return p.PID() != pid && p.PID() != 0 && askedOf(t, f.HTTP()) != "" })
	for _, w := range old {
		if alive(w.pid) {
			t.Errorf("worker %d serves on without its master", w.pid)
		}
	}
}

func TestAStoppedInstanceAndAStoppedNginxAreEnded(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 2))
	for _, name := range []string{"whoami-1", Nginx} {
		if err := f.Process(name).Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := f.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	// QUIT is given five seconds, TERM three more; without SIGCONT both would pass.
	if took := time.Since(began); took > 7*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 1))
	master := f.Process(Nginx).PID()
	for range 3 {
		old := workers(master)
		if err := f.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if now := workers(master); !reloaded(old, now) {
			t.Errorf("workers before %+v, after %+v", old, now)
		}
		if askedOf(t, f.HTTP()) == "" {
			t.Error("no answer after a reload")
		}
	}
	listen := filepath.Join(f.Dir(), "conf", "site", "http-listen.conf")
	if err := os.WriteFile(listen, []byte("banana;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(t.Context()); !errors.Is(err, ErrConf) || !strings.Contains(err.Error(), "banana") {
		t.Errorf("a broken configuration: %v", err)
	}
	// This one nginx -t lets pass, because it does not mind ports that are taken.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := os.WriteFile(listen, []byte("listen "+listener.Addr().String()+";\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(t.Context()); !errors.Is(err, ErrConf) || !strings.Contains(err.Error(), "bind()") {
		t.Errorf("a port that is taken: %v", err)
	}
	if f.Process(Nginx).PID() != master || askedOf(t, f.HTTP()) == "" {
		t.Error("nginx does not serve on")
	}
}

func TestManyInstances(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 40))
	seen := map[string]bool{}
	for range 40 {
		seen[askedOf(t, f.HTTP())] = true
	}
	if len(seen) != 40 {
		t.Errorf("%d of 40 answered", len(seen))
	}
}

func TestEveryFaultOfTheOptionsAtOnce(t *testing.T) {
	t.Parallel()
	err := Options{Instances: 1001, Bind: "localhost", HTTP: 8001, GRPC: 70000, Admin: -7, Workers: -1}.Validate()
	for _, want := range []string{"Instances is 1001", "Bind is localhost", "GRPC is 70000", "Admin is -7", "Workers is -1", "Whoami", "Nginx", "Dir"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	for want, o := range map[string]Options{
		"HTTP is 8002: that is a port of whoami-2":  {Instances: 3, Numbered: true, HTTP: 8002},
		"GRPC is 9090: HTTP has that port already":  {Instances: 3, HTTP: 9090, GRPC: 9090},
		"Admin is 9090: HTTP or GRPC has that port": {Instances: 3, GRPC: 9090, Admin: 9090},
		"Instances is 61: want at most 60":          {Instances: 61, Numbered: true},
		"HTTP is -1: want a port":                   {Instances: 1, HTTP: -1},
		"Bind is fe80::1%eth0: want an IP address,": {Instances: 1, Bind: "fe80::1%eth0"},
	} {
		if err := o.Validate(); !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// TestWhatCannotStartStartsNothing holds that the error says what is wrong, and that no process was started or nothing is left of it.
func TestWhatCannotStartStartsNothing(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() }) // The subtests run after this function has returned.
	envFile := filepath.Join(t.TempDir(), ".env.bad")
	if err := os.WriteFile(envFile, []byte("LOG_LEVEL=banana\nNOBODY=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// It accepts its settings, and then does not come up.
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\n[ \"$1\" = config ] && exit 0\necho what a pity\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*Options)
		is     error
		want   []string
	}{
		{"a busy port", func(o *Options) { o.HTTP = busy.Addr().(*net.TCPAddr).Port }, nil, []string{"nginx (HTTP)", "taken"}},
		{"a busy admin port", func(o *Options) { o.Admin = busy.Addr().(*net.TCPAddr).Port }, nil, []string{"nginx (admin)", "taken"}},
		{"settings that whoami refuses", func(o *Options) { o.EnvFile = envFile }, ErrSettings, []string{"LOG_LEVEL", "NOBODY"}},
		{"no whoami", func(o *Options) { o.Whoami = "/nowhere/whoami" }, fs.ErrNotExist, []string{"/nowhere/whoami"}},
		{"a configuration that nginx refuses", func(o *Options) {
			o.Conf = fstest.MapFS{"nginx.conf": {Data: []byte("banana;")}}
		}, ErrConf, []string{"banana", "nginx.conf:1"}},
		{"a configuration without nginx.conf", func(o *Options) { o.Conf = fstest.MapFS{} }, nil, []string{"nginx.conf"}},
		{"an instance that ends", func(o *Options) { o.Whoami = broken }, nil, []string{"exit code 3", "what a pity", ".log"}},
		{"a relative run folder", func(o *Options) { o.Dir = "here" }, ErrRunFolder, []string{"absolute"}},
		{"a run folder below a file", func(o *Options) { o.Dir = envFile }, ErrRunFolder, []string{"not a directory"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t, 2)
			var left []int
			o.Observe = func(e Event) { left = append(left, e.PID) }
			test.change(&o)
			_, err := Start(t.Context(), o)
			if err == nil || test.is != nil && !errors.Is(err, test.is) {
				t.Fatalf("got %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
			for _, pid := range left {
				if pid != 0 && alive(pid) {
					t.Errorf("pid %d is left", pid)
				}
			}
		})
	}
}

func TestAStartThatIsCalledOffLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("called off")
	o := testOptions(t, 10)
	var pids []int
	o.Observe = func(e Event) {
		pids = append(pids, e.PID)
		cancel(why) // In mid start: one process has been started.
	}
	if _, err := Start(ctx, o); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if len(pids) == 0 {
		t.Error("nothing was started")
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("pid %d is left", pid)
		}
	}
}

func TestCheckPorts(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	err = CheckPorts(t.Context(), Options{Instances: 2, GRPC: busy.Addr().(*net.TCPAddr).Port})
	if _, ok := errors.AsType[*BusyError](err); !ok {
		t.Errorf("got %v", err)
	}
	if err := CheckPorts(t.Context(), Options{Instances: 2}); err != nil {
		t.Error(err)
	}
	if err := CheckPorts(t.Context(), Options{Instances: 0}); err == nil {
		t.Error("no fault in options that have one")
	}
}

func TestThroughAllAddresses(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	o.Bind = "0.0.0.0"
	f := begin(t, o)
	if !strings.HasPrefix(f.HTTP(), "127.0.0.1:") || askedOf(t, f.HTTP()) != "whoami-1" {
		t.Errorf("nginx is reached at %s", f.HTTP())
	}
	text, err := os.ReadFile(filepath.Join(f.Dir(), "conf", "site", "http-listen.conf"))
	if err != nil || !strings.Contains(string(text), "listen 0.0.0.0:") {
		t.Errorf("%s%v", text, err)
	}
	if host, _, _ := net.SplitHostPort(f.Process("whoami-1").HTTP()); host != "127.0.0.1" {
		t.Errorf("the instance listens on %s", host)
	}
}

func TestTheEnvironmentOfNginxHasNoSocketsOfOthers(t *testing.T) {
	t.Setenv("NGINX", "7;8;")
	if slices.ContainsFunc(environ(), func(e string) bool { return strings.HasPrefix(e, "NGINX=") }) {
		t.Error("NGINX is passed on")
	}
}

func TestALargeBodyGoesThrough(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 1))
	// More than nginx keeps in memory: its workers must be able to write where they buffer it.
	answer, err := http.Post("http://"+f.HTTP()+"/", "text/plain", strings.NewReader(strings.Repeat("x", 900_000)))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed { // The instance's own answer: it takes GET only.
		t.Errorf("got %s", answer.Status)
	}
}

func TestReflectionIsAsTheSettingsSay(t *testing.T) {
	t.Parallel()
	for env, want := range map[string]bool{"ENVIRONMENT=dev": true, "ENVIRONMENT=prod": false, "ENVIRONMENT=prod REFLECTION=true": false} {
		o := testOptions(t, 1)
		o.Env = strings.Fields(env)
		if got := begin(t, o).Reflection(); got != want {
			t.Errorf("%s: %t, want %t", env, got, want)
		}
	}
}

func TestDiagnosticsAreClosedInProd(t *testing.T) {
	t.Parallel()
	for environment, want := range map[string]string{"dev": `default "1";`, "qa": `default "1";`, "prod": `default "";`} {
		o := testOptions(t, 1)
		o.Env = []string{"ENVIRONMENT=" + environment}
		begin(t, o)
		text, err := os.ReadFile(filepath.Join(o.Dir, "conf", "site", "public.conf"))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: site/public.conf has no %q (%v):\n%s", environment, want, err, text)
		}
	}
}

// When the time is up, the error tells which process kept it, and what is likely wrong with an nginx that listens elsewhere.
func TestAnNginxThatListensElsewhere(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	conf := t.TempDir()
	if err := os.CopyFS(conf, nginx.Conf()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(conf, "http-listener.conf"), []byte("map a $allow_http { default b; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Conf = os.DirFS(conf)
	timeUp := errors.New("the time is up")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, timeUp)
	defer cancel()
	_, err := Start(ctx, o)
	if !errors.Is(err, timeUp) || !strings.Contains(err.Error(), "nginx is not ready") || !strings.Contains(err.Error(), "site/http-listen.conf") {
		t.Errorf("%v", err)
	}
}

func TestInstancesShareTheCores(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 2))
	for _, name := range f.Names() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", f.Process(name).PID()))
		want := fmt.Sprintf("GOMAXPROCS=%d", max(1, runtime.GOMAXPROCS(0)/2))
		if set := os.Getenv("GOMAXPROCS"); set != "" {
			want = "GOMAXPROCS=" + set
		}
		if err != nil || !slices.Contains(strings.Split(string(text), "\x00"), want) {
			t.Errorf("%s: want %s in its environment: %v", name, want, err)
		}
	}
}
