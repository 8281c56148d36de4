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
	"trivet/lab/record"
	"trivet/lab/scenario"
	"trivet/nginx"
)

// eventually waits up to 30 s for a condition.
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
	return slices.ContainsFunc(processes(), func(p stat) bool { return p.pid == pid && !p.zombie() })
}

func testOptions(t *testing.T, instances int) Options {
	t.Helper()
	return Options{Instances: instances, Workers: 2, Whoami: whoami, Nginx: labtest.Nginx(t), Dir: proctest.Passable(t)}
}

// begin starts a fleet that ends with the test: then none of its processes may be left.
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
		for _, e := range events {
			if e.PID != 0 && alive(e.PID) {
				t.Errorf("%s (pid %d) outlives its fleet", e.Process, e.PID)
			}
		}
		if t.Failed() {
			t.Logf("nginx's log:\n%s", record.Tail(f.LogFile(scenario.Nginx), 30))
		}
	})
	return f
}

// instanceAt is the instance that responds at an HTTP address; "" if none does.
func instanceAt(t *testing.T, address string) string {
	t.Helper()
	status, instance, err := get(t.Context(), nil, address, "/", "test")
	if err != nil || status != http.StatusOK {
		return ""
	}
	return instance
}

func TestFleetServesInTurnAndStops(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 3)
	o.Bind = "127.0.0.2"
	f := begin(t, o)
	if want := []string{"whoami-1", "whoami-2", "whoami-3"}; !slices.Equal(f.Names(), want) {
		t.Errorf("names %v", f.Names())
	}
	responses := map[string]int{}
	for range 6 {
		responses[instanceAt(t, f.HTTP())]++
	}
	for _, name := range f.Names() {
		if p := f.Process(name); responses[name] != 2 || instanceAt(t, p.HTTP()) != name {
			t.Errorf("%s sent %d of 6 responses, and %q responds at its own endpoint", name, responses[name], instanceAt(t, p.HTTP()))
		}
		if !strings.HasPrefix(f.Process(name).GRPC(), "127.0.0.2:") {
			t.Errorf("%s listens on %s", name, f.Process(name).GRPC())
		}
	}
	if f.Process("whoami-4") != nil || f.Process(scenario.Nginx) == nil {
		t.Error("Process returns other processes than there are")
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

func TestKilledInstanceRestartsOnItsPorts(t *testing.T) {
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
	eventually(t, "it responds again", func() bool { return p.PID() != pid && instanceAt(t, address) == "whoami-2" })
	for e := range events {
		if e.Kind == record.Died {
			if e.PID != pid || !e.Exit.Killed() || e.RestartIn < firstPause/2 || e.RestartIn > firstPause || e.HTTP != address {
				t.Errorf("%+v", e)
			}
			break
		}
	}
	if err := stopCleanly(p); err != nil {
		t.Fatal(err)
	}
	if got := instanceAt(t, address); got != "" || p.PID() != 0 {
		t.Errorf("after Stop %q responds, pid %d", got, p.PID())
	}
	if err := p.Start(t.Context()); err != nil || instanceAt(t, address) != "whoami-2" {
		t.Errorf("after Start: %v", err)
	}
}

func TestWorkersEndWithKilledMaster(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 1))
	p := f.Process(scenario.Nginx)
	pid := p.PID()
	old := workers(pid)
	if len(old) != 2 {
		t.Errorf("%d workers, want 2", len(old))
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nginx responds again", func() bool { return p.PID() != pid && p.PID() != 0 && instanceAt(t, f.HTTP()) != "" })
	for _, w := range old {
		if alive(w.pid) {
			t.Errorf("worker %d runs without its master", w.pid)
		}
	}
}

func TestPausedProcessesAreStopped(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 2))
	for _, name := range []string{"whoami-1", scenario.Nginx} {
		if err := f.Process(name).Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := f.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	// SIGQUIT has 5 s, SIGTERM 3 s more; without SIGCONT both would pass.
	if took := time.Since(began); took > 7*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 1))
	master := f.Process(scenario.Nginx).PID()
	for range 3 {
		old := workers(master)
		if err := f.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if now := workers(master); !reloaded(old, now) {
			t.Errorf("workers before %+v, after %+v", old, now)
		}
		if instanceAt(t, f.HTTP()) == "" {
			t.Error("no response after a reload")
		}
	}
	listen := filepath.Join(f.Dir(), "conf", "site", "http-listen.conf")
	if err := os.WriteFile(listen, []byte("banana;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(t.Context()); !errors.Is(err, ErrConf) || !strings.Contains(err.Error(), "banana") {
		t.Errorf("broken configuration: %v", err)
	}
	// nginx -t accepts this one: it does not check whether ports are taken.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := os.WriteFile(listen, []byte("listen "+listener.Addr().String()+";\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(t.Context()); !errors.Is(err, ErrConf) || !strings.Contains(err.Error(), "bind()") {
		t.Errorf("port that is taken: %v", err)
	}
	if f.Process(scenario.Nginx).PID() != master || instanceAt(t, f.HTTP()) == "" {
		t.Error("nginx does not serve any more")
	}
}

func TestFortyInstancesServe(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 40))
	seen := map[string]bool{}
	for range 40 {
		seen[instanceAt(t, f.HTTP())] = true
	}
	if len(seen) != 40 {
		t.Errorf("%d of 40 responded", len(seen))
	}
}

func TestValidateReportsAllErrorsAtOnce(t *testing.T) {
	t.Parallel()
	err := Options{Instances: 1001, Bind: "localhost", HTTP: 8001, GRPC: 70000, Admin: -7, Workers: -1, Front: 61, TLS: true, TLSPort: -8}.Validate()
	for _, want := range []string{"Instances is 1001", "Front is 61", "TLSPort is -8", "FrontProgram", "Bind is localhost", "GRPC is 70000", "Admin is -7", "Workers is -1", "Whoami", "Nginx", "Dir"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	for want, o := range map[string]Options{
		"HTTP is 8002: that is a port of whoami-2":   {Instances: 3, Numbered: true, HTTP: 8002},
		"GRPC is 9090: HTTP has that port already":   {Instances: 3, HTTP: 9090, GRPC: 9090},
		"Admin is 9090: GRPC has that port already":  {Instances: 3, GRPC: 9090, Admin: 9090},
		"TLSPort is 8102: that is a port of front-2": {Instances: 3, Front: 2, Numbered: true, TLS: true, TLSPort: 8102, FrontProgram: "front"},
		"Admin is 7003: that is a port of whoami-3":  {Instances: 3, Numbered: true, Admin: 7003},
		"TLSPort is 8080: HTTP has that port":        {Instances: 3, HTTP: 8080, TLS: true, TLSPort: 8080},
		"Instances is 61: want at most 60":           {Instances: 61, Numbered: true},
		"HTTP is -1: want a port":                    {Instances: 1, HTTP: -1},
		"Bind is fe80::1%eth0: want an IP address,":  {Instances: 1, Bind: "fe80::1%eth0"},
	} {
		if err := o.Validate(); !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// The error of a failed start says what is wrong, and no process is left.
func TestFailedStartLeavesNoProcess(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() }) // The subtests run after this function has returned.
	envFile := filepath.Join(t.TempDir(), ".env.bad")
	if err := os.WriteFile(envFile, []byte("LOG_LEVEL=banana\nUNKNOWN=1\n"), 0o600); err != nil {
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
		{"busy port", func(o *Options) { o.HTTP = busy.Addr().(*net.TCPAddr).Port }, nil, []string{"nginx (HTTP)", "taken"}},
		{"busy admin port", func(o *Options) { o.Admin = busy.Addr().(*net.TCPAddr).Port }, nil, []string{"nginx (admin)", "taken"}},
		{"settings that whoami refuses", func(o *Options) { o.EnvFile = envFile }, ErrSettings, []string{"LOG_LEVEL", "UNKNOWN"}},
		{"no whoami", func(o *Options) { o.Whoami = "/nowhere/whoami" }, fs.ErrNotExist, []string{"/nowhere/whoami"}},
		{"configuration that nginx refuses", func(o *Options) {
			o.Conf = fstest.MapFS{"nginx.conf": {Data: []byte("banana;")}}
		}, ErrConf, []string{"banana", "nginx.conf:1"}},
		{"configuration without nginx.conf", func(o *Options) { o.Conf = fstest.MapFS{} }, nil, []string{"nginx.conf"}},
		{"instance that ends", func(o *Options) { o.Whoami = broken }, nil, []string{"exit code 3", "what a pity", ".log"}},
		{"relative directory", func(o *Options) { o.Dir = "here" }, record.ErrRunDir, []string{"absolute"}},
		{"directory below a file", func(o *Options) { o.Dir = envFile }, record.ErrRunDir, []string{"not a directory"}},
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

func TestInterruptedStartLeavesNoProcess(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupt := errors.New("interrupted")
	o := testOptions(t, 10)
	var pids []int
	o.Observe = func(e Event) {
		pids = append(pids, e.PID)
		cancel(interrupt) // One process has been started.
	}
	if _, err := Start(ctx, o); !errors.Is(err, interrupt) {
		t.Errorf("got %v", err)
	}
	if len(pids) == 0 {
		t.Error("no process was started")
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("pid %d is left", pid)
		}
	}
}

func TestCheckPortsReportsBusyPorts(t *testing.T) {
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
		t.Error("no error for wrong options")
	}
}

func TestUnspecifiedBindIsReachableByLoopback(t *testing.T) {
	t.Parallel()
	o := testOptions(t, 1)
	o.Bind = "0.0.0.0"
	f := begin(t, o)
	if !strings.HasPrefix(f.HTTP(), "127.0.0.1:") || instanceAt(t, f.HTTP()) != "whoami-1" {
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

func TestEnvironmentOmitsNGINX(t *testing.T) {
	t.Setenv("NGINX", "7;8;")
	if slices.ContainsFunc(environ(), func(e string) bool { return strings.HasPrefix(e, "NGINX=") }) {
		t.Error("NGINX is passed on")
	}
}

func TestLargeBodyReachesInstance(t *testing.T) {
	t.Parallel()
	f := begin(t, testOptions(t, 1))
	// More than nginx keeps in memory: its workers must be able to write to where they buffer it.
	response, err := http.Post("http://"+f.HTTP()+"/", "text/plain", strings.NewReader(strings.Repeat("x", 900_000)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed { // The instance's: it accepts GET only.
		t.Errorf("got %s", response.Status)
	}
}

func TestReflectionFollowsSettings(t *testing.T) {
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

// When the time is up, the error names the process that was not ready, and the likely reason of an nginx that listens elsewhere.
func TestNginxThatListensElsewhereIsExplained(t *testing.T) {
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

func TestInstancesShareCores(t *testing.T) {
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
