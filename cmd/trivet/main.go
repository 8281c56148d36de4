// Command trivet is a load-balancing lab: it runs instances of whoami behind a real nginx on this machine, and experiments on them.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup trivet up
		signals = append(signals, syscall.SIGHUP) // The terminal was closed.
	}
	first := make(chan os.Signal, 1)
	signal.Notify(first, signals...)
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		s := <-first
		// From here on a signal has its usual effect: the second one ends trivet at once. signal.NotifyContext would not do: its
		// context ends while it still catches signals.
		signal.Stop(first)
		cancel(errors.New(s.String()))
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
