// Command whoami is one instance of Trivet: it tells over REST and gRPC who answered.
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
		// From here on a second signal has its usual effect: it ends the process at once. signal.NotifyContext
		// cannot promise that: there the context ends before anybody can call its stop.
		signal.Reset()
		cancel(fmt.Errorf("%v signal received", received))
	}()
	os.Exit(run(ctx, os.Args[1:], envconfig.OsLookuper(), os.Stdout, os.Stderr))
}
