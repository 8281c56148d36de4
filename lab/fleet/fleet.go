// Package fleet runs instances of whoami and a load balancer, nginx, in front of them, as ordinary processes of this machine.
//
// [Start] returns when the instances are ready and nginx has responded over both protocols. From then on every process is supervised: one that
// dies is reported and started again. [Fleet.Do] carries out the actions of experiments. No process outlives the program that started a
// fleet, whatever ends it: the kernel ends nginx and the instances when the thread that started them ends. The one exception is nginx's
// workers when nginx's master and this program are killed within the same few milliseconds.
//
// It needs Linux: the signal at a parent's death, ports that are reserved without being listened on, and /proc.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"trivet/lab/authority"
	"trivet/lab/record"
	"trivet/lab/scenario"
)

// Errors of Start that this package's other errors do not cover.
var (
	// ErrSettings is in the error for settings that whoami refuses: the environment's, or the env file's.
	ErrSettings = errors.New("whoami refuses its settings")
	// ErrConf is in the error for a configuration that nginx refuses.
	ErrConf = errors.New("nginx refuses its configuration")
)

// A Fleet is some instances behind a load balancer. All methods may be called at the same time from several goroutines.
type Fleet struct {
	options   Options
	balancer  Balancer
	authority *authority.Authority // nil if nothing uses TLS
	processes []*Process           // nginx first
	ports     []reservation
	spawner   *spawner
	observing sync.Mutex
	reloading sync.Mutex // one reload after the other
	requests  sync.Mutex // of the next
	requested Requested
	numbers   workerNumbers
	health    *healthChecks // nil: none
	stopping  sync.Once
	stopErr   error

	diagnostics bool // whether nginx passes health, reflection and the API's description on
	reflection  bool
	settings    []string
}

// Start starts a fleet, and returns when it serves. It takes at most 30 s, and 200 ms more for each instance. With an error, no process is
// left; the error says what to do, and has the end of the log of a process that failed. The end of ctx ends the start, not the started
// fleet.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Observe == nil {
		o.Observe = func(Event) {}
	}
	if o.Probed == nil {
		o.Probed = func(string) {}
	}
	if err := enoughFiles(o.Instances + o.Front); err != nil {
		return nil, err
	}
	ports, err := reserve(ctx, o.listenAddrs())
	if err != nil {
		return nil, err
	}
	f := &Fleet{options: o, balancer: o.balancer(), ports: ports}
	if err := f.prepare(ctx); err != nil {
		f.release()
		return nil, err
	}
	f.spawner = newSpawner()
	f.addProcesses()
	limit := 30*time.Second + time.Duration(o.Instances)*200*time.Millisecond
	starting, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the fleet did not serve within %v", limit))
	defer cancel()
	if err := f.startAll(starting); err != nil {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		return nil, errors.Join(err, f.Stop(now))
	}
	if o.Health != nil {
		f.health = f.checkHealth()
	}
	return f, nil
}

// enoughFiles compares the limit of open files with what a fleet needs here: three sockets, a connection and a handle for each instance.
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
func FilesNeeded(instances int) uint64 { return uint64(100 + 6*instances) }

// CheckPorts returns an error if Start could not get the ports of a fleet: it joins a BusyError for each that another process listens on.
// Programs and directories of o do not matter. No port stays reserved.
func CheckPorts(ctx context.Context, o Options) error {
	if err := errors.Join(o.validateShape()...); err != nil {
		return err
	}
	ports, err := reserve(ctx, o.listenAddrs())
	for _, p := range ports {
		p.release()
	}
	return err
}

// addProcesses makes the processes without starting them.
func (f *Fleet) addProcesses() {
	observe := func(e Event) {
		f.observing.Lock()
		defer f.observing.Unlock()
		f.options.Observe(e)
	}
	add := func(name string, p plan) {
		p.restart, p.jitter, p.observe = !f.options.NoRestart, jitter, observe
		process := newProcess(name, f.endpoint(name, httpListener), f.endpoint(name, grpcListener), p)
		f.processes = append(f.processes, process)
		go process.supervise() // Until Stop, which waits for it.
	}
	add(scenario.Nginx, f.balancerPlan())
	for _, name := range f.Names() {
		add(name, f.instancePlan(name))
	}
}

// endpoint is where a listener of a process is reached from this machine, as host:port.
func (f *Fleet) endpoint(process, protocol string) string {
	return reachable(f.bound(process, protocol)).String()
}

// bound is what a process listens on for a protocol.
func (f *Fleet) bound(process, protocol string) netip.AddrPort {
	for _, p := range f.ports {
		if p.process == process && p.protocol == protocol {
			return p.address
		}
	}
	panic("no listener " + process + " " + protocol)
}

// reachable is an address that leads to a socket that listens on a: a itself, unless it means all addresses of the machine.
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

// startAll starts all processes and returns when a call goes through on both protocols. The first that fails ends it.
func (f *Fleet) startAll(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Hundreds of programs that start at once on a few CPUs only keep each other from getting ready.
	slots := make(chan struct{}, 4*runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	var failed sync.Once
	var failure error // It names the process; the cause of a context whose time is up does not.
	for _, p := range f.processes {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() != nil {
				return
			}
			if err := p.Start(ctx); err != nil {
				failed.Do(func() {
					failure = fmt.Errorf("%w%s; the end of its log, %s:\n%s", err, f.hint(p, ctx), f.LogFile(p.name), record.Tail(f.LogFile(p.name), 10))
					cancel(failure)
				})
			}
		})
	}
	all.Wait()
	if failure != nil {
		return failure
	}
	return f.callThrough(ctx)
}

// hint is what is most likely wrong with a load balancer that runs and does not accept connections where it should.
func (f *Fleet) hint(p *Process, ctx context.Context) string {
	if p.name != scenario.Nginx || ctx.Err() == nil {
		return ""
	}
	var silent []string
	for _, n := range f.options.nginxPorts() {
		if n.protocol == adminListener {
			continue // Requests need none.
		}
		protocol, address := n.protocol, f.endpoint(scenario.Nginx, n.protocol)
		if c, err := net.DialTimeout("tcp", address, time.Second); err != nil {
			silent = append(silent, address+" ("+protocol+")")
		} else {
			c.Close()
		}
	}
	if len(silent) == 0 {
		return ""
	}
	slices.Sort(silent)
	return fmt.Sprintf("; it runs and does not listen on %s: %s", strings.Join(silent, " and "), f.balancer.Info().ListenHint)
}

// Reflection reports whether gRPC reflection can be called through nginx. Without it clients must have the proto.
func (f *Fleet) Reflection() bool { return f.reflection }

// Settings are the instances' own that are set in a file or in the environment, as NAME=value.
func (f *Fleet) Settings() []string { return f.settings }

// Admin is where nginx serves its own health (/healthz) and status (/nginx_status), as host:port, reachable from this machine.
func (f *Fleet) Admin() string { return f.endpoint(scenario.Nginx, adminListener) }

// HTTP is where nginx accepts HTTP requests, as host:port, reachable from this machine.
func (f *Fleet) HTTP() string { return f.endpoint(scenario.Nginx, httpListener) }

// GRPC is where nginx accepts gRPC calls, as host:port, reachable from this machine.
func (f *Fleet) GRPC() string { return f.endpoint(scenario.Nginx, grpcListener) }

// Names are the instances' names, whoami-1 first, front's last. The load balancer is the process scenario.Nginx.
func (f *Fleet) Names() []string { return scenario.ServiceNames(f.options.Instances, f.options.Front) }

// Instances are the instances with their endpoints, in the order of Names.
func (f *Fleet) Instances() []record.Instance {
	var all []record.Instance
	for _, name := range f.Names() {
		all = append(all, record.Instance{Name: name, HTTP: f.endpoint(name, httpListener), GRPC: f.endpoint(name, grpcListener)})
	}
	return all
}

// Process is the process of that name (one of Names, or scenario.Nginx), and nil if there is none.
func (f *Fleet) Process(name string) *Process {
	for _, p := range f.processes {
		if p.name == name {
			return p
		}
	}
	return nil
}

// Dir is the fleet's directory. It is nginx's prefix too: conf/ is what nginx reads, logs/access.log what it writes.
func (f *Fleet) Dir() string { return f.options.Dir }

// LogFile is the file with a process's output.
func (f *Fleet) LogFile(name string) string { return record.LogFile(f.options.Dir, name) }

// Stop ends everything: nginx, which finishes its requests for up to five seconds, then the instances, which drain. It returns when all
// processes are gone. The end of ctx kills those that are left. Further calls wait for the first.
func (f *Fleet) Stop(ctx context.Context) error {
	f.stopping.Do(func() {
		f.stopErr = f.stop(ctx)
		f.spawner.close()
		f.release()
	})
	return f.stopErr
}

func (f *Fleet) stop(ctx context.Context) error {
	f.health.stop() // It is no news that instances are not ready any more.
	errs := make([]error, len(f.processes))
	errs[0] = f.processes[0].end(ctx)
	var all sync.WaitGroup
	for i, p := range f.processes[1:] {
		all.Go(func() { errs[i+1] = p.end(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (f *Fleet) release() {
	for _, p := range f.ports {
		p.release()
	}
}
