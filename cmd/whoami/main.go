// Command whoami runs one instance of Trivet, which identifies itself over REST and gRPC.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sethvargo/go-envconfig"
)

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		received := <-signals
		// From here on a second signal ends the process at once. signal.NotifyContext cannot guarantee that: the context
		// ends before its stop can be called.
		signal.Reset()
		cancel(fmt.Errorf("%v signal received", received))
	}()
	os.Exit(run(ctx, os.Args[1:], envconfig.OsLookuper(), os.Stdout, os.Stderr))
}
