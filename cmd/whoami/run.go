package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/sethvargo/go-envconfig"
	"google.golang.org/grpc/grpclog"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"trivet/internal/buildinfo"
	"trivet/services/whoami"
)

// Exit codes. Being stopped by Ctrl-C or SIGTERM is a success.
const (
	done   = 0
	failed = 1
	misuse = 2
)

// run is the whole command; it returns the exit code. Data goes to stdout, words to stderr.
func run(ctx context.Context, args []string, environ envconfig.Lookuper, stdout, stderr io.Writer) int {
	call, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		help(stdout)
		return done
	case call.version:
		fmt.Fprintln(stdout, "whoami", buildinfo.String())
		return done
	}
	config, values, loadErr := whoami.Load(ctx, whoami.Sources{Flags: call.flags, Environ: environ, EnvFile: call.envFile})
	if err := errors.Join(err, loadErr); err != nil {
		complain(stderr, err)
		fmt.Fprintln(stderr, "whoami: nothing was started; `whoami --help` lists the settings")
		return misuse
	}
	switch call.command {
	case "config":
		if err := show(stdout, values); err != nil {
			complain(stderr, err)
			return failed
		}
		return done
	case "health":
		return health(ctx, config, stdout, stderr)
	}
	// The reader of the log may go away (whoami 2>&1 | head -1). The next line would raise SIGPIPE and end the process,
	// calls included; ignored, the line is lost.
	signal.Ignore(syscall.SIGPIPE)
	log := logger(config, stderr)
	limitMemory(config, log)
	// grpc-go and grpc-gateway log what clients do, in lines of their own, to standard error.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer()))
	if err := whoami.Run(ctx, config, log); err != nil {
		complain(stderr, err)
		return failed
	}
	return done
}

// complain prints each of several joined errors on a line of its own.
func complain(w io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(w, "whoami:", strings.TrimSuffix(line, "\n"))
	}
}

func logger(c whoami.Config, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if c.LogFormat == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	return slog.New(handler).With("instance", c.Instance)
}

// show prints every setting with its value and where it came from, in the form of an env file.
func show(w io.Writer, values []whoami.Value) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range values {
		fmt.Fprintf(table, "%s=%s\t# %s\n", v.Name, v.Value, v.Source)
	}
	return table.Flush()
}

// healthTimeout bounds `whoami health`: an instance that takes longer to respond is not healthy.
const healthTimeout = 2 * time.Second

func health(ctx context.Context, c whoami.Config, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	state, err := whoami.CheckHealth(ctx, c)
	if err != nil {
		complain(stderr, err)
		return failed
	}
	fmt.Fprintln(stdout, state)
	if state != healthv1.HealthCheckResponse_SERVING {
		return failed
	}
	return done
}
