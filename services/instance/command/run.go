package command

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
	"trivet/services/instance"
)

// Exit codes. Being stopped by Ctrl-C or SIGTERM is a success.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// failure is an error of a command that was called correctly.
type failure struct{ error }

// Run runs a command line of the service's program and returns the exit code: 0 stopped or done, 1 failed, 2 usage error.
func Run(ctx context.Context, s instance.Service, args []string, environ envconfig.Lookuper, stdout, stderr io.Writer) int {
	err := newRoot(s, args, environ, streams{stdout, stderr}).ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	cli.PrintErrors(stderr, s.Name, err)
	if _, ok := errors.AsType[failure](err); ok {
		return exitFailed
	}
	return exitUsage
}

// serve runs the instance.
func serve(ctx context.Context, s instance.Service, c instance.Config, _ []instance.Value, out streams) error {
	// If the log's reader leaves (2>&1 | head -1), the next line raises SIGPIPE, which would end the process and
	// its calls. Ignored, only the line is lost.
	signal.Ignore(syscall.SIGPIPE)
	log := logger(c, out.err)
	limitMemory(c, log)
	// grpc-go and grpc-gateway log the errors of clients to standard error, in a format of their own.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer()))
	return instance.Run(ctx, s, c, log)
}

func logger(c instance.Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if c.LogFormat == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	return slog.New(handler).With("instance", c.Instance)
}

// show prints every setting with its value and source, in the format of an env file.
func show(_ context.Context, _ instance.Service, _ instance.Config, values []instance.Value, out streams) error {
	table := tabwriter.NewWriter(out.out, 0, 0, 2, ' ', 0)
	for _, v := range values {
		fmt.Fprintf(table, "%s=%s\t# %s\n", v.Name, v.Value, v.Source)
	}
	return table.Flush()
}

// healthTimeout bounds the health command: an instance that takes longer to respond is not healthy.
const healthTimeout = 2 * time.Second

// checkHealth prints the health status of the instance, and fails unless it is SERVING.
func checkHealth(ctx context.Context, _ instance.Service, c instance.Config, _ []instance.Value, out streams) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	state, err := instance.CheckHealth(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprintln(out.out, state)
	if state != healthv1.HealthCheckResponse_SERVING {
		return errors.New("instance is not SERVING")
	}
	return nil
}
