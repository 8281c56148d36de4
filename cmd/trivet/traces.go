package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"

	"trivet/internal/cli"
	"trivet/internal/words"
	"trivet/lab/otlp"
)

func tracesCommand() (*cobra.Command, action) {
	c := &cobra.Command{
		Use:   "traces --otlp ENDPOINT [--run DIR]",
		Short: "send a run's traces to an OpenTelemetry collector",
		Long: `Send a run's traces to a collector: those that trivet run wrote into its trial
directories (traces.jsonl), or those of the newest requests of a trivet up. A
batch that the collector cannot take now is sent again, for 20 seconds.

  ENDPOINT  http://HOST:4318 or https://…: OTLP over HTTP, to /v1/traces unless
            it has a path; grpc://HOST:4317 or, over TLS, grpcs://…: OTLP over
            gRPC. OTEL_EXPORTER_OTLP_HEADERS and _CERTIFICATE apply.`,
		ValidArgsFunction: cobra.NoFileCompletions,
		Annotations: map[string]string{exitCodes: `0 the collector accepted all; 1 it did not, or no run yet; 2 usage
error, no such run; 130 interrupted.`},
		Example: `  trivet traces --otlp http://localhost:4318
  trivet traces --otlp grpc://localhost:4317 --run DIR`,
	}
	call, endpoint := traceCall{}, ""
	c.Flags().StringVar(&endpoint, "otlp", "", "send to `ENDPOINT`")
	addRunFlag(c, &call.run)
	return c, func(ctx context.Context, in invocation) int {
		var err error
		if endpoint == "" && in.flagErr == nil {
			err = errors.New("where to? Name a collector, like --otlp http://localhost:4318")
		} else if endpoint != "" {
			_, err = otlp.Parse(endpoint)
		}
		if in.isWrong(err, cli.Unexpected(in.args, 0)) {
			return exitUsage
		}
		sources, code := call.open(in)
		if code != exitDone {
			return code
		}
		sender, err := otlp.NewSender(ctx, endpoint)
		if err != nil {
			return in.done(err)
		}
		err = errors.Join(sendAll(ctx, sender, sources), sender.Close())
		fmt.Fprintf(in.stdout, "%s (%s) sent to %s in %s\n", words.Count(sender.Traces, "trace"), words.Count(sender.Spans, "span"), endpoint, words.Count(sender.Batches, "batch"))
		if ctx.Err() != nil {
			return exitInterrupted
		}
		return in.done(err)
	}
}

// exitInterrupted is the exit code of commands that Ctrl-C keeps from their result.
const exitInterrupted = 130

// sendAll sends the traces of each source: those that a trial's file has; of a trial without one, and of a trivet up, those that it would.
func sendAll(ctx context.Context, sender *otlp.Sender, sources []traced) error {
	for _, s := range sources {
		add := func(m *collector.ExportTraceServiceRequest) error { return sender.Add(ctx, m) }
		err := otlp.Read(s.Dir(), add)
		if errors.Is(err, fs.ErrNotExist) {
			all, chosenErr := s.Chosen()
			err = chosenErr
			for i := 0; i < len(all) && err == nil; i++ {
				err = add(otlp.Message(all[i]))
			}
		}
		if err != nil {
			return err
		}
	}
	return sender.Flush(ctx)
}
