// Package whoami is one instance: configuration, the WhoAmI RPC, its two doors (REST and gRPC), and its life from start
// to drained.
//
// Both doors serve one implementation: gRPC through its own listener on grpc-go's transport, REST by calling it in
// process. What belongs to a call wraps the implementation, once; what belongs to a door (the x-instance header, the
// request id, records, panics) is said at each door.
package whoami

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	whoamiv1 "trivet/gen/whoami/v1"
	"trivet/internal/buildinfo"
	"trivet/internal/rawconn"
)

// afterCut is how long handlers have to notice that their context ended before connections are closed on them.
const afterCut = time.Second

// Run serves until ctx ends, then drains, and returns when everything is over. An error means that it could not serve:
// a port is taken (both are told at once), or the records file cannot be written.
func Run(ctx context.Context, c Config, log *slog.Logger) error {
	records, err := openRecorder(c.Records, c.Instance, log)
	if err != nil {
		return err
	}
	httpListener, grpcListener, err := listen(ctx, c)
	if err != nil {
		return errors.Join(err, records.close())
	}
	service, err := newService(c)
	if err != nil {
		return err
	}
	i, err := newInstance(c, service, records, log)
	if err != nil {
		return err
	}
	return errors.Join(i.serve(ctx, httpListener, grpcListener), records.close())
}

// listen opens both doors, so that a taken port is an error now and not a line in a log later.
func listen(ctx context.Context, c Config) (rest, rpc net.Listener, err error) {
	var lc net.ListenConfig
	rest, restErr := lc.Listen(ctx, "tcp", c.HTTPAddr())
	rpc, rpcErr := lc.Listen(ctx, "tcp", c.GRPCAddr())
	if restErr == nil && rpcErr == nil {
		return rawconn.Listen(rest), rawconn.Listen(rpc), nil
	}
	for _, l := range []net.Listener{rest, rpc} {
		if l != nil {
			l.Close()
		}
	}
	return nil, nil, errors.Join(explain("HTTP_PORT", "--port", c.HTTPPort, restErr), explain("GRPC_PORT", "--grpc-port", c.GRPCPort, rpcErr))
}

// explain names the setting behind a listener's failure, and what to do.
func explain(name, flag string, port uint16, err error) error {
	hint := "choose another with " + flag
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "stop what listens there (ss -ltnp tells), or " + hint
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "no interface here has this address: set another with --bind"
	}
	return fmt.Errorf("%s=%d: %w: %s", name, port, err, hint)
}

// instance is one running instance.
type instance struct {
	config Config
	log    *slog.Logger
	life   *life
	health *health.Server
	ready  atomic.Bool
	http   *http.Server
	grpc   *grpc.Server
}

func newInstance(c Config, service whoamiv1.WhoAmIServiceServer, records *recorder, log *slog.Logger) (*instance, error) {
	i := &instance{config: c, log: log, life: newLife(), health: health.NewServer()}
	i.setReady(false)
	d := &door{instance: c.Instance, log: log, records: records, life: i.life}
	service = cuttable{service, i.life}
	handler, err := d.httpHandler(service, i.ready.Load)
	if err != nil {
		return nil, err
	}
	i.grpc = d.grpcServer(service, i.health, c.Reflection)
	i.http = &http.Server{
		Handler: handler,
		// Else net/http answers OPTIONS * itself, in no instance's name.
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            10 * time.Second,  // Else a client that sends a byte now and then holds a connection forever.
		IdleTimeout:                  120 * time.Second, // Longer than nginx keeps its idle ones, or they would close under its requests.
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return i, nil
}

// setReady tells gRPC health and /readyz at once.
func (i *instance) setReady(ready bool) {
	i.ready.Store(ready)
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if ready {
		state = healthv1.HealthCheckResponse_SERVING
	}
	i.health.SetServingStatus("", state)
	i.health.SetServingStatus(whoamiv1.WhoAmIService_ServiceDesc.ServiceName, state)
}

// serve serves both doors until ctx ends or one of them fails, and drains.
func (i *instance) serve(ctx context.Context, rest, rpc net.Listener) error {
	failed := make(chan error, 2)
	go func() { failed <- i.http.Serve(rest) }()
	go func() { failed <- i.grpc.Serve(rpc) }()
	i.setReady(true)
	i.log.Info("serving", "http", rest.Addr().String(), "grpc", rpc.Addr().String(),
		"environment", i.config.Environment, "version", buildinfo.String())

	var err error
	select {
	case <-ctx.Done():
		i.log.Info("draining", "why", context.Cause(ctx).Error(), "delay", i.config.DrainDelay.String(), "timeout", i.config.DrainTimeout.String())
	case err = <-failed:
		err = fmt.Errorf("a door failed: %w", err)
	}
	i.drain()
	return err
}

// drain ends the instance's life: unready at once, the delay, then doors closed and streams ended, then calls cut.
func (i *instance) drain() {
	began := time.Now()
	i.health.Shutdown()
	i.ready.Store(false)
	time.Sleep(i.config.DrainDelay) // Doors stay open, so that whoever looks at readiness stops sending first.

	i.life.close()
	over := make(chan struct{})
	go func() {
		defer close(over)
		grpcOver := make(chan struct{})
		go func() { i.grpc.GracefulStop(); close(grpcOver) }() // GOAWAY
		i.http.Shutdown(context.Background())                  // "Connection: close"; ends with Close at the latest
		<-grpcOver
	}()
	if !within(i.config.DrainTimeout, over) {
		i.life.cutAll()
		if !within(afterCut, over) {
			i.log.Warn("handlers ignored the end of their context: closing their connections")
		}
		i.grpc.Stop()
		i.http.Close()
		<-over
	}
	i.log.Info("drained", "took", time.Since(began).String(), "streams_ended", i.life.streamsEnded.Load(), "calls_cut", i.life.callsCut.Load())
}

// within waits at most d for done, and tells whether it came.
func within(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
