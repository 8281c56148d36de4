// Package fleet runs instances of whoami and an nginx in front of them, as ordinary processes of this machine.
//
// [Start] returns when a WhoAmI answer has come through nginx on both protocols. From then on every process is watched: one that
// dies is reported and started again. Nothing outlives the program that started a fleet, whatever ends it: the kernel ends
// nginx and the instances when the thread that started them ends. The one exception is nginx's workers when nginx's master and
// this program are killed within the same few milliseconds.
//
// It needs Linux: the signal at a parent's death, ports that are reserved without being listened on, and /proc.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"trivet/nginx"
)

// What a start can fail of besides what is in this package's other errors.
var (
	// ErrSettings is in the error for settings that whoami refuses: the environment's, or the env file's.
	ErrSettings = errors.New("whoami refuses its settings")
	// ErrConf is in the error for a configuration that nginx refuses.
	ErrConf = errors.New("nginx refuses its configuration")
)

// Fleet is some instances behind an nginx. All methods may be called at the same time from several goroutines.
type Fleet struct {
	options   Options
	processes []*Process // nginx first
	byName    map[string]*Process
	ports     []reservation
	spawner   *spawner
	observing sync.Mutex
	reloading sync.Mutex
	stopping  sync.Once
	stopErr   error
	reflects  bool
	done      chan struct{}

	diagnostics bool // whether nginx lets them through
}

// Start starts a fleet, and returns when it serves. It takes half a minute at most, and a fifth of a second more for each instance. On an
// error nothing is left running; the error says what to do, and what a process that failed said last. The end of ctx ends the start, not
// the fleet that has started.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Conf == nil {
		o.Conf = nginx.Conf()
	}
	if o.Observe == nil {
		o.Observe = func(Event) {}
	}
	if err := enoughFiles(o.Instances); err != nil {
		return nil, err
	}
	ports, err := reserve(ctx, o.doors())
	if err != nil {
		return nil, err
	}
	f := &Fleet{options: o, ports: ports, byName: make(map[string]*Process), done: make(chan struct{})}
	if err := f.prepare(ctx); err != nil {
		f.release()
		return nil, err
	}
	f.spawner = newSpawner()
	f.recruit()
	limit := 30*time.Second + time.Duration(o.Instances)*200*time.Millisecond
	starting, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the fleet did not serve within %v", limit))
	defer cancel()
	if err := f.muster(starting); err != nil {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		return nil, errors.Join(err, f.Stop(now))
	}
	return f, nil
}

// enoughFiles compares the limit of open files with what a fleet needs here: two sockets and a handle for each instance.
func enoughFiles(instances int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	if need := FilesNeeded(instances); limit.Cur < need {
		return fmt.Errorf("%d instances need about %d open files, and this process may have %d; raise the limit (ulimit -n %d) or start fewer", instances, need, limit.Cur, need)
	}
	return nil
}

// FilesNeeded is about how many open files the program that runs a fleet needs.
func FilesNeeded(instances int) uint64 { return uint64(100 + 4*instances) }

// CheckPorts tells whether the ports of a fleet can be had, as Start would: the error joins a BusyError for each that somebody else
// listens on. Programs and folders of o do not matter. It leaves nothing reserved.
func CheckPorts(ctx context.Context, o Options) error {
	if err := errors.Join(o.validateShape()...); err != nil {
		return err
	}
	ports, err := reserve(ctx, o.doors())
	for _, p := range ports {
		p.release()
	}
	return err
}

// recruit makes the processes, and starts none.
func (f *Fleet) recruit() {
	observe := func(e Event) {
		f.observing.Lock()
		defer f.observing.Unlock()
		f.options.Observe(e)
	}
	f.add(newProcess(Nginx, f.nginxPlan(observe)))
	for n := 1; n <= f.options.Instances; n++ {
		f.add(newProcess(instance(n), f.instancePlan(instance(n), observe)))
	}
}

func (f *Fleet) add(p *Process) {
	p.http, p.grpc = f.address(p.name, "HTTP").String(), f.address(p.name, "gRPC").String()
	f.processes = append(f.processes, p)
	f.byName[p.name] = p
	go p.supervise() // Until Stop, which waits for it.
}

// address is where the door of a process is reached from this machine.
func (f *Fleet) address(owner, speaks string) netip.AddrPort {
	for _, p := range f.ports {
		if p.owner == owner && p.speaks == speaks {
			return reachable(p.address)
		}
	}
	panic("no door " + owner + " " + speaks)
}

// reachable is an address that leads to a socket which listens on a: itself, unless a is all of the machine's.
func reachable(a netip.AddrPort) netip.AddrPort {
	switch {
	case !a.Addr().IsUnspecified():
		return a
	case a.Addr().Is4():
		return netip.AddrPortFrom(loopback, a.Port())
	default:
		return netip.AddrPortFrom(netip.IPv6Loopback(), a.Port())
	}
}

// muster starts all processes and returns when a call goes through on both protocols. The first that fails ends it.
func (f *Fleet) muster(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Hundreds of programs that start at once on a few CPUs only keep each other from getting ready.
	turn := make(chan struct{}, 4*runtime.GOMAXPROCS(0))
	failures := make(chan error, len(f.processes))
	var all sync.WaitGroup
	for _, p := range f.processes {
		all.Go(func() {
			select {
			case turn <- struct{}{}:
				defer func() { <-turn }()
			case <-ctx.Done():
				return
			}
			if err := p.Start(ctx); err != nil {
				err = fmt.Errorf("%w%s; the end of its log, %s:\n%s", err, f.hint(p, ctx), f.LogFile(p.name), tail(f.LogFile(p.name), 10))
				failures <- err
				cancel(err)
			}
		})
	}
	all.Wait()
	select {
	case first := <-failures: // It says which process it was; when the time was up, the context's cause does not.
		return first
	default:
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return f.callThrough(ctx)
}

// hint is what is most likely wrong with an nginx that runs and does not take connections where it should.
func (f *Fleet) hint(p *Process, ctx context.Context) string {
	if p.name != Nginx || ctx.Err() == nil {
		return ""
	}
	return fmt.Sprintf("; it runs, and does not listen on both %s and %s: does its configuration include site/http-listen.conf and site/grpc-listen.conf?", p.http, p.grpc)
}

// Reflection reports whether gRPC reflection can be called through nginx, without which clients must know the proto.
func (f *Fleet) Reflection() bool { return f.reflects }

// Admin is where nginx serves its own health (/healthz) and status (/nginx_status), as host:port, reachable from this machine.
func (f *Fleet) Admin() string { return f.address(Nginx, admin).String() }

// HTTP is where nginx takes HTTP requests, as host:port, reachable from this machine.
func (f *Fleet) HTTP() string { return f.byName[Nginx].http }

// GRPC is where nginx takes gRPC calls, as host:port, reachable from this machine.
func (f *Fleet) GRPC() string { return f.byName[Nginx].grpc }

// Names are the instances' names, whoami-1 first. The balancer is the process Nginx.
func (f *Fleet) Names() []string {
	names := make([]string, 0, f.options.Instances)
	for _, p := range f.processes[1:] {
		names = append(names, p.name)
	}
	return names
}

// Process is the process of that name (one of Names, or Nginx), and nil if there is none.
func (f *Fleet) Process(name string) *Process { return f.byName[name] }

// Dir is the run folder. nginx's prefix is the same folder: conf/ is what it reads, logs/access.log what it writes.
func (f *Fleet) Dir() string { return f.options.Dir }

// LogFile is where a process's output is.
func (f *Fleet) LogFile(name string) string { return logFile(f.options.Dir, name) }

// Done is closed when the fleet has stopped.
func (f *Fleet) Done() <-chan struct{} { return f.done }

// Stop ends everything: nginx, which finishes what it has for up to five seconds, then the instances, which drain. It returns when all
// processes are gone. The end of ctx kills what is left. Further calls wait for the first.
func (f *Fleet) Stop(ctx context.Context) error {
	f.stopping.Do(func() {
		f.stopErr = f.stop(ctx)
		f.spawner.close()
		f.release()
		close(f.done)
	})
	return f.stopErr
}

func (f *Fleet) stop(ctx context.Context) error {
	faults := make([]error, len(f.processes))
	end := func(i int) {
		p := f.processes[i]
		faults[i] = p.ask(ctx, request{ctx: ctx, verb: end})
		<-p.over
	}
	end(0)
	var all sync.WaitGroup
	for i := 1; i < len(f.processes); i++ {
		all.Go(func() { end(i) })
	}
	all.Wait()
	return errors.Join(faults...)
}

func (f *Fleet) release() {
	for _, p := range f.ports {
		p.release()
	}
}

// instancePlan is how an instance is run. A drain ends within DRAIN_TIMEOUT, ten seconds unless set; who sets a longer one in a
// laboratory is cut short.
func (f *Fleet) instancePlan(name string, observe func(Event)) plan {
	r := recipe{
		path: f.options.Whoami, args: f.instanceArgs(name), env: f.instanceEnv(),
		log: f.LogFile(name), atEnd: syscall.SIGKILL,
	}
	return plan{
		start:   func() (*child, error) { return f.spawner.start(r) },
		ready:   func(ctx context.Context) error { return awaitReadyz(ctx, name, f.address(name, "HTTP").String()) },
		stop:    []step{{signal: syscall.SIGTERM, wait: 12 * time.Second}},
		restart: !f.options.NoRestart,
		jitter:  jitter,
		observe: observe,
	}
}

// instanceEnv is what an instance's environment has beside this process's. GOMAXPROCS is its share of the cores, as a CPU limit gives a
// container: instances that each take themselves for the only one wake more threads than there are cores for. Who has set one keeps it.
func (f *Fleet) instanceEnv() []string {
	share := max(1, runtime.GOMAXPROCS(0)/f.options.Instances)
	if os.Getenv("GOMAXPROCS") != "" {
		return f.options.Env
	}
	return append([]string{"GOMAXPROCS=" + strconv.Itoa(share)}, f.options.Env...)
}

func (f *Fleet) instanceArgs(name string) []string {
	http, grpc := f.address(name, "HTTP"), f.address(name, "gRPC")
	args := []string{
		"--instance", name, "--bind", http.Addr().String(),
		"--port", fmt.Sprint(http.Port()), "--grpc-port", fmt.Sprint(grpc.Port()),
	}
	if f.options.Numbered {
		a := f.address(name, admin)
		args = append(args, "--admin-bind", a.Addr().String(), "--admin-port", fmt.Sprint(a.Port()))
	} else {
		args = append(args, "--admin-port", "off")
	}
	if f.options.EnvFile != "" {
		args = append(args, "--env-file", f.options.EnvFile)
	}
	return args
}

// nginxPlan is how nginx is run. SIGTERM at our death and not SIGKILL, because a master that is killed leaves its workers serving.
// SIGQUIT lets it finish; before it serves it knows no SIGQUIT and would dump core.
func (f *Fleet) nginxPlan(observe func(Event)) plan {
	r := recipe{
		path: f.options.Nginx.Path, args: f.options.Nginx.Args(f.options.Dir),
		log: f.LogFile(Nginx), atEnd: syscall.SIGTERM, family: true,
	}
	return plan{
		start: func() (*child, error) { return f.spawner.start(r) },
		ready: func(ctx context.Context) error {
			return awaitListening(ctx, f.address(Nginx, "HTTP").String(), f.address(Nginx, "gRPC").String())
		},
		stop: []step{
			{signal: syscall.SIGQUIT, wait: 5 * time.Second, served: true},
			{signal: syscall.SIGTERM, wait: 3 * time.Second},
		},
		restart: !f.options.NoRestart,
		jitter:  jitter,
		observe: observe,
	}
}
