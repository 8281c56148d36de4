package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/sethvargo/go-envconfig"
	"google.golang.org/grpc/grpclog"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"trivet/internal/cli"
	"trivet/services/whoami"
)

// Exit codes. Being stopped by Ctrl-C or SIGTERM is a success.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// failure is an error of a command that was called correctly.
type failure struct{ error }

// run runs a command line and returns the exit code.
func run(ctx context.Context, args []string, environ envconfig.Lookuper, stdout, stderr io.Writer) int {
	err := newRoot(args, environ, streams{stdout, stderr}).ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	cli.PrintErrors(stderr, "whoami", err)
	if _, ok := errors.AsType[failure](err); ok {
		return exitFailed
	}
	return exitUsage
}

// serve runs the instance.
func serve(ctx context.Context, c whoami.Config, _ []whoami.Value, s streams) error {
	// If the log's reader leaves (whoami 2>&1 | head -1), the next line raises SIGPIPE, which would end the process and
	// its calls. Ignored, only the line is lost.
	signal.Ignore(syscall.SIGPIPE)
	log := logger(c, s.err)
	limitMemory(c, log)
	// grpc-go and grpc-gateway log the errors of clients to standard error, in a format of their own.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer()))
	return whoami.Run(ctx, c, log)
}

func logger(c whoami.Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if c.LogFormat == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	return slog.New(handler).With("instance", c.Instance)
}

// show prints every setting with its value and source, in the format of an env file.
func show(_ context.Context, _ whoami.Config, values []whoami.Value, s streams) error {
	table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	for _, v := range values {
		fmt.Fprintf(table, "%s=%s\t# %s\n", v.Name, v.Value, v.Source)
	}
	return table.Flush()
}

// healthTimeout bounds `whoami health`: an instance that takes longer to respond is not healthy.
const healthTimeout = 2 * time.Second

// checkHealth prints the health status of the instance, and fails unless it is SERVING.
func checkHealth(ctx context.Context, c whoami.Config, _ []whoami.Value, s streams) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	state, err := whoami.CheckHealth(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, state)
	if state != healthv1.HealthCheckResponse_SERVING {
		return errors.New("instance is not SERVING")
	}
	return nil
}
