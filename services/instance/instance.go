// Package instance runs one instance of a [Service]: settings, HTTP and gRPC listeners, records, health and graceful shutdown.
// Everything that services have in common is here; a service adds its RPCs.
//
// Both listeners serve one implementation: gRPC through grpc-go's server, REST through an in-process connection that
// runs the same interceptors. Per-call behavior (panics, timeouts, limits, draining) is in interceptors: interceptors.go
// and drain.go. Behavior that must also cover requests that reach no interceptor (request ID, headers, records, request
// log) is in a registrar around every unary method and, over HTTP, in a middleware.
package instance

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"trivet/internal/buildinfo"
	"trivet/internal/connlimit"
	"trivet/internal/rawconn"
	"trivet/services/identity"
)

// cancelGrace is how long handlers may take to return after their context ended; then their connections are closed.
const cancelGrace = time.Second

// Run serves s until ctx ends, drains, and returns. An error means that it could not serve: ports are taken (all are
// reported at once), or the records file cannot be written.
func Run(ctx context.Context, s Service, c Config, log *slog.Logger) (err error) {
	records, err := openRecorder(c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, records.close()) }()
	traces, err := newTracing(ctx, c, log)
	if err != nil {
		return err
	}
	defer traces.shutDown() // After the last call.
	app, err := s.New(c, log)
	if err != nil {
		return err
	}
	if app.Close != nil {
		defer app.Close()
	}
	i, err := newInstance(c, app, records, traces, log)
	if err != nil {
		return err
	}
	l, err := listen(ctx, c)
	if err != nil {
		return err
	}
	return i.serve(ctx, l)
}

// listeners holds the sockets of an instance; admin is nil if it is off.
type listeners struct {
	http, grpc, admin net.Listener
	limited           []*connlimit.Listener // below http and grpc
}

// listen opens all listeners or none, so that a taken port is an error at the start and not only a log line.
func listen(ctx context.Context, c Config) (listeners, error) {
	var (
		l    listeners
		open []net.Listener
		errs []error
	)
	add := func(to *net.Listener, address, setting, flag string, port uint16) {
		socket, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err != nil {
			errs = append(errs, explain(setting, flag, port, err))
			return
		}
		*to, open = socket, append(open, socket)
	}
	add(&l.http, c.HTTPAddr(), "HTTP_PORT", "--port", c.HTTPPort)
	add(&l.grpc, c.GRPCAddr(), "GRPC_PORT", "--grpc-port", c.GRPCPort)
	if c.AdminPort != 0 {
		add(&l.admin, c.AdminAddr(), "ADMIN_PORT", "--admin-port", c.AdminPort)
	}
	if len(errs) > 0 {
		for _, one := range open {
			one.Close()
		}
		return listeners{}, errors.Join(errs...)
	}
	l.http, l.grpc = l.bound(c, l.http), l.bound(c, l.grpc)
	return l, nil
}

// bound applies MAX_CONNECTIONS and RAW_SYSCALLS to a listener.
func (l *listeners) bound(c Config, one net.Listener) net.Listener {
	limited := connlimit.Listen(one, c.MaxConnections)
	l.limited = append(l.limited, limited)
	if c.RawSyscalls {
		return rawconn.Listen(limited)
	}
	return limited
}

// explain adds the setting and a remedy to a listener's error.
func explain(name, flag string, port uint16, err error) error {
	hint := "choose another with " + flag
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "stop the process that listens there (ss -ltnp shows it), or " + hint
	case errors.Is(err, syscall.EADDRNOTAVAIL) && name == "ADMIN_PORT":
		hint = "no interface of this machine has the address: choose another with --admin-bind"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "no interface of this machine has the address: choose another with --bind"
	}
	return fmt.Errorf("%s=%d: %w: %s", name, port, err, hint)
}

// instance is one running instance.
type instance struct {
	config        Config
	identity      *identity.Identity // nil without TLS
	app           App
	log           *slog.Logger
	calls         *calls
	metrics       *metrics // nil: off
	panics        *panics
	drain         *drainState
	unaryCalls    limit
	streams       limit
	healthStreams limit
	unaryMethods  map[string]bool // by full name
	health        *health.Server
	ready         atomic.Bool
	http          *http.Server
	grpc          *grpc.Server
	admin         *http.Server
}

func newInstance(c Config, a App, records *recorder, traces *tracing, log *slog.Logger) (*instance, error) {
	level := slog.LevelDebug
	if c.RequestLog {
		level = slog.LevelInfo
	}
	own, err := loadIdentity(c, log)
	if err != nil {
		return nil, err
	}
	counted := newMetrics(c)
	i := &instance{
		config: c, identity: own, metrics: counted, app: a, log: log, health: health.NewServer(), unaryMethods: make(map[string]bool),
		calls:         &calls{instance: c.Instance, log: log, level: level, records: records, metrics: counted, traces: traces},
		panics:        &panics{log: log},
		drain:         newDrainState(c.ReadTimeout),
		unaryCalls:    limit{most: int64(c.MaxCalls), name: "unary calls"},
		streams:       limit{most: int64(c.MaxCalls), name: "streams"},
		healthStreams: limit{most: int64(c.MaxCalls), name: "health streams"},
	}
	handler, err := i.httpHandler()
	if err != nil {
		return nil, err
	}
	i.grpc = i.grpcServer()
	i.metrics.observe(i)
	i.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING) // Liveness, like /healthz.
	i.setReady(false)
	i.http = i.httpServer(handler)
	i.admin = i.httpServer(i.adminHandler())
	return i, nil
}

func (i *instance) httpServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler,
		// Otherwise net/http responds to OPTIONS * itself, without the instance's headers.
		DisableGeneralOptionsHandler: true,
		ReadTimeout:                  i.config.ReadTimeout, // Without it an incomplete request holds its connection forever. Streams lift it.
		IdleTimeout:                  120 * time.Second,    // Longer than nginx keeps idle connections; otherwise it sends requests into closing ones.
		MaxHeaderBytes:               maxHeaderBytes,
		ErrorLog:                     stdlog.New(serverLog{i.log}, "", 0),
	}
}

// Readiness is the name by which grpc.health.v1 reports whether an instance of any service is ready. The names of its RPC services do, too.
const Readiness = "readiness"

// setReady sets /readyz, and gRPC health of every name but "", which is liveness.
func (i *instance) setReady(ready bool) {
	i.ready.Store(ready)
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if ready {
		state = healthv1.HealthCheckResponse_SERVING
	}
	i.health.SetServingStatus(Readiness, state)
	for service := range i.grpc.GetServiceInfo() {
		i.health.SetServingStatus(service, state)
	}
}

// serve serves all listeners until ctx ends or one of them fails, then drains.
func (i *instance) serve(ctx context.Context, l listeners) error {
	i.metrics.connections(l.limited)
	failed := make(chan error, 3)
	go func() { failed <- i.http.Serve(i.secureHTTP(l.http)) }()
	go func() { failed <- i.grpc.Serve(l.grpc) }()
	admin := "off"
	if l.admin != nil {
		admin = l.admin.Addr().String()
		go func() { failed <- i.admin.Serve(l.admin) }()
	}
	i.setReady(true)
	about := []any{"http", l.http.Addr().String(), "grpc", l.grpc.Addr().String(), "admin", admin, "environment", i.config.Environment, "version", buildinfo.String()}
	if i.identity != nil {
		about = append(about, "identity", identity.Of(i.identity.Certificate()))
	}
	i.log.Info("serving", about...)

	var err error
	select {
	case <-ctx.Done():
		i.log.Info("draining", "reason", context.Cause(ctx).Error(), "delay", i.config.DrainDelay.String(), "timeout", i.config.DrainTimeout.String())
	case err = <-failed:
		err = fmt.Errorf("listener failed: %w", err)
	}
	i.shutDown(l)
	return err
}

// shutDown drains the instance: it reports not ready, waits DRAIN_DELAY, closes the listeners and ends streams, waits
// DRAIN_TIMEOUT for unary calls, and cancels those that remain.
func (i *instance) shutDown(l listeners) {
	began := time.Now()
	i.drain.begun.Store(true)
	i.setReady(false)
	time.Sleep(i.config.DrainDelay) // Listeners stay open so that load balancers that check readiness stop sending first.

	i.drain.close()
	for _, limited := range l.limited {
		limited.CloseSilent() // Both servers would wait seconds for a first request.
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		grpcOver := make(chan struct{})
		go func() { i.grpc.GracefulStop(); close(grpcOver) }() // GOAWAY
		_ = i.http.Shutdown(context.Background())              // "Connection: close"; ends with Close at the latest
		<-grpcOver
	}()
	if !within(i.config.DrainTimeout, over) {
		i.drain.cancel()
		if !within(cancelGrace, over) {
			i.log.Warn("handlers did not return when their context ended: closing their connections")
		}
		i.grpc.Stop()
		i.http.Close()
		<-over
	}
	i.admin.Close() // Last: /readyz reports NOT_SERVING as long as anything runs.
	i.log.Info("drained", "took", time.Since(began).String(), "streams_ended", i.drain.streamsEnded.Load(),
		"calls_canceled", i.drain.callsCanceled.Load(), "panics", i.panics.count.Load())
}

// within waits at most d for done, and reports whether it was closed in time.
func within(d time.Duration, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}
